//! Tells people when the disk has no room for producers any more, and when it has again.
//!
//! Every produce is refused meanwhile, thousands a second: the producers are told by their error
//! code, the operator here, when it begins, once a minute while it lasts, and when it is over.

use std::time::Duration;

use commitlog::StoreMetrics;
use stdx::ByteSize;
use world::Instant;

/// Time between two reminders.
const REMIND_EVERY: Duration = Duration::from_secs(60);

/// What was told last, and when.
#[derive(Debug, Default)]
pub struct SpaceWatch {
    full_since: Option<Instant>,
    told: Option<Instant>,
}

/// Something to tell.
#[derive(Debug, PartialEq, Eq)]
pub enum News {
    /// Producers are refused: what it is, why, and what to do.
    Full(String),
    /// They are served again.
    Enough(String),
}

impl SpaceWatch {
    /// Looks at the figures of this moment; what there is to tell now, if anything.
    pub fn look(&mut self, now: Instant, full: bool, store: &StoreMetrics) -> Option<News> {
        if !full {
            self.told = None;
            let since = self.full_since.take()?;
            let seconds = now.since(since).as_secs();
            let free = ByteSize(store.free_bytes);
            return Some(News::Enough(format!(
                "the disk has room again, {free} are free: producers are served, after {seconds} s"
            )));
        }
        self.full_since.get_or_insert(now);
        if self.told.is_some_and(|told| now.since(told) < REMIND_EVERY) {
            return None;
        }
        self.told = Some(now);
        Some(News::Full(format!(
            "the disk is nearly full: producers are refused with KAFKA_STORAGE_ERROR, readers are \
             served. {}. {NEXT}",
            shortage(store)
        )))
    }
}

const NEXT: &str = "Delete topics or records, lower retention, or make the filesystem larger; \
                    producers that retry go on by themselves then";

/// The figures, in words.
pub fn shortage(store: &StoreMetrics) -> String {
    format!(
        "{} are free, below {} (disk.free.bytes.min) writes stop, from {} \
         (disk.free.bytes.resume) they resume",
        ByteSize(store.free_bytes),
        ByteSize(store.free_bytes_min),
        ByteSize(store.free_bytes_resume)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_at_once_then_once_a_minute_then_when_it_is_over() {
        let store = StoreMetrics {
            free_bytes: 1 << 20,
            free_bytes_min: 1 << 30,
            free_bytes_resume: 5 << 28,
            ..StoreMetrics::default()
        };
        let mut watch = SpaceWatch::default();
        let at = |seconds: u64| Instant(0).after(Duration::from_secs(seconds));
        assert_eq!(watch.look(at(0), false, &store), None);
        let Some(News::Full(text)) = watch.look(at(1), true, &store) else {
            panic!("told at once");
        };
        for part in ["1MiB", "1GiB", "1280MiB", "Delete topics"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let told = (2..=180).filter(|second| watch.look(at(*second), true, &store).is_some());
        assert_eq!(told.count(), 2, "after one minute and after two");
        assert!(matches!(
            watch.look(at(181), false, &store),
            Some(News::Enough(_))
        ));
        assert_eq!(watch.look(at(182), false, &store), None);
        assert!(matches!(
            watch.look(at(183), true, &store),
            Some(News::Full(_))
        ));
    }
}
