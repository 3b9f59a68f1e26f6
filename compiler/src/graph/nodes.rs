//! The graph of one block: petgraph underneath, hidden here.
//!
//! Nodes are operations, edges carry the operand slot. Nodes are always visited in a topological order that depends only
//! on how the graph was built.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use graver_runtime::abi::quant::block_row_bytes;
use petgraph::Direction;
use petgraph::stable_graph::{NodeIndex, StableDiGraph};
use petgraph::visit::EdgeRef;

use super::decl::{RecurrentDecl, StateDecl, WeightDecl};
use super::dim::{Dim, RecurrentId, Shape, StateId, WeightId};
use super::ops::{Given, Op, Reads, Role, Rule, ShapeError, Take};

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

/// A node with its number among all that were ever added: indices of removed nodes are used again.
#[derive(Clone, Debug)]
struct Placed {
    node: Node,
    number: usize,
    /// Nodes whose work it does now.
    absorbed: BTreeSet<NodeId>,
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
    /// States of fixed size, which come after them.
    pub recurrent: Vec<RecurrentDecl>,
    /// Values the block hands on, by name.
    pub outputs: Vec<(String, NodeId)>,
    /// Nodes whose work others were credited with while they were there.
    credited: BTreeSet<NodeId>,
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

    pub(super) fn try_add(
        &mut self,
        op: Op,
        operands: &[NodeId],
        name: &str,
    ) -> Result<NodeId, ShapeError> {
        let shape = self.infer(&op, operands)?;
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
        let index = self.nodes.add_node(Placed {
            node,
            number,
            absorbed: BTreeSet::new(),
        });
        NodeId { number, index }
    }

    /// The shape of an operation's result, or why the operands do not fit it.
    pub(super) fn infer(&self, op: &Op, operands: &[NodeId]) -> Result<Shape, ShapeError> {
        let (roles, op_name) = (op.roles(), op.name());
        if roles.len() != operands.len() {
            let (expected, found) = (roles.len(), operands.len());
            let roles: Vec<_> = roles.iter().map(|(role, _)| role.to_string()).collect();
            return Err(ShapeError::Arity {
                op: op_name,
                roles: roles.join(", "),
                expected,
                found,
            });
        }
        let given = |((role, _), id): (&(Role, Reads), &NodeId)| Given {
            role: *role,
            shape: self.shape(*id),
            weight: self.weight(*id),
        };
        let given: Vec<Given> = roles.iter().zip(operands).map(given).collect();
        let rule = Rule {
            op: op_name,
            states: &self.states,
            recurrent: &self.recurrent,
        };
        let sizes = |w: WeightId| self.weights[w.0 as usize].shape.iter();
        let weight = |w: WeightId| sizes(w).map(|&n| Dim::Const(n)).collect();
        op.shape(&rule, &given, weight)
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
    pub(crate) fn first_buffer(&self, s: StateId) -> usize {
        let before = &self.states[..s.0 as usize];
        before.iter().map(|d| d.buffers().len()).sum()
    }

    /// Index of a recurrent state's buffer among those of the graph.
    pub(crate) fn recurrent_buffer(&self, r: RecurrentId) -> usize {
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
    pub(crate) fn is_quantized(&self, id: NodeId) -> bool {
        self.op(id).facts().int8
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

    /// The operands of a node whose walk is `walk`, by name: `graph.read(id, |take| options.operands(take))`.
    pub fn read<O>(&self, id: NodeId, walk: impl FnOnce(Take<NodeId>) -> O) -> O {
        let mut operands = self.operands(id).into_iter();
        walk(&mut |_, _| {
            operands
                .next()
                .expect("a node has the operands of its operation")
        })
    }

    /// The rows that a node which works on one value works on: its first operand.
    pub fn input(&self, id: NodeId) -> NodeId {
        self.operands(id)[0]
    }

    /// Nodes that read `id`, each with the slot, in the order in which they were added.
    pub(crate) fn users(&self, id: NodeId) -> Vec<(NodeId, usize)> {
        let edges = self.nodes.edges_directed(id.index, Direction::Outgoing);
        let mut users: Vec<_> = edges.map(|e| (self.id(e.target()), *e.weight())).collect();
        users.sort_unstable();
        users
    }

    /// Whether the block hands the node on.
    pub(crate) fn is_output(&self, id: NodeId) -> bool {
        self.outputs.iter().any(|(_, n)| *n == id)
    }

    /// The only reader of a node that is not an output.
    pub(crate) fn only_user(&self, id: NodeId) -> Option<NodeId> {
        match self.users(id).as_slice() {
            [(u, _)] if !self.is_output(id) => Some(*u),
            _ => None,
        }
    }

    /// Makes every reader of `old` read `new`.
    pub(crate) fn replace_uses(&mut self, old: NodeId, new: NodeId) {
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
        let mut gone = BTreeSet::new();
        let mut beside = BTreeSet::new();
        self.sweep(old, &mut gone, &mut beside);
        // What others read as well is still there, and `new` does it for itself, unless it reads it too.
        let behind = self.behind(new);
        let copied =
            |id: &NodeId| self.contains(*id) && !behind.contains(id) && !self.credited.contains(id);
        gone.extend(beside.into_iter().filter(copied));
        self.absorb(new, &gone);
    }

    /// Notes that `id` does the work of `nodes`, which are there still, so that what is put in their place does not: where several
    /// nodes are put in the place of one.
    pub(crate) fn credit(&mut self, id: NodeId, nodes: &[NodeId]) {
        let mut all: BTreeSet<NodeId> = nodes.iter().copied().collect();
        all.extend(nodes.iter().flat_map(|n| self.absorbed(*n).iter().copied()));
        self.credited.extend(nodes);
        self.absorb(id, &all);
    }

    /// Removes a node that nothing reads, and in turn what then nothing reads any more: but inputs and weights, whose tables are
    /// laid out already, what the block hands on, and what writes state. `gone` gets what was removed, with all that it did,
    /// and `beside` what of their operands is left.
    fn sweep(&mut self, id: NodeId, gone: &mut BTreeSet<NodeId>, beside: &mut BTreeSet<NodeId>) {
        let operands = self.operands(id);
        if !self.credited.contains(&id) {
            gone.extend(self.absorbed(id));
            gone.insert(id);
        }
        self.remove(id);
        for o in operands {
            if !self.contains(o) || matches!(self.op(o), Op::Input(_) | Op::Weight(_)) {
                continue;
            }
            let unread = self.users(o).is_empty();
            match unread && !self.is_output(o) && !self.op(o).writes_cache() {
                true => self.sweep(o, gone, beside),
                false => drop(beside.insert(o)),
            }
        }
    }

    /// Nodes whose work a node does now, in whose place it was put, with those in whose place they had been: for people, who ask
    /// what became of an operation. Empty for operations of the graph as it was built.
    pub(crate) fn absorbed(&self, id: NodeId) -> &BTreeSet<NodeId> {
        &self.nodes[id.index].absorbed
    }

    /// Notes that `id`, and what it is a view of, does the work of `nodes`.
    fn absorb(&mut self, id: NodeId, nodes: &BTreeSet<NodeId>) {
        self.nodes[id.index].absorbed.extend(nodes);
        if self.op(id).is_view() {
            for whole in self.operands(id) {
                self.absorb(whole, nodes);
            }
        }
    }

    /// Nodes that `id` is computed from.
    fn behind(&self, id: NodeId) -> BTreeSet<NodeId> {
        let mut waiting = self.operands(id);
        let mut behind = BTreeSet::new();
        while let Some(id) = waiting.pop() {
            if behind.insert(id) {
                waiting.extend(self.operands(id));
            }
        }
        behind
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

    /// Nodes whose operation the predicate accepts, in order.
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
