//! The step `latent_attention`: multi-head latent attention with its projections.

use super::at::At;
use super::attention::{gate, rope};
use super::error::{Fault, Read};
use super::form;
use super::heads::width_of;
use super::limits::{MAX_HEADS, MAX_WIDTH};
use super::model::{LatentAttention, LatentQuery, StepOp};
use super::norm::norm;
use super::picked::{picked, queries_from};
use super::read::{Fields, Node};
use super::weights::linear;

/// Reads the step. Queries are `q`, or follow a compression `compressed_q: {"rank", "a", "norm", "b"}`.
pub(super) fn latent_attention(at: &At<'_, '_, '_>) -> Read<(StepOp, usize)> {
    let fields = at.fields()?;
    let size = |key| fields.required(key)?.whole(1, MAX_HEADS);
    let (heads, rank, value_dim) = (size("n_heads")?, size("rank")?, size("value_dim")?);
    let (nope_dim, rope_dim) = (size("nope_dim")?, size("rope_dim")?);
    let (head_dim, kv_dim) = (nope_dim + rope_dim, nope_dim + value_dim);
    let q_width = width_of(&at.node, heads, head_dim)?;
    let kv_width = width_of(&at.node, heads, kv_dim)?;
    at.add_state([1, rank + rope_dim, at.around.context])?;
    let matrix =
        |key: &'static str, out, inner| linear(&fields.required(key)?, &at.slot(key), out, inner);
    let (q_from, q_in) = queries_from(at, &fields)?;
    let attention = LatentAttention {
        heads,
        nope_dim,
        rope_dim,
        value_dim,
        rank,
        q: query(at, &fields, (q_width, q_in))?,
        q_from,
        kv_a: matrix("kv_a", rank + rope_dim, at.width()?)?,
        kv_norm: norm(&fields.required("kv_norm")?, &at.slot("kv_norm"), rank)?,
        latent_scale: fields.value("latent_scale", Node::real)?.unwrap_or(1.0),
        kv_b: matrix("kv_b", kv_width, rank)?,
        gate: gate(at, &fields, (heads, heads * value_dim), at.width()?)?,
        o: matrix("o", at.around.hidden, heads * value_dim)?,
        rope: fields
            .optional("rope")?
            .map(|n| rope(&n, at.around.ropes, rope_dim))
            .transpose()?,
        scale: fields
            .value("scale", Node::real)?
            .unwrap_or((head_dim as f64).powf(-0.5) as f32),
        picked: picked(at, &fields, heads)?,
    };
    Ok((
        StepOp::LatentAttention(Box::new(attention)),
        at.around.hidden,
    ))
}

fn query(
    at: &At<'_, '_, '_>,
    fields: &Fields<'_, '_>,
    (out, width): (usize, usize),
) -> Read<LatentQuery> {
    let (direct, compressed) = (fields.optional("q")?, fields.optional("compressed_q")?);
    match (direct, compressed) {
        (Some(q), None) => Ok(LatentQuery::Direct(linear(&q, &at.slot("q"), out, width)?)),
        (None, Some(c)) => {
            let inner = c.object(form::COMPRESSED)?;
            let rank = inner.required("rank")?.whole(1, MAX_WIDTH)?;
            Ok(LatentQuery::Compressed {
                a: linear(&inner.required("a")?, &at.slot("q_a"), rank, width)?,
                norm: norm(&inner.required("norm")?, &at.slot("q_norm"), rank)?,
                b: linear(&inner.required("b")?, &at.slot("q_b"), out, rank)?,
            })
        }
        (None, None) => Err(at.node.fault(Fault::MissingKey("q"))),
        (Some(_), Some(_)) => Err(at.node.wrong("one of `q` and `compressed_q`, not both")),
    }
}
