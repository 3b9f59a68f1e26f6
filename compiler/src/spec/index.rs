//! The step `index`, which picks the keys of a query.

use super::at::At;
use super::attention::rope;
use super::error::Read;
use super::heads::width_of;
use super::limits::{MAX_CONTEXT, MAX_HEADS};
use super::model::{Index, Listing, StepOp};
use super::norm::norm;
use super::picked::queries_from;
use super::weights::linear;

/// `{"op": "index", "n_heads": …, "dim": …, "count": …, "q": …, "k": …, "weigh": …, "as": "picked"}`; its result lists positions, or
/// blocks of them.
pub(super) fn index(at: &At<'_, '_, '_>) -> Read<(StepOp, usize)> {
    let (fields, width) = (at.fields()?, at.width()?);
    let size = |key| fields.required(key)?.whole(1, MAX_HEADS);
    let (heads, dim) = (size("n_heads")?, size("dim")?);
    let weigh = fields.optional("weigh")?;
    let listing = Listing {
        sets: if weigh.is_none() { heads } else { 1 },
        count: fields.required("count")?.whole(1, MAX_CONTEXT)?,
        block: fields
            .value("block", |n| n.whole(1, MAX_CONTEXT))?
            .unwrap_or(1),
    };
    let near = fields.value("near", |n| n.whole(0, listing.count))?;
    let out = width_of(&at.node, listing.sets, listing.count)?;
    let q_width = width_of(&at.node, heads, dim)?;
    at.add_state([1, dim, at.around.context])?;
    let (q_from, q_in) = queries_from(at, &fields)?;
    let matrix =
        |key: &'static str, out, inner| linear(&fields.required(key)?, &at.slot(key), out, inner);
    let head_norm = |key: &'static str| {
        let node = fields.optional(key)?;
        node.map(|n| norm(&n, &at.slot(key), dim)).transpose()
    };
    let turn = fields.optional("rope")?;
    let index = Index {
        heads,
        dim,
        q_from,
        q: matrix("q", q_width, q_in)?,
        q_norm: head_norm("q_norm")?,
        k: matrix("k", dim, width)?,
        k_norm: head_norm("k_norm")?,
        weigh: weigh
            .map(|n| linear(&n, &at.slot("weigh"), heads, width))
            .transpose()?,
        rope: turn.map(|n| rope(&n, at.around.ropes, dim)).transpose()?,
        listing,
        near: near.unwrap_or(0),
    };
    Ok((StepOp::Index(Box::new(index)), out))
}
