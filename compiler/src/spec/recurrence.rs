//! Steps with a state of fixed size, one mechanism each, for specs to combine: `short_conv`, `decay`, `recurrence`.

use super::at::At;
use super::error::{Fault, Read};
use super::heads::{dividing, width_of};
use super::limits::{MAX_HEADS, MAX_WIDTH};
use super::mlp::activation;
use super::model::{Decay, Recurrence, ShortConv, StepOp};
use super::read::Node;
use super::recurrent::MAX_TAPS;
use super::values::value;
use super::weights::{row_by_row, weight};

type Out = Read<(StepOp, usize)>;

/// `{"op": "short_conv", "taps": 3, "weight": …, "bias": …, "act": "'silu'"}`.
pub(super) fn short_conv(at: &At<'_, '_, '_>) -> Out {
    let (fields, width) = (at.fields()?, at.width()?);
    let taps = fields.required("taps")?.whole(2, MAX_TAPS)?;
    at.add_state([1, taps - 1, width])?;
    let (bias, act) = (fields.optional("bias")?, fields.optional("act")?);
    let conv = ShortConv {
        taps,
        weight: row_by_row(
            &fields.required("weight")?,
            at.slot("weight"),
            vec![width, taps],
        )?,
        bias: bias
            .map(|n| weight(&n, at.slot("bias"), vec![width]))
            .transpose()?,
        act: act.map(|n| activation(&n)).transpose()?,
    };
    Ok((StepOp::ShortConv(Box::new(conv)), width))
}

/// `{"op": "decay", "heads": "n_heads", "rate": …, "bias": …}`.
pub(super) fn decay(at: &At<'_, '_, '_>) -> Out {
    let (fields, width) = (at.fields()?, at.width()?);
    let heads = dividing(&fields, "heads", ("its width", width))?;
    let decay = Decay {
        heads,
        rate: weight(&fields.required("rate")?, at.slot("rate"), vec![heads])?,
        bias: weight(&fields.required("bias")?, at.slot("bias"), vec![width])?,
    };
    Ok((StepOp::Decay(Box::new(decay)), width))
}

/// `{"op": "recurrence", "heads": …, "key_dim": …, "q": "c", "k": "b", "decay": "keep", "write": "dt", …}`; its input are the values.
pub(super) fn recurrence(at: &At<'_, '_, '_>) -> Out {
    let (fields, width) = (at.fields()?, at.width()?);
    let heads = dividing(&fields, "heads", ("its width", width))?;
    let key_heads = dividing(&fields, "key_heads", ("heads", heads))?;
    let key_dim = fields.required("key_dim")?.whole(1, MAX_HEADS)?;
    let (keys, value_dim) = (width_of(&at.node, key_heads, key_dim)?, width / heads);
    at.add_state([heads, key_dim, value_dim])?;
    let named = |key: &'static str, width| value(at, &fields.required(key)?, width);
    let skip = fields.optional("skip")?;
    let recurrence = Recurrence {
        heads,
        key_heads,
        key_dim,
        value_dim,
        q: named("q", keys)?,
        k: named("k", keys)?,
        decay: decay_of(at, &fields.required("decay")?, heads, key_dim)?,
        write: named("write", heads)?,
        corrects: fields.value("correct", Node::flag)?.unwrap_or(true),
        scale: fields.value("scale", Node::real)?.unwrap_or(1.0),
        skip: skip
            .map(|n| weight(&n, at.slot("skip"), vec![heads]))
            .transpose()?,
    };
    Ok((StepOp::Recurrence(Box::new(recurrence)), width))
}

/// A value with a decay for each head, or for each component of its keys.
fn decay_of(
    at: &At<'_, '_, '_>,
    node: &Node<'_, '_>,
    heads: usize,
    key_dim: usize,
) -> Read<String> {
    let name = node.literal("the name of a value")?;
    let found = at.seen.width(name).map_err(|f| node.fault(f))?;
    let all = heads.saturating_mul(key_dim).min(MAX_WIDTH);
    match found == heads || found == all {
        true => Ok(name.into()),
        false => Err(node.fault(Fault::Range {
            found: format!("a value of {found} components"),
            expected: format!("one of {heads}, a decay for each head, or of {all}, one for each component of a key"),
        })),
    }
}
