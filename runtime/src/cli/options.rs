//! Options that every command has that writes text: how tokens are chosen, and what the model is computed with.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::PathBuf;

use clap::Args;

use super::{RunError, values};
use crate::sampling::SamplingOptions;
use crate::session::SessionOptions;

/// How tokens are chosen.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct SamplingArgs {
    /// Temperature; 0 for greedy decoding
    #[arg(help_heading = "Sampling", long, value_name = "T", default_value_t = 0.8, value_parser = values::temperature, allow_negative_numbers = true)]
    pub temp: f32,
    /// Sample from the K most likely tokens; 0 for all [default: 40]
    #[arg(help_heading = "Sampling", long, value_name = "K", value_parser = values::count, allow_negative_numbers = true)]
    pub top_k: Option<usize>,
    /// Sample from the most likely tokens with a total probability of P; 1 for all [default: 0.95]
    #[arg(help_heading = "Sampling", long, value_name = "P", value_parser = values::top_p, allow_negative_numbers = true)]
    pub top_p: Option<f32>,
    /// Sample from tokens at least P times as likely as the most likely one; 0 for all [default: 0.05]
    #[arg(help_heading = "Sampling", long, value_name = "P", value_parser = values::min_p, allow_negative_numbers = true)]
    pub min_p: Option<f32>,
    /// Penalty for tokens that have already occurred; 1 for none
    #[arg(help_heading = "Sampling", long, value_name = "X", default_value_t = 1.0, value_parser = values::penalty, allow_negative_numbers = true)]
    pub repeat_penalty: f32,
    /// Sampling seed [default: random]
    #[arg(help_heading = "Sampling", long, value_name = "S", value_parser = values::seed, allow_negative_numbers = true)]
    pub seed: Option<u64>,
}

/// What a model is computed with.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct SessionArgs {
    /// Number of threads [default: all available processors]
    #[arg(short = 't', long, value_name = "K", value_parser = values::positive, allow_negative_numbers = true)]
    pub threads: Option<usize>,
    /// Context length in tokens [default: the model's, at most 4096]
    #[arg(short = 'c', long, value_name = "C", value_parser = values::positive, allow_negative_numbers = true)]
    pub context: Option<usize>,
    /// Pin each thread to a processor
    #[arg(long)]
    pub pin: bool,
    /// Write a profile, as a trace for Perfetto and chrome://tracing
    #[arg(long, value_name = "FILE")]
    pub profile: Option<PathBuf>,
}

impl SamplingArgs {
    /// How tokens are to be chosen; draws a seed where none is given.
    pub fn options(&self) -> SamplingOptions {
        let usual = SamplingOptions::default();
        SamplingOptions {
            temperature: self.temp,
            top_k: self.top_k.unwrap_or(usual.top_k),
            top_p: self.top_p.unwrap_or(usual.top_p),
            min_p: self.min_p.unwrap_or(usual.min_p),
            repeat_penalty: self.repeat_penalty,
            // The standard library's hash keys are the random numbers nearest at hand.
            seed: self
                .seed
                .unwrap_or_else(|| RandomState::new().build_hasher().finish()),
        }
    }

    /// Refuses what would change nothing. `seed_is_used` says whether anything but sampling uses the seed.
    ///
    /// # Errors
    /// The first such option.
    pub fn check(&self, seed_is_used: bool) -> Result<(), RunError> {
        let choosing = [
            ("--top-k", self.top_k.is_some()),
            ("--top-p", self.top_p.is_some()),
            ("--min-p", self.min_p.is_some()),
            ("--seed", self.seed.is_some() && !seed_is_used),
        ];
        let mut given = choosing.into_iter().filter(|(_, is_given)| *is_given);
        match given.next() {
            Some((option, _)) if self.temp == 0.0 => Err(RunError::NoEffect { option }),
            Some(_) | None => Ok(()),
        }
    }
}

impl SessionArgs {
    /// How the session is to be made that these options are about.
    pub fn options(&self) -> SessionOptions {
        SessionOptions {
            threads: self.threads,
            context: self.context,
            pin: self.pin,
            alone: true,
            profile: self.profile.is_some(),
            ..SessionOptions::default()
        }
    }
}
