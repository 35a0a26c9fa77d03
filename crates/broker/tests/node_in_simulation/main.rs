//! The whole node in one thread from one seed, and nothing acknowledged lost there.
//!
//! The node is the product's own assembly, `Broker::start`, on a simulated world; clients are our
//! own, on another host of the same simulated network. `repeatable` holds that a seed means the
//! same twice, `crashes` cuts the power under random work, `faults` lets the disk fail under a
//! running node.
//!
//! `NODE_SEEDS=n` runs more crash stories than the default, `NODE_SEED=n` replays one, and tells
//! it.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed story")]

mod crashes;
mod faults;
mod ledger;
mod line;
mod repeatable;
mod stage;
mod work;
