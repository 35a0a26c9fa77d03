//! One node's logs on disk: append, read, recover, retain.
