//! Distributions against their definition, and every option by itself.

use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{RngCore, SeedableRng};

use super::{Candidate, Sampler, SamplingError, SamplingOptions, unit};

/// Everything switched off.
const PLAIN: SamplingOptions = SamplingOptions {
    temperature: 1.0,
    top_k: 0,
    top_p: 1.0,
    min_p: 0.0,
    repeat_penalty: 1.0,
    seed: 1,
};

fn sampler(options: SamplingOptions) -> Sampler {
    Sampler::new(options).expect("the options are fine")
}

fn tokens(options: SamplingOptions, logits: &[f32]) -> Vec<u32> {
    let mut tokens: Vec<u32> = sampler(options)
        .distribution(logits)
        .unwrap()
        .iter()
        .map(|c| c.token)
        .collect();
    tokens.sort_unstable();
    tokens
}

/// Logits whose softmax is the given probabilities.
fn logits_of(probabilities: &[f32]) -> Vec<f32> {
    probabilities.iter().map(|p| p.ln() + 3.0).collect()
}

struct Random(Pcg64Mcg);

impl Random {
    fn new(seed: u64) -> Random {
        Random(Pcg64Mcg::seed_from_u64(seed))
    }
    fn unit(&mut self) -> f32 {
        unit(self.0.next_u64()) as f32
    }
    fn below(&mut self, n: usize) -> usize {
        self.0.next_u64() as usize % n
    }
    /// Rounded to eighths, so that there are ties.
    fn logits(&mut self, n: usize) -> Vec<f32> {
        (0..n)
            .map(|_| ((self.unit() - 0.5) * 160.0).round() / 8.0)
            .collect()
    }
    fn gentle_logits(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.unit()).collect()
    }
    fn options(&mut self) -> SamplingOptions {
        SamplingOptions {
            temperature: 0.05 + 2.0 * self.unit(),
            top_k: self.below(3) * self.below(50),
            top_p: (0.02 + 1.2 * self.unit()).min(1.0),
            min_p: (self.unit() - 0.5).max(0.0),
            repeat_penalty: 1.0,
            seed: self.0.next_u64(),
        }
    }
}

/// The definition, with a sort of everything and no short cuts.
fn reference(options: &SamplingOptions, logits: &[f32]) -> Vec<(u32, f64)> {
    let mut order: Vec<u32> = (0..logits.len() as u32).collect();
    order.sort_by(|&a, &b| {
        logits[b as usize]
            .total_cmp(&logits[a as usize])
            .then(a.cmp(&b))
    });
    if options.top_k > 0 {
        order.truncate(options.top_k);
    }
    let softmax = |order: &[u32], temperature: f64| {
        let top = f64::from(logits[order[0] as usize]);
        let e: Vec<f64> = order
            .iter()
            .map(|&t| ((f64::from(logits[t as usize]) - top) / temperature).exp())
            .collect();
        let total: f64 = e.iter().sum();
        e.into_iter().map(|e| e / total).collect::<Vec<f64>>()
    };
    let p = softmax(&order, 1.0);
    let before = |i: usize| p[..i].iter().sum::<f64>();
    let kept = (0..order.len())
        .filter(|&i| options.top_p == 1.0 || i == 0 || before(i) < f64::from(options.top_p));
    let kept: Vec<usize> = kept
        .filter(|&i| p[i] >= f64::from(options.min_p) * p[0])
        .collect();
    let order: Vec<u32> = kept.into_iter().map(|i| order[i]).collect();
    let p = softmax(&order, f64::from(options.temperature));
    order.into_iter().zip(p).collect()
}

#[test]
fn any_options_give_the_distribution_of_the_definition() {
    let mut random = Random::new(11);
    for case in 0..500 {
        let options = random.options();
        let n = 1 + random.below(700);
        let logits = random.logits(n);
        let mut sampler = sampler(options.clone());
        let mut found: Vec<Candidate> = sampler.distribution(&logits).unwrap().to_vec();
        let mut expected = reference(&options, &logits);
        found.sort_by_key(|c| c.token);
        expected.sort_by_key(|&(token, _)| token);
        let tokens: Vec<u32> = found.iter().map(|c| c.token).collect();
        assert_eq!(
            tokens,
            expected.iter().map(|&(t, _)| t).collect::<Vec<_>>(),
            "case {case}: {options:?}"
        );
        for (c, (_, p)) in found.iter().zip(&expected) {
            assert!(
                (c.probability - p).abs() < 1e-12,
                "case {case}: {c:?} against {p}"
            );
        }
        assert!((found.iter().map(|c| c.probability).sum::<f64>() - 1.0).abs() < 1e-12);
    }
}

#[test]
fn greedy_takes_the_likeliest_and_the_lowest_id_among_equals() {
    let mut random = Random::new(12);
    for _ in 0..200 {
        let logits = random.logits(300);
        let options = SamplingOptions {
            temperature: 0.0,
            ..random.options()
        };
        let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let expected = logits.iter().position(|&l| l == highest).unwrap();
        assert_eq!(sampler(options).sample(&logits).unwrap() as usize, expected);
    }
    let greedy = SamplingOptions {
        temperature: 0.0,
        ..PLAIN
    };
    assert_eq!(sampler(greedy).sample(&[1.0, 5.0, 5.0, 2.0]).unwrap(), 1);
}

#[test]
fn each_filter_keeps_what_it_should() {
    let logits = logits_of(&[0.1, 0.4, 0.05, 0.3, 0.15]);
    assert_eq!(tokens(PLAIN, &logits), [0, 1, 2, 3, 4]);
    assert_eq!(
        tokens(SamplingOptions { top_k: 2, ..PLAIN }, &logits),
        [1, 3]
    );
    assert_eq!(
        tokens(SamplingOptions { top_k: 9, ..PLAIN }, &logits),
        [0, 1, 2, 3, 4]
    );
    assert_eq!(
        tokens(
            SamplingOptions {
                top_p: 0.39,
                ..PLAIN
            },
            &logits
        ),
        [1]
    );
    assert_eq!(
        tokens(
            SamplingOptions {
                top_p: 0.69,
                ..PLAIN
            },
            &logits
        ),
        [1, 3]
    );
    assert_eq!(
        tokens(
            SamplingOptions {
                top_p: 0.71,
                ..PLAIN
            },
            &logits
        ),
        [1, 3, 4]
    );
    assert_eq!(
        tokens(
            SamplingOptions {
                min_p: 0.3,
                ..PLAIN
            },
            &logits
        ),
        [1, 3, 4]
    );
    assert_eq!(
        tokens(
            SamplingOptions {
                min_p: 1.0,
                ..PLAIN
            },
            &logits
        ),
        [1]
    );
    // Of the two that top-k leaves, the first has 0.4 / 0.7 = 0.571 of the probability.
    assert_eq!(
        tokens(
            SamplingOptions {
                top_k: 2,
                top_p: 0.56,
                ..PLAIN
            },
            &logits
        ),
        [1]
    );
    assert_eq!(
        tokens(
            SamplingOptions {
                top_k: 2,
                top_p: 0.58,
                ..PLAIN
            },
            &logits
        ),
        [1, 3]
    );
}

#[test]
fn temperature_sharpens_and_flattens_but_chooses_no_candidates() {
    let logits = logits_of(&[0.2, 0.8]);
    let first = |temperature| {
        let options = SamplingOptions {
            temperature,
            top_p: 0.9,
            ..PLAIN
        };
        let mut sampler = sampler(options);
        let candidates = sampler.distribution(&logits).unwrap();
        (
            candidates.len(),
            candidates
                .iter()
                .find(|c| c.token == 1)
                .unwrap()
                .probability,
        )
    };
    // 0.8² / (0.8² + 0.2²) and 0.8^½ / (0.8^½ + 0.2^½).
    for (temperature, expected) in [(1.0, 0.8), (0.5, 0.941_176), (2.0, 0.666_667)] {
        let (n, p) = first(temperature);
        assert_eq!(n, 2);
        assert!((p - expected).abs() < 1e-5, "{temperature}: {p}");
    }
}

#[test]
fn draws_follow_the_distribution() {
    let probabilities = [0.1, 0.4, 0.05, 0.3, 0.15];
    let logits = logits_of(&probabilities);
    let mut sampler = sampler(PLAIN);
    let mut counts = [0u32; 5];
    let n = 40_000;
    for _ in 0..n {
        counts[sampler.sample(&logits).unwrap() as usize] += 1;
    }
    for (count, p) in counts.into_iter().zip(probabilities) {
        // Five standard deviations.
        let tolerance = 5.0 * (p * (1.0 - p) / n as f32).sqrt();
        assert!(
            (count as f32 / n as f32 - p).abs() < tolerance,
            "{count} of {n}, expected {p}"
        );
    }
}

#[test]
fn a_seed_gives_the_same_tokens_every_time_and_another_seed_others() {
    let draw = |seed| {
        let mut random = Random::new(13);
        let mut sampler = sampler(SamplingOptions {
            seed,
            ..SamplingOptions::default()
        });
        (0..50)
            .map(|_| sampler.sample(&random.gentle_logits(40)).unwrap())
            .collect::<Vec<u32>>()
    };
    assert_eq!(draw(5), draw(5));
    assert_ne!(draw(5), draw(6));
}

/// Computed apart, from the generator's definition (PCG XSL 128/64 MCG, O'Neill 2014, seeded through PCG32): a seed in a bug
/// report must go on meaning the same.
#[test]
fn a_seed_keeps_its_meaning() {
    let mut sampler = sampler(SamplingOptions { seed: 42, ..PLAIN });
    let drawn: Vec<u32> = (0..12)
        .map(|_| sampler.sample(&[0.0; 10]).unwrap())
        .collect();
    assert_eq!(drawn, [5, 1, 3, 2, 1, 3, 1, 8, 3, 5, 0, 3]);
}

#[test]
fn repetition_divides_positive_logits_and_multiplies_negative_ones() {
    let options = SamplingOptions {
        repeat_penalty: 2.0,
        ..PLAIN
    };
    let mut sampler = sampler(options);
    sampler.observe(&[0, 2, 2, 0]);
    sampler.observe(&[900]);
    let logits: Vec<f32> = sampler
        .distribution(&[4.0, 3.0, -1.5, -1.0, 0.0])
        .unwrap()
        .iter()
        .map(|c| c.logit)
        .collect();
    assert_eq!(logits, [2.0, 3.0, -3.0, -1.0, 0.0]);
}

#[test]
fn repetition_counts_for_greedy_too() {
    let mut sampler = sampler(SamplingOptions {
        temperature: 0.0,
        repeat_penalty: 1.5,
        ..PLAIN
    });
    let logits = [4.0, 3.0, 1.0];
    let mut chosen = Vec::new();
    for _ in 0..3 {
        let token = sampler.sample(&logits).unwrap();
        sampler.observe(&[token]);
        chosen.push(token);
    }
    assert_eq!(chosen, [0, 1, 0]);
}

#[test]
fn a_huge_penalty_leaves_tokens_possible() {
    let mut sampler = sampler(SamplingOptions {
        repeat_penalty: 1e38,
        ..PLAIN
    });
    sampler.observe(&[0, 1]);
    assert_eq!(
        sampler
            .distribution(&[-1e10, f32::NEG_INFINITY])
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn logits_that_are_no_numbers_are_errors() {
    for temperature in [0.0, 1.0] {
        let mut sampler = sampler(SamplingOptions {
            temperature,
            ..SamplingOptions::default()
        });
        let error = sampler.sample(&[0.0, f32::NAN, 1.0]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the logit of token 1 is NaN, expected a finite number; check the weights with `graver verify`"
        );
        let infinite = sampler.sample(&[0.0, 0.0, f32::INFINITY]);
        assert_eq!(
            infinite,
            Err(SamplingError::NotFinite {
                token: 2,
                found: f32::INFINITY
            })
        );
        assert_eq!(
            sampler.sample(&[f32::NEG_INFINITY; 3]),
            Err(SamplingError::Impossible { vocab: 3 })
        );
        assert_eq!(
            sampler.sample(&[]),
            Err(SamplingError::Impossible { vocab: 0 })
        );
        assert_eq!(
            sampler.sample(&[f32::NEG_INFINITY, -1e30]),
            Ok(1),
            "a masked token is fine"
        );
    }
}

#[test]
fn options_outside_their_range_are_errors() {
    let error = |options| {
        Sampler::new(options)
            .map(|_| ())
            .expect_err("out of range")
            .to_string()
    };
    assert_eq!(
        error(SamplingOptions {
            temperature: -1.0,
            ..PLAIN
        }),
        "temperature: found -1, expected 0 or more"
    );
    assert_eq!(
        error(SamplingOptions {
            top_p: 0.0,
            ..PLAIN
        }),
        "top_p: found 0, expected more than 0 and at most 1"
    );
    assert_eq!(
        error(SamplingOptions {
            min_p: 1.5,
            ..PLAIN
        }),
        "min_p: found 1.5, expected between 0 and 1"
    );
    let penalty = SamplingOptions {
        repeat_penalty: f32::NAN,
        ..PLAIN
    };
    assert_eq!(
        error(penalty),
        "repeat_penalty: found NaN, expected more than 0"
    );
}
