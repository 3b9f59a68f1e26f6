//! Choices between kernels of one instruction set that give the same bits, of which one is faster on some processors and another
//! on others. This is the one place that knows such a thing of a processor.

use std::path::Path;

use super::isa::Isa;
use super::record::{self, RecordError};
use crate::abi::tuned::{Ahead, Choices, Record, Width};

impl Ahead {
    /// As a parameter of kernels.
    pub(super) const fn of(lines: bool) -> Ahead {
        match lines {
            false => Ahead::Pages,
            true => Ahead::Lines,
        }
    }
}

impl Choices {
    /// Those for this processor in the file that [`record::VARIABLE`] names, or else in what a program was `compiled` with, or else what is usual.
    ///
    /// # Errors
    /// The file cannot be used.
    pub fn chosen(isa: Isa, compiled: &Record) -> Result<Choices, RecordError> {
        let file = std::env::var_os(record::VARIABLE).filter(|file| !file.is_empty());
        let named = match file {
            Some(file) => Record::read(Path::new(&file))?,
            None => Record::default(),
        };
        let find = |record: &Record| record.find(&crate::cpu::model_name()?, isa.name());
        let mut records = [&named, compiled].into_iter().filter(|r| !r.is_empty());
        Ok(records.find_map(find).unwrap_or_else(Choices::usual))
    }

    /// How many combinations there are.
    pub(super) const COUNT: usize = 4;

    /// Which of all combinations these are.
    pub(super) fn index(self) -> usize {
        let wide = |width| usize::from(width == Width::Wide);
        let lines = usize::from(self.ahead == Ahead::Lines);
        2 * lines + wide(self.floats)
    }

    /// Every combination.
    pub fn all() -> impl Iterator<Item = Choices> {
        let all = [Ahead::Pages, Ahead::Lines].into_iter();
        all.flat_map(|ahead| [Width::Narrow, Width::Wide].map(|floats| Choices { ahead, floats }))
    }

    /// What was measured to be faster on this maker's processors.
    ///
    /// Intel's (a server processor with AVX-512 VNNI) read weights in the third-level cache half as fast again when asked line by line,
    /// those in memory no slower, and integers in several streams up to a third faster than in one. AMD's Zen 4 read weights in memory, when they were asked for in one stream, a quarter
    /// to a half slower so. Tiles of floats gain a tenth to a quarter by vectors of 512 bits, also where the processor makes them in two halves: they hold
    /// more of the result in registers.
    pub fn usual() -> Choices {
        match is_intel() {
            true => Choices {
                ahead: Ahead::Lines,
                floats: Width::Wide,
            },
            false => Choices {
                ahead: Ahead::Pages,
                floats: Width::Wide,
            },
        }
    }
}

/// Whether the first-level cache has room for 32 KiB and more beside: Intel's has since Ice Lake, AMD's since Zen 5.
#[cfg(target_arch = "x86_64")]
pub(super) fn has_large_first_level() -> bool {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    // Deterministic cache parameters, of which the first are the data cache's.
    let (first, leaf) = match is_intel() {
        true => (0, 4),
        false => (0x8000_0000, 0x8000_001d),
    };
    if __cpuid(first).eax < leaf {
        return false;
    }
    let found = __cpuid_count(leaf, 0);
    let [ways, parts, line] = [(22, 10), (12, 10), (0, 12)].map(|(from, bits)| {
        let field = found.ebx >> from & ((1 << bits) - 1);
        field as usize + 1
    });
    ways * parts * line * (found.ecx as usize + 1) >= 48 << 10
}

#[cfg(target_arch = "x86_64")]
fn is_intel() -> bool {
    let leaf = std::arch::x86_64::__cpuid(0);
    let name = [leaf.ebx, leaf.edx, leaf.ecx].map(u32::to_le_bytes);
    name.as_flattened() == b"GenuineIntel"
}

#[cfg(not(target_arch = "x86_64"))]
fn is_intel() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_has_an_index_of_its_own() {
        let indices: Vec<usize> = Choices::all().map(Choices::index).collect();
        assert_eq!(indices, (0..Choices::COUNT).collect::<Vec<_>>());
    }
}
