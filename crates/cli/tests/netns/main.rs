//! The command on namespaces of its own, without an engine: what it counts, writes and leaves.
