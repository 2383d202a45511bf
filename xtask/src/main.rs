//! Chores of the project: `cargo xtask layers`.

fn main() {}
