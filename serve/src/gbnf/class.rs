//! Sets of characters.

use std::fmt::Write;

/// The last character.
const LAST: u32 = char::MAX as u32;
/// Numbers that are no characters.
const SURROGATES: (u32, u32) = (0xd800, 0xdfff);

/// A set of characters, as ranges in order that do not touch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Class {
    ranges: Vec<(u32, u32)>,
}

impl Class {
    /// One character.
    pub(super) fn of(c: char) -> Class {
        Class::new(vec![(c, c)])
    }

    /// All characters.
    pub(super) fn any() -> Class {
        Class::new(Vec::new()).negated()
    }

    /// Ranges in any order, ends included.
    pub(super) fn new(ranges: Vec<(char, char)>) -> Class {
        let numbers = ranges.into_iter().map(|(a, b)| (a as u32, b as u32));
        let mut sorted: Vec<(u32, u32)> = numbers.collect();
        sorted.sort_unstable();
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        for (low, high) in sorted {
            match ranges.last_mut() {
                Some(last) if low <= last.1.saturating_add(1) => last.1 = last.1.max(high),
                Some(_) | None => ranges.push((low, high)),
            }
        }
        Class { ranges }
    }

    /// All other characters.
    pub(super) fn negated(&self) -> Class {
        let mut next = 0;
        let mut ranges = Vec::new();
        for &(low, high) in &self.ranges {
            if next < low {
                ranges.push((next, low - 1));
            }
            next = high + 1;
        }
        if next <= LAST {
            ranges.push((next, LAST));
        }
        // A range of nothing but surrogates has no characters.
        ranges.retain(|&(low, high)| !(SURROGATES.0 <= low && high <= SURROGATES.1));
        let inside = |at: u32| (SURROGATES.0..=SURROGATES.1).contains(&at);
        for (low, high) in &mut ranges {
            if inside(*low) {
                *low = SURROGATES.1 + 1;
            }
            if inside(*high) {
                *high = SURROGATES.0 - 1;
            }
        }
        Class { ranges }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    #[cfg(test)]
    pub(super) fn contains(&self, c: char) -> bool {
        let c = c as u32;
        self.ranges.iter().any(|&(low, high)| low <= c && c <= high)
    }

    #[cfg(test)]
    pub(super) fn first(&self) -> char {
        char::from_u32(self.ranges[0].0).unwrap()
    }

    /// First bytes of its characters in UTF-8, a bit each.
    pub(super) fn first_bytes(&self) -> [u64; 4] {
        let mut bits = [0; 4];
        for &(low, high) in &self.ranges {
            for byte in first_byte(low)..=first_byte(high) {
                bits[usize::from(byte) / 64] |= 1 << (byte % 64);
            }
        }
        bits
    }

    /// As a regular expression.
    pub(super) fn regex(&self, out: &mut String) {
        if let [(low, high)] = self.ranges[..] {
            let c = char::from_u32(low).filter(char::is_ascii_alphanumeric);
            if let Some(c) = c.filter(|_| low == high) {
                return out.push(c);
            }
        }
        out.push('[');
        for &(low, high) in &self.ranges {
            // Writing to a text does not fail.
            let _ = match low == high {
                true => write!(out, "\\x{{{low:X}}}"),
                false => write!(out, "\\x{{{low:X}}}-\\x{{{high:X}}}"),
            };
        }
        out.push(']');
    }
}

/// Grows with the character.
fn first_byte(character: u32) -> u8 {
    let first = match character {
        0..0x80 => character,
        0x80..0x800 => 0xc0 | character >> 6,
        0x800..0x1_0000 => 0xe0 | character >> 12,
        _ => 0xf0 | character >> 18,
    };
    first as u8
}

#[cfg(test)]
mod tests {
    use super::Class;

    #[test]
    fn ranges_are_joined_and_negated() {
        let class = Class::new(vec![('c', 'e'), ('a', 'b'), ('x', 'x'), ('d', 'd')]);
        assert_eq!(class.ranges, [(97, 101), (120, 120)]);
        let all_others = class.negated();
        assert_eq!(all_others.ranges, [(0, 96), (102, 119), (121, 0x10_ffff)]);
        assert_eq!(all_others.negated(), class);
        assert!(Class::any().negated().is_empty());
    }

    #[test]
    fn no_range_begins_or_ends_between_characters() {
        let before = Class::new(vec![('\0', '\u{d7ff}')]);
        assert_eq!(before.negated().ranges, [(0xe000, 0x10_ffff)]);
        let both = Class::new(vec![('\0', '\u{d7ff}'), ('\u{e000}', char::MAX)]);
        assert!(both.negated().is_empty());
    }

    #[test]
    fn first_bytes_are_those_of_utf_8() {
        for c in [
            'a',
            '\u{7f}',
            'é',
            '\u{7ff}',
            '€',
            '\u{ffff}',
            '😀',
            char::MAX,
        ] {
            let first = c.to_string().as_bytes()[0];
            let bits = Class::of(c).first_bytes();
            assert!(
                bits[usize::from(first) / 64] >> (first % 64) & 1 == 1,
                "{c}"
            );
            assert_eq!(bits.iter().map(|b| b.count_ones()).sum::<u32>(), 1);
        }
    }
}
