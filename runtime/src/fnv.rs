//! FNV-1a of 64 bits (Fowler, Noll and Vo): a hash that a text which becomes longer goes on with.

/// The hash of nothing.
pub const NOTHING: u64 = 0xcbf2_9ce4_8422_2325;

/// The hash of what `hash` is of, with `bytes` behind it.
pub fn fnv1a(hash: u64, bytes: &[u8]) -> u64 {
    let byte = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    bytes.iter().fold(hash, byte)
}
