//! The one binary: configuration, assembly, start, drain.
mod environment;
mod http;
mod logging;
mod properties;
fn main() {}
