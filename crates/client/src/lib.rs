//! Our Kafka producer, consumer and admin.
