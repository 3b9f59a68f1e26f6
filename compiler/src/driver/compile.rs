//! The line on one page: spec → graph → passes → schedule → memory → codegen → artifact.

use std::sync::Arc;

use graver_runtime::Error;
use graver_runtime::abi::{CacheType, Dtype, Encoding};
use graver_runtime::session::{self, Session, SessionOptions};

use super::error::OpenError;
use super::loaded::{Activations, Loaded};
use super::manifest::manifest;
use super::options::CompileOptions;
use crate::agree;
use crate::artifact::{JitError, PlannedModel, jit, weight_source};
use crate::codegen::{Instruments, Planned};
use crate::graph::{Program, ProgramKind, Storage, build};
use crate::memory;
use crate::passes::{self, PassOptions, PassReport};
use crate::schedule::schedule;
use crate::spec::model::{Section, Weight};
use crate::walk::slots;
use crate::weights::{View, Weights};

/// Compiles a model in memory and makes it ready to run: code does what `options` or `session` asks for, be it time stamps or
/// checks.
///
/// # Errors
/// Systems that forbid running code made in memory, and sessions that do not fit the model or the memory.
pub fn open(
    mut loaded: Loaded,
    options: &CompileOptions,
    session: SessionOptions,
) -> Result<Session, OpenError> {
    let (options, session) = agreed(options, session);
    loaded.weights.settle();
    let program = compile(&loaded, &options)?;
    Ok(start(program, &Arc::new(loaded.weights), session)?)
}

/// [`open`], and how to open a session of the same weights whose steps give hidden states instead of logits, where the head has any.
///
/// # Errors
/// As [`open`].
pub fn open_with_hidden(
    mut loaded: Loaded,
    options: &CompileOptions,
    session: SessionOptions,
) -> Result<(Session, Option<HiddenStates>), OpenError> {
    let (options, session) = agreed(options, session);
    loaded.weights.settle();
    let program = compile(&loaded, &options)?;
    let mut hidden = None;
    if let Some(model) = loaded.model.without_logits() {
        let head = slots(&model, Section::Head);
        let kept = head.iter().map(|slot| slot.weight.count()).sum();
        loaded.weights.head.truncate(kept);
        loaded.model = model;
        hidden = Some(plan(&loaded, &options));
    }
    let weights = Arc::new(loaded.weights);
    let session = start(program, &weights, session)?;
    let hidden = hidden.map(|planned| HiddenStates { planned, weights });
    Ok((session, hidden))
}

/// Options of code and of a session, each with what the other asks for.
pub(super) fn agreed(
    options: &CompileOptions,
    session: SessionOptions,
) -> (CompileOptions, SessionOptions) {
    let mut options = options.clone();
    options.instruments.stamps |= session.profile;
    options.instruments.checks |= session.checks.is_some();
    let session = SessionOptions {
        checks: session.checks.or(options.checks()),
        ..session
    };
    (options, session)
}

/// A model that ends with hidden states, planned; code is made of it when somebody wants a session.
pub struct HiddenStates {
    planned: PlannedModel,
    weights: Arc<Weights>,
}

impl HiddenStates {
    /// Compiles it, and starts a session.
    ///
    /// # Errors
    /// As [`open`].
    pub fn start(&self, options: SessionOptions) -> Result<Session, OpenError> {
        Ok(start(jit(&self.planned)?, &self.weights, options)?)
    }
}

/// A session of compiled code with its weights, which several can share.
///
/// # Errors
/// Options that do not fit the model, or the memory.
pub fn start<W>(
    program: session::Program,
    weights: &Arc<W>,
    options: SessionOptions,
) -> Result<Session, Error>
where
    W: AsRef<Weights> + Send + Sync + 'static,
{
    Session::new(program, weight_source(weights), options)
}

/// The whole line for code in memory.
///
/// # Errors
/// Systems that forbid it, and what Cranelift reports.
pub fn compile(loaded: &Loaded, options: &CompileOptions) -> Result<session::Program, JitError> {
    jit(&plan(loaded, options))
}

/// Both programs of a model as code is made from them, with the manifest that describes them.
///
/// # Panics
/// Where a rule of [`Program::verify`] or of `agree` does not hold: a mistake of ours, whatever a user can cause being refused
/// when spec and weights are read.
pub fn plan(loaded: &Loaded, options: &CompileOptions) -> PlannedModel {
    let programs = [ProgramKind::Decode, ProgramKind::Prefill].map(|kind| {
        let plain = plain_program(loaded, kind, options.cache);
        plan_program(plain, &options.passes, options.instruments).0
    });
    let [decode, prefill] = programs.each_ref().map(|p| &p.program);
    agree::expect(agree::programs(decode, prefill), "as they are planned");
    PlannedModel {
        manifest: Arc::new(manifest(
            (&loaded.model, &loaded.weights),
            &programs,
            options,
            None,
        )),
        programs,
        target: options.target.clone(),
        symbols: options.symbols.clone(),
    }
}

/// From a graph to what code is made from.
///
/// # Panics
/// As [`plan`].
pub fn plan_program(
    mut program: Program,
    passes: &PassOptions,
    instruments: Instruments,
) -> (Planned, Vec<PassReport>) {
    let reports = passes::run(&mut program, passes);
    // This may add copies, so that the graph is verified once more.
    let schedule = schedule(&mut program);
    program.expect_valid("as it is scheduled");
    let memory = memory::plan(&program, &schedule);
    let planned = Planned {
        program,
        schedule,
        memory,
        instruments,
    };
    (planned, reports)
}

/// The plain graph of a program.
///
/// # Panics
/// As [`plan`].
pub fn plain_program(loaded: &Loaded, kind: ProgramKind, cache: CacheType) -> Program {
    let program = build(&loaded.model, kind, cache, &|section, weight| {
        storage(loaded, kind, section, weight)
    });
    program.expect_valid("as it is built");
    agree::expect(agree::slots(&program, &loaded.weights), "as it is built");
    agree::expect(agree::sizes(&program, &loaded.model), "as it is built");
    program
}

/// [`plain_program`] of decode and of prefill.
pub(crate) fn plain_programs(loaded: &Loaded, cache: CacheType) -> [Program; 2] {
    [ProgramKind::Decode, ProgramKind::Prefill].map(|kind| plain_program(loaded, kind, cache))
}

/// Whether rows that a weight, found at `view`, is multiplied with are rounded to bf16: matrices in bf16 have kernels for it, which are for many rows, and
/// routers choose by what they are given.
fn is_rounded_for(
    loaded: &Loaded,
    kind: ProgramKind,
    section: Section,
    weight: &Weight,
    view: &View,
) -> bool {
    if kind != ProgramKind::Prefill || loaded.activations != Activations::Bf16 {
        return false;
    }
    let all = slots(&loaded.model, section);
    let slot = all.iter().find(|slot| slot.weight.slot == weight.slot);
    let multiplies = slot.is_some_and(|slot| slot.role.may_be_rounded());
    multiplies && section != Section::Embed && Activations::are_rounded_for(view)
}

/// How a weight is stored and what it is multiplied with; one of a kind that no layer is of, plainly.
fn storage(loaded: &Loaded, kind: ProgramKind, section: Section, weight: &Weight) -> Storage {
    match loaded.weights.find(&loaded.model, section, &weight.slot) {
        Some(view) => Storage {
            encoding: view.encoding,
            row_stride: Some(view.row_stride_bytes),
            transposed: view.transposed,
            rounded: is_rounded_for(loaded, kind, section, weight, view),
        },
        None => Storage {
            encoding: Encoding::Float(Dtype::F32),
            row_stride: None,
            transposed: weight.transposed,
            rounded: false,
        },
    }
}
