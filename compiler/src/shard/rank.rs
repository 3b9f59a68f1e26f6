//! The graph of one rank, by a block's plan: the same nodes in the same order on every rank, on the rank's own shapes, with
//! collectives where summands are summed up and columns gathered.

use std::collections::BTreeMap;

use super::deal::{Deal, Side};
use super::layout::{Layout, Lot};
use super::needs::{Need, needs};
use super::plan::BlockPlan;
use super::region::weight_of;
use crate::graph::{
    Attention, Collective, DeltaRule, Graph, GroupedMatmul, GroupedRows, Grouping, HeadColumns,
    HeadConcat, Listing, Matmul, NodeId, Op, OwnExperts, Role, Share,
};

/// The graph of a rank, and what it has of each weight, in the order of their table.
pub(super) fn rank_graph(graph: &Graph, plan: &BlockPlan, rank: usize) -> (Graph, Vec<Share>) {
    let mut made = Made {
        graph,
        plan,
        rank,
        out: Graph::default(),
        same: BTreeMap::new(),
        sums: BTreeMap::new(),
    };
    let shares = made.declare();
    for id in graph.order() {
        if graph.weight(id).is_none() {
            let node = made.node(id);
            made.same.insert(id, node);
        }
    }
    for (name, id) in &graph.outputs {
        let whole = made.whole(*id);
        made.out.outputs.push((name.clone(), whole));
    }
    (made.out, shares)
}

struct Made<'a> {
    graph: &'a Graph,
    plan: &'a BlockPlan,
    rank: usize,
    out: Graph,
    /// What a node has become: all of it, the rank's units, or its summand.
    same: BTreeMap<NodeId, NodeId>,
    /// Summands summed up.
    sums: BTreeMap<NodeId, NodeId>,
}

impl Made<'_> {
    /// Declares the rank's weights and states.
    fn declare(&mut self) -> Vec<Share> {
        let mut shares = vec![Share::Whole; self.graph.weights.len()];
        let nodes = self.graph.all(|op| matches!(op, Op::Weight(_)));
        let mut nodes: Vec<_> = nodes.into_iter().filter_map(|id| self.weight(id)).collect();
        nodes.sort_by_key(|(at, ..)| *at);
        for (at, id, share) in nodes {
            let node = self.out.add_weight(self.graph.weights[at].share(&share));
            self.same.insert(id, node);
            shares[at] = share;
        }
        self.out.states = self.graph.states.clone();
        self.out.recurrent = self.graph.recurrent.clone();
        for id in self.graph.order() {
            let Some((deal, lot)) = self.plan.split(id) else {
                continue;
            };
            match self.graph.op(id) {
                Op::CacheWrite { state } | Op::CacheRead { state } => {
                    self.out.states[state.0 as usize].kv_heads = self.count(deal, Side::Few);
                }
                Op::ShortConv(c) => {
                    let columns = lot.columns(deal, self.rank).len();
                    self.out.recurrent[c.state.0 as usize].columns = columns;
                }
                Op::Scan(c) => {
                    let columns = lot.columns(deal, self.rank).len();
                    self.out.recurrent[c.state.0 as usize].columns = columns;
                }
                Op::DeltaRule(d) => {
                    self.out.recurrent[d.state.0 as usize].heads = self.count(deal, Side::Many);
                }
                _ => {}
            }
        }
        shares
    }

    /// A weight's place in the table, and what the rank has of it.
    fn weight(&self, id: NodeId) -> Option<(usize, NodeId, Share)> {
        let Op::Weight(w) = self.graph.op(id) else {
            return None;
        };
        let own = |(deal, lot): (&Deal, Lot)| lot.columns(deal, self.rank);
        if let Some(members) = self.plan.dealt(id, self.rank) {
            return Some((w.0 as usize, id, Share::Members(members)));
        }
        let share = match (self.plan.columns(id), self.plan.split(id)) {
            (Some(columns), _) => Share::Columns(own(columns)),
            (None, Some(rows)) => Share::Rows(own(rows)),
            (None, None) => Share::Whole,
        };
        Some((w.0 as usize, id, share))
    }

    fn count(&self, deal: &Deal, side: Side) -> usize {
        deal.of(side, self.rank).len()
    }

    fn node(&mut self, id: NodeId) -> NodeId {
        let (graph, plan) = (self.graph, self.plan);
        let node = graph.node(id);
        if let Op::Input(name) = &node.op {
            return self.out.add_input(name, node.shape.clone());
        }
        let (op, operands) = match plan.layout(id) {
            Layout::Whole => {
                let operands = graph.operands(id);
                let whole = operands.into_iter().map(|o| self.whole(o));
                (node.op.clone(), whole.collect())
            }
            Layout::Split(deal, lot) => {
                let deal = &plan.deals[deal];
                let needs = needs(graph, id, deal, lot).expect("what is split has a rule");
                let op = self.narrowed(&node.op, id, deal, lot);
                let operands = needs.into_iter().map(|(o, need)| match need {
                    Need::Whole => self.whole(o),
                    Need::Split(lot) | Need::Tied(lot) => self.cut(o, deal, lot),
                });
                (op, operands.collect())
            }
            Layout::Dealt(_) => {
                let operands = graph.operands(id);
                let operands = operands.into_iter().map(|o| self.whole_or_dealt(o));
                let operands = operands.collect();
                (self.of_own_experts(&node.op, id), operands)
            }
            Layout::Partial => self.summand(id),
        };
        self.out.add(op, &operands, &node.name)
    }

    /// All of a value, or what the rank has of it where it is rows of experts.
    fn whole_or_dealt(&mut self, id: NodeId) -> NodeId {
        match self.plan.layout(id) {
            Layout::Dealt(_) => self.same[&id],
            Layout::Whole | Layout::Split(..) | Layout::Partial => self.whole(id),
        }
    }

    /// An operation on rows of experts, of which the rank has those that it has of value `id`.
    fn of_own_experts(&self, op: &Op, id: NodeId) -> Op {
        let own = self.plan.dealt(id, self.rank).map(|here| OwnExperts {
            first: here.start,
            count: here.len(),
        });
        let of_own = |grouping: &Grouping| Grouping { own, ..*grouping };
        let mut op = op.clone();
        if let Op::GroupByExpert(grouping)
        | Op::GatherTokens { grouping, .. }
        | Op::GroupedMatmul(GroupedMatmul { grouping, .. })
        | Op::Combine { grouping, .. } = &mut op
        {
            *grouping = of_own(grouping);
        }
        op
    }

    /// All of a value.
    fn whole(&mut self, id: NodeId) -> NodeId {
        let (own, name) = (self.same[&id], &self.graph.node(id).name);
        match (self.plan.layout(id), self.sums.get(&id)) {
            (Layout::Whole, _) => own,
            (Layout::Dealt(_), _) => unreachable!("rows of experts are read by their own block"),
            (_, Some(there)) => *there,
            (Layout::Partial, None) => {
                let reduce = Op::Collective(Collective::AllReduce);
                let sum = self.out.add(reduce, &[own], &format!("{name}.reduce"));
                self.sums.insert(id, sum);
                sum
            }
            (Layout::Split(deal, lot), None) => {
                let first = lot.columns(&self.plan.deals[deal], self.rank).start;
                let width = self.graph.width(id);
                let gather = Op::Collective(Collective::AllGather { first, width });
                let all = self.out.add(gather, &[own], &format!("{name}.gather"));
                self.sums.insert(id, all);
                all
            }
        }
    }

    /// The rank's units of a value, which are cut out of it where it is whole.
    fn cut(&mut self, id: NodeId, deal: &Deal, lot: Lot) -> NodeId {
        if matches!(self.plan.layout(id), Layout::Split(..)) {
            return self.same[&id];
        }
        let columns = lot.columns(deal, self.rank);
        let (start, len) = (columns.start, columns.len());
        let name = format!("{}.own", self.graph.node(id).name);
        let whole = self.whole(id);
        self.out.add(Op::Slice { start, len }, &[whole], &name)
    }

    /// A summand: of a product, or of what is linear in one.
    fn summand(&mut self, id: NodeId) -> (Op, Vec<NodeId>) {
        let (graph, plan) = (self.graph, self.plan);
        let op = graph.op(id);
        let own = weight_of(graph, id).and_then(|weight| plan.columns(weight));
        let mut operands = vec![];
        for ((role, _), operand) in op.roles().into_iter().zip(graph.operands(id)) {
            match (role, own) {
                // Of all ranks' summands one has the biases.
                (Role::Bias, _) if self.rank > 0 => {}
                (Role::X, Some((deal, lot))) => operands.push(self.cut(operand, deal, lot)),
                _ => operands.push(self.same[&operand]),
            }
        }
        let op = match op {
            Op::GroupedMatmul(m) => Op::GroupedMatmul(GroupedMatmul {
                bias: m.bias && self.rank == 0,
                ..*m
            }),
            Op::Combine { .. } => {
                let groups = graph.read(id, GroupedRows::of).groups;
                self.of_own_experts(op, groups)
            }
            other => other.clone(),
        };
        (op, operands)
    }

    /// An operation on the rank's units.
    fn narrowed(&self, op: &Op, id: NodeId, deal: &Deal, lot: Lot) -> Op {
        let columns = lot.columns(deal, self.rank).len();
        let [many, few] = [Side::Many, Side::Few].map(|side| self.count(deal, side));
        let heads = self.count(deal, lot.side);
        let attention = |a: &Attention| Attention {
            heads: many,
            kv_heads: few,
            picked: a.picked.map(|l| Listing {
                sets: if l.sets == 1 { 1 } else { few },
                ..l
            }),
            ..*a
        };
        match op {
            Op::Matmul(_) => Op::Matmul(Matmul::plain(columns)),
            Op::GroupedMatmul(m) => Op::GroupedMatmul(GroupedMatmul {
                rows: columns,
                ..*m
            }),
            Op::Scores(a) => Op::Scores(attention(a)),
            Op::Softmax(a) => Op::Softmax(attention(a)),
            Op::Mix(a) => Op::Mix(attention(a)),
            Op::HeadSlice(c) => Op::HeadSlice(HeadColumns { heads, ..*c }),
            Op::HeadConcat(c) => Op::HeadConcat(HeadConcat { heads, ..*c }),
            Op::Decay { heads, lower } => Op::Decay {
                heads: columns * heads / self.graph.width(id),
                lower: *lower,
            },
            Op::DeltaRule(d) => Op::DeltaRule(DeltaRule {
                heads: many,
                key_heads: few,
                ..*d
            }),
            other => other.clone(),
        }
    }
}
