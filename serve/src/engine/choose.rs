//! From a row of logits to a token, as one request wants it chosen.
//!
//! The order is: what has to be followed, biases, penalties on what was generated, then what [`Sampler`] does. Probabilities
//! that are reported are those of the row as the model gave it.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};

use graver_runtime::sampling::{Sampler, SamplingError, SamplingOptions};

use super::constraint::Mask;
use super::request::{Sampling, Scored, Token};

/// Chooses the tokens of one continuation.
pub(super) struct Chooser {
    sampler: Sampler,
    /// Takes the likeliest token as the model has it: nothing has to be copied, let alone sorted.
    plain: bool,
    sampling: Sampling,
    /// How often each token was generated, where penalties ask.
    counts: BTreeMap<u32, u32>,
    alternatives: Option<usize>,
}

impl Chooser {
    /// For choice `choice` of a request.
    pub(super) fn new(
        sampling: &Sampling,
        choice: usize,
        alternatives: Option<usize>,
    ) -> Result<Chooser, SamplingError> {
        for (option, found) in [
            ("presence_penalty", sampling.presence_penalty),
            ("frequency_penalty", sampling.frequency_penalty),
        ] {
            check(option, found, 2.0, "between -2 and 2")?;
        }
        for &(_, bias) in &sampling.logit_bias {
            check("logit_bias", bias, 100.0, "between -100 and 100")?;
        }
        let seed = match sampling.seed {
            Some(seed) => seed.wrapping_add(choice as u64),
            // The standard library's hash keys are the random numbers nearest at hand.
            None => RandomState::new().build_hasher().finish(),
        };
        let sampler = Sampler::new(SamplingOptions {
            temperature: sampling.temperature,
            top_k: sampling.top_k,
            top_p: sampling.top_p,
            min_p: sampling.min_p,
            repeat_penalty: sampling.repeat_penalty,
            seed,
        })?;
        Ok(Chooser {
            sampler,
            plain: sampling.temperature == 0.0 && sampling.repeat_penalty == 1.0,
            sampling: sampling.clone(),
            counts: BTreeMap::new(),
            alternatives,
        })
    }

    /// Tells it of tokens of the prompt.
    pub(super) fn observe(&mut self, prompt: &[u32]) {
        self.sampler.observe(prompt);
    }

    /// Chooses the token that follows, and takes note of it. `scratch` is reused from row to row.
    pub(super) fn choose(
        &mut self,
        logits: &[f32],
        mask: Option<&Mask>,
        scratch: &mut Vec<f32>,
    ) -> Result<Token, SamplingError> {
        let changed = self.change(logits, mask, scratch);
        let row = if changed { &scratch[..] } else { logits };
        let id = match self.plain.then(|| likeliest(row)).flatten() {
            Some(id) => id,
            None => self.sampler.sample(row)?,
        };
        self.sampler.observe(&[id]);
        if self.sampling.presence_penalty != 0.0 || self.sampling.frequency_penalty != 0.0 {
            *self.counts.entry(id).or_default() += 1;
        }
        let scored = self.alternatives.map(|most| score(logits, id, most));
        Ok(Token { id, scored })
    }

    /// Puts the row into `scratch` as the request wants it changed, if it does.
    fn change(&self, logits: &[f32], mask: Option<&Mask>, scratch: &mut Vec<f32>) -> bool {
        let Sampling {
            presence_penalty,
            frequency_penalty,
            logit_bias,
            ..
        } = &self.sampling;
        if mask.is_none() && logit_bias.is_empty() && self.counts.is_empty() {
            return false;
        }
        scratch.clear();
        scratch.extend_from_slice(logits);
        if let Some(mask) = mask {
            mask.apply(scratch);
        }
        let penalties = self.counts.iter().map(|(&token, &count)| {
            let penalty = presence_penalty + frequency_penalty * count as f32;
            (token, -penalty)
        });
        for (token, added) in logit_bias.iter().copied().chain(penalties) {
            if let Some(logit) = scratch.get_mut(token as usize) {
                *logit += added;
            }
        }
        true
    }
}

fn check(
    option: &'static str,
    found: f32,
    most: f32,
    expected: &'static str,
) -> Result<(), SamplingError> {
    match found.is_finite() && found.abs() <= most {
        true => Ok(()),
        false => Err(SamplingError::Option {
            option,
            found,
            expected,
        }),
    }
}

/// The first of the likeliest tokens; none where a logit is not a number or nothing is possible, which the sampler reports.
fn likeliest(logits: &[f32]) -> Option<u32> {
    let mut best = (f32::NEG_INFINITY, None);
    let mut sum = 0.0;
    for (&logit, token) in logits.iter().zip(0..) {
        // Infinities less than all numbers are possible logits, and vanish here.
        sum += logit.max(f32::MIN) * 0.0;
        if logit > best.0 {
            best = (logit, Some(token));
        }
    }
    let finite = sum == 0.0 && !logits.iter().any(|logit| logit.is_nan());
    best.1.filter(|_| finite)
}

/// Logarithms of the probabilities of `id` and of the `most` likeliest tokens.
fn score(logits: &[f32], id: u32, most: usize) -> Scored {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f64 = logits
        .iter()
        .map(|&logit| (f64::from(logit) - f64::from(top)).exp())
        .sum();
    let logprob =
        |logit: f32| ((f64::from(logit) - f64::from(top) - total.ln()) as f32).max(f32::MIN);
    let mut order: Vec<u32> = (0..logits.len() as u32).collect();
    let by_likelihood = |a: &u32, b: &u32| {
        let (x, y) = (logits[*a as usize], logits[*b as usize]);
        y.total_cmp(&x).then(a.cmp(b))
    };
    let kept = most.min(order.len());
    if kept > 0 && kept < order.len() {
        order.select_nth_unstable_by(kept - 1, by_likelihood);
    }
    order.truncate(kept);
    order.sort_unstable_by(by_likelihood);
    Scored {
        logprob: logprob(logits[id as usize]),
        alternatives: order
            .into_iter()
            .map(|token| (token, logprob(logits[token as usize])))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(sampling: Sampling, logits: &[f32], mask: Option<&Mask>) -> Vec<u32> {
        let mut chooser = Chooser::new(&sampling, 0, None).unwrap();
        let mut scratch = Vec::new();
        (0..4)
            .map(|_| chooser.choose(logits, mask, &mut scratch).unwrap().id)
            .collect()
    }

    const LOGITS: [f32; 4] = [0.0, 3.0, 2.5, f32::NEG_INFINITY];

    #[test]
    fn penalties_biases_and_masks_change_what_is_likeliest() {
        let usual = Sampling::default();
        assert_eq!(chosen(usual.clone(), &LOGITS, None), [1; 4]);
        let biased = Sampling {
            logit_bias: vec![(0, 4.0), (9, 1.0)],
            ..usual.clone()
        };
        assert_eq!(chosen(biased, &LOGITS, None), [0; 4]);
        let frequency = Sampling {
            frequency_penalty: 0.4,
            ..usual.clone()
        };
        assert_eq!(chosen(frequency, &LOGITS, None), [1, 1, 2, 1]);
        let presence = Sampling {
            presence_penalty: 1.0,
            ..usual.clone()
        };
        assert_eq!(chosen(presence, &LOGITS, None), [1, 2, 1, 1]);
        let mask = Mask::from_words(vec![0b101]);
        assert_eq!(chosen(usual, &LOGITS, Some(&mask)), [2; 4]);
    }

    #[test]
    fn seeds_decide_and_choices_differ() {
        let sampling = Sampling {
            temperature: 1.0,
            seed: Some(7),
            ..Sampling::default()
        };
        let logits = [0.0; 64];
        let draw = |choice| {
            let mut chooser = Chooser::new(&sampling, choice, None).unwrap();
            let mut scratch = Vec::new();
            let ids = (0..8).map(|_| chooser.choose(&logits, None, &mut scratch).unwrap().id);
            ids.collect::<Vec<_>>()
        };
        assert_eq!(draw(0), draw(0));
        assert_ne!(draw(0), draw(1));
    }

    #[test]
    fn what_is_not_a_number_is_an_error_however_tokens_are_chosen() {
        for temperature in [0.0, 1.0] {
            for bad in [f32::NAN, f32::INFINITY] {
                let sampling = Sampling {
                    temperature,
                    ..Sampling::default()
                };
                let mut chooser = Chooser::new(&sampling, 0, None).unwrap();
                let error = chooser.choose(&[1.0, bad, 0.0], None, &mut Vec::new());
                assert!(
                    matches!(error, Err(SamplingError::NotFinite { token: 1, .. })),
                    "{error:?}"
                );
            }
        }
    }

    #[test]
    fn options_outside_their_range_are_refused() {
        let refused = |sampling: Sampling| Chooser::new(&sampling, 0, None).err().unwrap();
        let usual = Sampling::default;
        let error = refused(Sampling {
            presence_penalty: 3.0,
            ..usual()
        });
        assert_eq!(
            error.to_string(),
            "presence_penalty: found 3, expected between -2 and 2"
        );
        refused(Sampling {
            temperature: -1.0,
            ..usual()
        });
        refused(Sampling {
            logit_bias: vec![(0, f32::NAN)],
            ..usual()
        });
    }

    #[test]
    fn logprobs_are_those_of_the_model_s_distribution() {
        let sampling = Sampling {
            logit_bias: vec![(0, 100.0)],
            ..Sampling::default()
        };
        let mut chooser = Chooser::new(&sampling, 0, Some(2)).unwrap();
        let token = chooser.choose(&LOGITS, None, &mut Vec::new()).unwrap();
        let scored = token.scored.unwrap();
        let total = (1.0 + 3f64.exp() + 2.5f64.exp()).ln();
        assert_eq!(token.id, 0);
        assert!((f64::from(scored.logprob) + total).abs() < 1e-6);
        let tokens: Vec<u32> = scored
            .alternatives
            .iter()
            .map(|(token, _)| *token)
            .collect();
        assert_eq!(tokens, [1, 2]);
        assert!((f64::from(scored.alternatives[0].1) - (3.0 - total)).abs() < 1e-6);
    }
}
