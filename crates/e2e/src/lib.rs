//! Foreign clients against the built binary.
