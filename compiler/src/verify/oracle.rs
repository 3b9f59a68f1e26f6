//! Compares compiled code, after every pass, with the plain interpreter.
//!
//! In: a model with weights, and token ids. The reference is the interpreter's reading of the graph with nothing fused. After
//! each pass both programs are compared with it twice: their graphs, as the interpreter reads them, and their code, in several
//! ways of feeding the tokens. So a difference is a pass's if the graph has it too, and code generation's if not.

use std::fmt;

use graver_runtime::session::SessionOptions;
use serde::Serialize;

use super::tie::Tie;
use super::{Comparison, Golden, TOLERANCE, VerifyError, compare_paths};
use crate::driver::{
    self, CompileOptions, Loaded, OpenError, PlanRanksError, PlannedRank, plan_ranks, start_ranks,
};
use crate::graph::ProgramKind;
use crate::interp::{Interpreter, WeightBytes};
use crate::passes::{PASSES, PassOptions};
use crate::shard::Division;

/// Why the comparison could not be made.
#[derive(Debug, thiserror::Error)]
pub enum OracleError {
    /// Code could not be made, or not be run.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Ranks could not be planned.
    #[error(transparent)]
    Ranks(#[from] PlanRanksError),
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
    /// Ranks that shared the model.
    pub ranks: usize,
    /// In the order of the passes.
    pub passes: Vec<PassCheck>,
    /// The first pass after which something differs, and what.
    pub first_difference: Option<String>,
    /// Largest difference of all, in standard deviations.
    pub largest: f64,
    /// What roundings of its own values make of the model's logits, in standard deviations; measured where the usual tolerance is not enough.
    pub rounding: Option<f64>,
    /// What was allowed.
    pub tolerance: f64,
    /// Rows whose likeliest token is another, of two that are closer than differences may be.
    pub ties: Vec<Tie>,
    /// Whether all is within the tolerance.
    pub passed: bool,
}

/// A model planned with the first few passes.
struct AfterPass {
    pass: String,
    /// The parts of all ranks; nothing where the pass changed nothing.
    planned: Option<Vec<PlannedRank>>,
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
    ranks_against_interpreter(loaded, (options, 1.into()), tokens, threads, progress)
}

/// [`against_interpreter`] for ranks that share the model, each with so many threads; the interpreter has the whole model.
///
/// # Errors
/// As there, and numbers of ranks that there cannot be.
pub fn ranks_against_interpreter(
    loaded: Loaded,
    (options, division): (&CompileOptions, Division),
    tokens: &[u32],
    threads: Option<usize>,
    progress: &mut dyn FnMut(&str),
) -> Result<OracleReport, OracleError> {
    let whole = driver::plain_program(&loaded, ProgramKind::Prefill, options.cache);
    let slots = loaded.weights.slots();
    let logits = Interpreter::new(&whole, &slots).step(tokens);
    let reference = Golden {
        input_ids: tokens.to_vec(),
        logits,
        greedy_ids: vec![],
        greedy_gap: vec![],
    };
    let mut passes = vec![];
    for stage in stages(&loaded, options, division)? {
        progress(&stage.pass);
        passes.push(check(stage, &reference, options, threads)?);
    }
    let mut report = report((tokens.len(), division.ranks), passes);
    if report.largest > TOLERANCE {
        progress("what roundings alone do");
        let shaken = |seed| {
            let logits = Interpreter::new(&whole, &slots).shaken(seed).step(tokens);
            reference.difference("", &logits).difference
        };
        report.allow_for(SHAKES.into_iter().map(shaken).fold(0.0, f64::max));
    }
    Ok(report)
}

/// Seeds of the noise that stands for roundings.
const SHAKES: [u64; 3] = [1, 2, 3];

/// Code may be so many times as far off as the interpreter is where its values are off in their last bits: its sums round at every term.
const TIMES_ROUNDING: f64 = 4.0;

/// And never by so many times what is usual, or nothing would be compared.
const MOST_TIMES: f64 = 10.0;

/// The model with nothing fused, and after each enabled pass.
fn stages(
    loaded: &Loaded,
    options: &CompileOptions,
    division: Division,
) -> Result<Vec<AfterPass>, PlanRanksError> {
    let plan = |limit: usize| {
        let passes = PassOptions {
            limit: Some(limit),
            ..options.passes.clone()
        };
        let options = CompileOptions {
            passes,
            ..options.clone()
        };
        plan_ranks(loaded, &options, division)
    };
    let text = |parts: &[PlannedRank]| {
        let programs = parts.iter().flat_map(|p| &p.model.programs);
        programs.map(|p| p.program.to_string()).collect::<Vec<_>>()
    };
    let first = plan(0)?;
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
        let planned = plan(at + 1)?;
        let after = text(&planned);
        let changed = after != before;
        before = after;
        out.push(AfterPass {
            pass: pass.name.into(),
            planned: changed.then_some(planned),
        });
    }
    Ok(out)
}

fn check(
    stage: AfterPass,
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
    let graphs = [ProgramKind::Decode, ProgramKind::Prefill].into_iter();
    let graphs = graphs.enumerate().map(|(program, kind)| {
        let logits = interpret(&planned, program, &reference.input_ids);
        reference.difference(&format!("graph of {kind}"), &logits)
    });
    let graphs = graphs.collect();
    let session = SessionOptions {
        threads,
        context: Some(reference.input_ids.len()),
        checks: options.checks(),
        ..SessionOptions::default()
    };
    let mut session = start_ranks(planned, options, &session)?;
    let code = compare_paths(&mut session, reference)?;
    Ok(PassCheck {
        pass: stage.pass,
        changed: true,
        graphs,
        code,
    })
}

fn report((tokens, ranks): (usize, usize), passes: Vec<PassCheck>) -> OracleReport {
    let all = || {
        passes
            .iter()
            .flat_map(|p| p.graphs.iter().chain(&p.code).map(move |c| (p, c)))
    };
    let largest = all().map(|(_, c)| c.difference).fold(0.0, f64::max);
    let mut ties: Vec<Tie> = vec![];
    for (_, c) in all() {
        Tie::collect(&mut ties, &c.ties);
    }
    let mut report = OracleReport {
        tokens,
        ranks,
        passes,
        first_difference: None,
        largest,
        rounding: None,
        tolerance: TOLERANCE,
        ties,
        passed: true,
    };
    report.judge();
    report
}

impl OracleReport {
    /// Finds the first difference that is not allowed.
    fn judge(&mut self) {
        let place = |p: &PassCheck, c: &Comparison| {
            let before = match p.pass == self.passes[0].pass {
                true => "with",
                false => "after",
            };
            format!("{before} {}: {c}", p.pass)
        };
        let compared = |p: &PassCheck| {
            let mut all = p.graphs.iter().chain(&p.code);
            let first = all.find(|c| c.difference > self.tolerance);
            first.map(|c| place(p, c))
        };
        self.first_difference = self.passes.iter().find_map(compared);
        self.passed = self.first_difference.is_none();
    }

    /// Allows for a model that makes so much of the roundings of its own values.
    fn allow_for(&mut self, rounding: f64) {
        let wider = (TIMES_ROUNDING * rounding).min(MOST_TIMES * TOLERANCE);
        self.rounding = Some(rounding);
        self.tolerance = wider.max(TOLERANCE);
        self.judge();
    }
}

/// All logits of `tokens`, fed to an empty sequence of program 0, decode, or 1, prefill, at once, `[tokens, vocab]`.
fn interpret(parts: &[PlannedRank], program: usize, tokens: &[u32]) -> Vec<f32> {
    let slots: Vec<_> = parts.iter().map(|p| p.weights.slots()).collect();
    let ranks = parts.iter().zip(&slots).map(|(part, slots)| {
        let program = &part.model.programs[program].program;
        (program, slots as &dyn WeightBytes)
    });
    Interpreter::of_ranks(ranks).step(tokens)
}

impl fmt::Display for OracleReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} tokens{}, largest differences in standard deviations of the interpreter's logits",
            self.tokens,
            match self.ranks {
                1 => String::new(),
                n => format!(" on {n} ranks"),
            }
        )?;
        for p in &self.passes {
            writeln!(f, "{p}")?;
        }
        for tie in &self.ties {
            writeln!(f, "{tie}")?;
        }
        if let Some(rounding) = self.rounding {
            writeln!(
                f,
                "roundings of its own values, each in the last bit, move this model's logits by {rounding:.2e} already"
            )?;
        }
        let allowed = match self.rounding {
            Some(_) => format!("{:.1e}", self.tolerance),
            None => format!("{:.0e}", self.tolerance),
        };
        let largest = format!("largest difference {:.2e}, allowed {allowed}", self.largest);
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A report whose only comparison differs by so much.
    fn differing(difference: f64) -> OracleReport {
        let comparison = Comparison {
            path: "whole".into(),
            difference,
            row: 0,
            column: 0,
            ties: vec![],
        };
        let pass = PassCheck {
            pass: "nothing fused".into(),
            changed: true,
            graphs: vec![],
            code: vec![comparison],
        };
        report((1, 1), vec![pass])
    }

    #[test]
    fn differences_are_allowed_as_far_as_roundings_go_and_no_further() {
        let allowed = |difference, rounding| {
            let mut report = differing(difference);
            assert!(!report.passed && report.tolerance == TOLERANCE);
            report.allow_for(rounding);
            report.passed
        };
        assert!(allowed(2e-3, 6e-4));
        // Roundings do not explain it.
        assert!(!allowed(2e-3, 1e-4) && !allowed(2e-3, 4e-4));
        // Nothing explains this, whatever roundings do.
        assert!(!allowed(2e-2, 1.0));
        assert!(allowed(9e-3, 1.0));
    }

    #[test]
    fn what_roundings_do_is_said() {
        let mut report = differing(2e-3);
        report.allow_for(6e-4);
        let said = report.to_string();
        assert!(
            said.contains("move this model's logits by 6.00e-4 already"),
            "{said}"
        );
        assert!(
            said.contains("passed: largest difference 2.00e-3, allowed 2.4e-3"),
            "{said}"
        );
    }
}
