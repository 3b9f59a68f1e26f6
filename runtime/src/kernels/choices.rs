//! Choices between kernels of one instruction set that give the same bits, of which one is faster on some processors and another
//! on others. This is the one place that knows such a thing of a processor.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::isa::Isa;
use super::record::{self, Record, RecordError};

/// How weights are asked for that are read once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ahead {
    /// The beginnings of pages to come; the processor finds the rest by itself.
    Pages,
    /// Every line, some KiB ahead of use.
    Lines,
}

/// Width of vectors, where the processor has both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Width {
    /// 256 bits.
    Narrow,
    /// 512 bits.
    Wide,
}

/// One kernel of each such group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Choices {
    /// For one row of activations.
    pub ahead: Ahead,
    /// Products of one row of integers by AVX-512.
    pub integers: Width,
    /// Products of many rows with floats by AVX-512.
    pub floats: Width,
}

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
    /// Those of the file that [`record::VARIABLE`] names, if it has any for this processor, or what is usual.
    ///
    /// # Errors
    /// The file cannot be used.
    pub fn chosen(isa: Isa) -> Result<Choices, RecordError> {
        let file = std::env::var_os(record::VARIABLE).filter(|file| !file.is_empty());
        let Some(file) = file else {
            return Ok(Choices::usual());
        };
        let record = Record::read(Path::new(&file))?;
        let processor = crate::cpu::model_name();
        let found = processor.and_then(|processor| record.find(&processor, isa));
        Ok(found.unwrap_or_else(Choices::usual))
    }

    /// Every combination.
    pub fn all() -> impl Iterator<Item = Choices> {
        let widths = || [Width::Narrow, Width::Wide].into_iter();
        let all = [Ahead::Pages, Ahead::Lines].into_iter();
        all.flat_map(move |ahead| widths().map(move |integers| (ahead, integers)))
            .flat_map(move |(ahead, integers)| {
                widths().map(move |floats| Choices {
                    ahead,
                    integers,
                    floats,
                })
            })
    }

    /// What was measured to be faster on this maker's processors.
    ///
    /// Intel's (a server processor with AVX-512 VNNI) read weights in the third-level cache half as fast again when asked line by line,
    /// those in memory no slower, and vectors of 512 bits are as fast or faster. AMD's Zen 4 reads weights in memory a quarter to a half slower when
    /// asked so, and makes vectors of 512 bits in two halves: weights of 4 bits in cache are read a tenth faster by narrow ones, while
    /// tiles of floats gain a tenth to a quarter by wide ones, which hold more of the result in registers.
    pub fn usual() -> Choices {
        match is_intel() {
            true => Choices {
                ahead: Ahead::Lines,
                integers: Width::Wide,
                floats: Width::Wide,
            },
            false => Choices {
                ahead: Ahead::Pages,
                integers: Width::Narrow,
                floats: Width::Wide,
            },
        }
    }
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
