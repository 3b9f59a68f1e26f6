//! Bytes as text, the way JSON files carry them.

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

pub(super) fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let at = |i: usize| u32::from(three.get(i).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for i in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * i)) as usize & 63];
            out.push(if i > three.len() { '=' } else { digit.into() });
        }
    }
    out
}

#[cfg(test)]
#[test]
fn all_lengths_are_padded() {
    let cases = [
        "", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy",
    ];
    for (n, expected) in cases.into_iter().enumerate() {
        assert_eq!(encode(&b"foobar"[..n]), expected);
    }
    assert_eq!(encode(&[0xFB, 0xEF, 0xFF]), "++//");
}
