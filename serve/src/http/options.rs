//! What completions and conversations can ask for alike.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::error::ApiError;
use crate::engine::{Request, Sampling};

/// Tokens of an answer where a completion does not say, as the API has it.
pub(super) const USUAL_COMPLETION: usize = 16;
/// The most texts to stop at, and the longest.
const STOPS: usize = 16;
const LONGEST_STOP: usize = 1024;
/// The most biases.
const BIASES: usize = 1024;

/// Options of a request; what is null or left out is as usual.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Options {
    pub(super) model: Option<String>,
    pub(super) max_tokens: Option<usize>,
    pub(super) max_completion_tokens: Option<usize>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    top_k: Option<i64>,
    min_p: Option<f32>,
    seed: Option<i64>,
    n: Option<usize>,
    repeat_penalty: Option<f32>,
    repetition_penalty: Option<f32>,
    presence_penalty: Option<f32>,
    frequency_penalty: Option<f32>,
    logit_bias: Option<Map<String, Value>>,
    stop: Option<Stop>,
    ignore_eos: Option<bool>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    pub(super) response_format: Option<Value>,
    pub(super) grammar: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a string or a list of strings")]
enum Stop {
    One(String),
    Several(Vec<String>),
}

#[derive(Debug, Default, Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

impl Options {
    /// Whether the answer is wanted piece by piece.
    pub(super) fn streams(&self) -> bool {
        self.stream == Some(true)
    }

    /// Whether a stream ends with what it took.
    pub(super) fn streams_usage(&self) -> bool {
        let options = self.stream_options.as_ref();
        options.and_then(|o| o.include_usage) == Some(true)
    }

    /// Answers to each prompt.
    pub(super) fn choices(&self) -> usize {
        self.n.unwrap_or(1)
    }

    /// The engine's request for a prompt; constraints are the caller's.
    pub(super) fn request(
        &self,
        prompt: Vec<u32>,
        usual_tokens: usize,
        logprobs: Option<usize>,
    ) -> Result<Request, ApiError> {
        let wanted = self.max_completion_tokens.or(self.max_tokens);
        Ok(Request {
            prompt,
            choices: self.choices(),
            max_tokens: wanted.unwrap_or(usual_tokens),
            sampling: self.sampling()?,
            stop: self.stops()?,
            ignore_eos: self.ignore_eos == Some(true),
            logprobs,
            constraint: None,
        })
    }

    fn sampling(&self) -> Result<Sampling, ApiError> {
        let top_k = self.top_k.unwrap_or(0);
        Ok(Sampling {
            temperature: self.temperature.unwrap_or(1.0),
            top_p: self.top_p.unwrap_or(1.0),
            // Some clients say -1 for all.
            top_k: usize::try_from(top_k).unwrap_or(0),
            min_p: self.min_p.unwrap_or(0.0),
            seed: self.seed.map(i64::cast_unsigned),
            repeat_penalty: self
                .repeat_penalty
                .or(self.repetition_penalty)
                .unwrap_or(1.0),
            presence_penalty: self.presence_penalty.unwrap_or(0.0),
            frequency_penalty: self.frequency_penalty.unwrap_or(0.0),
            logit_bias: self.biases()?,
        })
    }

    fn biases(&self) -> Result<Vec<(u32, f32)>, ApiError> {
        let all = self.logit_bias.iter().flatten();
        let read = |(token, bias): (&String, &Value)| {
            let read = token.parse().ok().zip(bias.as_f64());
            let wrong = || format!("logit_bias: {token}: {bias}: expected a token id and a number");
            let (token, bias) = read.ok_or_else(|| ApiError::field("logit_bias", wrong()))?;
            Ok((token, bias as f32))
        };
        let biases: Result<Vec<_>, ApiError> = all.map(read).collect();
        biases.and_then(|biases| match biases.len() > BIASES {
            true => Err(ApiError::field(
                "logit_bias",
                format!(
                    "logit_bias: {} tokens, expected at most {BIASES}",
                    biases.len()
                ),
            )),
            false => Ok(biases),
        })
    }

    fn stops(&self) -> Result<Vec<String>, ApiError> {
        let stops = match &self.stop {
            None => Vec::new(),
            Some(Stop::One(stop)) => vec![stop.clone()],
            Some(Stop::Several(stops)) => stops.clone(),
        };
        if stops.len() > STOPS || stops.iter().any(|stop| stop.len() > LONGEST_STOP) {
            let message = format!(
                "stop: {} strings, the longest of {} bytes: expected at most {STOPS} of up to {LONGEST_STOP} bytes",
                stops.len(),
                stops.iter().map(String::len).max().unwrap_or(0)
            );
            return Err(ApiError::field("stop", message));
        }
        Ok(stops)
    }
}
