//! Consent: whether a verb that destroys shall do so, or only show its plan.

use crate::Failure;

/// The flags of every verb with a plan.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Consent {
    /// Do it. Without this only the plan is shown.
    #[arg(short, long)]
    yes: bool,
    /// Only show the plan.
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
}

impl Consent {
    /// Whether the verb shall do what its plan says.
    pub fn is_given(self) -> bool {
        self.yes
    }

    /// Ends a verb behind its plan or its deed: fine, unless it only showed a plan that nobody asked
    /// for.
    ///
    /// # Errors
    /// What was not done, a word on why to think twice, and the command that does it.
    pub fn settle(self, undone: String, caution: &str, next: String) -> Result<(), Failure> {
        if self.yes || self.dry_run {
            return Ok(());
        }
        let cause = format!("this was the plan, without --yes{caution}");
        Err(Failure::usage(undone, cause, next))
    }
}
