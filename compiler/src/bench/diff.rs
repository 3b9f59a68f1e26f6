//! Two reports of the same model set against each other.

use std::fmt;

use serde::Serialize;

use super::record::{Point, Report};
use super::stats::{Ratio, unpaired};

/// What changed.
#[derive(Clone, Debug, Serialize)]
pub struct Differences {
    /// One for each point and variant that both reports have.
    pub rows: Vec<Difference>,
    /// Slowdowns of up to this share count as noise whatever the interval says.
    pub tolerance: f64,
}

/// One point and variant.
#[derive(Clone, Debug, Serialize)]
pub struct Difference {
    /// Where.
    #[serde(flatten)]
    pub point: Point,
    /// Which.
    pub variant: String,
    /// New time over old time.
    pub ratio: Ratio,
    /// The whole interval lies beyond the tolerance.
    pub regression: bool,
}

/// Compares the runs of two reports.
pub fn diff(old: &Report, new: &Report, tolerance: f64) -> Differences {
    let mut rows = vec![];
    for (p, q) in old.points.iter().flat_map(|p| {
        new.points
            .iter()
            .filter(|q| q.point == p.point)
            .map(move |q| (p, q))
    }) {
        for v in &p.variants {
            let Some(w) = q.variants.iter().find(|w| w.name == v.name) else {
                continue;
            };
            let ratio = unpaired(&v.seconds, &w.seconds);
            rows.push(Difference {
                point: p.point,
                variant: v.name.clone(),
                regression: ratio.low > 1.0 + tolerance,
                ratio,
            });
        }
    }
    Differences { rows, tolerance }
}

impl Differences {
    /// Whether something became slower beyond the noise.
    pub fn regressed(&self) -> bool {
        self.rows.iter().any(|r| r.regression)
    }
}

impl fmt::Display for Differences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for r in &self.rows {
            let Ratio { median, low, high } = r.ratio;
            let word = match (r.regression, high < 1.0) {
                (true, _) => "SLOWER",
                (false, true) => "faster",
                (false, false) => "same",
            };
            let name = format!("{}, {}", r.point, r.variant);
            writeln!(
                f,
                "{name:<44} time × {median:.3} [{low:.3}, {high:.3}]  {word}"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::{FORMAT, Phase, PointReport, VariantReport};
    use super::*;
    use crate::bench::Headline;

    fn report(seconds: &[f64]) -> Report {
        let variant = VariantReport {
            name: "fused".into(),
            kernels: 1,
            barriers: 1,
            flops: 1,
            memory_bytes: 1,
            bytes: 1,
            seconds: seconds.to_vec(),
            tokens_per_second: 1.0,
            spread: [1.0, 1.0],
            gbps: 1.0,
            gflops: 1.0,
            ceiling_share: 0.5,
            impossible: false,
            ratio: None,
        };
        let point = Point {
            phase: Phase::Decode,
            tokens: 8,
            depth: 0,
            sequences: 1,
        };
        Report {
            headline: Headline::default(),
            format: FORMAT,
            model: "m".into(),
            model_checksum: String::new(),
            verdict: None,
            weight_bytes: 1,
            processor: None,
            kernels: "scalar".into(),
            choices: None,
            threads: 1,
            ranks: 1,
            rounds: seconds.len(),
            gflops_ceiling: 1.0,
            busy: crate::bench::Busy::default(),
            points: vec![PointReport {
                point,
                gbps_ceiling: 1.0,
                variants: vec![variant],
            }],
            profiles: vec![],
        }
    }

    #[test]
    fn a_slowdown_beyond_the_noise_is_a_regression_and_noise_is_none() {
        let base = [1.0, 1.02, 0.99, 1.01, 1.0, 0.98, 1.03, 1.0];
        let slower = base.map(|s| s * 1.1);
        let shuffled = [0.99, 1.0, 1.02, 1.0, 1.01, 1.03, 0.98, 1.0];
        assert!(diff(&report(&base), &report(&slower), 0.02).regressed());
        assert!(!diff(&report(&base), &report(&shuffled), 0.02).regressed());
        assert!(!diff(&report(&slower), &report(&base), 0.02).regressed());
    }
}
