//! What people see when something fails: three lines, and an exit code.

use std::fmt;

/// The exit code for an error that is neither usage nor health.
pub const EXIT_FAILED: u8 = 1;
/// The exit code for a wrong command line.
pub const EXIT_USAGE: u8 = 2;
/// The exit code for a cluster that is not healthy; rpk's number.
pub const EXIT_UNHEALTHY: u8 = 10;

/// A failure as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What failed, with Kafka's error name and number where there is one.
    pub what: String,
    /// The likely cause, checked where that is possible.
    pub cause: String,
    /// The next command to type, or what to change.
    pub next: String,
    /// Process exit code.
    pub exit: u8,
}

impl Failure {
    /// A failure with exit code 1.
    pub fn new(
        what: impl Into<String>,
        cause: impl Into<String>,
        next: impl Into<String>,
    ) -> Failure {
        Failure {
            what: what.into(),
            cause: cause.into(),
            next: next.into(),
            exit: EXIT_FAILED,
        }
    }

    /// A wrong command line or configuration: exit code 2.
    pub fn usage(
        what: impl Into<String>,
        cause: impl Into<String>,
        next: impl Into<String>,
    ) -> Failure {
        Failure {
            exit: EXIT_USAGE,
            ..Failure::new(what, cause, next)
        }
    }
}

impl Failure {
    /// An exit code without words: everything was said already.
    pub fn silent(exit: u8) -> Failure {
        Failure {
            exit,
            ..Failure::new("", "", "")
        }
    }

    /// Whether there is something to print.
    pub fn speaks(&self) -> bool {
        self.exit != 0 && !self.what.is_empty()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "error: {}", self.what)?;
        writeln!(f, "cause: {}", self.cause)?;
        write!(f, "next:  {}", self.next)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_exactly_three_lines() {
        let failure = Failure::new("topic orders: not created", "it exists", "duramen topic ls");
        let text = failure.to_string();
        assert_eq!(text.lines().count(), 3);
        assert_eq!(text.lines().last(), Some("next:  duramen topic ls"));
        assert_eq!(failure.exit, EXIT_FAILED);
    }
}
