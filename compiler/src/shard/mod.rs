//! Shards a program: from the plain graph of a model to one for each of the ranks that share it, before anything is fused.
//!
//! A value lies on the ranks in one of three ways. It is *whole*: all have the same bits. It is *split*: each rank has some
//! units of it, heads or columns. Or it is a *summand*: the sum over all ranks is the value. What a product makes of a whole
//! value is split if ranks have different rows of its weight; what one makes of a split value is a summand, ranks having the columns that
//! go with their units:
//!
//! ```text
//! q = matmul(x, Wq); …; y = matmul(mix, Wo); h = h + y
//!   =>  q' = matmul(x, rows of Wq); …; y' = matmul(mix', columns of Wo); h = h + all_reduce(y')
//! ```
//!
//! So a layer of attention and an MLP meets twice. Heads go with the key head that they share; where there are fewer key heads than
//! ranks, several ranks have the same one. Experts are split inside: every rank has some columns of each, so that all have the same
//! work whatever a router chooses; or they are dealt out whole where that is asked for (`experts.rs`), or layers are (`pipeline.rs`). Logits are gathered, and so is what a recurrence makes by heads where a norm over all of it follows. Everything else is whole, and so is whatever there is no rule for
//! (`needs.rs`) or cannot be cut: it is computed by every rank, and `explain` says why.
//!
//! `region.rs` finds what is split together, `plan.rs` plans a block, `rank.rs` builds a rank's graph, `weights.rs` says which bytes a
//! rank reads. All ranks have the same nodes in the same order, so that they meet at the same collectives.

mod deal;
mod experts;
mod layout;
mod method;
mod needs;
mod pipeline;
mod plan;
mod rank;
mod region;
mod same;
mod weights;

use std::collections::BTreeSet;
use std::ops::Range;

pub use self::method::{Division, Method};
use self::plan::{BlockPlan, plan};
use self::rank::rank_graph;
use crate::graph::{Block, Graph, NodeId, Program, Share, StateId};

pub(crate) use same::same_code;

/// The most ranks that can share a model.
pub const MAX_RANKS: usize = 1024;

/// How a program is shared by ranks: the same for decode and prefill, and for all ranks.
#[derive(Debug)]
pub struct Sharding {
    ranks: usize,
    blocks: Vec<BlockPlan>,
    /// The layers of each rank, where they are dealt out.
    runs: Option<Vec<Range<usize>>>,
}

/// A program for one rank.
#[derive(Clone, Debug)]
pub struct RankProgram {
    /// Its graphs.
    pub program: Program,
    /// For each block of the whole model, what the rank has of each weight in the order of their table.
    pub shares: Vec<Vec<Share>>,
    /// For each of its layers which one of the whole model it is; nothing for one that hands over.
    pub layers: Vec<Option<usize>>,
}

/// A product that ranks could share, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared {
    /// Place in the spec: `layers.dense.attention.o`.
    pub at: String,
    /// What is dealt out, with the products that are made of it; or why all ranks compute everything.
    pub outcome: Result<String, String>,
}

/// A number of ranks that cannot share a model.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RanksError {
    /// None, or too many for any model.
    #[error("{ranks} ranks: expected 1 to {MAX_RANKS}")]
    Number {
        /// How many were asked for.
        ranks: usize,
    },
    /// More than there are layers to deal out.
    #[error(
        "--plan pipeline: {ranks} ranks, and the {layers} layers of this model can be split into at most {most} parts; use fewer ranks, or another plan"
    )]
    Layers {
        /// How many were asked for.
        ranks: usize,
        /// Layers of the model.
        layers: usize,
        /// Runs that share no state and no picked keys.
        most: usize,
    },
    /// A rank that is none of them.
    #[error("--rank {rank}: expected 0 to {}", ranks - 1)]
    NoSuchRank {
        /// Which was asked for.
        rank: usize,
        /// How many there are.
        ranks: usize,
    },
}

impl Sharding {
    /// One rank, which has the whole program.
    pub fn of_one(program: &Program) -> Sharding {
        let blocks = program.blocks.iter().map(|_| BlockPlan::default());
        Sharding {
            ranks: 1,
            blocks: blocks.collect(),
            runs: None,
        }
    }

    /// Plans how ranks share a plain program.
    ///
    /// # Errors
    /// No ranks, or more than there can be.
    pub fn plan(program: &Program, division: impl Into<Division>) -> Result<Sharding, RanksError> {
        let Division { ranks, method } = division.into();
        if !(1..=MAX_RANKS).contains(&ranks) {
            return Err(RanksError::Number { ranks });
        }
        if ranks == 1 {
            return Ok(Sharding::of_one(program));
        }
        if method == Method::Pipeline {
            return Sharding::in_runs(program, ranks);
        }
        let mut whole = vec![BTreeSet::new(); program.blocks.len()];
        loop {
            let planned = program.blocks.iter().zip(&whole);
            let blocks = planned.map(|(block, whole)| plan(&block.graph, (ranks, method), whole));
            let blocks: Vec<BlockPlan> = blocks.collect();
            let differing = differing(program, &blocks);
            if differing.is_empty() {
                return Ok(Sharding {
                    ranks,
                    blocks,
                    runs: None,
                });
            }
            for (block, state) in differing {
                whole[block].insert(state);
            }
        }
    }

    /// Each rank has a run of layers, and all share the head.
    fn in_runs(program: &Program, ranks: usize) -> Result<Sharding, RanksError> {
        let layers = program.layers.len();
        let most = || {
            (1..=layers)
                .rev()
                .find(|n| pipeline::runs(program, *n).is_some())
        };
        let runs = pipeline::runs(program, ranks).ok_or_else(|| RanksError::Layers {
            ranks,
            layers,
            most: most().unwrap_or(0),
        })?;
        let mut blocks = Sharding::of_one(program).blocks;
        let head = pipeline::head(&program.blocks[program.head()].graph, ranks - 1);
        blocks[program.head()] = plan(&head, (ranks, Method::Tensor), &BTreeSet::new());
        Ok(Sharding {
            ranks,
            blocks,
            runs: Some(runs),
        })
    }

    /// How many ranks.
    pub fn ranks(&self) -> usize {
        self.ranks
    }

    /// The program of a rank.
    ///
    /// # Panics
    /// If the program is not the one that was planned for, or of another kind; or where a rule is broken by a mistake of ours.
    pub fn rank(&self, program: &Program, rank: usize) -> RankProgram {
        if let Some(runs) = &self.runs {
            return self.run_of_rank(program, runs, rank);
        }
        let block = |(block, plan): (&Block, &BlockPlan)| {
            let (graph, shares) = rank_graph(&block.graph, plan, rank);
            let name = block.name.clone();
            (Block { name, graph }, shares)
        };
        let (blocks, shares) = program.blocks.iter().zip(&self.blocks).map(block).unzip();
        let program = Program {
            blocks,
            ..program.clone()
        };
        program.expect_valid("as it is sharded");
        let layers = (0..program.layers.len()).map(Some).collect();
        RankProgram {
            program,
            shares,
            layers,
        }
    }

    fn run_of_rank(&self, whole: &Program, runs: &[Range<usize>], rank: usize) -> RankProgram {
        let (mut program, layers) = pipeline::program_of(whole, runs, rank);
        let graphs = whole.blocks.iter().map(|block| &block.graph);
        let all = |graph: &Graph| vec![Share::Whole; graph.weights.len()];
        let mut shares: Vec<Vec<Share>> = graphs.map(all).collect();
        let head = pipeline::head(&whole.blocks[whole.head()].graph, runs.len() - 1);
        let (head, of_head) = rank_graph(&head, &self.blocks[whole.head()], rank);
        shares[whole.head()] = of_head;
        let last = program.head();
        program.blocks[last].graph = head;
        program.expect_valid("as it is dealt out");
        RankProgram {
            program,
            shares,
            layers,
        }
    }

    /// Every product that ranks could share, block by block.
    pub fn products(&self, program: &Program) -> Vec<Shared> {
        let blocks = self.blocks.iter().enumerate();
        let ends = blocks.flat_map(|(block, plan)| plan.ends.iter().map(move |end| (block, end)));
        let shared = |(block, (id, outcome)): (usize, &(NodeId, Result<String, String>))| {
            let name = &program.blocks[block].graph.node(*id).name;
            Shared {
                at: format!("{}.{name}", program.place(block)),
                outcome: outcome.clone(),
            }
        };
        let runs = self.runs.iter().map(|runs| {
            let layers: Vec<String> = runs.iter().map(|r| r.len().to_string()).collect();
            Shared {
                at: "layers".into(),
                outcome: Ok(format!("runs of {}", layers.join(", "))),
            }
        });
        runs.chain(ends.map(shared)).collect()
    }
}

/// States that are not dealt out in the layers that read them as in those that write them.
fn differing(program: &Program, blocks: &[BlockPlan]) -> Vec<(usize, StateId)> {
    let heads = |block: usize, state| -> Option<Vec<Range<usize>>> {
        blocks[block].heads(&program.blocks[block].graph, state)
    };
    let mut out = vec![];
    for (layer, source) in program.sources.iter().enumerate() {
        let Some(source) = *source else { continue };
        let (reader, writer) = (program.layers[layer], program.layers[source]);
        let states = program.blocks[reader].graph.states.len() as u32;
        let differ = |s: &StateId| heads(reader, *s) != heads(writer, *s);
        let differing = (0..states).map(StateId).filter(differ);
        out.extend(differing.flat_map(|s| [(reader, s), (writer, s)]));
    }
    out
}
