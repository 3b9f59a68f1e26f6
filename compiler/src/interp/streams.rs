//! Operations on values that run beside each other: weighted sums, matching of magnitudes, cut-offs, learned curvature.

use super::rows::{map, softplus};
use super::values::Rows;
use crate::graph::{MatchedRows, SumOperands, WeightedSum, Xielu, XieluOperands};

/// A sum of rows, weighted by columns of `by`.
pub(super) fn weighted_sum(w: &WeightedSum, o: &SumOperands<&Rows>) -> Rows {
    let (by, x, width) = (o.by, &o.terms, o.terms[0].width);
    let row = |(t, weights): (usize, &[f32])| {
        let weights = weights[w.start..w.start + w.count].to_vec();
        let term = move |c: usize| {
            let at = t * width + c;
            x.iter().zip(&weights).map(|(x, w)| x.data[at] * w).sum()
        };
        (0..width).map(term).collect::<Vec<f32>>()
    };
    Rows::new(by.iter().enumerate().flat_map(row).collect(), width)
}

/// `x` with the root mean square of `like`.
pub(super) fn match_rms(least: f32, o: MatchedRows<&Rows>) -> Rows {
    let MatchedRows { x, like } = o;
    let square = |row: &[f32]| row.iter().map(|v| v * v).sum::<f32>() / row.len() as f32;
    let row = |(x, like): (&[f32], &[f32])| {
        let factor = square(like).sqrt() / square(x).max(least).sqrt();
        x.iter().map(|v| v * factor).collect::<Vec<_>>()
    };
    Rows::new(x.iter().zip(like.iter()).flat_map(row).collect(), x.width)
}

/// What exceeds the row's mean by more than `by` standard deviations.
pub(super) fn cutoff(by: f32, x: &Rows) -> Rows {
    let row = |x: &[f32]| {
        let n = x.len() as f32;
        let mean = x.iter().sum::<f32>() / n;
        let variance = x.iter().map(|v| (v - mean) * (v - mean)).sum::<f32>() / n;
        let at = mean + by * variance.sqrt();
        x.iter().map(|v| (v - at).max(0.0)).collect::<Vec<_>>()
    };
    Rows::new(x.iter().flat_map(row).collect(), x.width)
}

pub(super) fn xielu(op: &Xielu, o: XieluOperands<&Rows>) -> Rows {
    let [above, below] = [o.positive, o.negative].map(|w| softplus(f64::from(w.data[0])));
    let beta = f64::from(op.beta);
    map(o.x, |x| {
        let v = f64::from(x);
        let bent = match x > 0.0 {
            true => above * v * v,
            false => (beta + below) * (v.min(f64::from(op.eps)).exp_m1() - v),
        };
        (bent + beta * v) as f32
    })
}
