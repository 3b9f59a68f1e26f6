//! What the loop feeds, when it stops and what it refuses.

use std::time::Duration;

use super::fake::Fake;
use super::{GenerateError, Generation, Limits, Stop, Timings};
use crate::sampling::{Sampler, SamplingOptions};

fn greedy() -> Sampler {
    Sampler::new(SamplingOptions {
        temperature: 0.0,
        ..SamplingOptions::default()
    })
    .unwrap()
}

fn limits(max_tokens: usize, eos: &[u32]) -> Limits {
    Limits {
        max_tokens,
        eos: eos.into(),
    }
}

fn all(
    model: &mut Fake,
    prompt: &[u32],
    limits: Limits,
) -> Result<(Vec<u32>, Option<Stop>, Timings), GenerateError> {
    let mut generation = Generation::start(model, prompt, greedy(), limits)?;
    let mut tokens = Vec::new();
    while let Some(token) = generation.next_token()? {
        assert_eq!(generation.stop(), None);
        tokens.push(token);
    }
    assert_eq!(generation.next_token()?, None);
    Ok((tokens, generation.stop(), generation.timings()))
}

#[test]
fn each_token_is_fed_once_and_only_if_another_is_wanted() {
    let mut model = Fake::new(&[7, 8, 9], 100, 10);
    let (tokens, stop, timings) = all(&mut model, &[1, 2, 3], limits(3, &[])).unwrap();
    assert_eq!((tokens, stop), (vec![7, 8, 9], Some(Stop::Length)));
    assert_eq!(model.fed, [vec![1, 2, 3], vec![7], vec![8]]);
    assert_eq!(
        (
            timings.prompt_tokens,
            timings.generated_tokens,
            timings.steps
        ),
        (3, 3, 2)
    );
}

#[test]
fn an_end_of_sequence_token_is_the_last() {
    for eos in [[9].as_slice(), &[4, 9]] {
        let mut model = Fake::new(&[7, 9, 8], 100, 10);
        let (tokens, stop, _) = all(&mut model, &[1], limits(50, eos)).unwrap();
        assert_eq!((tokens, stop), (vec![7, 9], Some(Stop::Eos)));
        assert_eq!(model.fed, [[1], [7]]);
    }
    let mut model = Fake::new(&[7, 9, 8], 100, 10);
    let (tokens, stop, _) = all(&mut model, &[1], limits(3, &[])).unwrap();
    assert_eq!(
        (tokens, stop),
        (vec![7, 9, 8], Some(Stop::Length)),
        "without any it goes on"
    );
}

#[test]
fn a_full_context_stops() {
    let mut model = Fake::new(&[7], 5, 10);
    let (tokens, stop, _) = all(&mut model, &[1, 2, 3], limits(50, &[])).unwrap();
    // Two more positions are fed; the logits of the last one still give a token.
    assert_eq!((tokens, stop), (vec![7; 3], Some(Stop::Context)));
    assert_eq!(model.positions(), 5);
    let (tokens, stop, _) = all(&mut Fake::new(&[7], 3, 10), &[1, 2, 3], limits(50, &[])).unwrap();
    assert_eq!((tokens, stop), (vec![7], Some(Stop::Context)));
}

#[test]
fn no_tokens_wanted_computes_the_prompt_only() {
    let mut model = Fake::new(&[7], 5, 10);
    let (tokens, stop, timings) = all(&mut model, &[1, 2], limits(0, &[])).unwrap();
    assert_eq!((tokens, stop), (vec![], Some(Stop::Length)));
    assert_eq!(model.fed, [[1, 2]]);
    assert_eq!(timings.generation_rate(), 0.0);
}

#[test]
fn bad_prompts_are_errors_before_anything_is_fed() {
    let mut model = Fake::new(&[7], 4, 10);
    let mut error = |prompt: &[u32]| {
        let error = all(&mut model, prompt, limits(5, &[]))
            .expect_err("a bad prompt")
            .to_string();
        assert!(model.fed.is_empty());
        error
    };
    assert_eq!(
        error(&[]),
        "the prompt is empty, expected at least one token; pass text with -p, or ids with --tokens"
    );
    assert_eq!(
        error(&[1, 2, 3, 4, 5]),
        "the prompt has 5 tokens, but the context has room for 4; shorten it, or raise --context"
    );
    assert_eq!(
        error(&[1, 10]),
        "token 1 of the prompt is 10, expected an id below the vocabulary size 10"
    );
}

#[test]
fn faults_of_the_model_name_the_position() {
    let mut model = Fake::new(&[7], 9, 10);
    model.fault = Some(f32::NAN);
    let error = all(&mut model, &[1, 2, 3], limits(5, &[]))
        .expect_err("NaN")
        .to_string();
    assert!(
        error.starts_with("position 2: the logit of token 0 is NaN"),
        "{error}"
    );
}

#[test]
fn the_prompt_counts_as_repetition() {
    let options = SamplingOptions {
        temperature: 0.0,
        repeat_penalty: 1e6,
        ..SamplingOptions::default()
    };
    let mut model = Fake::new(&[7], 9, 10);
    let sampler = Sampler::new(options).unwrap();
    let mut generation = Generation::start(&mut model, &[7], sampler, limits(3, &[])).unwrap();
    let tokens: Vec<u32> = std::iter::from_fn(|| generation.next_token().unwrap()).collect();
    assert_eq!(tokens, [7, 7, 7], "50 / 10⁶ is still above 0");

    let options = SamplingOptions {
        temperature: 0.0,
        repeat_penalty: 100.0,
        ..SamplingOptions::default()
    };
    let mut sampler = Sampler::new(options).unwrap();
    sampler.observe(&[7]);
    let mut logits = [1.0; 10];
    logits[7] = 50.0;
    assert_eq!(sampler.sample(&logits).unwrap(), 0);
}

#[test]
fn rates_are_tokens_over_seconds() {
    let timings = Timings {
        prompt_tokens: 100,
        prompt_time: Duration::from_millis(500),
        generated_tokens: 11,
        steps: 10,
        generation_time: Duration::from_secs(4),
    };
    assert_eq!(
        (timings.prompt_rate(), timings.generation_rate()),
        (200.0, 2.5)
    );
}
