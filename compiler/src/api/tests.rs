//! The Rust program of the page about other programs is compiled and run as it stands there.

#[doc = include_str!("../../../docs/embedding.md")]
struct Page;
