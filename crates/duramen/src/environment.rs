//! Configuration from environment variables: `KAFKA_*` as Kafka's images have it, `DURAMEN_*` ours.
//!
//! After the prefix, `_` is a dot, `__` an underscore and `___` a dash (Kafka's docker image). What
//! carries the prefix and is no setting is recognised and ignored: switches of the images' start
//! scripts, and what Kubernetes puts in for a service named `kafka`. Sources: apache/kafka
//! `docker/` and `bin/`, confluentinc/kafka-images `kafka.properties.template` and `configure`.

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
    /// It has the prefix, but is no setting.
    Ignored(String),
}

/// Variables of the images' start scripts, behind `KAFKA_`: for a JVM and loggers that are not here,
/// and file names below `/etc/kafka/secrets` that the scripts turn into the real `ssl.*` settings.
const SCRIPT_VARIABLES: [&str; 14] = [
    "CLASSPATH",
    "DEBUG",
    "GC_LOG_OPTS",
    "HEAP_OPTS",
    "HOME",
    "JVM_PERFORMANCE_OPTS",
    "OPTS",
    "SSL_KEYSTORE_CREDENTIALS",
    "SSL_KEYSTORE_FILENAME",
    "SSL_KEY_CREDENTIALS",
    "SSL_TRUSTSTORE_CREDENTIALS",
    "SSL_TRUSTSTORE_FILENAME",
    "TOOLS_LOG4J_LOGLEVEL",
    "VERSION",
];

/// Families of such variables, by how they begin behind `KAFKA_`.
const SCRIPT_FAMILIES: [&str; 2] = ["JMX_", "LOG4J_"];

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
        if is_of_scripts(rest) || is_of_kubernetes(rest, &value) {
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

fn is_of_scripts(name: &str) -> bool {
    SCRIPT_VARIABLES.contains(&name)
        || SCRIPT_FAMILIES
            .iter()
            .any(|family| name.starts_with(family))
}

/// Every pod beside a service named `kafka` gets its address: `KAFKA_PORT=tcp://10.0.0.1:9092`,
/// `KAFKA_SERVICE_HOST`, `KAFKA_PORT_9092_TCP_ADDR` and more. None of Kafka's keys looks like that.
fn is_of_kubernetes(name: &str, value: &str) -> bool {
    let numbered = |rest: &str| rest.starts_with(|first: char| first.is_ascii_digit());
    name == "PORT" && value.contains("://")
        || name == "SERVICE_HOST"
        || name == "SERVICE_PORT"
        || name.starts_with("SERVICE_PORT_")
        || name.strip_prefix("PORT_").is_some_and(numbered)
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
    fn what_the_images_scripts_take_for_themselves_is_no_setting() {
        for name in [
            "KAFKA_VERSION",
            "KAFKA_HEAP_OPTS",
            "KAFKA_LOG4J_OPTS",
            "KAFKA_OPTS",
            "KAFKA_JMX_OPTS",
            "KAFKA_JMX_PORT",
            "KAFKA_JMX_HOSTNAME",
            "KAFKA_JVM_PERFORMANCE_OPTS",
            "KAFKA_GC_LOG_OPTS",
            "KAFKA_LOG4J_ROOT_LOGLEVEL",
            "KAFKA_LOG4J_LOGGERS",
            "KAFKA_LOG4J_CMD_OPTS",
            "KAFKA_TOOLS_LOG4J_LOGLEVEL",
            "KAFKA_HOME",
            "KAFKA_DEBUG",
            "KAFKA_SSL_KEYSTORE_FILENAME",
            "KAFKA_SSL_KEY_CREDENTIALS",
        ] {
            assert_eq!(one(name, "x"), Some(Variable::Ignored(name.into())));
        }
        // Nor are these, which do not even have the prefix.
        for name in ["SCALA_VERSION", "JMX_PORT", "LOG_DIR"] {
            assert_eq!(one(name, "x"), None);
        }
    }

    #[test]
    fn what_kubernetes_says_of_a_service_named_kafka_is_no_setting() {
        for (name, value) in [
            ("KAFKA_PORT", "tcp://10.0.0.1:9092"),
            ("KAFKA_SERVICE_HOST", "10.0.0.1"),
            ("KAFKA_SERVICE_PORT", "9092"),
            ("KAFKA_SERVICE_PORT_CLIENT", "9092"),
            ("KAFKA_PORT_9092_TCP", "tcp://10.0.0.1:9092"),
            ("KAFKA_PORT_9092_TCP_ADDR", "10.0.0.1"),
        ] {
            assert_eq!(one(name, value), Some(Variable::Ignored(name.into())));
        }
        // Kafka's old key of that name is still met, and judged, as a setting.
        assert!(matches!(
            one("KAFKA_PORT", "9092"),
            Some(Variable::Key { .. })
        ));
    }

    #[test]
    fn no_key_of_ours_is_ignored_by_mistake() {
        use metadata::config::{FOREIGN, broker};
        for key in broker::BROKER.iter().chain(FOREIGN) {
            let name = key
                .name
                .replace('_', "__")
                .replace('.', "_")
                .to_ascii_uppercase();
            let variable = format!("KAFKA_{name}");
            assert!(
                matches!(one(&variable, "1"), Some(Variable::Key { .. })),
                "{variable}"
            );
        }
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
