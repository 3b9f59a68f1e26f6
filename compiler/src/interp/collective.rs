//! What ranks get where they meet.

use std::collections::BTreeMap;

use super::values::Rows;
use crate::graph::{Collective, Graph, NodeId, Op};

/// The value of a collective for each rank, from the values that each has.
///
/// # Panics
/// Where ranks do not meet at the same collective.
pub(super) fn meet<'a>(
    ranks: impl Iterator<Item = (&'a Graph, NodeId, &'a BTreeMap<NodeId, Rows>)>,
) -> Vec<Rows> {
    let ranks = ranks.map(|(graph, id, values)| match graph.op(id) {
        Op::Collective(c) => (*c, &values[&graph.input(id)]),
        other => panic!("{} where another rank waits in a collective", other.name()),
    });
    let (kinds, own): (Vec<Collective>, Vec<&Rows>) = ranks.unzip();
    let value = match kinds[0] {
        Collective::AllReduce => sum(&own),
        Collective::AllGather { .. } => side_by_side(&kinds, &own),
        Collective::HandOver { .. } => unreachable!("ranks hand over without meeting"),
    };
    vec![value; own.len()]
}

/// The sum in the order of ranks.
fn sum(own: &[&Rows]) -> Rows {
    let mut out = own[0].clone();
    for rows in &own[1..] {
        assert_eq!(
            rows.data.len(),
            out.data.len(),
            "what is summed is of one size"
        );
        out.data
            .iter_mut()
            .zip(&rows.data)
            .for_each(|(sum, v)| *sum += v);
    }
    out
}

/// The columns of all ranks, in the order of ranks.
fn side_by_side(kinds: &[Collective], own: &[&Rows]) -> Rows {
    let mut end = 0;
    for (kind, rows) in kinds.iter().zip(own) {
        let Collective::AllGather { first, .. } = kind else {
            panic!("one rank gathers, another does not");
        };
        assert_eq!(*first, end, "columns follow each other");
        end += rows.width;
    }
    let n = own[0].data.len() / own[0].width.max(1);
    let row = |i: usize| {
        own.iter()
            .flat_map(move |r| &r.data[i * r.width..][..r.width])
    };
    Rows::new((0..n).flat_map(row).copied().collect(), end)
}
