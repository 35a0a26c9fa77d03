//! Kafka's wire: frames, messages and record batches. Bytes in, types out, no I/O.
