//! Fills a row of a group in panels, which holds values as they were published, bit for bit.

use graver_runtime::abi::Quant;
use graver_runtime::abi::quant::GROUP;
use half::f16;

/// The index of a value that is not finite, and the value.
pub(super) type Misfit = (usize, f32);

/// What the values of a row are made of: integers, the scale of each half of them, and what is added to all.
pub(super) struct Lane {
    pub(super) integers: [i32; GROUP],
    pub(super) scales: [f32; 2],
    pub(super) minimum: f32,
}

impl Lane {
    /// Puts them into row `lane` of a group, unless one of the values is not finite: which of them, and what it is.
    pub(super) fn put(&self, quant: Quant, group: &mut [u8], lane: usize) -> Result<(), Misfit> {
        let [scale, half] = self.scales;
        match quant {
            // It was in 16 bits before.
            Quant::Q8 | Quant::Q4 => Quant::put_scale(group, lane, f16::from_f32(scale)),
            Quant::Q4Min | Quant::Q8Min => Quant::put_factors(group, lane, [scale, self.minimum]),
            Quant::Q8Half => Quant::put_factors(group, lane, [scale, half]),
        }
        for (i, q) in self.integers.iter().enumerate() {
            quant.put(group, lane, i, *q);
        }
        // Nearly always the largest integers show that nothing is too large.
        if self.scales.iter().all(|s| (s * 256.0).is_finite()) && self.minimum.is_finite() {
            return Ok(());
        }
        let values = (0..GROUP).map(|i| quant.value(group, lane, i));
        match values.enumerate().find(|(_, value)| !value.is_finite()) {
            Some(misfit) => Err(misfit),
            None => Ok(()),
        }
    }
}

/// Zeros, for a row beyond the last.
pub(super) fn clear(quant: Quant, group: &mut [u8], lane: usize) {
    (0..GROUP).for_each(|i| quant.put(group, lane, i, 0));
}
