//! How far a program whose weights or whose keys and values are rounded is from the one without.
//!
//! In go token ids with reference logits, from a golden file or from a session of the unquantised model, and a session of
//! the quantised one. Out come, for several ways of feeding the tokens, the Kullback–Leibler divergence of the next-token
//! distributions, `Σ p ln(p / q)` in nats, `p` being the reference's, and how often both have the same likeliest token: over all
//! positions, and over those where the reference's leads so clearly that a divergence within bounds should not turn it.

use graver_runtime::abi::Quant;
use graver_runtime::sampling::{Sampler, SamplingOptions};
use graver_runtime::session::{Session, Wanted};
use serde::Serialize;

use crate::weights::QuantPlan;

/// Tokens, and the logits that follow each of them: `[tokens, vocab]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Reference {
    /// Token ids.
    pub tokens: Vec<u32>,
    /// Logits of the unquantised model.
    pub logits: Vec<f32>,
}

/// What a quantised model may lose.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bounds {
    /// Largest mean divergence, in nats.
    pub mean_kl: f64,
    /// Smallest share of the positions with a clear lead whose likeliest token is the same.
    pub top1: f64,
}

/// One way of feeding the tokens, and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Divergence {
    /// `whole`, `one by one`.
    pub path: String,
    /// Mean over positions, in nats.
    pub mean_kl: f64,
    /// The largest of any position, in nats.
    pub max_kl: f64,
    /// Where that is.
    pub max_at: usize,
    /// Share of positions whose likeliest token is the same.
    pub top1: f64,
    /// Positions whose likeliest token leads clearly.
    pub clear: usize,
    /// Share of those whose likeliest token is the same; 1 where there are none.
    pub clear_top1: f64,
}

/// All of them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DivergenceReport {
    /// Each path.
    pub paths: Vec<Divergence>,
    /// What was allowed.
    pub bounds: Bounds,
    /// What the interpreter loses with the same weights, where that was looked at.
    pub exact: Option<Divergence>,
    /// Whether every path is within the bounds.
    pub passed: bool,
}

/// Why the models could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum DivergenceError {
    /// The reference is for another vocabulary.
    #[error(
        "the reference has {found} logits for {tokens} tokens, expected {expected}: {vocab} per token"
    )]
    Size {
        /// Logits there are.
        found: usize,
        /// Tokens there are.
        tokens: usize,
        /// Logits there should be.
        expected: usize,
        /// The model's vocabulary.
        vocab: usize,
    },
    /// A model fails to run.
    #[error(transparent)]
    Run(#[from] graver_runtime::Error),
    /// The reference's logits are not a distribution.
    #[error("the unquantised model: {0}")]
    Sampling(#[from] graver_runtime::sampling::SamplingError),
}

impl Bounds {
    /// What is expected of a type: several times what is measured on trained models, and on random ones whose logits are as
    /// spread out. Without quantised weights it is keys and values that are rounded.
    pub fn of(plan: Option<&QuantPlan>) -> Bounds {
        match plan.map(|plan| plan.usual.layers) {
            None | Some(Quant::Q8 | Quant::Q8Min | Quant::Q8Half) => Bounds {
                mean_kl: 0.01,
                top1: 0.9,
            },
            Some(Quant::Q4 | Quant::Q4Min | Quant::Q4Super | Quant::Q4Narrow) => Bounds {
                mean_kl: 0.5,
                top1: 0.6,
            },
        }
    }
}

impl Bounds {
    /// Whether a way of feeding the tokens is within them.
    pub(super) fn hold(&self, d: &Divergence) -> bool {
        d.mean_kl <= self.mean_kl && d.clear_top1 >= self.top1
    }

    /// By how many nats the likeliest token leads the second where that is clear: a shift of logits by `δ` is a divergence of some
    /// `δ² / 2`.
    fn clear_lead(&self) -> f64 {
        (2.0 * self.mean_kl).sqrt()
    }
}

impl Reference {
    /// Text that the unquantised model writes itself, drawn at temperature 1 after `first`, so that the mean divergence is an
    /// estimate of that between the two models' texts.
    ///
    /// # Errors
    /// More tokens than the session has room for, and logits that are not finite.
    pub fn drawn(
        session: &mut Session,
        first: u32,
        n: usize,
        seed: u64,
    ) -> Result<Reference, DivergenceError> {
        let mut sampler = Sampler::new(SamplingOptions {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repeat_penalty: 1.0,
            seed,
        })?;
        session.reset(0)?;
        session.expect(0, n)?;
        let mut out = Reference {
            tokens: vec![first],
            logits: vec![],
        };
        while out.tokens.len() <= n {
            let last = out.tokens[out.tokens.len() - 1];
            let row = session.feed(0, &[last], Wanted::Last)?;
            out.logits.extend_from_slice(&row);
            out.tokens.push(sampler.sample(&row)?);
        }
        out.tokens.truncate(n);
        Ok(out)
    }
}

/// Feeds the tokens at once, one by one, and in two parts, and compares the distributions at every position.
///
/// # Errors
/// A reference of another vocabulary, or more tokens than the session has room for.
pub fn against_reference(
    session: &mut Session,
    reference: &Reference,
    bounds: Bounds,
) -> Result<DivergenceReport, DivergenceError> {
    let (n, vocab) = (reference.tokens.len(), session.vocab());
    if reference.logits.len() != n * vocab {
        return Err(DivergenceError::Size {
            found: reference.logits.len(),
            tokens: n,
            expected: n * vocab,
            vocab,
        });
    }
    let mut ways = vec![
        ("whole".to_string(), vec![n]),
        ("one by one".into(), vec![1; n]),
    ];
    if n > 1 {
        ways.push((format!("split at {}", n / 2), vec![n / 2, n - n / 2]));
    }
    let paths = ways
        .into_iter()
        .map(|(path, runs)| compare(session, reference, path, &runs, bounds));
    let paths = paths.collect::<Result<Vec<_>, _>>()?;
    Ok(DivergenceReport {
        passed: paths.iter().all(|path| bounds.hold(path)),
        paths,
        bounds,
        exact: None,
    })
}

fn compare(
    session: &mut Session,
    reference: &Reference,
    path: String,
    runs: &[usize],
    bounds: Bounds,
) -> Result<Divergence, DivergenceError> {
    session.reset(0)?;
    session.expect(0, reference.tokens.len())?;
    let vocab = session.vocab();
    let (mut judge, mut at) = (Judge::new(bounds), 0);
    for run in runs {
        let logits = session.feed(0, &reference.tokens[at..at + run], Wanted::All)?;
        let expected = &reference.logits[at * vocab..(at + run) * vocab];
        judge.rows(expected, &logits, vocab);
        at += run;
    }
    Ok(judge.divergence(path))
}

/// Counts rows as they come.
pub(super) struct Judge {
    bounds: Bounds,
    kls: Vec<f64>,
    same: usize,
    clear: usize,
    clear_same: usize,
}

impl Judge {
    pub(super) fn new(bounds: Bounds) -> Judge {
        let (kls, same, clear, clear_same) = (vec![], 0, 0, 0);
        Judge {
            bounds,
            kls,
            same,
            clear,
            clear_same,
        }
    }

    /// Counts rows of logits beside those that are expected.
    pub(super) fn rows(&mut self, expected: &[f32], logits: &[f32], vocab: usize) {
        for (p, q) in expected.chunks_exact(vocab).zip(logits.chunks_exact(vocab)) {
            self.kls.push(divergence(p, q));
            let ((best, lead), (found, _)) = (likeliest(p), likeliest(q));
            let (is_same, is_clear) = (best == found, lead > self.bounds.clear_lead());
            self.same += usize::from(is_same);
            self.clear += usize::from(is_clear);
            self.clear_same += usize::from(is_clear && is_same);
        }
    }

    /// What came of them.
    pub(super) fn divergence(self, path: String) -> Divergence {
        let n = self.kls.len() as f64;
        let kls = self.kls.iter().copied().enumerate();
        let (max_at, max_kl) = kls.fold(
            (0, 0.0),
            |best, (i, kl)| if kl > best.1 { (i, kl) } else { best },
        );
        Divergence {
            path,
            mean_kl: self.kls.iter().sum::<f64>() / n,
            max_kl,
            max_at,
            top1: self.same as f64 / n,
            clear: self.clear,
            clear_top1: match self.clear {
                0 => 1.0,
                clear => self.clear_same as f64 / clear as f64,
            },
        }
    }
}

/// `Σ p ln(p / q)` of the distributions that two rows of logits stand for; infinite where a logit is not a number.
fn divergence(p: &[f32], q: &[f32]) -> f64 {
    let log_sum = |x: &[f32]| {
        let most = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = x.iter().map(|v| f64::from(v - most).exp()).sum();
        f64::from(most) + sum.ln()
    };
    let (of_p, of_q) = (log_sum(p), log_sum(q));
    let terms = p.iter().zip(q).map(|(p, q)| {
        let (p, q) = (f64::from(*p) - of_p, f64::from(*q) - of_q);
        if p == f64::NEG_INFINITY {
            0.0
        } else {
            p.exp() * (p - q)
        }
    });
    let sum: f64 = terms.sum();
    if sum.is_nan() {
        f64::INFINITY
    } else {
        sum.max(0.0)
    }
}

/// Where a row is largest, and by how much.
fn likeliest(row: &[f32]) -> (usize, f64) {
    let mut best = (0, f32::NEG_INFINITY);
    let mut second = f32::NEG_INFINITY;
    for (i, logit) in row.iter().enumerate() {
        if *logit > best.1 {
            (second, best) = (best.1, (i, *logit));
        } else {
            second = second.max(*logit);
        }
    }
    (best.0, f64::from(best.1 - second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn divergence_of_two_coins() {
        let (p, q) = ([0.0, 3.0f32.ln()], [5.0, 5.0]);
        let expected = 0.25 * (0.25f64 / 0.5).ln() + 0.75 * (0.75f64 / 0.5).ln();
        assert!((divergence(&p, &q) - expected).abs() < 1e-7);
        assert_eq!(divergence(&p, &p), 0.0);
    }

    #[test]
    fn the_likeliest_leads_the_second() {
        assert_eq!(likeliest(&[1.0, 4.0, 2.5]), (1, 1.5));
        assert_eq!(likeliest(&[4.0, 1.0, 4.0]), (0, 0.0));
    }

    #[test]
    fn what_is_no_number_is_infinitely_far() {
        assert_eq!(divergence(&[0.0, 1.0], &[0.0, f32::NAN]), f64::INFINITY);
        assert_eq!(
            divergence(&[0.0, 1.0], &[0.0, f32::NEG_INFINITY]),
            f64::INFINITY
        );
        assert_eq!(
            divergence(&[0.0, f32::NEG_INFINITY], &[0.0, f32::NEG_INFINITY]),
            0.0
        );
    }
}
