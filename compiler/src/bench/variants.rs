//! What is compared: a model with all its passes, with none, without one, or with one alone.

use super::verdict::Saved;
use crate::codegen::Instruments;
use crate::driver::{CompileOptions, Loaded, plain_program, plan_program};
use crate::explain::counts;
use crate::graph::ProgramKind;
use crate::passes::{Outcome, PASSES, PassOptions};

/// One of the things that are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    /// `fused`, `without norm-prologue`.
    pub name: String,
    /// Its passes.
    pub passes: PassOptions,
    /// Whether it takes the time of its kernels.
    pub profiled: bool,
}

/// The graph as its passes leave it.
pub fn fused(passes: &PassOptions) -> Variant {
    variant("fused", passes.clone())
}

/// Fused and unfused.
pub fn ab(passes: &PassOptions) -> Vec<Variant> {
    vec![fused(passes), unfused()]
}

/// The plain graph.
pub fn unfused() -> Variant {
    let none = PassOptions {
        no_fuse: true,
        ..PassOptions::default()
    };
    variant("unfused", none)
}

/// Fused and unfused, then every pass that acts on the model, switched off alone and on alone.
pub fn ablation(loaded: &Loaded, options: &CompileOptions) -> Vec<Variant> {
    let mut out = ab(&options.passes);
    let acting = acting(loaded, options);
    for pass in &acting {
        let mut off = options.passes.clone();
        off.disabled.push(pass.to_string());
        out.push(variant(&format!("without {pass}"), off));
    }
    for pass in &acting {
        let others = PASSES.iter().map(|p| p.name).filter(|n| n != pass);
        let only = PassOptions {
            disabled: others.map(String::from).collect(),
            ..PassOptions::default()
        };
        out.push(variant(&format!("only {pass}"), only));
    }
    out
}

fn variant(name: &str, passes: PassOptions) -> Variant {
    Variant {
        name: name.into(),
        passes,
        profiled: false,
    }
}

/// The fused graph again, taking the time of its kernels: what that costs stands in the report like any other ratio.
pub fn profiled(passes: &PassOptions) -> Variant {
    Variant {
        profiled: true,
        ..variant("profiled", passes.clone())
    }
}

/// Passes that fuse something somewhere.
fn acting(loaded: &Loaded, options: &CompileOptions) -> Vec<&'static str> {
    let reports = [ProgramKind::Decode, ProgramKind::Prefill].map(|kind| {
        let plain = plain_program(loaded, kind, options.cache);
        plan_program(plain, &options.passes, Instruments::default()).1
    });
    let fused = |name: &str| {
        let mut sites = reports
            .iter()
            .flatten()
            .filter(|r| r.pass == name)
            .flat_map(|r| &r.candidates);
        sites.any(|(_, site)| matches!(site.outcome, Outcome::Fused(_)))
    };
    PASSES.iter().map(|p| p.name).filter(|n| fused(n)).collect()
}

/// The pass that saves most barriers of a decode step, by itself.
pub(super) fn most_saving(loaded: &Loaded, options: &CompileOptions) -> Option<Saved> {
    let barriers = |passes: &PassOptions| {
        let plain = plain_program(loaded, ProgramKind::Decode, options.cache);
        counts(&plan_program(plain, passes, Instruments::default()).0).barriers
    };
    let with_all = barriers(&options.passes);
    let saved = options.passes.enabled().into_iter().map(|pass| {
        let mut without = options.passes.clone();
        without.disabled.push(pass.name.into());
        let barriers = barriers(&without).saturating_sub(with_all);
        Saved {
            pass: pass.name,
            barriers,
        }
    });
    saved.filter(|s| s.barriers > 0).max_by_key(|s| s.barriers)
}
