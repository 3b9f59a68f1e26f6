//! The passes, in the order they run. Each is one file and one free function: find all matches, then apply them.
//!
//! A pass takes a block's graph and says of every candidate whether it was fused, and why not. After each pass the
//! verifier runs. Any pass can be left out by name; without all of them the graph is the plain one that benchmarks compare
//! with.

mod bias_epilogue;
mod candidate;
mod dead_nodes;
mod epilogue_steps;
mod expert_block;
mod gated_activation;
mod head_epilogue;
mod int8_epilogue;
mod int8_prologue;
mod latent_cache;
mod latent_prefill;
mod merge_projections;
mod norm_prologue;
mod one_pass_attention;
mod qkv_epilogue;
mod recurrent_epilogue;
mod residual_epilogue;
mod rewrite;
mod scale_epilogue;

pub use self::candidate::{Candidate, Outcome};

use crate::graph::{Graph, Program, ProgramKind, verify};
use crate::spec::nearest;

/// A rewrite with its name.
pub struct Pass {
    /// For `--no-pass`.
    pub name: &'static str,
    /// One line for listings.
    pub about: &'static str,
    run: fn(&mut Graph, ProgramKind) -> Vec<Candidate>,
}

/// All passes, in order: what a kernel computes is settled from its middle outwards.
///
/// `latent-cache` comes first, because it undoes projections that the next would merge. `merge-projections` makes the matmuls that
/// all epilogues go into. Epilogues follow in the order in which a kernel applies them: bias; what is done to heads, with the
/// cache write where there is one; activation and gate; experts, whose inside is such products; a factor; the residual; rounding to
/// int8, which is last in a kernel. Prologues come after all epilogues, since a norm goes into whatever matmul is left to read it, and
/// the rounding of an input takes over a norm that is in front of it. Attention is fused when its queries and keys
/// have found their places, `latent-prefill` chooses between two forms of fused attention, and `dead-nodes` clears what
/// nothing reads in the graph as it was built.
pub const PASSES: &[Pass] = &[
    Pass {
        name: "latent-cache",
        about: "cache the latent of latent attention, and absorb its expansion",
        run: latent_cache::run,
    },
    Pass {
        name: "merge-projections",
        about: "merge matmuls that read the same input",
        run: merge_projections::run,
    },
    Pass {
        name: "bias-epilogue",
        about: "add a bias in the epilogue of its matmul",
        run: bias_epilogue::run,
    },
    Pass {
        name: "qkv-epilogue",
        about: "QK-norm, RoPE and the cache write in the epilogue of the projection",
        run: qkv_epilogue::run,
    },
    Pass {
        name: "recurrent-epilogue",
        about: "per-head operations in the epilogue of a convolution or the delta rule",
        run: recurrent_epilogue::run,
    },
    Pass {
        name: "head-epilogue",
        about: "per-head rotations and norms in the epilogue of the projection",
        run: head_epilogue::run,
    },
    Pass {
        name: "gated-activation",
        about: "activation, and gate times up, in the epilogue of the matmul",
        run: gated_activation::run,
    },
    Pass {
        name: "expert-block",
        about: "routing, gather, matmuls, activation and weighted sum of experts in two kernels",
        run: expert_block::run,
    },
    Pass {
        name: "scale-epilogue",
        about: "multiply by a number in the epilogue of the matmul",
        run: scale_epilogue::run,
    },
    Pass {
        name: "residual-epilogue",
        about: "add the residual in the epilogue of its matmul",
        run: residual_epilogue::run,
    },
    Pass {
        name: "int8-epilogue",
        about: "round a product to int8 in the epilogue of its matmul",
        run: int8_epilogue::run,
    },
    Pass {
        name: "norm-prologue",
        about: "compute a norm in the prologue of the matmul, or in the rounding, that reads it",
        run: norm_prologue::run,
    },
    Pass {
        name: "int8-prologue",
        about: "round to int8 in the prologue of the matmul",
        run: int8_prologue::run,
    },
    Pass {
        name: "one-pass-attention",
        about: "scores, softmax and weighted sum in one pass over the keys",
        run: one_pass_attention::run,
    },
    Pass {
        name: "latent-prefill",
        about: "in long steps, expand latents or absorb the expansion, whichever is cheaper",
        run: latent_prefill::run,
    },
    Pass {
        name: "dead-nodes",
        about: "remove nodes that nothing reads",
        run: dead_nodes::run,
    },
];

/// Which passes run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PassOptions {
    /// None at all.
    pub no_fuse: bool,
    /// Names left out.
    pub disabled: Vec<String>,
    /// Only the first so many of the list.
    pub limit: Option<usize>,
}

/// What a pass did to a program.
#[derive(Clone, Debug)]
pub struct PassReport {
    /// Name of the pass.
    pub pass: &'static str,
    /// Index of the block, and candidate, in order.
    pub candidates: Vec<(usize, Candidate)>,
}

/// A name that is not a pass's.
#[derive(Debug, thiserror::Error)]
#[error(
    "no pass named `{name}`{}; the passes are {known}",
    nearest.as_ref().map(|n| format!(" (did you mean `{n}`?)")).unwrap_or_default()
)]
pub struct UnknownPass {
    /// What was asked for.
    pub name: String,
    /// The most similar name.
    pub nearest: Option<String>,
    /// All names.
    pub known: String,
}

impl PassOptions {
    /// Complains about names that are not those of passes.
    ///
    /// # Errors
    /// The first unknown name.
    pub fn check(&self) -> Result<(), UnknownPass> {
        let unknown = self
            .disabled
            .iter()
            .find(|n| PASSES.iter().all(|p| p.name != **n));
        let known = || PASSES.iter().map(|p| p.name).collect::<Vec<_>>().join(", ");
        unknown.map_or(Ok(()), |name| {
            Err(UnknownPass {
                name: name.clone(),
                nearest: nearest(name, PASSES.iter().map(|p| p.name)),
                known: known(),
            })
        })
    }

    /// The passes that run, in order.
    pub fn enabled(&self) -> Vec<&'static Pass> {
        let limit = if self.no_fuse {
            0
        } else {
            self.limit.unwrap_or(PASSES.len())
        };
        PASSES
            .iter()
            .take(limit)
            .filter(|p| !self.disabled.iter().any(|d| d == p.name))
            .collect()
    }
}

/// Runs one pass over a graph that is not part of a program.
///
/// # Panics
/// Where the pass broke the graph: names the pass and prints the graph.
pub fn run_alone(pass: &Pass, graph: &mut Graph, kind: ProgramKind) -> Vec<Candidate> {
    let candidates = (pass.run)(graph, kind);
    if let Err(e) = verify(graph) {
        panic!("after pass {}: {e}\n{graph}", pass.name);
    }
    candidates
}

/// Runs one pass over every block.
///
/// # Panics
/// Where the pass broke the program: names the pass and prints the graph.
pub fn run_pass(pass: &Pass, program: &mut Program) -> PassReport {
    let kind = program.kind;
    let mut candidates = vec![];
    for (b, block) in program.blocks.iter_mut().enumerate() {
        let found = (pass.run)(&mut block.graph, kind);
        candidates.extend(found.into_iter().map(|c| (b, c)));
    }
    program.expect_valid(&format!("after pass {}", pass.name));
    PassReport {
        pass: pass.name,
        candidates,
    }
}

/// Runs the enabled passes in order.
pub fn run(program: &mut Program, options: &PassOptions) -> Vec<PassReport> {
    options
        .enabled()
        .into_iter()
        .map(|p| run_pass(p, program))
        .collect()
}
