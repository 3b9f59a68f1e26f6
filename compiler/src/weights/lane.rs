//! Fills a row of a group in panels, which holds values as they were published, bit for bit.

use graver_runtime::abi::Quant;
use graver_runtime::abi::quant::GROUP;
use half::f16;

/// The index of a value that is not finite, and the value.
pub(super) type Misfit = (usize, f32);

/// What the values of a row are made of: integers, the scale of each half of them, and what is added to all.
pub(super) struct Lane {
    pub(super) integers: [i8; GROUP],
    pub(super) scales: [f32; 2],
    pub(super) minimum: f32,
    /// What scale and minimum are products of, where they are.
    pub(super) nested: Nested,
}

/// Units of a scale and of what is taken away, and how many of each.
#[derive(Clone, Copy)]
pub(super) struct Nested {
    pub(super) units: [f16; 2],
    pub(super) factors: [u8; 2],
}

impl Nested {
    /// No units of anything.
    pub(super) const NONE: Nested = Nested {
        units: [f16::ZERO; 2],
        factors: [0; 2],
    };
}

impl Lane {
    /// What a row beyond the last has.
    pub(super) const ZEROS: Lane = Lane {
        integers: [0; GROUP],
        scales: [0.0; 2],
        minimum: 0.0,
        nested: Nested::NONE,
    };

    /// Puts them into row `lane` of group `g` of a panel, unless one of the values is not finite: which of them, and what it is.
    pub(super) fn put(
        &self,
        quant: Quant,
        panel: &mut [u8],
        lane: usize,
        g: usize,
    ) -> Result<(), Misfit> {
        let [scale, half] = self.scales;
        let group = &mut panel[quant.group_at(g)..];
        match quant {
            // They were in 16 bits before.
            Quant::Q8 | Quant::Q4 => Quant::put_scale(group, lane, f16::from_f32(scale)),
            Quant::Q4Narrow => {
                Quant::put_halves(group, lane, [scale, self.minimum].map(f16::from_f32));
            }
            Quant::Q4Min | Quant::Q8Min => Quant::put_factors(group, lane, [scale, self.minimum]),
            Quant::Q8Half => Quant::put_factors(group, lane, [scale, half]),
            Quant::Q4Super => {
                Quant::put_bytes(group, lane, self.nested.factors);
                Quant::put_halves(&mut panel[quant.head_at(g)..], lane, self.nested.units);
            }
        }
        quant.put_group(panel, lane, g, &self.integers);
        // Nearly always the largest integers show that nothing is too large.
        if self.scales.iter().all(|s| (s * 256.0).is_finite()) && self.minimum.is_finite() {
            return Ok(());
        }
        let values = (0..GROUP).map(|i| quant.value(panel, lane, g * GROUP + i));
        match values.enumerate().find(|(_, value)| !value.is_finite()) {
            Some(misfit) => Err(misfit),
            None => Ok(()),
        }
    }
}
