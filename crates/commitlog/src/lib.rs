//! One node's logs on disk: append, read, recover, retain.

pub mod epochs;
pub mod format_error;
pub mod ids;
pub mod index;
pub mod manifest;
pub mod producers;
