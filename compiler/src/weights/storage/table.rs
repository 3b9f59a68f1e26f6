//! The table of storage types.

use super::bits::Bits;
use super::form::{Factors, FloatType, Form, Groups, Integers, Minimum, Scale, StorageType};

/// Codes stand for themselves.
const PLAIN: Integers = Integers::Less(0);

/// A codebook whose steps grow away from zero.
const GROWING: [i8; 16] = [
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
];
/// e2m1, doubled so that all are whole.
const E2M1: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// Eight factors of six bits in the 12 bytes from byte 4 on, and as many for the minima.
const SIX_BITS: Factors = factors(&[Bits::nibbles(4, 8), Bits::above_nibbles(4)]);
const SIX_BITS_OF_MINIMA: Factors = factors(&[Bits::alternating(8, 4), Bits::above_nibbles(8)]);

const fn factors(bits: &'static [Bits]) -> Factors {
    Factors { bits, less: 0 }
}

/// Blocks of 32 that are one group.
const fn single(
    codes: &'static [Bits],
    integers: Integers,
    scale: Scale,
    minimum: Minimum,
) -> Form {
    Form::Groups(Groups {
        group: 32,
        codes,
        integers,
        scale,
        scales: None,
        minimum,
    })
}

/// Blocks of groups with a scale and a factor each.
const fn nested(
    group: usize,
    codes: &'static [Bits],
    integers: Integers,
    at: usize,
    scales: Factors,
    minimum: Minimum,
) -> Form {
    Form::Groups(Groups {
        group,
        codes,
        integers,
        scale: Scale::F16(at),
        scales: Some(scales),
        minimum,
    })
}

const fn row(name: &'static str, gguf: u32, block: usize, bytes: usize, form: Form) -> StorageType {
    StorageType {
        name,
        gguf,
        block,
        bytes,
        form,
    }
}

impl StorageType {
    /// Every type. Those that are not read are there for their names and sizes.
    #[rustfmt::skip]
    pub const ALL: &'static [StorageType] = &[
        row("F32", 0, 1, 4, Form::Float(FloatType::F32)),
        row("F16", 1, 1, 2, Form::Float(FloatType::F16)),
        row("BF16", 30, 1, 2, Form::Float(FloatType::Bf16)),

        row("Q4_0", 2, 32, 18, single(&[Bits::filling(2, 4, 16)], Integers::Less(8), Scale::F16(0), Minimum::None)),
        row("Q4_1", 3, 32, 20, single(&[Bits::filling(4, 4, 16)], PLAIN, Scale::F16(0), Minimum::Plus(2))),
        row("Q5_0", 6, 32, 22, single(&[Bits::filling(6, 4, 16), Bits::filling(2, 1, 1)], Integers::Less(16), Scale::F16(0), Minimum::None)),
        row("Q5_1", 7, 32, 24, single(&[Bits::filling(8, 4, 16), Bits::filling(4, 1, 1)], PLAIN, Scale::F16(0), Minimum::Plus(2))),
        row("Q8_0", 8, 32, 34, single(&[Bits::filling(2, 8, 32)], PLAIN, Scale::F16(0), Minimum::None)),
        row("IQ4_NL", 20, 32, 18, single(&[Bits::filling(2, 4, 16)], Integers::Book(&GROWING), Scale::F16(0), Minimum::None)),
        row("MXFP4", 39, 32, 17, single(&[Bits::filling(1, 4, 16)], Integers::Book(&E2M1), Scale::HalfPower(0), Minimum::None)),

        row("Q2_K", 10, 256, 84, nested(16, &[Bits::filling(16, 2, 32)], PLAIN, 80,
            factors(&[LOWER_HALVES]), Minimum::Minus(82, factors(&[UPPER_HALVES])))),
        row("Q3_K", 11, 256, 110, nested(16, &[Bits::filling(32, 2, 32), Bits::filling(0, 1, 32)], Integers::Less(4), 108,
            Factors { bits: &[Bits::filling(96, 4, 8), Bits::filling(104, 2, 4)], less: 32 }, Minimum::None)),
        row("Q4_K", 12, 256, 144, nested(32, &[Bits::filling(16, 4, 32)], PLAIN, 0,
            SIX_BITS, Minimum::Minus(2, SIX_BITS_OF_MINIMA))),
        row("Q5_K", 13, 256, 176, nested(32, &[Bits::filling(48, 4, 32), Bits::filling(16, 1, 32)], PLAIN, 0,
            SIX_BITS, Minimum::Minus(2, SIX_BITS_OF_MINIMA))),
        row("Q6_K", 14, 256, 210, nested(16, &[Bits::filling(0, 4, 64), Bits::filling(128, 2, 32)], Integers::Less(32), 208,
            factors(&[Bits::filling(192, 8, 16)]), Minimum::None)),
        row("IQ4_XS", 23, 256, 136, nested(32, &[Bits::filling(8, 4, 16)], Integers::Book(&GROWING), 0,
            Factors { bits: &[Bits::filling(4, 4, 1), Bits::filling(2, 2, 1)], less: 32 }, Minimum::None)),
        row("TQ2_0", 35, 256, 66, Form::Groups(Groups { group: 256, codes: &[Bits::filling(0, 2, 32)], integers: Integers::Less(1),
            scale: Scale::F16(64), scales: None, minimum: Minimum::None })),

        row("Q8_1", 9, 32, 40, Form::Other),
        row("Q8_K", 15, 256, 292, Form::Other),
        row("IQ2_XXS", 16, 256, 66, Form::Other),
        row("IQ2_XS", 17, 256, 74, Form::Other),
        row("IQ3_XXS", 18, 256, 98, Form::Other),
        row("IQ1_S", 19, 256, 50, Form::Other),
        row("IQ3_S", 21, 256, 110, Form::Other),
        row("IQ2_S", 22, 256, 82, Form::Other),
        row("I8", 24, 1, 1, Form::Other),
        row("I16", 25, 1, 2, Form::Other),
        row("I32", 26, 1, 4, Form::Other),
        row("I64", 27, 1, 8, Form::Other),
        row("F64", 28, 1, 8, Form::Other),
        row("IQ1_M", 29, 256, 56, Form::Other),
        row("TQ1_0", 34, 256, 54, Form::Other),
        row("NVFP4", 40, 64, 36, Form::Other),
        row("Q1_0", 41, 128, 18, Form::Other),
    ];
}

/// Factors in the lower and the upper halves of 16 bytes.
const LOWER_HALVES: Bits = Bits::halves(0, 0);
const UPPER_HALVES: Bits = Bits::halves(0, 4);
