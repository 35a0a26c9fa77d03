//! What crosses the crate's border, judged from outside: bytes of others (`golden`), bytes of two
//! codecs (`differential`), hostile bytes under a counting allocator (`hostile`), and random damage
//! (`mutation`).
#![expect(
    clippy::disallowed_methods,
    reason = "golden files and sources are read from the tree"
)]

mod catalogue;
mod counting;
mod differential;
mod golden;
mod hostile;
mod mutation;
