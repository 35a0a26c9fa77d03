//! Configuration from environment variables: `KAFKA_*` as Kafka's images have it, `DURAMEN_*` ours.
//!
//! After the prefix, `_` is a dot, `__` an underscore and `___` a dash (Kafka's docker image). Kafka's
//! JVM switches are recognised and ignored; the caller says so once.

/// One variable that configures the broker, or one that is ignored.
#[derive(Debug, PartialEq, Eq)]
pub enum Variable {
    /// A configuration key.
    Key {
        /// The variable's name, for messages.
        variable: String,
        /// The configuration key.
        key: String,
        /// Its value.
        value: String,
    },
    /// A variable for a JVM that is not here.
    Ignored(String),
}

/// Variables of Kafka's start scripts that mean nothing without a JVM.
const JVM_VARIABLES: [&str; 9] = [
    "KAFKA_OPTS",
    "KAFKA_HEAP_OPTS",
    "KAFKA_GC_LOG_OPTS",
    "KAFKA_JVM_PERFORMANCE_OPTS",
    "KAFKA_JMX_OPTS",
    "KAFKA_JMX_PORT",
    "KAFKA_JMX_HOSTNAME",
    "KAFKA_HOME",
    "KAFKA_VERSION",
];

/// Reads what concerns us from the process environment, in name order.
pub fn read(variables: impl Iterator<Item = (String, String)>) -> Vec<Variable> {
    let mut found: Vec<Variable> = variables.filter_map(interpret).collect();
    found.sort_by(|a, b| name(a).cmp(name(b)));
    found
}

fn name(variable: &Variable) -> &str {
    match variable {
        Variable::Key { variable, .. } | Variable::Ignored(variable) => variable,
    }
}

fn interpret((variable, value): (String, String)) -> Option<Variable> {
    if variable == "CLUSTER_ID" {
        return Some(Variable::Key {
            variable,
            key: "cluster.id".to_owned(),
            value,
        });
    }
    if let Some(rest) = variable.strip_prefix("KAFKA_") {
        if JVM_VARIABLES.contains(&variable.as_str()) || rest.starts_with("LOG4J") {
            return Some(Variable::Ignored(variable));
        }
        let key = dotted(rest);
        return Some(Variable::Key {
            variable,
            key,
            value,
        });
    }
    // DURAMEN_CONTEXT and DURAMEN_BROKERS configure the command line, not the broker.
    if let Some(rest) = variable.strip_prefix("DURAMEN_")
        && !["CONTEXT", "BROKERS", "LOG"].contains(&rest)
    {
        let key = dotted(rest);
        return Some(Variable::Key {
            variable,
            key,
            value,
        });
    }
    None
}

/// `LOG_RETENTION_MS` to `log.retention.ms`.
fn dotted(name: &str) -> String {
    let mut key = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(at) = rest.find('_') {
        key.push_str(&rest[..at].to_ascii_lowercase());
        let run = rest[at..].bytes().take_while(|byte| *byte == b'_').count();
        match run {
            1 => key.push('.'),
            2 => key.push('_'),
            _ => key.push('-'),
        }
        rest = &rest[at + run..];
    }
    key.push_str(&rest.to_ascii_lowercase());
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, value: &str) -> Option<Variable> {
        read(std::iter::once((name.to_owned(), value.to_owned()))).pop()
    }

    #[test]
    fn underscores_become_dots_underscores_and_dashes() {
        assert_eq!(dotted("LOG_RETENTION_MS"), "log.retention.ms");
        assert_eq!(dotted("A__B___C"), "a_b-c");
    }

    #[test]
    fn jvm_switches_are_ignored_by_name() {
        assert_eq!(
            one("KAFKA_HEAP_OPTS", "-Xmx1G"),
            Some(Variable::Ignored("KAFKA_HEAP_OPTS".into()))
        );
        assert_eq!(
            one("KAFKA_LOG4J_LOGGERS", "x"),
            Some(Variable::Ignored("KAFKA_LOG4J_LOGGERS".into()))
        );
    }

    #[test]
    fn strangers_and_the_command_lines_own_variables_are_left_alone() {
        assert_eq!(one("PATH", "/bin"), None);
        assert_eq!(one("DURAMEN_BROKERS", "a:1"), None);
    }

    #[test]
    fn cluster_id_has_its_own_name() {
        assert!(
            matches!(one("CLUSTER_ID", "x"), Some(Variable::Key { key, .. }) if key == "cluster.id")
        );
    }
}
