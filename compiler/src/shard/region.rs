//! A region: the nodes of which each rank computes its units alone, between products that read all columns of their input and one
//! that reads only the rank's.
//!
//! ```text
//! gate = matmul(x, Wg); up = matmul(x, Wu); y = matmul(silu(gate) · up, Wd)
//!   =>  on each rank some rows of Wg and Wu, the same columns of Wd, and y is a summand
//! ```
//!
//! A region is found from its last product backwards: what that needs of its input, what this needs of its operands, and so on as
//! far as there are rules. Then nodes go that cannot be in it, until none is left: those that somebody outside reads, and
//! those whose operands cannot be had in parts. Where the last product's input goes, there is no region, and all ranks compute
//! everything.

use std::collections::{BTreeMap, BTreeSet};

use super::deal::{Deal, Side};
use super::layout::Lot;
use super::needs::{Need, needs};
use crate::graph::{Graph, NodeId, Op, Role, Share, StateId};

/// Nodes that are computed in parts, each with how its rows are made of units.
#[derive(Debug)]
pub(super) struct Region {
    pub(super) deal: Deal,
    pub(super) members: BTreeMap<NodeId, Lot>,
    /// How the columns of what is read at the end are made of units.
    pub(super) last: Lot,
}

/// What a region ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// A product, of whose weight each rank reads columns.
    Product(NodeId),
    /// A value whose columns are gathered: what the block hands on, or what a norm over all of it reads.
    Gathered(NodeId),
}

/// What a region is looked for in.
pub(super) struct Search<'a> {
    pub(super) graph: &'a Graph,
    pub(super) ranks: usize,
    /// Nodes that are in another region.
    pub(super) taken: &'a dyn Fn(NodeId) -> bool,
    /// States of which all ranks have everything.
    pub(super) whole: &'a BTreeSet<StateId>,
}

impl Region {
    /// `8 heads with attention.q, attention.k, attention.v`: what is dealt out, and the other products made of it.
    pub(super) fn words(&self, graph: &Graph, end: NodeId) -> String {
        let (units, what) = (self.deal.units(Side::Many), self.deal.what);
        let is_product = |id: &NodeId| {
            let op = graph.op(*id);
            *id != end && matches!(op, Op::Matmul(_) | Op::GroupedMatmul(_))
        };
        let products = self.members.keys().copied().filter(is_product);
        let names: Vec<_> = products.map(|id| graph.node(id).name.as_str()).collect();
        match names.is_empty() {
            true => format!("{units} {what}"),
            false => format!("{units} {what}, with {}", names.join(", ")),
        }
    }
}

impl End {
    /// The value at the region's end.
    fn value(self, graph: &Graph) -> NodeId {
        match self {
            End::Product(id) => graph.input(id),
            End::Gathered(id) => id,
        }
    }
}

impl Search<'_> {
    /// The region that ends with `end`.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn region(&self, end: End) -> Result<Region, String> {
        let value = end.value(self.graph);
        let deal = self.deal(value)?;
        let width = self.graph.width(value);
        let last = Lot::many(width / deal.units(Side::Many));
        if let End::Product(id) = end {
            if self.is_product(value) {
                return Err("a product of a product, which is small".into());
            }
            self.columns_fit(id, &deal, last)?;
        }
        let (mut members, mut why) = self.grow(value, &deal, last);
        while let Some((id, reason)) = self.odd(&members, &deal, end) {
            members.remove(&id);
            why.insert(id, reason);
        }
        if !members.contains_key(&value) {
            let why = why.remove(&value).unwrap_or_default();
            return Err(format!("its input is whole: {why}"));
        }
        let makes = |id: &NodeId| {
            let op = self.graph.op(*id);
            matches!(
                op,
                Op::Matmul(_) | Op::GroupedMatmul(_) | Op::Mix(_) | Op::DeltaRule(_) | Op::Scan(_)
            )
        };
        match members.keys().any(makes) {
            true => Ok(Region {
                deal,
                members,
                last,
            }),
            false => Err("nothing before it is computed in parts".into()),
        }
    }

    /// What a norm over all heads reads before a product: it is gathered for the norm, where attention or a recurrence makes it in
    /// parts.
    pub(super) fn before_norm(&self, product: NodeId) -> Option<(NodeId, Region)> {
        let mut at = self.graph.input(product);
        loop {
            at = match self.graph.op(at) {
                Op::Norm(_) => break,
                Op::Quantize { .. } | Op::Unary(_) => self.graph.input(at),
                Op::Binary(_) if self.graph.weight(self.graph.operands(at)[1]).is_some() => {
                    self.graph.input(at)
                }
                _ => return None,
            };
        }
        let value = self.graph.input(at);
        let region = self.region(End::Gathered(value)).ok()?;
        let by_head = |id: &NodeId| {
            let op = self.graph.op(*id);
            matches!(op, Op::Mix(_) | Op::DeltaRule(_) | Op::Scan(_))
        };
        region
            .members
            .keys()
            .any(by_head)
            .then_some((value, region))
    }

    /// The columns of a product whose input is whole, if it can be cut: each rank reads its own.
    pub(super) fn columns_alone(&self, product: NodeId) -> Option<(Deal, Lot)> {
        let value = self.graph.input(product);
        let deal = Deal::columns(self.graph.width(value), self.ranks).ok()?;
        let last = Lot::many(1);
        let fits = self.columns_fit(product, &deal, last).is_ok() && is_cut(self.graph, value);
        fits.then_some((deal, last))
    }

    /// How units are dealt out: by the heads of what makes the value, if heads do, or else by its columns.
    fn deal(&self, value: NodeId) -> Result<Deal, String> {
        let (mut open, mut seen) = (vec![value], BTreeSet::new());
        while let Some(id) = open.pop() {
            let (heads, key_heads) = match self.graph.op(id) {
                Op::Mix(a) => (a.heads, a.kv_heads),
                Op::DeltaRule(d) => (d.heads, d.key_heads),
                Op::Matmul(_) | Op::GroupedMatmul(_) | Op::GatherTokens { .. } => continue,
                _ if seen.insert(id) => {
                    open.extend(self.graph.operands(id));
                    continue;
                }
                _ => continue,
            };
            return Deal::heads(heads, key_heads, self.ranks);
        }
        Deal::columns(self.graph.width(value), self.ranks)
    }

    /// Whether a value is a product with nothing between that would not do on a smaller one as well: one factor of a matrix of
    /// low rank.
    fn is_product(&self, value: NodeId) -> bool {
        match self.graph.op(value) {
            Op::Matmul(_) | Op::GroupedMatmul(_) => true,
            Op::Norm(_) | Op::Quantize { .. } => self.is_product(self.graph.input(value)),
            Op::Binary(_) => {
                let operands = self.graph.operands(value);
                let is_bias = self.graph.weight(operands[1]).is_some();
                is_bias && self.is_product(operands[0])
            }
            _ => false,
        }
    }

    /// Whether all ranks can have their columns of the last product's weight.
    fn columns_fit(&self, product: NodeId, deal: &Deal, last: Lot) -> Result<(), String> {
        let weight = weight_of(self.graph, product).ok_or("its weight is not one alone")?;
        self.shares_fit(weight, deal, |rank| {
            Share::Columns(last.columns(deal, rank))
        })
    }

    fn shares_fit(
        &self,
        weight: NodeId,
        deal: &Deal,
        share: impl Fn(usize) -> Share,
    ) -> Result<(), String> {
        let decl = self.graph.weight(weight).ok_or("it has no weight")?;
        if self.graph.users(weight).len() > 1 {
            return Err(format!("@{} is read twice", decl.slot));
        }
        let mut refusals = (0..deal.ranks()).filter_map(|rank| decl.refuses(&share(rank)));
        refusals.next().map_or(Ok(()), Err)
    }

    /// All nodes that rules lead to, and why others are not among them.
    fn grow(
        &self,
        value: NodeId,
        deal: &Deal,
        last: Lot,
    ) -> (BTreeMap<NodeId, Lot>, BTreeMap<NodeId, String>) {
        let (mut members, mut why) = (BTreeMap::new(), BTreeMap::new());
        let mut open = vec![(value, last)];
        while let Some((id, lot)) = open.pop() {
            if why.contains_key(&id) || members.get(&id) == Some(&lot) {
                continue;
            }
            let needs = match members.remove(&id) {
                Some(_) => Err("it is read in parts of two kinds".into()),
                None => self.needs(id, deal, lot),
            };
            match needs {
                Ok(needs) => {
                    members.insert(id, lot);
                    open.extend(needs.into_iter().filter_map(|(o, need)| match need {
                        Need::Whole => None,
                        Need::Split(lot) | Need::Tied(lot) => Some((o, lot)),
                    }));
                }
                Err(reason) => drop(why.insert(id, reason)),
            }
        }
        (members, why)
    }

    /// What a node needs to be computed in parts, or why it cannot be.
    fn needs(&self, id: NodeId, deal: &Deal, lot: Lot) -> Result<Vec<(NodeId, Need)>, String> {
        let (graph, op) = (self.graph, self.graph.op(id));
        if (self.taken)(id) {
            return Err("it is computed in parts for another product".into());
        }
        if graph.weight(id).is_some() {
            let rows = |rank| Share::Rows(lot.columns(deal, rank));
            return self.shares_fit(id, deal, rows).map(|()| vec![]);
        }
        match op {
            Op::CacheWrite { state } | Op::CacheRead { state } if self.whole.contains(state) => {
                Err("another layer has all of its state".into())
            }
            _ => needs(graph, id, deal, lot).ok_or_else(|| {
                let (name, units, what) = (op.name(), deal.units(lot.side), deal.what);
                format!("{name} is not computed by {units} {what}")
            }),
        }
    }

    /// A member that cannot be one, and why.
    fn odd(
        &self,
        members: &BTreeMap<NodeId, Lot>,
        deal: &Deal,
        end: End,
    ) -> Option<(NodeId, String)> {
        let all = members.iter();
        let wrong = |(id, lot): (&NodeId, &Lot)| {
            let read = self.read_whole(members, deal, end, *id, *lot);
            let why = read.or_else(|| self.lacks(members, deal, *id, *lot));
            why.map(|why| (*id, why))
        };
        all.filter_map(wrong).next()
    }

    /// Who reads all of a member.
    fn read_whole(
        &self,
        members: &BTreeMap<NodeId, Lot>,
        deal: &Deal,
        end: End,
        id: NodeId,
        lot: Lot,
    ) -> Option<String> {
        let graph = self.graph;
        if end == End::Gathered(id) {
            return None;
        }
        if graph.is_output(id) {
            return Some("the next block reads it".into());
        }
        let in_part = |user: NodeId, slot: usize| {
            if end == End::Product(user) {
                return graph.op(user).roles()[slot].0 == Role::X;
            }
            let needs = members
                .get(&user)
                .and_then(|l| needs(graph, user, deal, *l));
            let need = needs.map(|n| n[slot].1);
            need == Some(Need::Split(lot)) || need == Some(Need::Tied(lot))
        };
        let mut users = graph.users(id).into_iter();
        let user = users.find(|(user, slot)| !in_part(*user, *slot))?.0;
        Some(format!("{} reads all of it", graph.node(user).name))
    }

    /// What a member needs in parts and cannot have.
    fn lacks(
        &self,
        members: &BTreeMap<NodeId, Lot>,
        deal: &Deal,
        id: NodeId,
        lot: Lot,
    ) -> Option<String> {
        let graph = self.graph;
        if graph.weight(id).is_some() {
            return None;
        }
        let lacking = needs(graph, id, deal, lot)?.into_iter().find(|(o, need)| {
            let there = members.contains_key(o);
            match need {
                Need::Whole => false,
                Need::Tied(_) => !there,
                Need::Split(_) => !there && (graph.weight(*o).is_some() || !is_cut(graph, *o)),
            }
        });
        let (operand, _) = lacking?;
        Some(format!("{} cannot be cut", graph.node(operand).name))
    }
}

/// Whether columns can be cut out of a value that is whole.
fn is_cut(graph: &Graph, value: NodeId) -> bool {
    graph.shape(value).len() == 2 && !graph.is_quantized(value)
}

/// The weight of a product that has one, with nothing around it.
pub(super) fn weight_of(graph: &Graph, product: NodeId) -> Option<NodeId> {
    match graph.op(product) {
        Op::Matmul(m) if m.is_plain() && m.parts.len() == 1 => {
            Some(graph.read(product, |take| m.operands(take)).parts[0].weight)
        }
        Op::GroupedMatmul(m) => Some(graph.read(product, |take| m.operands(take)).matrix.weight),
        _ => None,
    }
}
