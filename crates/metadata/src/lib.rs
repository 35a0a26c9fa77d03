//! Cluster records, their image and deltas, and the controller's decisions.
