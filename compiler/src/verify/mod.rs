//! Compares compiled code with golden logits from a reference, or ([`oracle`]) with the plain interpreter.
//!
//! Differences are measured as the largest absolute one over the standard deviation of the reference logits, so that one
//! tolerance serves every model.

pub mod oracle;
mod tie;

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use graver_runtime::files::shown;
use graver_runtime::sequence::Sequence;
use graver_runtime::session::{Session, Wanted};
use serde::Serialize;

pub use self::tie::Tie;
use self::tie::likeliest;
use crate::weights::{SafetensorsFile, WeightsError};

/// What is allowed, in standard deviations of the reference logits.
pub const TOLERANCE: f64 = 1e-3;

/// Reference logits of a prompt, and its greedy continuation.
#[derive(Clone, Debug, PartialEq)]
pub struct Golden {
    /// The prompt.
    pub input_ids: Vec<u32>,
    /// `[prompt, vocab]`.
    pub logits: Vec<f32>,
    /// Tokens that greedy decoding appends.
    pub greedy_ids: Vec<u32>,
    /// Best minus second-best logit at each of those steps.
    pub greedy_gap: Vec<f32>,
}

/// Why golden logits could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] WeightsError),
    /// The file lacks a tensor, or has it in another type or size.
    #[error("{}: {tensor}: found {found}, expected {expected}", shown(path))]
    Tensor {
        /// The file.
        path: PathBuf,
        /// Its tensor.
        tensor: &'static str,
        /// What there is.
        found: String,
        /// What there should be.
        expected: String,
    },
    /// The golden is for a longer context than the model has.
    #[error(
        "{}: {tokens} tokens and {steps} greedy steps need {} positions, the model's context has {context}; \
         use fewer tokens in the reference",
        shown(path),
        tokens + steps
    )]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Tokens of its prompt.
        tokens: usize,
        /// Tokens appended to it.
        steps: usize,
        /// The longest context of the model.
        context: usize,
    },
    /// A token that the model does not have.
    #[error("{}: {tensor}: found token {id}, expected one of 0 to {}", shown(path), vocab - 1)]
    Token {
        /// The file.
        path: PathBuf,
        /// Its tensor.
        tensor: &'static str,
        /// The token.
        id: u32,
        /// Number of token ids.
        vocab: usize,
    },
    /// The model fails to run.
    #[error(transparent)]
    Run(#[from] graver_runtime::Error),
}

/// One way of feeding the prompt, and how far its logits were from the reference.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// `whole`, `one by one`, `split at 7`.
    pub path: String,
    /// Largest difference in standard deviations.
    pub difference: f64,
    /// Row of that difference.
    pub row: usize,
    /// Column of that difference.
    pub column: usize,
    /// Rows whose likeliest token is another, of two that are closer than differences may be.
    #[serde(skip)]
    pub ties: Vec<Tie>,
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Comparison {
            path,
            difference,
            row,
            column,
            ..
        } = self;
        write!(f, "{path:<20} {difference:.2e} (row {row}, token {column})")
    }
}

/// All comparisons.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Each path.
    pub paths: Vec<Comparison>,
    /// Greedy steps that agree.
    pub greedy_agreed: usize,
    /// Greedy steps whose gap is large enough to count.
    pub greedy_counted: usize,
    /// Rows and steps whose likeliest token is another, of two that are closer than differences may be.
    pub ties: Vec<Tie>,
    /// Largest difference of all.
    pub largest: f64,
    /// What was allowed.
    pub tolerance: f64,
    /// Whether all is within the tolerance.
    pub passed: bool,
}

impl Golden {
    /// Reads a golden file.
    ///
    /// # Errors
    /// Missing tensors, other types or sizes than expected.
    pub fn open(path: &Path) -> Result<Golden, VerifyError> {
        let file = SafetensorsFile::open(path)?;
        let ids = |name| -> Result<Vec<u32>, VerifyError> {
            let bytes = tensor(&file, path, name, safetensors::Dtype::I64)?;
            let id =
                |c: &[u8]| u32::try_from(i64::from_le_bytes(c.try_into().expect("eight bytes")));
            bytes
                .chunks_exact(8)
                .map(id)
                .collect::<Result<_, _>>()
                .map_err(|_| VerifyError::Tensor {
                    path: path.into(),
                    tensor: name,
                    found: "a negative or huge id".into(),
                    expected: "token ids".into(),
                })
        };
        let floats = |name| -> Result<Vec<f32>, VerifyError> {
            let bytes = tensor(&file, path, name, safetensors::Dtype::F32)?;
            Ok(bytes
                .chunks_exact(4)
                .map(|c| f32::from_le_bytes(c.try_into().expect("four bytes")))
                .collect())
        };
        let golden = Golden {
            input_ids: ids("input_ids")?,
            logits: floats("logits")?,
            greedy_ids: ids("greedy_ids")?,
            greedy_gap: floats("greedy_gap")?,
        };
        let n = golden.input_ids.len();
        let wrong = |tensor, found: usize, expected: String| VerifyError::Tensor {
            path: path.into(),
            tensor,
            found: format!("{found} elements"),
            expected,
        };
        if n == 0 || golden.logits.is_empty() || !golden.logits.len().is_multiple_of(n) {
            return Err(wrong(
                "logits",
                golden.logits.len(),
                format!("a row for each of {n} tokens"),
            ));
        }
        if golden.greedy_gap.len() != golden.greedy_ids.len() {
            return Err(wrong(
                "greedy_gap",
                golden.greedy_gap.len(),
                format!("{}", golden.greedy_ids.len()),
            ));
        }
        Ok(golden)
    }

    /// Width of a row of logits.
    pub fn vocab(&self) -> usize {
        self.logits.len() / self.input_ids.len()
    }

    /// Checks that a model can be fed this.
    ///
    /// # Errors
    /// Another vocabulary, tokens outside it, and more positions than `context`.
    pub fn fits(&self, vocab: usize, context: usize, path: &Path) -> Result<(), VerifyError> {
        if self.vocab() != vocab {
            return Err(VerifyError::Tensor {
                path: path.into(),
                tensor: "logits",
                found: format!("{} columns", self.vocab()),
                expected: format!("{vocab}, the model's vocabulary"),
            });
        }
        for (tensor, ids) in [
            ("input_ids", &self.input_ids),
            ("greedy_ids", &self.greedy_ids),
        ] {
            if let Some(id) = ids.iter().find(|id| **id as usize >= vocab) {
                let (path, id) = (path.into(), *id);
                return Err(VerifyError::Token {
                    path,
                    tensor,
                    id,
                    vocab,
                });
            }
        }
        // The last greedy token is looked at, not fed.
        let (tokens, steps) = (
            self.input_ids.len(),
            self.greedy_ids.len().saturating_sub(1),
        );
        if tokens + steps > context {
            return Err(VerifyError::TooLong {
                path: path.into(),
                tokens,
                steps,
                context,
            });
        }
        Ok(())
    }

    /// Positions that comparing takes.
    pub fn positions(&self) -> usize {
        self.input_ids.len() + self.greedy_fed()
    }

    /// Greedy tokens that are fed: the last one is only looked at.
    fn greedy_fed(&self) -> usize {
        self.greedy_ids.len().saturating_sub(1)
    }

    /// The largest difference of all logits, `[prompt, vocab]`, from these.
    pub fn difference(&self, path: &str, logits: &[f32]) -> Comparison {
        let mut worst = Comparison {
            path: path.into(),
            difference: 0.0,
            row: 0,
            column: 0,
            ties: vec![],
        };
        let deviation = self.deviation();
        for (i, (a, b)) in logits.iter().zip(&self.logits).enumerate() {
            let difference = f64::from((a - b).abs()) / deviation;
            // Not-a-number is as far away as can be.
            let difference = if difference.is_nan() {
                f64::INFINITY
            } else {
                difference
            };
            if difference > worst.difference {
                let (row, column) = (i / self.vocab(), i % self.vocab());
                worst = Comparison {
                    difference,
                    row,
                    column,
                    ..worst
                };
            }
        }
        let rows = logits.chunks_exact(self.vocab());
        for (i, rows) in self.logits.chunks_exact(self.vocab()).zip(rows).enumerate() {
            let tie = Tie::of_row(|| format!("row {i}"), rows, (deviation, TOLERANCE));
            worst.ties.extend(tie);
        }
        worst
    }

    /// Standard deviation of the logits: what differences are measured by. Logits that are all but equal (those of a vocabulary
    /// of one token) differ by rounding alone, which is measured by their size: those of other models deviate by more than a 64th of it.
    fn deviation(&self) -> f64 {
        let n = self.logits.len() as f64;
        let logits = || self.logits.iter().map(|v| f64::from(*v));
        let mean = logits().sum::<f64>() / n;
        let deviation = (logits().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
        let size = (logits().map(|v| v * v).sum::<f64>() / n).sqrt();
        deviation.max(size / 64.0).max(f64::MIN_POSITIVE)
    }
}

fn tensor<'f>(
    file: &'f SafetensorsFile,
    path: &Path,
    name: &'static str,
    dtype: safetensors::Dtype,
) -> Result<&'f [u8], VerifyError> {
    let expected = format!("a tensor of {dtype:?}");
    let wrong = |found: String| VerifyError::Tensor {
        path: path.into(),
        tensor: name,
        found,
        expected: expected.clone(),
    };
    let header = file
        .tensors
        .get(name)
        .ok_or_else(|| wrong("nothing".into()))?;
    if header.dtype != dtype {
        return Err(wrong(format!("{:?}", header.dtype)));
    }
    Ok(file.bytes(header))
}

/// Feeds the prompt in several ways and compares all logits, then continues greedily.
///
/// # Errors
/// A golden for another vocabulary, or a prompt that does not fit the session.
pub fn against_golden(
    session: &mut Session,
    golden: &Golden,
    path: &Path,
) -> Result<Report, VerifyError> {
    golden.fits(session.vocab(), session.manifest().context, path)?;
    let paths = compare_paths(session, golden)?;
    let mut ties = vec![];
    for path in &paths {
        Tie::collect(&mut ties, &path.ties);
    }
    let (greedy_agreed, greedy_counted) = greedy(session, golden, &mut ties)?;
    let largest = paths.iter().map(|p| p.difference).fold(0.0, f64::max);
    let passed = largest <= TOLERANCE && greedy_agreed == greedy_counted;
    Ok(Report {
        paths,
        greedy_agreed,
        greedy_counted,
        ties,
        largest,
        tolerance: TOLERANCE,
        passed,
    })
}

/// Feeds the tokens whole, one by one, split in two at several places, and in runs that are multiples of nothing.
fn compare_paths(session: &mut Session, golden: &Golden) -> Result<Vec<Comparison>, VerifyError> {
    let n = golden.input_ids.len();
    let runs_of = |size: usize| -> Vec<usize> {
        let rest = (!n.is_multiple_of(size)).then_some(n % size);
        std::iter::repeat_n(size, n / size).chain(rest).collect()
    };
    let mut ways = vec![
        ("whole".to_string(), vec![n]),
        ("one by one".to_string(), runs_of(1)),
    ];
    let cuts = [1, 3, n / 3, n / 2, n - n / 4, n.saturating_sub(1)];
    let cuts: BTreeSet<usize> = cuts
        .into_iter()
        .filter(|cut| *cut > 0 && *cut < n)
        .collect();
    ways.extend(
        cuts.into_iter()
            .map(|cut| (format!("split at {cut}"), vec![cut, n - cut])),
    );
    if n > 16 {
        ways.push(("five at a time".into(), runs_of(5)));
        ways.push(("thirteen at a time".into(), runs_of(13)));
    }
    ways.iter()
        .map(|(path, runs)| compare(session, golden, path, runs))
        .collect()
}

fn compare(
    session: &mut Session,
    golden: &Golden,
    path: &str,
    runs: &[usize],
) -> Result<Comparison, VerifyError> {
    session.reset(0)?;
    // The reference knows the whole prompt, which matters where rotations change with the length.
    session.expect(0, golden.input_ids.len())?;
    let (mut logits, mut fed) = (vec![], 0);
    for run in runs {
        let fed_now = &golden.input_ids[fed..fed + run];
        logits.extend_from_slice(session.feed(0, fed_now, Wanted::All)?.values());
        fed += run;
    }
    Ok(golden.difference(path, &logits))
}

/// Continues as the reference did; a step that may go either way is a tie, where it goes the other one.
fn greedy(
    session: &mut Session,
    golden: &Golden,
    ties: &mut Vec<Tie>,
) -> Result<(usize, usize), VerifyError> {
    session.reset(0)?;
    let (deviation, mut agreed, mut counted) = (golden.deviation(), 0, 0);
    let mut feed = golden.input_ids.clone();
    let mut sequence = Sequence::new(session);
    let steps = golden.greedy_ids.iter().zip(&golden.greedy_gap);
    for (step, (id, gap)) in steps.enumerate() {
        let row = sequence.feed(&feed)?;
        let best = likeliest(row).map(|i| i as u32);
        let lead = f64::from(*gap) / deviation;
        // Both may be off by the tolerance, towards each other.
        match (lead >= 2.0 * TOLERANCE, best) {
            (true, best) => {
                counted += 1;
                agreed += usize::from(best == Some(*id));
            }
            (false, Some(found)) if found != *id => {
                let (place, expected) = (format!("greedy step {step}"), *id);
                let tie = Tie {
                    place,
                    expected,
                    found,
                    lead,
                };
                Tie::collect(ties, &[tie]);
            }
            (false, _) => {}
        }
        feed = vec![*id];
    }
    Ok((agreed, counted))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn golden(logits: Vec<f32>) -> Golden {
        Golden {
            input_ids: vec![0; logits.len()],
            logits,
            greedy_ids: vec![],
            greedy_gap: vec![],
        }
    }

    /// With a vocabulary of one token all logits are equal but for rounding, which is no deviation to measure by.
    #[test]
    fn one_token_is_compared_by_the_size_of_its_logits() {
        let golden = golden(vec![3.0, 3.000_000_5, 3.0, 2.999_999_5]);
        let difference = |by: f32| {
            let logits: Vec<f32> = golden.logits.iter().map(|v| v + by).collect();
            golden.difference("", &logits).difference
        };
        assert!(difference(1e-6) < TOLERANCE);
        assert!(difference(1e-3) > TOLERANCE);
    }

    #[test]
    fn logits_of_zero_are_compared() {
        assert_eq!(
            golden(vec![0.0; 3]).difference("", &[0.0; 3]).difference,
            0.0
        );
        assert!(
            golden(vec![0.0; 3])
                .difference("", &[0.0, 1e-9, 0.0])
                .difference
                > TOLERANCE
        );
    }

    #[test]
    fn logits_that_differ_are_compared_by_their_deviation() {
        let golden = golden(vec![-1.0, 1.0, -1.0, 1.0]);
        let found = golden.difference("", &[-1.0, 1.0, -1.0, 1.5]);
        assert_eq!((found.difference, found.row), (0.5, 3));
    }
}
