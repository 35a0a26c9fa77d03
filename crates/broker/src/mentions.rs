//! Topics named more than once in a request: none of their mentions is carried out, and one answer
//! stands for all of them, as Kafka does.

use std::collections::BTreeMap;

use metadata::Refusal;
use wire::ErrorCode;

/// How often each topic of a request is named.
pub struct Mentions(BTreeMap<String, usize>);

impl Mentions {
    /// Counts them.
    pub fn of<'a>(names: impl Iterator<Item = &'a str>) -> Mentions {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for name in names {
            *counts.entry(name.to_owned()).or_default() += 1;
        }
        Mentions(counts)
    }

    /// Takes a topic up: whether it may be acted on. `None` if an earlier mention has answered for
    /// this one.
    ///
    /// # Errors
    /// It is named more than once.
    pub fn take(&mut self, name: &str) -> Option<Result<(), Refusal>> {
        match self.0.remove(name)? {
            1 => Some(Ok(())),
            _ => Some(Err(Refusal {
                code: ErrorCode::InvalidRequest,
                message: "Duplicate topic name.".into(),
            })),
        }
    }
}
