//! What the values of a block are, bit for bit: in float32, each product and sum rounded once, in the order that the
//! formats' own readers have.

use std::ops::RangeInclusive;

use graver_runtime::abi::Quant;
use graver_runtime::abi::quant::{GROUP, SUPER_GROUPS};
use half::{bf16, f16};

use super::bits::{self, Bits};
use super::form::{Factors, FloatType, Form, Groups, Integers, Minimum, Scale, StorageType};
use crate::weights::lane::Nested;

/// Most values of a block.
const MAX_BLOCK: usize = 256;
/// Most groups of one.
const MAX_GROUPS: usize = 16;

impl StorageType {
    /// The type with this number in GGUF files.
    pub fn of_gguf(number: u32) -> Option<&'static StorageType> {
        StorageType::ALL.iter().find(|t| t.gguf == number)
    }

    /// The type of that name.
    pub fn named(name: &str) -> Option<&'static StorageType> {
        StorageType::ALL.iter().find(|t| t.name == name)
    }

    /// Whether values of this type can be read.
    pub fn is_read(&self) -> bool {
        !matches!(self.form, Form::Other)
    }

    /// The float type of blocks that are one float.
    pub fn float(&self) -> Option<FloatType> {
        match self.form {
            Form::Float(float) => Some(float),
            Form::Groups(_) | Form::Other => None,
        }
    }

    /// The values of a block, as many as it has; false where one is not finite.
    ///
    /// # Panics
    /// For a type that is not read, and slices of other lengths.
    pub fn read(&self, block: &[u8], out: &mut [f32]) -> bool {
        assert_eq!((block.len(), out.len()), (self.bytes, self.block));
        match &self.form {
            Form::Float(float) => {
                out[0] = float.read(block);
                out[0].is_finite()
            }
            Form::Groups(groups) => groups.read(block, out),
            Form::Other => panic!("{} is not read", self.name),
        }
    }

    /// The packed layout whose groups hold the same values, if any does: those of integers with a scale in 16 bits for each
    /// group, or in f32 for each half of one, or with a scale and a minimum, as exact as they are in the file.
    /// A block of codes of 8 bits may still have one integer that is not in its range (`parts`).
    pub fn packed(&self) -> Option<Quant> {
        let Form::Groups(groups) = &self.form else {
            return None;
        };
        let range = groups.range();
        let fits = |quant: &Quant| {
            let (low, high) = quant.range();
            // −128 has eight bits, but no packed integer; it is looked for when it is packed.
            low <= (*range.start()).max(-127) && *range.end() <= high
        };
        let is_half = groups.scales.is_none() && matches!(groups.scale, Scale::F16(_));
        let is_whole = groups.group.is_multiple_of(GROUP);
        let layouts: &[Quant] = match (&groups.minimum, is_whole) {
            (Minimum::None, true) if is_half => &[Quant::Q4, Quant::Q8],
            (Minimum::None, _) if groups.group.is_multiple_of(GROUP / 2) => &[Quant::Q8Half],
            (Minimum::Plus(_), true) if is_half => &[Quant::Q4Narrow, Quant::Q8Min],
            (Minimum::Minus(..), true) if groups.is_super(self.block) => {
                &[Quant::Q4Super, Quant::Q8Min]
            }
            (Minimum::Plus(_) | Minimum::Minus(..), true) => &[Quant::Q4Min, Quant::Q8Min],
            (Minimum::None | Minimum::Plus(_) | Minimum::Minus(..), _) => &[],
        };
        layouts.iter().copied().find(fits)
    }

    /// Whether integers of a [`packed`](StorageType::packed) type may be beyond the packed range.
    pub(crate) fn may_not_fit(&self) -> bool {
        match (&self.form, self.packed()) {
            (Form::Groups(groups), Some(quant)) => *groups.range().start() < quant.range().0,
            (Form::Groups(_) | Form::Float(_) | Form::Other, _) => false,
        }
    }

    /// Finds out what a block of codes is made of.
    ///
    /// # Panics
    /// For blocks of other types.
    pub(crate) fn parts(&self, block: &[u8], parts: &mut Parts) {
        self.groups().parts(block, self.block, parts);
    }

    /// Whether an integer of a block of codes is less than `low`.
    ///
    /// # Panics
    /// For blocks of other types.
    pub(crate) fn has_less(&self, low: i8, block: &[u8], parts: &mut Parts) -> bool {
        let groups = self.groups();
        let as_they_lie = bits::whole(groups.codes, block, self.block);
        // Without an end in between, so that it goes in vectors.
        let is_less = |found: bool, q: i8| found | (q < low);
        if let (Integers::Less(0), Some(codes)) = (&groups.integers, as_they_lie) {
            let each = codes.iter().map(|code| *code as i8);
            return each.fold(false, is_less);
        }
        let integers = groups.integers(block, self.block, parts).iter();
        integers.copied().fold(false, is_less)
    }

    fn groups(&self) -> &Groups {
        match &self.form {
            Form::Groups(groups) => groups,
            Form::Float(_) | Form::Other => panic!("{} has no groups", self.name),
        }
    }
}

/// What a block is made of: integers, and for each group of them a scale and what is added, which is 0 where nothing is. One serves
/// all blocks of a tensor, one after the other.
pub(crate) struct Parts {
    codes: [u8; MAX_BLOCK],
    pub(crate) integers: [i8; MAX_BLOCK],
    scales: [f32; MAX_GROUPS],
    minima: [f32; MAX_GROUPS],
    /// What scales and minima are products of, where they are.
    units: [f16; 2],
    factors: [[u8; MAX_GROUPS]; 2],
    /// By how much the index of a value is shifted for that of its group.
    group: u32,
}

impl Parts {
    /// Those of no block yet.
    pub(crate) fn new() -> Parts {
        Parts {
            codes: [0; MAX_BLOCK],
            integers: [0; MAX_BLOCK],
            scales: [0.0; MAX_GROUPS],
            minima: [0.0; MAX_GROUPS],
            units: [f16::ZERO; 2],
            factors: [[0; MAX_GROUPS]; 2],
            group: GROUP.trailing_zeros(),
        }
    }

    /// What scale and minimum of an integer are products of, in a block that has factors of both.
    pub(in crate::weights) fn nested(&self, i: usize) -> Nested {
        Nested {
            units: self.units,
            factors: self.factors.map(|of_groups| of_groups[i >> self.group]),
        }
    }

    /// The scale of an integer.
    pub(crate) fn scale(&self, i: usize) -> f32 {
        self.scales[i >> self.group]
    }

    /// What is added to the value of an integer.
    pub(crate) fn minimum(&self, i: usize) -> f32 {
        self.minima[i >> self.group]
    }
}

impl FloatType {
    fn read(self, bytes: &[u8]) -> f32 {
        match self {
            FloatType::F32 => f32::from_le_bytes(bytes.try_into().expect("four bytes")),
            FloatType::F16 => half_at(bytes, 0).to_f32(),
            FloatType::Bf16 => bf16::from_le_bytes([bytes[0], bytes[1]]).to_f32(),
        }
    }
}

impl Groups {
    fn read(&self, block: &[u8], out: &mut [f32]) -> bool {
        let mut parts = Parts::new();
        self.parts(block, out.len(), &mut parts);
        let has_minimum = self.minimum != Minimum::None;
        let groups = out.chunks_exact_mut(self.group);
        let groups = groups.zip(parts.integers.chunks_exact(self.group));
        for ((out, integers), (scale, minimum)) in groups.zip(parts.scales.iter().zip(parts.minima))
        {
            for (out, q) in out.iter_mut().zip(integers) {
                *out = scale * f32::from(*q);
            }
            if has_minimum {
                out.iter_mut().for_each(|x| *x += minimum);
            }
        }
        out.iter().all(|x| x.is_finite())
    }

    /// The parts of a block of `count` values.
    fn parts(&self, block: &[u8], count: usize, parts: &mut Parts) {
        self.integers(block, count, parts);
        parts.group = self.group.trailing_zeros();
        let scales = &mut parts.scales[..count / self.group];
        let minima = &mut parts.minima[..count / self.group];
        let scale = match self.scale {
            Scale::F16(at) => {
                parts.units[0] = half_at(block, at);
                parts.units[0].to_f32()
            }
            Scale::HalfPower(at) => half_power(block[at]),
        };
        match &self.scales {
            None => scales.fill(scale),
            Some(factors) => parts.factors[0] = factors.times(scale, block, scales),
        }
        match &self.minimum {
            Minimum::None => minima.fill(0.0),
            Minimum::Plus(at) => minima.fill(half_at(block, *at).to_f32()),
            Minimum::Minus(at, factors) => {
                parts.units[1] = half_at(block, *at);
                // Less a minimum is plus its negative, in every bit.
                parts.factors[1] = factors.times(parts.units[1].to_f32(), block, minima);
                minima.iter_mut().for_each(|minimum| *minimum = -*minimum);
            }
        }
    }

    /// Whether a block is one of [`Quant::Q4Super`], its factors being what they are stored as.
    fn is_super(&self, block: usize) -> bool {
        let (Some(scales), Minimum::Minus(_, minima)) = (&self.scales, &self.minimum) else {
            return false;
        };
        let is_plain = scales.less == 0 && minima.less == 0;
        is_plain && self.group == GROUP && block == GROUP * SUPER_GROUPS
    }

    fn integers<'p>(&self, block: &[u8], count: usize, parts: &'p mut Parts) -> &'p [i8] {
        let integers = &mut parts.integers[..count];
        let codes = match bits::whole(self.codes, block, count) {
            Some(codes) => codes,
            None => {
                let codes = &mut parts.codes[..count];
                bits::read(self.codes, block, codes);
                codes
            }
        };
        let each = integers.iter_mut().zip(codes);
        match self.integers {
            Integers::Less(zero) => each.for_each(|(q, code)| *q = (*code as i8) - zero),
            Integers::Book(book) => {
                each.for_each(|(q, code)| *q = book[usize::from(*code & 15)]);
            }
        }
        integers
    }

    /// The smallest and the largest integer that a code stands for.
    fn range(&self) -> RangeInclusive<i32> {
        match self.integers {
            Integers::Less(zero) => range(self.codes, zero),
            Integers::Book(book) => {
                let each = || book.iter().map(|q| i32::from(*q));
                each().min().unwrap_or(0)..=each().max().unwrap_or(0)
            }
        }
    }
}

impl Factors {
    /// `scale` times the factor of each group; gives back the factors as they are stored.
    fn times(&self, scale: f32, block: &[u8], out: &mut [f32]) -> [u8; MAX_GROUPS] {
        let mut factors = [0; MAX_GROUPS];
        bits::read(self.bits, block, &mut factors[..out.len()]);
        for (out, factor) in out.iter_mut().zip(factors) {
            *out = scale * f32::from((factor as i8) - self.less);
        }
        factors
    }
}

/// Integers of as many bits, less a zero point.
fn range(bits: &[Bits], zero: i8) -> RangeInclusive<i32> {
    let zero = i32::from(zero);
    match bits::width(bits) {
        8 => -128 - zero..=127 - zero,
        width => -zero..=(1 << width) - 1 - zero,
    }
}

fn half_at(block: &[u8], at: usize) -> f16 {
    f16::from_le_bytes([block[at], block[at + 1]])
}

/// 2 to the power of `exponent − 128`, which for the smallest two is no normal number.
fn half_power(exponent: u8) -> f32 {
    let exponent = u32::from(exponent);
    f32::from_bits(match exponent {
        0 | 1 => 0x0020_0000 << exponent,
        _ => (exponent - 1) << 23,
    })
}
