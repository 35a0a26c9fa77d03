//! What std lacks: byte sizes, varints, checked cursors, checksums, bounded queues.
