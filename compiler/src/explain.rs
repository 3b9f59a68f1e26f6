//! What the passes did to a model, in words: every candidate of every pass, with its place in the spec.
//!
//! In: a loaded model (without weights will do) and which passes run. Out: an [`Explanation`], which prints as text and
//! serialises as JSON. Says what happened and why, not what it is worth: that is for `bench`.

use std::fmt;

use graver_runtime::abi::CacheType;
use serde::Serialize;

use crate::codegen::{Instruments, Planned};
use crate::driver::{Loaded, Part, plain_programs, plan_program};
use crate::graph::Program;
use crate::passes::{Outcome, PASSES, PassOptions, PassReport};
use crate::shard::{RanksError, Sharding, Shared};
use crate::units::counted;

/// Every candidate of every pass, and what the passes together came to.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// Name of the spec.
    pub spec: String,
    /// Layer kinds, each with the number of its layers.
    pub kinds: Vec<Kind>,
    /// How ranks share the model, where there are several; passes and programs are then those of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sharing: Option<Sharing>,
    /// In the order in which they run.
    pub passes: Vec<PassExplanation>,
    /// Decode and prefill.
    pub programs: Vec<Totals>,
}

/// A layer kind.
#[derive(Clone, Debug, Serialize)]
pub struct Kind {
    /// `dense`.
    pub name: String,
    /// How many layers are of it.
    pub layers: usize,
}

/// How ranks share a model.
#[derive(Clone, Debug, Serialize)]
pub struct Sharing {
    /// How many.
    pub ranks: usize,
    /// Whose passes and programs are shown.
    pub rank: usize,
    /// Times that they meet in a step.
    pub meetings: usize,
    /// Products that could be shared.
    pub products: Vec<SharedProduct>,
}

/// A product that ranks could share.
#[derive(Clone, Debug, Serialize)]
pub struct SharedProduct {
    /// Place in the spec: `layers.dense.attention.o`.
    pub at: String,
    /// Whether they do.
    pub shared: bool,
    /// What is dealt out, or why all ranks compute all of it.
    pub reason: String,
}

/// What one pass did.
#[derive(Clone, Debug, Serialize)]
pub struct PassExplanation {
    /// Name of the pass.
    pub pass: &'static str,
    /// One line on what it does.
    pub about: &'static str,
    /// Whether it ran.
    pub enabled: bool,
    /// Places where it could act, those of decode first.
    pub candidates: Vec<Candidate>,
}

/// A place where a pass could act.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Candidate {
    /// Place in the spec: `layers.dense.attention.q`.
    pub at: String,
    /// `decode` or `prefill`.
    pub program: String,
    /// Whether it was rewritten.
    pub fused: bool,
    /// Into what, or why not.
    pub reason: String,
}

/// Kernels and barriers of one step, before and after all passes.
#[derive(Clone, Debug, Serialize)]
pub struct Totals {
    /// `decode` or `prefill`.
    pub program: String,
    /// Without any pass.
    pub plain: Counts,
    /// With the passes that ran.
    pub fused: Counts,
}

/// What a step is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Functions that run.
    pub kernels: usize,
    /// Times that threads wait for each other.
    pub barriers: usize,
}

/// Plans both programs with `passes`, and tells what happened.
pub fn explain(loaded: &Loaded, passes: &PassOptions, cache: CacheType) -> Explanation {
    let plain = plain_programs(loaded, cache);
    explained(loaded, passes, &plain, (&Sharding::of_one(&plain[0]), 0))
}

/// [`explain`] for ranks that share the model, with passes and programs of one of them.
///
/// # Errors
/// Numbers of ranks that there cannot be, and a rank that is none of them.
pub fn explain_ranks(
    loaded: &Loaded,
    passes: &PassOptions,
    cache: CacheType,
    part: Part,
) -> Result<Explanation, RanksError> {
    let plain = plain_programs(loaded, cache);
    let sharding = part.sharding(&plain)?;
    Ok(explained(loaded, passes, &plain, (&sharding, part.rank)))
}

fn explained(
    loaded: &Loaded,
    passes: &PassOptions,
    plain: &[Program; 2],
    (sharding, rank): (&Sharding, usize),
) -> Explanation {
    let none = PassOptions {
        no_fuse: true,
        ..PassOptions::default()
    };
    let own = plain.each_ref();
    let own = own.map(|program| sharding.rank(program, rank).program);
    let plan = |program: &Program, passes: &PassOptions| {
        plan_program(program.clone(), passes, Instruments::default())
    };
    let shares = sharding.ranks() > 1;
    let sharing = shares.then(|| sharing((sharding, rank), &plain[0], &own[0]));
    let plain = own.each_ref().map(|program| plan(program, &none).0);
    let fused = own.each_ref().map(|program| plan(program, passes));
    let totals = plain.iter().zip(&fused).map(|(plain, (fused, _))| Totals {
        program: fused.program.kind.to_string(),
        plain: counts(plain),
        fused: counts(fused),
    });
    Explanation {
        spec: loaded.model.name.clone(),
        kinds: layer_kinds(loaded),
        sharing,
        programs: totals.collect(),
        passes: pass_explanations(passes, &fused),
    }
}

fn sharing((sharding, rank): (&Sharding, usize), whole: &Program, own: &Program) -> Sharing {
    let product = |shared: Shared| {
        let is_shared = shared.outcome.is_ok();
        let (Ok(reason) | Err(reason)) = shared.outcome;
        SharedProduct {
            at: shared.at,
            shared: is_shared,
            reason,
        }
    };
    let places = own.collectives();
    let meetings = |b| places.iter().filter(|(block, ..)| *block == b).count();
    Sharing {
        ranks: sharding.ranks(),
        rank,
        meetings: own.run_order().map(meetings).sum(),
        products: sharding.products(whole).into_iter().map(product).collect(),
    }
}

fn layer_kinds(loaded: &Loaded) -> Vec<Kind> {
    let model = &loaded.model;
    let kinds = model.kinds.iter().enumerate();
    kinds
        .map(|(i, kind)| Kind {
            name: kind.name.clone(),
            layers: model.layers.iter().filter(|k| **k == i).count(),
        })
        .collect()
}

fn pass_explanations(
    options: &PassOptions,
    fused: &[(Planned, Vec<PassReport>); 2],
) -> Vec<PassExplanation> {
    let enabled = options.enabled();
    PASSES
        .iter()
        .map(|pass| PassExplanation {
            pass: pass.name,
            about: pass.about,
            enabled: enabled.iter().any(|p| p.name == pass.name),
            candidates: fused
                .iter()
                .flat_map(|(planned, reports)| candidates(pass.name, planned, reports))
                .collect(),
        })
        .collect()
}

fn candidates(pass: &str, planned: &Planned, reports: &[PassReport]) -> Vec<Candidate> {
    let sites = reports
        .iter()
        .filter(|r| r.pass == pass)
        .flat_map(|r| &r.candidates);
    sites
        .map(|(block, site)| {
            let (fused, reason) = match &site.outcome {
                Outcome::Fused(into) => (true, into.clone()),
                Outcome::Kept(why) => (false, why.clone()),
            };
            Candidate {
                at: format!("{}.{}", planned.program.place(*block), site.at),
                program: planned.program.kind.to_string(),
                fused,
                reason,
            }
        })
        .collect()
}

/// Kernels and barriers of a step in which logits are wanted, every layer counted.
pub fn counts(planned: &Planned) -> Counts {
    let mut sum = Counts::default();
    for block in planned.program.run_order() {
        let kernels = &planned.schedule.blocks[block].kernels;
        sum.kernels += kernels.len();
        sum.barriers += kernels.iter().filter(|k| k.barrier).count();
    }
    sum
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds: Vec<_> = self
            .kinds
            .iter()
            .map(|k| format!("{} × {}", k.layers, k.name))
            .collect();
        writeln!(f, "{}: layers {}", self.spec, kinds.join(", "))?;
        if let Some(sharing) = &self.sharing {
            write!(f, "\n{sharing}")?;
        }
        for story in &self.passes {
            write!(f, "\n{story}")?;
        }
        writeln!(f)?;
        for t in &self.programs {
            writeln!(f, "{t}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Sharing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let meetings = counted(self.meetings, "collective");
        let Sharing { ranks, rank, .. } = self;
        writeln!(f, "{ranks} ranks, {meetings} a step; this is rank {rank}")?;
        let places = self.products.iter().map(|p| p.at.chars().count());
        let width = places.max().unwrap_or(0);
        for SharedProduct { at, shared, reason } in &self.products {
            let verdict = if *shared { "shared" } else { "whole " };
            writeln!(f, "  {at:<width$}  {verdict}  {reason}")?;
        }
        Ok(())
    }
}

impl fmt::Display for PassExplanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let off = if self.enabled { "" } else { " (switched off)" };
        writeln!(f, "{}{off}: {}", self.pass, self.about)?;
        if self.candidates.is_empty() && self.enabled {
            writeln!(f, "  no candidates")?;
        }
        let lines = self.lines();
        let width = lines.iter().map(|l| l.0.chars().count()).max().unwrap_or(0);
        for (at, programs, outcome) in &lines {
            writeln!(f, "  {at:<width$}  {programs:<7}  {outcome}")?;
        }
        Ok(())
    }
}

impl PassExplanation {
    /// Place, programs and outcome of each candidate; what decode and prefill agree on stands once.
    fn lines(&self) -> Vec<(&str, &str, String)> {
        let mut out: Vec<(&str, &str, String)> = vec![];
        for c in &self.candidates {
            let verdict = if c.fused { "fused" } else { "kept " };
            let outcome = format!("{verdict}  {}", c.reason);
            let same = out
                .iter_mut()
                .find(|l| l.0 == c.at && l.1 == "decode" && l.2 == outcome);
            match same {
                Some(line) if c.program != "decode" => line.1 = "both",
                Some(_) | None => out.push((&c.at, &c.program, outcome)),
            }
        }
        // What differs stands together: prefill's line follows decode's of the same place.
        let first = |at: &str| self.candidates.iter().position(|c| c.at == at);
        out.sort_by_key(|l| first(l.0));
        out
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (plain, fused) = (self.plain, self.fused);
        write!(
            f,
            "a {} step: {} and {}, {} and {} unfused",
            self.program,
            counted(fused.kernels, "kernel"),
            counted(fused.barriers, "barrier"),
            plain.kernels,
            plain.barriers
        )
    }
}
