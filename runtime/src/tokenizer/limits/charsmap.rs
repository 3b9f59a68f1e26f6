//! A `precompiled_charsmap`: what a SentencePiece model replaces characters by, as it stands in files.
//!
//! Four bytes say how long the trie behind them is (a double array of words of four bytes), which finds the place of a replacement
//! among the texts that follow, each with a zero at its end. The library reserves memory for what the four bytes say.

use serde_json::Value;

use super::Bad;

/// Keys of more bytes are not walked through; what they stand for is taken for the longest text.
const WALKED: usize = 2;

/// How many times as long a map makes a text.
pub(super) fn growth(map: &Value) -> Result<usize, Bad> {
    let bad = |found, expected| Bad {
        place: "normalizer: precompiled_charsmap",
        found,
        expected,
    };
    let of_text = |text: &str| decode(text.as_bytes());
    let Some(bytes) = map.as_str().and_then(of_text) else {
        let found = map.to_string().chars().take(60).collect();
        return Err(bad(found, "bytes as a text in base64"));
    };
    let Some((length, rest)) = bytes.split_first_chunk() else {
        let found = format!("{} bytes", bytes.len());
        return Err(bad(found, "a length of 4 bytes, a trie and texts"));
    };
    let length = u32::from_le_bytes(*length) as usize / 4 * 4;
    if length == 0 || length > rest.len() {
        let found = format!("a trie of {length} bytes, and {} bytes for it", rest.len());
        let expected = "a trie of at least 4 bytes, and no more than are there";
        return Err(bad(found, expected));
    }
    let (trie, texts) = rest.split_at(length);
    if let Err(error) = std::str::from_utf8(texts) {
        return Err(bad(error.to_string(), "texts in UTF-8 behind the trie"));
    }
    let words = trie.chunks_exact(4);
    let units = words.map(|word| word.iter().rev().fold(0, |n, b| n << 8 | usize::from(*b)));
    let map = Map {
        units: units.collect(),
        texts,
    };
    if !map.has_letters() {
        let found = format!("a trie of {length} bytes whose first word leads out of it");
        return Err(bad(found, "a trie with room for each letter"));
    }
    Ok(map.growth())
}

struct Map<'a> {
    units: Vec<usize>,
    texts: &'a [u8],
}

impl Map<'_> {
    /// Whether the first letter of any text has a word in the trie, which the library takes without looking.
    fn has_letters(&self) -> bool {
        (1..0x80).all(|byte| (self.root() ^ byte) < self.units.len())
    }

    fn root(&self) -> usize {
        self.units.first().map_or(0, |unit| offset(*unit))
    }

    fn growth(&self) -> usize {
        let longest = self.texts.split(|b| *b == 0).map(<[u8]>::len).max();
        let rest = longest.unwrap_or(0).div_ceil(WALKED + 1);
        if rest > super::LONGER {
            return rest;
        }
        let mut most = rest.max(1);
        for (first, one) in self.below(self.root()) {
            most = most.max(one);
            for (_, two) in self.below(first) {
                most = most.max(two.div_ceil(2));
            }
        }
        most
    }

    /// Nodes that a byte leads to, with the length of the text that the key up to there stands for.
    fn below(&self, node: usize) -> impl Iterator<Item = (usize, usize)> {
        (1..=0xFF).filter_map(move |byte| {
            let at = node ^ byte;
            let unit = *self.units.get(at)?;
            // The label, with the bit that only values have.
            if unit & (1 << 31 | 0xFF) != byte {
                return None;
            }
            let next = at ^ offset(unit);
            let value = self.units.get(next).filter(|_| unit >> 8 & 1 == 1);
            let text = value.and_then(|value| self.texts.get(value & ((1 << 31) - 1)..));
            let length = |text: &[u8]| text.iter().position(|b| *b == 0).unwrap_or(text.len());
            Some((next, text.map_or(0, length)))
        })
    }
}

/// What leads from a node to those below it.
fn offset(unit: usize) -> usize {
    unit >> 10 << ((unit & 1 << 9) >> 6)
}

/// Bytes of base64 with its padding.
fn decode(text: &[u8]) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let padding = text.iter().rev().take_while(|b| **b == b'=').count();
    let digits = &text[..text.len() - padding];
    for four in digits.chunks(4) {
        let mut bits = 0_u32;
        for at in 0..4 {
            bits = bits << 6 | four.get(at).map_or(Some(0), |b| digit(*b))?;
        }
        let bytes = [bits >> 16, bits >> 8, bits].map(|b| (b & 0xFF) as u8);
        out.extend(&bytes[..four.len() * 6 / 8]);
    }
    (padding <= 2).then_some(out)
}

fn digit(byte: u8) -> Option<u32> {
    let value = match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(value.into())
}
