//! Commands, one file each; talks Kafka like any stranger.
