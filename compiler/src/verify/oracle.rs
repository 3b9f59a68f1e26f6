//! Compares compiled code, after every pass, with the plain interpreter.
//!
//! In: a model with weights, and token ids. The reference is the interpreter's reading of the graph with nothing fused. After
//! each pass both programs are compared with it twice: their graphs, as the interpreter reads them, and their code, in several
//! ways of feeding the tokens. So a difference is a pass's if the graph has it too, and code generation's if not.

use std::fmt;
use std::sync::Arc;

use graver_runtime::session::SessionOptions;
use serde::Serialize;

use super::{Comparison, Golden, TOLERANCE, VerifyError, compare_paths};
use crate::artifact::{JitError, PlannedModel, jit};
use crate::codegen::Planned;
use crate::driver::{self, CompileOptions, Loaded};
use crate::interp::Interpreter;
use crate::passes::{PASSES, PassOptions};
use crate::weights::Weights;

/// Why the comparison could not be made.
#[derive(Debug, thiserror::Error)]
pub enum OracleError {
    /// Code could not be made.
    #[error(transparent)]
    Jit(#[from] JitError),
    /// The model fails to run.
    #[error(transparent)]
    Run(#[from] VerifyError),
}

/// The model after one more pass.
#[derive(Clone, Debug, Serialize)]
pub struct PassCheck {
    /// Name of the pass; `nothing fused` before the first.
    pub pass: String,
    /// Whether it rewrote anything; what did not change is not compared again.
    pub changed: bool,
    /// The graphs of both programs, read by the interpreter.
    pub graphs: Vec<Comparison>,
    /// The compiled code, by the way the tokens were fed.
    pub code: Vec<Comparison>,
}

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct OracleReport {
    /// Tokens that were fed.
    pub tokens: usize,
    /// In the order of the passes.
    pub passes: Vec<PassCheck>,
    /// The first pass after which something differs, and what.
    pub first_difference: Option<String>,
    /// Largest difference of all, in standard deviations.
    pub largest: f64,
    /// What was allowed.
    pub tolerance: f64,
    /// Whether all is within the tolerance.
    pub passed: bool,
}

/// A model planned with the first few passes.
struct AfterPass {
    pass: String,
    /// Nothing where the pass changed nothing.
    planned: Option<PlannedModel>,
}

/// Token ids to feed a model of any kind: drawn from the whole vocabulary, the same each time.
pub fn any_tokens(n: usize, vocab: usize) -> Vec<u32> {
    // Knuth's multiplicative hash walks the vocabulary without a pattern that a model could be insensitive to.
    let id = |i: usize| (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
    (0..n)
        .map(|i| (id(i) % vocab.max(1) as u64) as u32)
        .collect()
}

/// Compares both programs with the interpreter after each enabled pass; `progress` hears the name of each.
///
/// # Errors
/// Sessions that cannot be opened, and what Cranelift reports.
pub fn against_interpreter(
    loaded: Loaded,
    options: &CompileOptions,
    tokens: &[u32],
    threads: Option<usize>,
    progress: &mut dyn FnMut(&str),
) -> Result<OracleReport, OracleError> {
    let stages = stages(&loaded, options);
    let weights = Arc::new(loaded.weights);
    let reference = Golden {
        input_ids: tokens.to_vec(),
        logits: interpret(&plain(&stages)[1], &weights, tokens),
        greedy_ids: vec![],
        greedy_gap: vec![],
    };
    let mut passes = vec![];
    for stage in stages {
        progress(&stage.pass);
        passes.push(check(stage, &weights, &reference, options, threads)?);
    }
    Ok(report(tokens.len(), passes))
}

/// Both programs with nothing fused: what the first stage is.
fn plain(stages: &[AfterPass]) -> &[Planned; 2] {
    &stages[0]
        .planned
        .as_ref()
        .expect("the first stage is always planned")
        .programs
}

/// The model with nothing fused, and after each enabled pass.
fn stages(loaded: &Loaded, options: &CompileOptions) -> Vec<AfterPass> {
    let plan = |limit: usize| {
        let passes = PassOptions {
            limit: Some(limit),
            ..options.passes.clone()
        };
        let options = CompileOptions {
            passes,
            ..options.clone()
        };
        driver::plan(loaded, &options)
    };
    let text = |p: &PlannedModel| p.programs.each_ref().map(|p| p.program.to_string());
    let first = plan(0);
    let mut before = text(&first);
    let mut out = vec![AfterPass {
        pass: "nothing fused".into(),
        planned: Some(first),
    }];
    for pass in options.passes.enabled() {
        let at = PASSES
            .iter()
            .position(|p| p.name == pass.name)
            .expect("one of the list");
        let planned = plan(at + 1);
        let after = text(&planned);
        let changed = after != before;
        before = after;
        out.push(AfterPass {
            pass: pass.name.into(),
            planned: changed.then_some(planned),
        });
    }
    out
}

fn check(
    stage: AfterPass,
    weights: &Arc<Weights>,
    reference: &Golden,
    options: &CompileOptions,
    threads: Option<usize>,
) -> Result<PassCheck, OracleError> {
    let Some(planned) = stage.planned else {
        return Ok(PassCheck {
            pass: stage.pass,
            changed: false,
            graphs: vec![],
            code: vec![],
        });
    };
    let graphs = planned.programs.iter().map(|p| {
        let logits = interpret(p, weights, &reference.input_ids);
        reference.difference(&format!("graph of {}", p.program.kind), &logits)
    });
    let graphs = graphs.collect();
    let program = jit(&planned)?;
    let session = SessionOptions {
        threads,
        context: Some(reference.input_ids.len()),
        checks: options.checks(),
        ..SessionOptions::default()
    };
    let session = driver::start(program, weights, session);
    let code = compare_paths(&mut session.map_err(VerifyError::from)?, reference)?;
    Ok(PassCheck {
        pass: stage.pass,
        changed: true,
        graphs,
        code,
    })
}

fn report(tokens: usize, passes: Vec<PassCheck>) -> OracleReport {
    let all = || {
        passes
            .iter()
            .flat_map(|p| p.graphs.iter().chain(&p.code).map(move |c| (p, c)))
    };
    let largest = all().map(|(_, c)| c.difference).fold(0.0, f64::max);
    let first_difference = all().find(|(_, c)| c.difference > TOLERANCE).map(|(p, c)| {
        let before = if p.pass == passes[0].pass {
            "with"
        } else {
            "after"
        };
        format!("{before} {}: {c}", p.pass)
    });
    let passed = first_difference.is_none();
    OracleReport {
        tokens,
        passes,
        first_difference,
        largest,
        tolerance: TOLERANCE,
        passed,
    }
}

/// All logits of `tokens`, fed to an empty sequence at once, `[tokens, vocab]`.
fn interpret(planned: &Planned, weights: &Weights, tokens: &[u32]) -> Vec<f32> {
    Interpreter::new(&planned.program, &weights.slots()).step(tokens)
}

impl fmt::Display for OracleReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} tokens, largest differences in standard deviations of the interpreter's logits",
            self.tokens
        )?;
        for p in &self.passes {
            writeln!(f, "{p}")?;
        }
        let largest = format!(
            "largest difference {:.2e}, allowed {:.0e}",
            self.largest, self.tolerance
        );
        match &self.first_difference {
            None => writeln!(f, "passed: {largest}"),
            Some(first) => writeln!(f, "FAILED: {largest}; first {first}"),
        }
    }
}

impl fmt::Display for PassCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.changed {
            return write!(f, "{:<24} changes nothing", self.pass);
        }
        let worst = |list: &[Comparison]| {
            let largest = list
                .iter()
                .max_by(|a, b| a.difference.total_cmp(&b.difference));
            largest.map_or_else(String::new, |c| format!("{:.2e}", c.difference))
        };
        let (graphs, code) = (worst(&self.graphs), worst(&self.code));
        write!(f, "{:<24} graphs {graphs:<9} code {code}", self.pass)
    }
}
