//! What a compiled model needs to run, and nothing else.

pub mod abi;
