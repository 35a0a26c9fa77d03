//! Sockets to partitions: connections, one file per API, hosting of the organs.
