//! Perplexity of a model over a text: how many tokens, all equally likely, it was as unsure among as it was about the next one.
//!
//! In: token ids, a session whose slot 0 is free, the length of a window and how far it moves. Out: the exponential of the mean of `-ln p(token)`,
//! each token given those before it in its window. Windows overlap where they move by less than their length, and a token counts in the first window
//! that has it, where it has the most before it. Means of windows are weighed as the documentation of `transformers` weighs them, by one token less than
//! they score, so that numbers can be compared.

use graver_runtime::session::{Session, Wanted};
use serde::Serialize;

/// How a text is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Windows {
    /// Tokens of a window.
    pub max_length: usize,
    /// Tokens that it moves by.
    pub stride: usize,
}

/// What a text was to a model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Perplexity {
    /// `exp` of the mean.
    pub perplexity: f64,
    /// Mean of `-ln p`, in nats.
    pub mean_nll: f64,
    /// Tokens of the text.
    pub tokens: usize,
    /// How many windows there were.
    pub windows: usize,
    /// How it was cut.
    #[serde(flatten)]
    pub cut: Windows,
}

/// Why a text has no perplexity.
#[derive(Debug, thiserror::Error)]
pub enum PerplexityError {
    /// There is nothing to predict.
    #[error("the text has {tokens} tokens, expected at least 2")]
    TooShort {
        /// Tokens of the text.
        tokens: usize,
    },
    /// Windows that leave tokens out, or do not move.
    #[error(
        "windows of {} tokens that move by {}: expected a length of 2 to {context} and a stride of 1 to that length",
        windows.max_length,
        windows.stride
    )]
    Windows {
        /// As they were asked for.
        windows: Windows,
        /// Positions of the session.
        context: usize,
    },
    /// A logit that is not a number, or infinite weights.
    #[error("token {at} has no finite probability; the model's logits are not finite")]
    NotFinite {
        /// Its place in the text.
        at: usize,
    },
    /// The model fails to run.
    #[error(transparent)]
    Session(#[from] graver_runtime::Error),
}

/// Measures a text.
///
/// # Errors
/// A text that is too short, windows that do not fit, a model that fails.
pub fn perplexity(
    session: &mut Session,
    tokens: &[u32],
    cut: Windows,
) -> Result<Perplexity, PerplexityError> {
    let context = session.context();
    let Windows { max_length, stride } = cut;
    if max_length < 2 || max_length > context || stride == 0 || stride > max_length {
        let windows = cut;
        return Err(PerplexityError::Windows { windows, context });
    }
    if tokens.len() < 2 {
        let tokens = tokens.len();
        return Err(PerplexityError::TooShort { tokens });
    }
    let (mut sum, mut weights, mut windows, mut done) = (0.0, 0.0, 0, 0);
    for begin in (0..tokens.len()).step_by(stride) {
        let end = tokens.len().min(begin + max_length);
        // The first token of all has nothing before it.
        let first = done.max(begin + 1);
        let weight = (end - done - 1) as f64;
        if weight > 0.0 {
            let nll = window(session, tokens, begin, first, end)?;
            sum += nll / (end - first) as f64 * weight;
            weights += weight;
        }
        (windows, done) = (windows + 1, end);
        if end == tokens.len() {
            break;
        }
    }
    let mean_nll = sum / weights;
    Ok(Perplexity {
        perplexity: mean_nll.exp(),
        mean_nll,
        tokens: tokens.len(),
        windows,
        cut,
    })
}

/// Sum of `-ln p` of the tokens from `first` to `end`, given those from `begin`.
fn window(
    session: &mut Session,
    tokens: &[u32],
    begin: usize,
    first: usize,
    end: usize,
) -> Result<f64, PerplexityError> {
    session.reset(0)?;
    session.expect(0, end - begin)?;
    if first - 1 > begin {
        session.feed(0, &tokens[begin..first - 1], Wanted::None)?;
    }
    let (mut sum, step) = (0.0, session.max_step());
    // The logits of a token are about the next one; the last one's are about none.
    for from in (first - 1..end - 1).step_by(step) {
        let to = (end - 1).min(from + step);
        let logits = session.feed(0, &tokens[from..to], Wanted::All)?;
        for (row, at) in (from + 1..=to).enumerate() {
            let nll = surprise(logits.row(row), tokens[at] as usize);
            match nll.is_finite() {
                true => sum += nll,
                false => return Err(PerplexityError::NotFinite { at }),
            }
        }
    }
    Ok(sum)
}

/// `-ln p` of a token, by the logits of all.
fn surprise(logits: &[f32], token: usize) -> f64 {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits
        .iter()
        .map(|&logit| f64::from(logit - highest).exp())
        .sum();
    sum.ln() + f64::from(highest) - f64::from(logits[token])
}
