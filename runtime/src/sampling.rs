//! From logits to the next token.
//!
//! In: the logits of one position, `[vocab]`, and the tokens so far. Out: a token id, or an error where a logit is not a
//! number. The order is: repetition penalty, top-k, top-p, min-p, temperature; each filter sees the probabilities
//! that the one before left, at temperature 1, so that the temperature does not change which tokens are candidates.
//! The same logits, options and seed give the same tokens on every machine with the same `exp`.

use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{RngCore, SeedableRng};

/// How tokens are chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplingOptions {
    /// Logits are divided by it; 0 takes the likeliest token (greedy).
    pub temperature: f32,
    /// Only this many of the likeliest tokens; 0 for all.
    pub top_k: usize,
    /// Only the likeliest tokens that together reach this probability; 1 for all.
    pub top_p: f32,
    /// Only tokens at least this likely, measured against the likeliest; 0 for all.
    pub min_p: f32,
    /// Logits of tokens in the prompt or generated before are divided by it where positive, multiplied where negative
    /// (Keskar et al. 2019); 1 changes nothing.
    pub repeat_penalty: f32,
    /// Seed of the random numbers.
    pub seed: u64,
}

impl Default for SamplingOptions {
    fn default() -> SamplingOptions {
        SamplingOptions {
            temperature: 0.8,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            repeat_penalty: 1.0,
            seed: 0,
        }
    }
}

/// Why no token could be chosen.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum SamplingError {
    /// An option outside its range.
    #[error("{option}: found {found}, expected {expected}")]
    Option {
        /// `temperature`, `top_p` and so on.
        option: &'static str,
        /// The value given.
        found: f32,
        /// The range.
        expected: &'static str,
    },
    /// A logit that is NaN or +∞.
    #[error(
        "the logit of token {token} is {found}, expected a finite number; check the weights with `graver verify`"
    )]
    NotFinite {
        /// The first such token.
        token: usize,
        /// Its logit.
        found: f32,
    },
    /// No logits, or all of them −∞.
    #[error("all {vocab} logits are -inf; check the weights with `graver verify`")]
    Impossible {
        /// Number of logits.
        vocab: usize,
    },
}

/// A token that may be drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Its id.
    pub token: u32,
    /// Its logit, after the repetition penalty.
    pub logit: f32,
    /// Its probability among the candidates, after the temperature.
    pub probability: f64,
}

/// A token and its logit: what the filters shift around, for a whole vocabulary at first.
#[derive(Clone, Copy, Debug)]
struct Scored {
    logit: f32,
    token: u32,
}

/// Draws tokens; remembers those it is told of, for the repetition penalty.
#[derive(Debug)]
pub struct Sampler {
    options: SamplingOptions,
    rng: Pcg64Mcg,
    /// Distinct tokens so far, ascending.
    seen: Vec<u32>,
    /// Those still in the running; reused from token to token, as is `drawn_from`.
    pool: Vec<Scored>,
    drawn_from: Vec<Candidate>,
}

impl Sampler {
    /// Checks the options.
    pub fn new(options: SamplingOptions) -> Result<Sampler, SamplingError> {
        check("temperature", options.temperature, "0 or more", |t| {
            t >= 0.0
        })?;
        check("top_p", options.top_p, "more than 0 and at most 1", |p| {
            p > 0.0 && p <= 1.0
        })?;
        check("min_p", options.min_p, "between 0 and 1", |p| {
            (0.0..=1.0).contains(&p)
        })?;
        check(
            "repeat_penalty",
            options.repeat_penalty,
            "more than 0",
            |p| p > 0.0,
        )?;
        let rng = Pcg64Mcg::seed_from_u64(options.seed);
        Ok(Sampler {
            options,
            rng,
            seen: Vec::new(),
            pool: Vec::new(),
            drawn_from: Vec::new(),
        })
    }

    /// Tells it of tokens of the prompt, or of one just drawn.
    pub fn observe(&mut self, tokens: &[u32]) {
        if self.options.repeat_penalty == 1.0 {
            return;
        }
        for token in tokens {
            if let Err(place) = self.seen.binary_search(token) {
                self.seen.insert(place, *token);
            }
        }
    }

    /// Chooses the next token from `logits [vocab]`; among equals, greedy takes the lowest id.
    pub fn sample(&mut self, logits: &[f32]) -> Result<u32, SamplingError> {
        let draw = unit(self.rng.next_u64());
        let candidates = self.distribution(logits)?;
        let mut below = 0.0;
        let drawn = candidates.iter().find(|candidate| {
            below += candidate.probability;
            draw < below
        });
        // Rounding may leave the sum a little under one.
        Ok(drawn.unwrap_or(&candidates[candidates.len() - 1]).token)
    }

    /// The tokens that [`Sampler::sample`] draws from, with their probabilities; never empty. Likeliest first, or by id where
    /// neither top-k nor top-p is asked for.
    pub fn distribution(&mut self, logits: &[f32]) -> Result<&[Candidate], SamplingError> {
        self.load(logits)?;
        let SamplingOptions {
            temperature,
            top_k,
            top_p,
            min_p,
            ..
        } = self.options;
        let pool = &mut self.pool;
        if temperature == 0.0 {
            keep_top_k(pool, 1);
        } else if top_k > 0 {
            keep_top_k(pool, top_k);
        }
        if top_p < 1.0 {
            keep_top_p(pool, top_p);
        }
        keep_min_p(pool, min_p);
        set_probabilities(pool, temperature, &mut self.drawn_from);
        Ok(&self.drawn_from)
    }

    /// Fills the pool with the penalised logits of every possible token.
    fn load(&mut self, logits: &[f32]) -> Result<(), SamplingError> {
        if let Some(token) = logits
            .iter()
            .position(|&logit| logit.is_nan() || logit == f32::INFINITY)
        {
            return Err(SamplingError::NotFinite {
                token,
                found: logits[token],
            });
        }
        self.pool.clear();
        self.pool.extend(
            logits
                .iter()
                .zip(0..)
                .map(|(&logit, token)| Scored { logit, token }),
        );
        for &token in &self.seen {
            if let Some(scored) = self.pool.get_mut(token as usize) {
                scored.logit = penalised(scored.logit, self.options.repeat_penalty);
            }
        }
        self.pool.retain(|scored| scored.logit > f32::NEG_INFINITY);
        if self.pool.is_empty() {
            Err(SamplingError::Impossible {
                vocab: logits.len(),
            })
        } else {
            Ok(())
        }
    }
}

fn check(
    option: &'static str,
    found: f32,
    expected: &'static str,
    ok: impl Fn(f32) -> bool,
) -> Result<(), SamplingError> {
    if found.is_finite() && ok(found) {
        Ok(())
    } else {
        Err(SamplingError::Option {
            option,
            found,
            expected,
        })
    }
}

/// A huge penalty may overflow, which must not make a token impossible, nor look like a fault of the model's.
fn penalised(logit: f32, penalty: f32) -> f32 {
    if logit == f32::NEG_INFINITY {
        return logit;
    }
    let changed = if logit > 0.0 {
        logit / penalty
    } else {
        logit * penalty
    };
    changed.clamp(f32::MIN, f32::MAX)
}

/// A number in `[0, 1)` from 53 random bits.
fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
}

/// Likeliest first; equals by id, so that the order depends on nothing else.
fn by_likelihood(a: &Scored, b: &Scored) -> std::cmp::Ordering {
    b.logit.total_cmp(&a.logit).then(a.token.cmp(&b.token))
}

/// Brings the `k` likeliest to the front, sorted, without sorting the rest: sorting a whole vocabulary takes longer than a
/// small model's step. Returns them.
fn sort_front(pool: &mut [Scored], k: usize) -> &[Scored] {
    if k < pool.len() {
        pool.select_nth_unstable_by(k - 1, by_likelihood);
    }
    let front = k.min(pool.len());
    pool[..front].sort_unstable_by(by_likelihood);
    &pool[..front]
}

fn keep_top_k(pool: &mut Vec<Scored>, k: usize) {
    let kept = sort_front(pool, k).len();
    pool.truncate(kept);
}

/// Keeps the shortest list of the likeliest whose probabilities reach `p`: tries with ever more of them.
fn keep_top_p(pool: &mut Vec<Scored>, p: f32) {
    let top = highest(pool);
    let wanted = f64::from(p) * pool.iter().map(|s| relative(s.logit, top)).sum::<f64>();
    let mut front = 64;
    loop {
        let mut reached = 0.0;
        let last = sort_front(pool, front).iter().position(|s| {
            reached += relative(s.logit, top);
            reached >= wanted
        });
        match last {
            Some(last) => return pool.truncate(last + 1),
            None if front >= pool.len() => return,
            None => front *= 8,
        }
    }
}

/// Keeps those at least `p` times as likely as the likeliest.
fn keep_min_p(pool: &mut Vec<Scored>, p: f32) {
    let top = highest(pool);
    pool.retain(|s| relative(s.logit, top) >= f64::from(p));
}

fn set_probabilities(pool: &[Scored], temperature: f32, out: &mut Vec<Candidate>) {
    let top = highest(pool);
    let scale = if temperature > 0.0 {
        1.0 / f64::from(temperature)
    } else {
        1.0
    };
    out.clear();
    out.extend(pool.iter().map(|s| {
        let probability = ((f64::from(s.logit) - f64::from(top)) * scale).exp();
        Candidate {
            token: s.token,
            logit: s.logit,
            probability,
        }
    }));
    let total: f64 = out.iter().map(|c| c.probability).sum();
    for candidate in out {
        candidate.probability /= total;
    }
}

fn highest(pool: &[Scored]) -> f32 {
    pool.iter()
        .map(|s| s.logit)
        .fold(f32::NEG_INFINITY, f32::max)
}

/// How likely a logit is, measured against the likeliest.
fn relative(logit: f32, top: f32) -> f64 {
    (f64::from(logit) - f64::from(top)).exp()
}

#[cfg(test)]
mod tests;
