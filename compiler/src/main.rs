//! The `graver` command.
fn main() {}
