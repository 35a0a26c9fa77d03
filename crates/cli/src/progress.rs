//! Bars on standard error while something takes its time: on a terminal only, and only once it has
//! taken a moment, so that what is quick does not flicker.

use std::cell::Cell;
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Redraws a second.
const REDRAWS: u8 = 8;
/// What is done within this time gets no bar.
const MOMENT: Duration = Duration::from_millis(300);

/// A bar, or nothing where nobody would see it.
pub struct Progress {
    bar: ProgressBar,
    /// Whether it will be drawn once the moment has passed.
    waiting: Cell<bool>,
}

impl Progress {
    /// A bar for `total` things of this kind; unknown totals are 0 and count up.
    pub fn new(what: &str, total: u64) -> Progress {
        let template = match total {
            0 => "{msg} {human_pos} {elapsed}",
            _ => "{msg} [{wide_bar}] {human_pos}/{human_len} {eta}",
        };
        Progress::drawn(what, total, template)
    }

    /// A bar for something that takes so long.
    pub fn timed(what: &str, duration: Duration) -> Progress {
        let total = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Progress::drawn(what, total, "{msg} [{wide_bar}] {eta}")
    }

    fn drawn(what: &str, total: u64, template: &str) -> Progress {
        let target = ProgressDrawTarget::hidden();
        let bar = ProgressBar::with_draw_target((total > 0).then_some(total), target);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(what.to_owned());
        Progress {
            bar,
            waiting: Cell::new(std::io::stderr().is_terminal()),
        }
    }

    /// So many are done.
    pub fn set(&self, done: u64) {
        if self.waiting.get() && self.bar.elapsed() >= MOMENT {
            self.waiting.set(false);
            let target = ProgressDrawTarget::stderr_with_hz(REDRAWS);
            self.bar.set_draw_target(target);
        }
        self.bar.set_position(done);
    }

    /// So much of the time is over.
    pub fn passed(&self, elapsed: Duration) {
        self.set(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX));
    }

    /// Takes the bar away.
    pub fn end(self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
