//! Fills groups of panels, which hold values as they were published, bit for bit.

use graver_runtime::abi::Quant;
use graver_runtime::abi::quant::{GROUP, PANEL_ROWS};
use half::f16;

/// The index of a value that is not finite, and the value.
pub(super) type Misfit = (usize, f32);

/// What the values of a group are made of, for each row of a panel: integers, the scale of each half of them, and what is
/// added to all.
pub(super) struct Lanes<'a> {
    pub(super) integers: [&'a [i8; GROUP]; PANEL_ROWS],
    pub(super) scales: [[f32; 2]; PANEL_ROWS],
    pub(super) minima: [f32; PANEL_ROWS],
    /// What scales and minima are products of, where they are.
    pub(super) nested: [Nested; PANEL_ROWS],
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

impl Lanes<'_> {
    /// Puts them into group `g` of a panel, unless one of the values is not finite: the row, which of its values, and what
    /// it is.
    pub(super) fn put(
        &self,
        quant: Quant,
        panel: &mut [u8],
        g: usize,
    ) -> Result<(), (usize, Misfit)> {
        let group = &mut panel[quant.group_at(g)..];
        let factors = self.scales.iter().zip(self.minima).enumerate();
        match quant {
            // They were in 16 bits before.
            Quant::Q8 | Quant::Q4 => {
                factors.for_each(|(lane, ([scale, _], _))| {
                    Quant::put_scale(group, lane, f16::from_f32(*scale));
                });
            }
            Quant::Q4Narrow => factors.for_each(|(lane, ([scale, _], minimum))| {
                Quant::put_halves(group, lane, [*scale, minimum].map(f16::from_f32));
            }),
            Quant::Q4Min | Quant::Q8Min => factors.for_each(|(lane, ([scale, _], minimum))| {
                Quant::put_factors(group, lane, [*scale, minimum]);
            }),
            Quant::Q8Half => {
                factors.for_each(|(lane, (scales, _))| Quant::put_factors(group, lane, *scales));
            }
            Quant::Q4Super => {
                for (lane, nested) in self.nested.iter().enumerate() {
                    Quant::put_bytes(group, lane, nested.factors);
                }
                let head = &mut panel[quant.head_at(g)..];
                for (lane, nested) in self.nested.iter().enumerate() {
                    Quant::put_halves(head, lane, nested.units);
                }
            }
        }
        quant.put_groups(panel, g, self.integers);
        // Nearly always the largest integers show that nothing is too large.
        let is_small = |scale: &f32| (scale * 256.0).is_finite();
        if self.scales.as_flattened().iter().all(is_small)
            && self.minima.iter().all(|m| m.is_finite())
        {
            return Ok(());
        }
        let each = (0..PANEL_ROWS).flat_map(|lane| (0..GROUP).map(move |i| (lane, i)));
        let mut values = each.map(|(lane, i)| (lane, (i, quant.value(panel, lane, g * GROUP + i))));
        match values.find(|(_, (_, value))| !value.is_finite()) {
            Some(misfit) => Err(misfit),
            None => Ok(()),
        }
    }
}
