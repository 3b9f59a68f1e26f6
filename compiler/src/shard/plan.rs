//! The plan of one block: how each value lies on the ranks, and what each weight is cut by. The same for all ranks.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::deal::{Deal, Side};
use super::experts::dealt_out;
use super::layout::{Layout, Lot};
use super::method::Method;
use super::region::{End, Region, Search, weight_of};
use crate::graph::{
    Binary, Graph, GroupedRows, NodeId, Op, Pair, ScaledRows, Single, StateId, Unary,
};

/// How the values and weights of a block lie on the ranks.
#[derive(Debug, Default)]
pub(super) struct BlockPlan {
    pub(super) deals: Vec<Deal>,
    /// Values, and weights whose rows are dealt out, that are not whole.
    layouts: BTreeMap<NodeId, Layout>,
    /// Weights whose columns are dealt out.
    columns: BTreeMap<NodeId, (usize, Lot)>,
    /// Each product that could end a region, and the region that it ends, in words, or why there is none.
    pub(super) ends: Vec<(NodeId, Result<String, String>)>,
}

/// Plans a block for so many ranks, with experts dealt out as `method` says; all ranks have everything of the states in `whole`.
///
/// Products are looked at from the last one backwards, since one that is made in parts for a later one ends no region itself.
pub(super) fn plan(
    graph: &Graph,
    (ranks, method): (usize, Method),
    whole: &BTreeSet<StateId>,
) -> BlockPlan {
    let mut p = BlockPlan::default();
    if method == Method::Expert {
        p.deal_out_experts(graph, ranks);
    }
    for end in ends(graph).into_iter().rev() {
        let (End::Product(id) | End::Gathered(id)) = end;
        if p.layout(id) != Layout::Whole {
            continue;
        }
        let taken = |id| p.layout(id) != Layout::Whole || p.columns.contains_key(&id);
        let search = Search {
            graph,
            ranks,
            taken: &taken,
            whole,
        };
        let found = match (search.region(end), end) {
            (Err(why), End::Product(id)) => {
                let before = search.before_norm(id).ok_or(why);
                before
                    .map(|(value, region)| (region, End::Gathered(value), search.columns_alone(id)))
            }
            (found, _) => found.map(|region| (region, end, None)),
        };
        let words = found.as_ref().map(|(region, ..)| region.words(graph, id));
        let words = words.map_err(String::clone);
        p.ends.push((id, words));
        let Ok((region, end, alone)) = found else {
            continue;
        };
        p.take(graph, region, end);
        if let Some((deal, last)) = alone {
            p.deals.push(deal);
            p.end_with(graph, id, last);
        }
    }
    let order = graph.order();
    let place = |id: &NodeId| order.iter().position(|o| o == id);
    p.ends.sort_by_key(|(id, _)| place(id));
    p.pass_summands_on(graph);
    p
}

/// Where regions may end: products, and logits.
fn ends(graph: &Graph) -> Vec<End> {
    let logits = |id: NodeId| graph.outputs.iter().any(|o| o.0 == "logits" && o.1 == id);
    let end = |id: NodeId| match logits(id) {
        true => Some(End::Gathered(id)),
        false => weight_of(graph, id).map(|_| End::Product(id)),
    };
    graph.order().into_iter().filter_map(end).collect()
}

impl BlockPlan {
    fn deal_out_experts(&mut self, graph: &Graph, ranks: usize) {
        for block in dealt_out(graph, ranks) {
            let (deal, (product, words)) = (self.deals.len(), block.end);
            self.deals.push(block.deal);
            let dealt = block
                .members
                .into_iter()
                .map(|id| (id, Layout::Dealt(deal)));
            self.layouts.extend(dealt);
            self.layouts.insert(block.combine, Layout::Partial);
            self.ends.push((product, Ok(words)));
        }
    }

    fn take(&mut self, graph: &Graph, region: Region, end: End) {
        let deal = self.deals.len();
        self.deals.push(region.deal);
        let split = |(id, lot)| (id, Layout::Split(deal, lot));
        self.layouts.extend(region.members.into_iter().map(split));
        if let End::Product(id) = end {
            self.end_with(graph, id, region.last);
        }
    }

    /// A product of which each rank reads columns, by the deal that came last.
    fn end_with(&mut self, graph: &Graph, product: NodeId, last: Lot) {
        if let Some(weight) = weight_of(graph, product) {
            self.layouts.insert(product, Layout::Partial);
            self.columns.insert(weight, (self.deals.len() - 1, last));
        }
    }

    pub(super) fn layout(&self, id: NodeId) -> Layout {
        self.layouts.get(&id).copied().unwrap_or(Layout::Whole)
    }

    /// By which deal the columns of a weight are dealt out.
    pub(super) fn columns(&self, weight: NodeId) -> Option<(&Deal, Lot)> {
        let (deal, lot) = self.columns.get(&weight)?;
        Some((&self.deals[*deal], *lot))
    }

    /// The columns that a rank has of a value that is split.
    pub(super) fn split(&self, id: NodeId) -> Option<(&Deal, Lot)> {
        match self.layout(id) {
            Layout::Split(deal, lot) => Some((&self.deals[deal], lot)),
            Layout::Whole | Layout::Dealt(_) | Layout::Partial => None,
        }
    }

    /// The experts that a rank has of those whose rows a value is of.
    pub(super) fn dealt(&self, id: NodeId, rank: usize) -> Option<Range<usize>> {
        match self.layout(id) {
            Layout::Dealt(deal) => Some(self.deals[deal].of(Side::Many, rank)),
            Layout::Whole | Layout::Split(..) | Layout::Partial => None,
        }
    }

    /// The heads of a state that each rank has; nothing where all have all.
    pub(super) fn heads(&self, graph: &Graph, state: StateId) -> Option<Vec<Range<usize>>> {
        let is_writer = |op: &Op| match op {
            Op::CacheWrite { state: s } | Op::CacheRead { state: s } => *s == state,
            _ => false,
        };
        let writer = *graph.all(is_writer).first()?;
        let (deal, _) = self.split(writer)?;
        Some((0..deal.ranks()).map(|r| deal.of(Side::Few, r)).collect())
    }

    /// Marks what is linear in a summand as one: it is summed up once, as late as can be.
    fn pass_summands_on(&mut self, graph: &Graph) {
        for id in graph.order() {
            let is = |id, layout| self.layout(id) == layout;
            let passes = match graph.op(id) {
                Op::Combine { .. } => {
                    let GroupedRows { x, groups } = graph.read(id, GroupedRows::of);
                    is(x, Layout::Partial) && is(groups, Layout::Whole)
                }
                Op::ScaleRows => {
                    let ScaledRows { x, by } = graph.read(id, ScaledRows::of);
                    is(x, Layout::Partial) && is(by, Layout::Whole)
                }
                Op::Unary(Unary::Scale(_)) => is(graph.read(id, Single::of).x, Layout::Partial),
                Op::Binary(Binary::Add) => {
                    let Pair { a, b } = graph.read(id, |take| Binary::Add.operands(take));
                    is(a, Layout::Partial) && is(b, Layout::Partial)
                }
                _ => false,
            };
            if passes && self.layout(id) == Layout::Whole {
                self.layouts.insert(id, Layout::Partial);
            }
        }
    }
}
