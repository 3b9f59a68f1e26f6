//! The dataflow graph: petgraph underneath, hidden here.
//!
//! Nodes are operations, edges carry the operand slot. Nodes are always visited in a topological order that depends only
//! on how the graph was built, and printed by their place in it, so that dumps and objects are the same from run to run.
//! A [`Program`] is a whole model: one graph for the embedding, one for each kind of layer, one for the head.

mod attrs;
mod build;
mod dot;
mod experts;
mod finish;
mod heads;
mod latent;
pub mod op;
mod program;
mod recurrent;
mod shape;
mod text;
mod verify;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use graver_runtime::abi::quant::block_row_bytes;
use graver_runtime::abi::{CACHE_GROUP, CacheType, Encoding};
use petgraph::Direction;
use petgraph::stable_graph::{NodeIndex, StableDiGraph};
use petgraph::visit::EdgeRef;

pub use build::{Storage, build};
pub use dot::dot;
pub use heads::{HeadColumns, HeadConcat, HeadMatmul};
pub use latent::LatentAttention;
pub use op::*;
pub use program::{Block, Program, ProgramKind, UnknownProgram};
pub use recurrent::{DeltaRule, RecurrentDecl, RecurrentId, ShortConv};
pub use text::{ParseError, op_text, parse, shape_text};
pub use verify::{VerifyError, verify};

/// A node of one graph, never used again for another one. Nodes that were added earlier come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId {
    number: usize,
    index: NodeIndex,
}

/// An operation with the shape of its result and its place in the spec.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// What it does.
    pub op: Op,
    /// Shape of the result; no dimensions for a node that only writes state.
    pub shape: Shape,
    /// Place in the spec: `attention.q`.
    pub name: String,
}

/// A weight that a graph reads.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightDecl {
    /// Slot name: `attention.q.weight`.
    pub slot: String,
    /// `[out, in]` or `[n]`.
    pub shape: Vec<usize>,
    /// How elements are encoded; vectors are always f32.
    pub encoding: Encoding,
    /// Bytes between stored rows (rows of `in` elements, of `out` where transposed, or panels of rows where quantised).
    pub row_stride: usize,
    /// Stored as `[in, out]`.
    pub transposed: bool,
    /// Floats of which rows do not all follow each other.
    pub blocks: Option<crate::spec::model::Blocks>,
    /// Entries of the pointer table: the experts of a family, 1 for a single weight.
    pub count: usize,
}

/// A KV cache that a graph reads and writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateDecl {
    /// Name: `attention.kv`.
    pub name: String,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Width of a key.
    pub head_dim: usize,
    /// Width of a value.
    pub value_dim: usize,
    /// Values are the leading components of the keys, of which there is one head: nothing is stored twice.
    pub shared: bool,
    /// What they are kept in.
    pub dtype: CacheType,
    /// For a ring: the most positions that a query looks back over, itself included. Position `p` lies in row `p % rows`.
    pub ring: Option<usize>,
}

impl StateDecl {
    /// Buffers in a slot, each with its name and bytes per position: keys and values, or keys that hold both.
    pub fn buffers(&self) -> Vec<(&'static str, usize)> {
        let bytes = |dim: usize| self.kv_heads * self.row_bytes(dim);
        if self.shared {
            return vec![("kv", bytes(self.head_dim))];
        }
        vec![("k", bytes(self.head_dim)), ("v", bytes(self.value_dim))]
    }

    /// Bytes of the first `n` components of one head's key or value.
    pub fn row_bytes(&self, n: usize) -> usize {
        self.dtype.bytes(n, self.group())
    }

    /// Components that share a scale, where scales are kept. What is written and read by itself, as latents are, is whole groups.
    pub fn group(&self) -> usize {
        if self.shared {
            let twos = self.value_dim.trailing_zeros();
            1 << twos.min(CACHE_GROUP.trailing_zeros())
        } else {
            CACHE_GROUP
        }
    }
}

/// A node with its number among all that were ever added: indices of removed nodes are used again.
#[derive(Clone, Debug)]
struct Placed {
    node: Node,
    number: usize,
}

/// One block's computation.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    nodes: StableDiGraph<Placed, usize>,
    /// Nodes added so far.
    added: usize,
    /// Weights, in the order of the pointer table.
    pub weights: Vec<WeightDecl>,
    /// Keys and values, in the order of the state table.
    pub states: Vec<StateDecl>,
    /// States of fixed size, which come behind them.
    pub recurrent: Vec<RecurrentDecl>,
    /// Values the block hands on, by name.
    pub outputs: Vec<(String, NodeId)>,
}

impl Graph {
    /// Adds a node; its shape follows from the operands.
    ///
    /// # Panics
    /// Where the operands do not fit the operation: only a mistake of ours, the spec's numbers being checked before.
    pub fn add(&mut self, op: Op, operands: &[NodeId], name: &str) -> NodeId {
        match self.try_add(op, operands, name) {
            Ok(id) => id,
            Err(why) => panic!("node {name}: {why}\n{self}"),
        }
    }

    fn try_add(
        &mut self,
        op: Op,
        operands: &[NodeId],
        name: &str,
    ) -> Result<NodeId, shape::ShapeError> {
        let shape = shape::infer(self, &op, operands)?;
        let id = self.place(Node {
            op,
            shape,
            name: name.into(),
        });
        for (slot, o) in operands.iter().enumerate() {
            self.nodes.add_edge(o.index, id.index, slot);
        }
        Ok(id)
    }

    fn place(&mut self, node: Node) -> NodeId {
        let number = self.added;
        self.added += 1;
        let index = self.nodes.add_node(Placed { node, number });
        NodeId { number, index }
    }

    /// Declares a weight and adds the node that names it.
    pub fn add_weight(&mut self, decl: WeightDecl) -> NodeId {
        let id = WeightId(self.weights.len() as u32);
        let name = decl.slot.clone();
        self.weights.push(decl);
        self.add(Op::Weight(id), &[], &name)
    }

    /// Place of a weight's first pointer in the block's table.
    pub fn pointer(&self, id: WeightId) -> usize {
        self.weights[..id.0 as usize].iter().map(|w| w.count).sum()
    }

    /// Entries of the block's pointer table.
    pub fn pointers(&self) -> usize {
        self.weights.iter().map(|w| w.count).sum()
    }

    /// Index of a state's first buffer among those of the graph.
    pub fn first_buffer(&self, s: StateId) -> usize {
        let before = &self.states[..s.0 as usize];
        before.iter().map(|d| d.buffers().len()).sum()
    }

    /// Index of a recurrent state's buffer among those of the graph.
    pub fn recurrent_buffer(&self, r: RecurrentId) -> usize {
        self.first_buffer(StateId(self.states.len() as u32)) + r.0 as usize
    }

    /// Adds an input of the block.
    pub fn add_input(&mut self, name: &str, shape: Shape) -> NodeId {
        self.place(Node {
            op: Op::Input(name.into()),
            shape,
            name: name.into(),
        })
    }

    /// A node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index].node
    }

    /// A node's operation.
    pub fn op(&self, id: NodeId) -> &Op {
        &self.node(id).op
    }

    /// A node's shape.
    pub fn shape(&self, id: NodeId) -> &Shape {
        &self.node(id).shape
    }

    /// Width of a row: the product of all dimensions but the first.
    pub fn width(&self, id: NodeId) -> usize {
        self.shape(id)
            .iter()
            .skip(1)
            .map(|d| if let Dim::Const(n) = d { *n } else { 1 })
            .product()
    }

    /// Whether a node's rows are int8 blocks rather than f32.
    pub fn is_quantized(&self, id: NodeId) -> bool {
        match self.op(id) {
            Op::Quantize { .. } => true,
            Op::Matmul(m) => m.quantize_y,
            Op::ExpertsIn(e) => e.quantize_y,
            _ => false,
        }
    }

    /// Bytes of a row of a node's result.
    pub fn row_bytes(&self, id: NodeId) -> usize {
        match self.is_quantized(id) {
            true => block_row_bytes(self.width(id)),
            false => self.width(id) * 4,
        }
    }

    /// A weight node's declaration.
    pub fn weight(&self, id: NodeId) -> Option<&WeightDecl> {
        match self.op(id) {
            Op::Weight(w) => self.weights.get(w.0 as usize),
            _ => None,
        }
    }

    /// Operands in slot order.
    pub fn operands(&self, id: NodeId) -> Vec<NodeId> {
        let edges = self.nodes.edges_directed(id.index, Direction::Incoming);
        let mut v: Vec<_> = edges.map(|e| (*e.weight(), self.id(e.source()))).collect();
        v.sort_unstable();
        v.into_iter().map(|(_, n)| n).collect()
    }

    fn id(&self, index: NodeIndex) -> NodeId {
        let number = self.nodes[index].number;
        NodeId { number, index }
    }

    /// The operand with a role.
    pub fn operand(&self, id: NodeId, role: &str) -> Option<NodeId> {
        let at = self.op(id).roles().iter().position(|r| r == role)?;
        self.operands(id).get(at).copied()
    }

    /// Nodes that read `id`, each with the slot, in the order in which they were added.
    pub fn users(&self, id: NodeId) -> Vec<(NodeId, usize)> {
        let edges = self.nodes.edges_directed(id.index, Direction::Outgoing);
        let mut users: Vec<_> = edges.map(|e| (self.id(e.target()), *e.weight())).collect();
        users.sort_unstable();
        users
    }

    /// Whether the block hands the node on.
    pub fn is_output(&self, id: NodeId) -> bool {
        self.outputs.iter().any(|(_, n)| *n == id)
    }

    /// The only reader of a node that is no output.
    pub fn only_user(&self, id: NodeId) -> Option<NodeId> {
        match self.users(id).as_slice() {
            [(u, _)] if !self.is_output(id) => Some(*u),
            _ => None,
        }
    }

    /// Makes every reader of `old` read `new`.
    pub fn replace_uses(&mut self, old: NodeId, new: NodeId) {
        let edges: Vec<_> = self
            .nodes
            .edges_directed(old.index, Direction::Outgoing)
            .map(|e| (e.id(), e.target(), *e.weight()))
            .collect();
        for (edge, target, slot) in edges {
            if target != new.index {
                self.nodes.remove_edge(edge);
                self.nodes.add_edge(new.index, target, slot);
            }
        }
        for (_, n) in &mut self.outputs {
            if *n == old {
                *n = new;
            }
        }
    }

    /// Puts `new` in the place of `old` for all its readers, and removes `old` with all that only it read.
    pub fn replace(&mut self, old: NodeId, new: NodeId) {
        self.replace_uses(old, new);
        self.sweep(old);
    }

    /// Removes a node that nothing reads, and in turn what then nothing reads any more: but inputs and weights, whose tables are
    /// laid out already, what the block hands on, and what writes state.
    pub fn sweep(&mut self, id: NodeId) {
        let operands = self.operands(id);
        self.remove(id);
        for o in operands {
            let unread = self.contains(o) && self.users(o).is_empty();
            let stays =
                |op: &Op| op.writes().is_some() || matches!(op, Op::Input(_) | Op::Weight(_));
            if unread && !self.is_output(o) && !stays(self.op(o)) {
                self.sweep(o);
            }
        }
    }

    /// Whether a node is (still) there.
    pub fn contains(&self, id: NodeId) -> bool {
        let placed = self.nodes.node_weight(id.index);
        placed.is_some_and(|p| p.number == id.number)
    }

    /// Removes a node that nothing reads.
    ///
    /// # Panics
    /// If something reads it.
    pub fn remove(&mut self, id: NodeId) {
        assert!(
            self.users(id).is_empty() && !self.is_output(id),
            "removing a node in use\n{self}"
        );
        self.nodes.remove_node(id.index);
    }

    /// Nodes whose operation is such a one, in order.
    pub fn all(&self, such: impl Fn(&Op) -> bool) -> Vec<NodeId> {
        let mut out = self.order();
        out.retain(|id| such(self.op(*id)));
        out
    }

    /// All nodes, operands before readers; among those that are ready, the one added first.
    pub fn order(&self) -> Vec<NodeId> {
        let before = |n: NodeIndex| self.nodes.edges_directed(n, Direction::Incoming).count();
        let all = self.nodes.node_indices();
        let mut waiting: BTreeMap<NodeIndex, usize> = all.map(|n| (n, before(n))).collect();
        let free = waiting.iter().filter(|(_, count)| **count == 0);
        let mut ready: BinaryHeap<_> = free.map(|(n, _)| Reverse(self.id(*n))).collect();
        let mut out = Vec::with_capacity(waiting.len());
        while let Some(Reverse(id)) = ready.pop() {
            out.push(id);
            for e in self.nodes.edges_directed(id.index, Direction::Outgoing) {
                let count = waiting.get_mut(&e.target()).expect("every node is counted");
                *count -= 1;
                if *count == 0 {
                    ready.push(Reverse(self.id(e.target())));
                }
            }
        }
        out
    }

    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.nodes.node_count()
    }

    /// Whether there are no nodes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
