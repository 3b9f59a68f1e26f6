//! A whole model: one graph for the embedding, one for each kind of layer, one for the head, and the order in which they run.

use super::dim::{Dim, RecurrentId};
use super::nodes::{Graph, NodeId};
use super::ops::{Collective, Op};

/// Which of a model's two programs this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProgramKind {
    /// Steps of up to [`graver_runtime::abi::DECODE_TOKENS`] tokens.
    Decode,
    /// Longer ones.
    Prefill,
}

/// A block of a program.
#[derive(Clone, Debug)]
pub struct Block {
    /// `embed`, `head`, or the layer kind's name, which may be the same. For people: blocks are found by index.
    pub name: String,
    /// What it computes.
    pub graph: Graph,
}

impl Block {
    /// What it is handed, by name.
    pub(crate) fn inputs(&self) -> impl Iterator<Item = (&str, &[Dim])> {
        let graph = &self.graph;
        let input = move |id| match graph.op(id) {
            Op::Input(name) => Some((name.as_str(), graph.shape(id).as_slice())),
            _ => None,
        };
        graph.order().into_iter().filter_map(input)
    }
}

/// A whole model.
#[derive(Clone, Debug)]
pub struct Program {
    /// Decode or prefill.
    pub kind: ProgramKind,
    /// `blocks[0]` is the embedding, the last one the head, those between are the layer kinds.
    pub blocks: Vec<Block>,
    /// The block of each layer, in order.
    pub layers: Vec<usize>,
    /// For each layer, the earlier one whose state it reads, where it has none of its own.
    pub sources: Vec<Option<usize>>,
    /// Frequencies and scale of each rotary embedding.
    pub ropes: Vec<crate::spec::model::Rope>,
}

impl Program {
    /// Index of the head among the blocks.
    pub fn head(&self) -> usize {
        self.blocks.len() - 1
    }

    /// A block's place in the spec: `embed`, `layers.dense`, `head`.
    pub fn place(&self, block: usize) -> String {
        let name = &self.blocks[block].name;
        match block == 0 || block == self.head() {
            true => name.clone(),
            false => format!("layers.{name}"),
        }
    }

    /// Blocks in the order they run: embedding, each layer, head.
    pub(crate) fn run_order(&self) -> impl Iterator<Item = usize> + '_ {
        std::iter::once(0)
            .chain(self.layers.iter().copied())
            .chain(std::iter::once(self.head()))
    }

    /// Where ranks meet: of each collective the block, the node and what it is, block by block. Code counts them in this order.
    pub fn collectives(&self) -> Vec<(usize, NodeId, Collective)> {
        let of_block = |(b, block): (usize, &Block)| {
            let graph = &block.graph;
            let found = graph
                .order()
                .into_iter()
                .filter_map(|id| match graph.op(id) {
                    Op::Collective(c) => Some((b, id, *c)),
                    _ => None,
                });
            found.collect::<Vec<_>>()
        };
        self.blocks.iter().enumerate().flat_map(of_block).collect()
    }

    /// The number under which code knows a collective.
    ///
    /// # Panics
    /// Where the node is none.
    pub(crate) fn collective(&self, block: usize, node: NodeId) -> usize {
        let all = self.collectives();
        let at = all.iter().position(|(b, id, _)| (*b, *id) == (block, node));
        at.expect("the node is a collective of the program")
    }

    /// Index of the first weight slot of each block in run order.
    pub(crate) fn weight_bases(&self) -> Vec<usize> {
        self.bases(|_, g| g.pointers())
    }

    /// Index of the first state buffer of each block in run order.
    pub(crate) fn state_bases(&self) -> Vec<usize> {
        self.bases_of_states(|g| g.recurrent_buffer(RecurrentId(g.recurrent.len() as u32)))
    }

    /// Index of the first of something that states have, of each block in run order; a layer that reads another one's
    /// state has that one's.
    pub(crate) fn bases_of_states(&self, count: impl Fn(&Graph) -> usize) -> Vec<usize> {
        let own = |place: usize, g: &Graph| match self.source_at(place) {
            Some(_) => 0,
            None => count(g),
        };
        let mut bases = self.bases(own);
        for place in 0..bases.len() {
            if let Some(source) = self.source_at(place) {
                bases[place] = bases[source + 1];
            }
        }
        bases
    }

    /// The source of the layer that is block `place` in run order, the embedding being block 0.
    fn source_at(&self, place: usize) -> Option<usize> {
        let layer = place.checked_sub(1)?;
        self.sources.get(layer).copied().flatten()
    }

    fn bases(&self, count: impl Fn(usize, &Graph) -> usize) -> Vec<usize> {
        let mut next = 0;
        let mut advance = |(place, b): (usize, usize)| {
            let base = next;
            next += count(place, &self.blocks[b].graph);
            base
        };
        self.run_order().enumerate().map(&mut advance).collect()
    }
}

impl std::fmt::Display for ProgramKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            ProgramKind::Decode => "decode",
            ProgramKind::Prefill => "prefill",
        })
    }
}

/// A word that is neither of the two programs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("found `{0}`, expected `decode` or `prefill`")]
pub struct UnknownProgram(String);

impl std::str::FromStr for ProgramKind {
    type Err = UnknownProgram;

    fn from_str(word: &str) -> Result<Self, UnknownProgram> {
        match word {
            "decode" => Ok(ProgramKind::Decode),
            "prefill" => Ok(ProgramKind::Prefill),
            other => Err(UnknownProgram(other.into())),
        }
    }
}

/// Name under which the angles of a rotary embedding are handed to the layers.
pub(super) fn rope_input(rope: usize) -> String {
    format!("rope{rope}")
}
