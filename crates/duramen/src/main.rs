//! The one binary: configuration, assembly, start, drain.
fn main() {}
