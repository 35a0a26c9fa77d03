//! Bad input against the running binary: every one gets Kafka's error or a closed connection, with
//! nothing lost and bounded memory.
#![expect(
    clippy::disallowed_methods,
    reason = "a test on the outside of the process: real sockets, files and threads"
)]

mod batches;
mod clients;
mod directories;
mod frames;
mod node;
mod peer;
mod topics;
