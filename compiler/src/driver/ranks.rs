//! The line for a model that several ranks share: the plain programs are sharded, and go on as others do, rank by rank.

use std::sync::Arc;

use graver_runtime::Error;
use graver_runtime::abi::RankInfo;
use graver_runtime::appendix::Checksum;
use graver_runtime::ranks::Communicator;
use graver_runtime::ranks::local::{self, LocalRank, MakeSession};
use graver_runtime::session::{self, Session, SessionOptions};

use super::compile::{agreed, plain_programs, plan_program};
use super::error::{OpenError, PlanRanksError};
use super::loaded::Loaded;
use super::manifest::manifest;
use super::options::CompileOptions;
use crate::agree;
use crate::artifact::{JitError, PlannedModel, jit, weight_source};
use crate::graph::Program;
use crate::shard::{Division, Method, Sharding, same_code};
use crate::weights::Weights;

/// One rank's part of a model, as code is made from it.
#[derive(Debug)]
pub struct PlannedRank {
    /// Its programs and manifest.
    pub model: PlannedModel,
    /// Its weights, which share bytes with those of the others.
    pub weights: Weights,
}

/// A model that is to be shared by ranks.
#[derive(Debug)]
pub struct Ranks<'a> {
    loaded: &'a Loaded,
    options: &'a CompileOptions,
    /// Decode and prefill of the whole model, nothing fused.
    plain: [Program; 2],
    sharding: Sharding,
    /// What tells its parts from those of others.
    checksum: u64,
}

impl<'a> Ranks<'a> {
    /// Plans how ranks share a model.
    ///
    /// # Errors
    /// A number of ranks that there cannot be.
    ///
    /// # Panics
    /// As [`plan`](super::plan).
    pub fn plan(
        loaded: &'a Loaded,
        options: &'a CompileOptions,
        division: impl Into<Division>,
    ) -> Result<Ranks<'a>, PlanRanksError> {
        let division = division.into();
        let plain = plain_programs(loaded, options.cache);
        Ok(Ranks {
            sharding: Sharding::plan(&plain[0], division)?,
            checksum: checksum(&plain[0], loaded, options, division),
            loaded,
            options,
            plain,
        })
    }

    /// The part of one rank.
    ///
    /// # Errors
    /// No memory for weights that are copied.
    pub fn part(&self, rank: usize) -> Result<PlannedRank, PlanRanksError> {
        let Ranks {
            loaded, options, ..
        } = self;
        let parts = self.plain.each_ref();
        let parts = parts.map(|program| self.sharding.rank(program, rank));
        let weights = loaded.weights.share(&self.plain[0], &parts[0])?;
        let programs = parts.map(|part| {
            let (passes, instruments) = (&options.passes, options.instruments);
            plan_program(part.program, passes, instruments).0
        });
        let [decode, prefill] = programs.each_ref().map(|p| &p.program);
        agree::expect(agree::programs(decode, prefill), "as they are planned");
        agree::expect(agree::sizes(decode, &loaded.model), "as they are planned");
        let info = RankInfo {
            rank,
            ranks: self.sharding.ranks(),
            model: self.checksum,
        };
        let manifest = manifest((&loaded.model, &weights), &programs, options, Some(info));
        let model = PlannedModel {
            manifest: Arc::new(manifest),
            programs,
            target: options.target.clone(),
            symbols: options.symbols.clone(),
        };
        Ok(PlannedRank { model, weights })
    }
}

/// The parts of all ranks.
///
/// # Errors
/// As [`Ranks::plan`] and [`Ranks::part`].
pub fn plan_ranks(
    loaded: &Loaded,
    options: &CompileOptions,
    division: impl Into<Division>,
) -> Result<Vec<PlannedRank>, PlanRanksError> {
    let planned = Ranks::plan(loaded, options, division)?;
    (0..planned.sharding.ranks())
        .map(|rank| planned.part(rank))
        .collect()
}

/// Bytes of each weight that a model is told from others by.
const SAMPLE: usize = 64;

/// What tells the parts of one model from those of others: its graphs, what becomes of them, some of its weights.
fn checksum(
    program: &Program,
    loaded: &Loaded,
    options: &CompileOptions,
    division: Division,
) -> u64 {
    let mut sum = Checksum::default();
    sum.update(&division.ranks.to_le_bytes());
    sum.update(division.method.name().as_bytes());
    sum.update(program.to_string().as_bytes());
    let passes = options.passes.enabled().into_iter().map(|pass| pass.name);
    passes.for_each(|name| sum.update(name.as_bytes()));
    sum.update(options.target.name.as_bytes());
    for view in loaded
        .weights
        .views()
        .filter(|view| loaded.weights.is_there(view))
    {
        let bytes = loaded.weights.bytes(view);
        sum.update(&bytes[..bytes.len().min(SAMPLE)]);
    }
    sum.finish()
}

/// Compiles a model in memory for ranks that are threads of this process, each with the threads that `session` says.
///
/// # Errors
/// As [`open`](super::open), and of any rank.
pub fn open_ranks(
    mut loaded: Loaded,
    options: &CompileOptions,
    division: impl Into<Division>,
    session: SessionOptions,
) -> Result<Session, OpenError> {
    let (options, session) = agreed(options, session);
    loaded.weights.settle();
    let planned = plan_ranks(&loaded, &options, division)?;
    drop(loaded);
    start_ranks(planned, &options, &session)
}

/// Compiles in memory the part of a model that belongs to one rank, which reaches the others through `communicator`. Nothing is
/// compiled for the others.
///
/// # Errors
/// As [`open_ranks`], and ranks that have something else.
pub fn open_rank(
    mut loaded: Loaded,
    options: &CompileOptions,
    method: Method,
    session: SessionOptions,
    communicator: Box<dyn Communicator>,
) -> Result<Session, OpenError> {
    let (options, session) = agreed(options, session);
    loaded.weights.settle();
    let ranks = communicator.ranks();
    let planned = Ranks::plan(&loaded, &options, Division { ranks, method })?;
    let planned = planned.part(communicator.rank())?;
    start_rank(planned, session, communicator)
}

/// Starts a rank that is planned, which this process is.
///
/// # Errors
/// As [`open_rank`].
pub fn start_rank(
    planned: PlannedRank,
    session: SessionOptions,
    communicator: Box<dyn Communicator>,
) -> Result<Session, OpenError> {
    let PlannedRank { model, weights } = planned;
    let (program, weights) = (jit(&model)?, weight_source(&Arc::new(weights)));
    Ok(Session::of_rank(program, weights, session, communicator)?)
}

/// Starts ranks that are planned, as threads of this process.
///
/// # Errors
/// As [`open_ranks`].
pub fn start_ranks(
    planned: Vec<PlannedRank>,
    options: &CompileOptions,
    session: &SessionOptions,
) -> Result<Session, OpenError> {
    let code = code_of_ranks(&planned)?;
    let mut makers: Vec<MakeSession> = vec![];
    let parts = planned.into_iter().zip(code.programs).enumerate();
    for (rank, (PlannedRank { weights, .. }, program)) in parts {
        let session = SessionOptions {
            checks: session.checks.or(options.checks()),
            first_cpu: rank * session.threads.unwrap_or(1),
            ..session.clone()
        };
        let make = move |rank: LocalRank| -> Result<Session, Error> {
            let weights = weight_source(&Arc::new(weights));
            Session::of_rank(program, weights, session, Box::new(rank))
        };
        makers.push(Box::new(make));
    }
    Ok(local::start(makers)?)
}

/// Code of all ranks.
pub struct CodeOfRanks {
    /// The program of each, with a manifest of its own.
    pub programs: Vec<session::Program>,
    /// Ranks for which code was made: the others have the same.
    pub compiled: usize,
}

/// Compiles ranks in memory. Those whose parts have the same shapes share code, so that it takes as long for many as for few.
///
/// # Errors
/// Systems that forbid code in memory, and what Cranelift reports.
pub fn code_of_ranks(planned: &[PlannedRank]) -> Result<CodeOfRanks, JitError> {
    let mut own: Vec<usize> = vec![];
    let mut programs: Vec<session::Program> = vec![];
    for (rank, part) in planned.iter().enumerate() {
        let model = &part.model;
        let has_it = |other: &&usize| has_code_of(&planned[**other].model, model);
        let program = match own.iter().find(has_it) {
            // SAFETY: the two manifests are of programs with the same code, and state the same sizes with it.
            Some(other) => unsafe {
                let manifest = Arc::clone(&model.manifest);
                programs[*other].with_manifest(manifest)
            },
            None => {
                own.push(rank);
                jit(model)?
            }
        };
        programs.push(program);
    }
    let compiled = own.len();
    Ok(CodeOfRanks { programs, compiled })
}

/// Whether the code of one model is that of another, too.
fn has_code_of(a: &PlannedModel, b: &PlannedModel) -> bool {
    let mut programs = a.programs.iter().zip(&b.programs);
    programs.all(|(a, b)| same_code(&a.program, &b.program))
}
