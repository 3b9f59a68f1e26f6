//! A rank's walk through its program, node by node, as far as it comes without other ranks.

use std::collections::{BTreeMap, VecDeque};

use super::evaluate::evaluate;
use super::noise::shake;
use super::seen::{Seen, watch};
use super::stored::family;
use super::values::{Cache, Rows, Scene, WeightBytes};
use crate::graph::{Collective, Graph, NodeId, Op, Program};

/// What a rank has of its own.
pub(super) struct Rank<'a> {
    program: &'a Program,
    weights: &'a dyn WeightBytes,
    caches: Vec<Cache>,
    memories: Vec<Vec<f32>>,
    /// Blocks in the order they run, and of each the first weight, cache and memory.
    blocks: Vec<usize>,
    weight_bases: Vec<usize>,
    cache_bases: Vec<usize>,
    memory_bases: Vec<usize>,
    /// What matrices are multiplied with, by slot, where that is watched.
    seen: Option<Vec<Seen>>,
}

impl<'a> Rank<'a> {
    pub(super) fn new(program: &'a Program, weights: &'a dyn WeightBytes) -> Self {
        let graphs = || program.run_order().map(|b| &program.blocks[b].graph);
        let memory = |r: &crate::graph::RecurrentDecl| vec![0.0; r.bytes() / 4];
        let caches = graphs().flat_map(|g| &g.states);
        Rank {
            program,
            weights,
            caches: caches.map(|_| Cache::default()).collect(),
            memories: graphs().flat_map(|g| &g.recurrent).map(memory).collect(),
            blocks: program.run_order().collect(),
            weight_bases: program.weight_bases(),
            cache_bases: program.bases_of_states(|g| g.states.len()),
            memory_bases: program.bases_of_states(|g| g.recurrent.len()),
            seen: None,
        }
    }

    /// Remembers from now on what matrices are multiplied with.
    pub(super) fn watch(&mut self) {
        let graphs = self
            .program
            .run_order()
            .map(|b| &self.program.blocks[b].graph);
        let slots = graphs.flat_map(|g| &g.weights).map(|decl| decl.count);
        self.seen = Some(vec![Seen::default(); slots.sum()]);
    }

    pub(super) fn seen(self) -> Vec<Seen> {
        self.seen.unwrap_or_default()
    }

    fn graph(&self, place: usize) -> &'a Graph {
        &self.program.blocks[self.blocks[place]].graph
    }
}

/// What ranks have handed over, by sender and receiver.
pub(super) struct Mail {
    ranks: usize,
    sent: BTreeMap<(usize, usize), VecDeque<Rows>>,
}

impl Mail {
    pub(super) fn among(ranks: usize) -> Mail {
        let sent = BTreeMap::new();
        Mail { ranks, sent }
    }
}

/// One step of one rank.
pub(super) struct Walk<'w, 'a> {
    number: usize,
    rank: &'w mut Rank<'a>,
    tokens: &'w [u32],
    start: usize,
    noise: Option<u64>,
    /// Values handed from block to block.
    carried: BTreeMap<String, Rows>,
    /// The block, its nodes in order, and the one that is next.
    place: usize,
    order: Vec<NodeId>,
    next: usize,
    /// Of the block's nodes.
    values: BTreeMap<NodeId, Rows>,
}

impl<'w, 'a> Walk<'w, 'a> {
    pub(super) fn begin(
        number: usize,
        rank: &'w mut Rank<'a>,
        tokens: &'w [u32],
        start: usize,
        noise: Option<u64>,
    ) -> Self {
        Walk {
            order: rank.graph(0).order(),
            number,
            rank,
            tokens,
            start,
            noise,
            carried: BTreeMap::new(),
            place: 0,
            next: 0,
            values: BTreeMap::new(),
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.place == self.rank.blocks.len()
    }

    /// Evaluates nodes up to one for which other ranks are needed; says whether it came any further.
    pub(super) fn go_on(&mut self, mail: &mut Mail) -> bool {
        let mut moved = false;
        while !self.is_done() {
            let Some(id) = self.order.get(self.next).copied() else {
                self.leave_block();
                moved = true;
                continue;
            };
            let value = match self.graph().op(id) {
                Op::Collective(Collective::HandOver { from, to }) => {
                    self.hand_over(id, *from, *to, mail)
                }
                Op::Collective(_) => None,
                _ => Some(self.value(id)),
            };
            let Some(value) = value else { break };
            self.take_at(id, value);
            moved = true;
        }
        moved
    }

    /// The collective that the rank has come to, with its values; nothing where it has not.
    pub(super) fn meeting(&self) -> Option<(&Graph, NodeId, &BTreeMap<NodeId, Rows>)> {
        let id = self.order.get(self.next).filter(|_| !self.is_done())?;
        let is_of_all = matches!(self.graph().op(*id), Op::Collective(c) if c.is_of_all());
        is_of_all.then(|| (self.graph(), *id, &self.values))
    }

    /// Takes the value of the collective that the rank has come to.
    pub(super) fn take(&mut self, value: Rows) {
        self.take_at(self.order[self.next], value);
    }

    pub(super) fn logits(mut self) -> Vec<f32> {
        let logits = self.carried.remove("logits");
        logits.map_or_else(Vec::new, |l| l.data)
    }

    fn graph(&self) -> &'a Graph {
        self.rank.graph(self.place)
    }

    fn take_at(&mut self, id: NodeId, mut value: Rows) {
        if let Some(noise) = self.noise {
            let place = (self.place << 32 | self.next) as u64;
            shake(
                self.graph().op(id),
                &mut value,
                noise.rotate_left(48) ^ place,
            );
        }
        self.values.insert(id, value);
        self.next += 1;
    }

    /// Hands on what the block has computed, and begins the next one.
    fn leave_block(&mut self) {
        let outputs = self.graph().outputs.iter();
        let values = &self.values;
        let value = |(name, id): &(String, NodeId)| (name.clone(), values[id].clone());
        self.carried.extend(outputs.map(value));
        self.values.clear();
        self.place += 1;
        self.next = 0;
        self.order = match self.is_done() {
            true => vec![],
            false => self.graph().order(),
        };
    }

    /// What a rank hands over, or is handed if that is there.
    fn hand_over(
        &self,
        id: NodeId,
        from: usize,
        to: Option<usize>,
        Mail { ranks, sent: mail }: &mut Mail,
    ) -> Option<Rows> {
        if self.number != from {
            return mail.get_mut(&(from, self.number))?.pop_front();
        }
        let own = &self.values[&self.graph().input(id)];
        let to = to.map_or(0..*ranks, |to| to..to + 1);
        for other in to.filter(|other| *other != from) {
            mail.entry((from, other))
                .or_default()
                .push_back(own.clone());
        }
        Some(own.clone())
    }

    /// The value of a node that needs no other rank.
    fn value(&mut self, id: NodeId) -> Rows {
        let (graph, place) = (self.graph(), self.place);
        match graph.op(id) {
            Op::Input(name) => self.carried.get(name).cloned().unwrap_or_default(),
            Op::Weight(w) => {
                let decl = &graph.weights[w.0 as usize];
                let first = self.rank.weight_bases[place] + graph.pointer(*w);
                family(decl, |e| self.rank.weights.bytes(first + e))
            }
            op => {
                let operands = graph.operands(id);
                let operands: Vec<&Rows> = operands.iter().map(|o| &self.values[o]).collect();
                let Rank {
                    program,
                    caches,
                    memories,
                    cache_bases,
                    memory_bases,
                    weight_bases,
                    seen,
                    ..
                } = &mut *self.rank;
                if let Some(seen) = seen {
                    watch(graph, id, &operands, &mut seen[weight_bases[place]..]);
                }
                let mut scene = Scene {
                    graph,
                    program,
                    tokens: self.tokens,
                    start: self.start,
                    caches: &mut caches[cache_bases[place]..][..graph.states.len()],
                    memories: &mut memories[memory_bases[place]..][..graph.recurrent.len()],
                };
                evaluate(&mut scene, op, &operands)
            }
        }
    }
}
