//! Where the codes of a block lie.

/// Some bits of every code: code `i` has them in byte `at + i % run + step · (i / run / every)`, from bit
/// `first + by · (i / run % cycle)` on.
///
/// So codes come in runs of neighbours that lie in neighbouring bytes, and the next run may lie in higher bits of the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bits {
    /// First byte in the block.
    at: usize,
    /// How many bits.
    width: u32,
    /// Codes in neighbouring bytes.
    run: usize,
    /// Bytes to the next place for runs, and how many runs have one place.
    step: usize,
    every: usize,
    /// The lowest bit of the first run, and how much higher each run of a cycle lies than the one before.
    first: u32,
    by: u32,
    cycle: usize,
}

impl Bits {
    /// Bytes that are filled from their lowest bits up, each with a code of as many runs as there is room for.
    pub(super) const fn filling(at: usize, width: u32, run: usize) -> Bits {
        let runs = (8 / width) as usize;
        Bits {
            at,
            width,
            run,
            step: run,
            every: runs,
            first: 0,
            by: width,
            cycle: runs,
        }
    }

    /// Four bits of each of 16 codes, from bit `first` of as many bytes on.
    pub(super) const fn halves(at: usize, first: u32) -> Bits {
        Bits {
            run: 16,
            first,
            ..Bits::nibbles(at, 0)
        }
    }

    /// Four bits of each code, in the lower halves of runs of 4 bytes `step` bytes apart.
    pub(super) const fn nibbles(at: usize, step: usize) -> Bits {
        Bits {
            at,
            width: 4,
            run: 4,
            step,
            every: 1,
            first: 0,
            by: 0,
            cycle: 1,
        }
    }

    /// Of runs in turn the lower and the upper halves, `step` bytes apart.
    pub(super) const fn alternating(at: usize, step: usize) -> Bits {
        Bits {
            by: 4,
            cycle: 2,
            ..Bits::nibbles(at, step)
        }
    }

    /// Two bits of each code: above what [`Bits::nibbles`] has in the first run's bytes, then above that.
    pub(super) const fn above_nibbles(at: usize) -> Bits {
        Bits {
            width: 2,
            every: 2,
            first: 4,
            by: 2,
            cycle: 2,
            ..Bits::nibbles(at, 0)
        }
    }

    pub(super) const fn width(self) -> u32 {
        self.width
    }

    /// Whether each byte has a bit of eight codes, the first code's lowest.
    const fn is_a_bit_of_each(self) -> bool {
        self.width == 1
            && self.run == 1
            && self.step == 1
            && self.every == 8
            && self.by == 1
            && self.first == 0
    }

    /// Puts these bits of all codes of `block` into `codes`, `shift` bits up, where lower bits stay.
    fn read(self, block: &[u8], shift: u32, codes: &mut [u8]) {
        let mask = (1u16 << self.width).wrapping_sub(1) as u8;
        if self.run.is_multiple_of(AT_ONCE) {
            return self.read_runs(block, shift, codes);
        }
        if shift == 0 {
            codes.fill(0);
        }
        if self.is_a_bit_of_each() {
            let bytes = block[self.at..].iter();
            for (codes, byte) in codes.chunks_exact_mut(8).zip(bytes) {
                let bits = (spread(*byte) << shift).to_le_bytes();
                codes
                    .iter_mut()
                    .zip(bits)
                    .for_each(|(code, bit)| *code |= bit);
            }
            return;
        }
        let mut turns = (0..self.cycle).cycle();
        let mut lowest = || self.first + self.by * turns.next().unwrap_or(0) as u32;
        for (place, codes) in codes.chunks_mut(self.run * self.every).enumerate() {
            let from = &block[self.at + self.step * place..];
            // Neighbours in the bits of one byte are too short a run for a loop of its own.
            if self.run == 1 {
                for code in codes {
                    *code |= (from[0] >> lowest() & mask) << shift;
                }
                continue;
            }
            for codes in codes.chunks_mut(self.run) {
                let lowest = lowest();
                for (code, byte) in codes.iter_mut().zip(from) {
                    *code |= (byte >> lowest & mask) << shift;
                }
            }
        }
    }

    /// The same of runs of many, [`AT_ONCE`] together.
    fn read_runs(self, block: &[u8], shift: u32, codes: &mut [u8]) {
        let mask = ((1 << self.width) - 1) * BYTES;
        let kept = ((1 << shift) - 1) * BYTES;
        let (mut at, mut place, mut turn) = (self.at, 0, 0);
        let mut runs = codes.as_chunks_mut::<AT_ONCE>().0;
        // Counted without divisions, which take longer than all else in a short block.
        while let Some((run, rest)) = runs.split_at_mut_checked(self.run / AT_ONCE)
            && !run.is_empty()
        {
            let lowest = self.first + self.by * turn as u32;
            for (codes, bytes) in run.iter_mut().zip(block[at..].as_chunks().0) {
                let bits = (u64::from_le_bytes(*bytes) >> lowest & mask) << shift;
                *codes = (u64::from_le_bytes(*codes) & kept | bits).to_le_bytes();
            }
            (runs, place, turn) = (rest, place + 1, turn + 1);
            if place == self.every {
                (at, place) = (at + self.step, 0);
            }
            if turn == self.cycle {
                turn = 0;
            }
        }
    }
}

/// Codes of long runs that are read together.
const AT_ONCE: usize = 8;
/// A one in each byte.
const BYTES: u64 = 0x0101_0101_0101_0101;

/// The bits of a byte in bytes of their own, the lowest in the lowest.
const fn spread(byte: u8) -> u64 {
    let each = (byte as u64 * 0x0101_0101_0101_0101) & 0x8040_2010_0804_0201;
    // Carries whatever bit there is into the highest of its byte.
    ((each + 0x0040_6070_787c_7e7f) >> 7) & 0x0101_0101_0101_0101
}

/// Codes of eight bits as they lie, if these are such.
#[inline]
pub(super) fn whole<'b>(parts: &[Bits], block: &'b [u8], count: usize) -> Option<&'b [u8]> {
    match parts {
        [Bits { at, width: 8, .. }] => Some(&block[*at..][..count]),
        _ => None,
    }
}

/// All bits of codes, of which `parts` are the lowest first.
pub(super) fn read(parts: &[Bits], block: &[u8], codes: &mut [u8]) {
    if let Some(whole) = whole(parts, block, codes.len()) {
        return codes.copy_from_slice(whole);
    }
    let mut shift = 0;
    for part in parts {
        part.read(block, shift, codes);
        shift += part.width();
    }
}

/// How many bits a code has.
pub(super) fn width(parts: &[Bits]) -> u32 {
    parts.iter().map(|part| part.width()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_of_a_byte_are_spread_in_order() {
        for byte in 0..=u8::MAX {
            let bits = spread(byte).to_le_bytes();
            assert!((0..8).all(|i| bits[i] == byte >> i & 1), "{byte}: {bits:?}");
        }
    }
}
