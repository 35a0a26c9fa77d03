//! How long the space on the disk lasts, going by how fast it shrank in the last hours.
//!
//! A look each minute, six hours of them: a straight line through the first and the last. Deletion
//! comes in steps, so a shorter time would swing between alarm and silence; a longer one would learn
//! of a new writer too late.

use std::collections::VecDeque;
use std::time::Duration;

use world::Instant;

/// Time between two looks that are kept.
const EVERY: Duration = Duration::from_secs(60);
/// Looks that are kept: six hours.
const LOOKS_MAX: usize = 360;
/// Before so many of them there is nothing to say.
const LOOKS_MIN: usize = 10;
const DAY_SECONDS: f64 = 86_400.0;
/// Beyond ten years it is not the disk that will end first.
const DAYS_MAX: f64 = 3_650.0;

/// Looks at the free bytes from time to time.
#[derive(Debug, Default)]
pub struct Outlook {
    looks: VecDeque<(Instant, u64)>,
    free_bytes_min: u64,
}

impl Outlook {
    /// So many bytes are free, and below the second number producers are refused.
    pub fn look(&mut self, now: Instant, free_bytes: u64, free_bytes_min: u64) {
        self.free_bytes_min = free_bytes_min;
        if let Some((last, _)) = self.looks.back()
            && now.since(*last) < EVERY
        {
            return;
        }
        if self.looks.len() == LOOKS_MAX {
            self.looks.pop_front();
        }
        self.looks.push_back((now, free_bytes));
    }

    /// Days until producers are refused; `None` if it is too early to say, or the space does not
    /// shrink.
    pub fn days_left(&self) -> Option<f64> {
        if self.looks.len() < LOOKS_MIN {
            return None;
        }
        let ((began, before), (ended, free)) = (self.looks.front()?, self.looks.back()?);
        let used = before.checked_sub(*free).filter(|used| *used > 0)?;
        let per_day = used as f64 / ended.since(*began).as_secs_f64() * DAY_SECONDS;
        let room = free.saturating_sub(self.free_bytes_min) as f64;
        Some((room / per_day).min(DAYS_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: u64) -> Instant {
        Instant(0).after(Duration::from_secs(60 * minute))
    }

    #[test]
    fn days_left_are_what_is_free_above_the_reserve_over_what_a_day_takes() {
        let mut outlook = Outlook::default();
        for minute in 0..20 {
            // 1,000 bytes a minute are 1,440,000 a day.
            outlook.look(at(minute), 2_900_000 - 1_000 * minute, 1_000);
        }
        let days = outlook.days_left().expect("it shrinks");
        assert!((days - 2.0).abs() < 1e-9, "{days}");
    }

    #[test]
    fn without_a_history_or_with_space_that_grows_nothing_is_said() {
        let mut outlook = Outlook::default();
        for minute in 0..9 {
            outlook.look(at(minute), 1_000_000 - minute, 0);
            outlook.look(at(minute), 0, 0);
        }
        assert_eq!(outlook.days_left(), None);
        for minute in 9..30 {
            outlook.look(at(minute), 2_000_000, 0);
        }
        assert_eq!(outlook.days_left(), None);
    }

    #[test]
    fn a_full_disk_has_no_days_left_and_old_looks_are_forgotten() {
        let mut outlook = Outlook::default();
        for minute in 0..2_000 {
            outlook.look(at(minute), 5_000 - minute, 4_000);
        }
        assert_eq!(outlook.looks.len(), LOOKS_MAX);
        assert_eq!(outlook.days_left(), Some(0.0));
    }
}
