//! Medians, spreads, and intervals of ratios.
//!
//! Intervals are percentile bootstraps (Efron 1979) of a median from 2000 resamples with a fixed seed: they assume no
//! distribution, and a few runs that something disturbed hardly move them.

use std::fmt;

use serde::{Deserialize, Serialize};

const RESAMPLES: usize = 2000;

/// A ratio of two times with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ratio {
    /// The estimate.
    pub median: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

impl Ratio {
    /// Whether the interval leaves no doubt that there is a difference.
    pub fn differs(&self) -> bool {
        self.low > 1.0 || self.high < 1.0
    }

    /// What is said after it where there is a doubt.
    pub(super) fn doubt(&self) -> &'static str {
        match self.differs() {
            true => "",
            false => " (no difference)",
        }
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} [{:.3}, {:.3}]", self.median, self.low, self.high)
    }
}

/// The value at a share of the sorted list, interpolated.
pub(super) fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = share * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    below + (above - below) * at.fract()
}

/// The middle value.
pub(super) fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// Median of `b / a` over pairs of runs that followed each other.
pub(super) fn paired(a: &[f64], b: &[f64]) -> Ratio {
    let ratios: Vec<f64> = a.iter().zip(b).map(|(a, b)| b / a).collect();
    let mut draw = Draw(1);
    interval(median(&ratios), || median(&draw.resample(&ratios)))
}

/// Ratio of the medians of two lists that were measured apart.
pub(super) fn unpaired(a: &[f64], b: &[f64]) -> Ratio {
    let mut draw = Draw(1);
    let estimate = median(b) / median(a);
    interval(estimate, || {
        median(&draw.resample(b)) / median(&draw.resample(a))
    })
}

fn interval(estimate: f64, mut resampled: impl FnMut() -> f64) -> Ratio {
    let found: Vec<f64> = (0..RESAMPLES).map(|_| resampled()).collect();
    Ratio {
        median: estimate,
        low: quantile(&found, 0.025),
        high: quantile(&found, 0.975),
    }
}

/// SplitMix64 (Steele et al. 2014), so that the same times give the same interval.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn resample(&mut self, values: &[f64]) -> Vec<f64> {
        let n = values.len() as u64;
        values
            .iter()
            .map(|_| values[(self.next() % n) as usize])
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_interpolate() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(quantile(&[0.0, 10.0], 0.25), 2.5);
    }

    /// Drift that both runs of a pair share does not widen the interval.
    #[test]
    fn pairs_cancel_what_they_share() {
        let a: Vec<f64> = (0..20).map(|i| 1.0 + 0.1 * f64::from(i)).collect();
        let b: Vec<f64> = a.iter().map(|x| 1.5 * x).collect();
        let r = paired(&a, &b);
        assert!(
            (r.low - 1.5).abs() < 1e-9 && (r.high - 1.5).abs() < 1e-9,
            "{r:?}"
        );
        let apart = unpaired(&a, &b);
        assert!(apart.low < 1.4 && apart.high > 1.6, "{apart:?}");
    }

    #[test]
    fn noise_alone_is_no_difference() {
        let a: Vec<f64> = (0..40)
            .map(|i| 1.0 + f64::from(i * 7 % 11) / 100.0)
            .collect();
        let b: Vec<f64> = (0..40)
            .map(|i| 1.0 + f64::from(i * 5 % 11) / 100.0)
            .collect();
        assert!(!paired(&a, &b).differs());
        assert!(!unpaired(&a, &b).differs());
    }
}
