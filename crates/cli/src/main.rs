//! whaletap: capture the traffic of containers by name.

fn main() {}
