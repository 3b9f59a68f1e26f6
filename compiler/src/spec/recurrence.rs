//! Steps with a state of fixed size, one mechanism each, for specs to combine: `short_conv`, `decay`, `recurrence`.

use super::at::At;
use super::error::{Fault, Read};
use super::form;
use super::heads::{dividing, width_of};
use super::limits::{MAX_HEADS, MAX_WIDTH};
use super::mlp::activation;
use super::model::{Decay, Forgetting, Made, Operand, Recurrence, ShortConv, StepOp, Weight};
use super::read::{Fields, Node};
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
        lower: fields.value("lower", Node::real)?,
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
    let (skip, write) = (fields.optional("skip")?, fields.optional("write")?);
    let recurrence = Recurrence {
        heads,
        key_heads,
        key_dim,
        value_dim,
        q: named("q", keys)?,
        k: named("k", keys)?,
        decay: forgetting(at, &fields, heads, key_dim)?,
        write: match write {
            Some(node) => Operand::Value(value(at, &node, heads)?),
            None => Operand::Vector(Weight::made(at.slot("write"), heads, Made::Ones)),
        },
        corrects: fields.value("correct", Node::flag)?.unwrap_or(true),
        scale: fields.value("scale", Node::real)?.unwrap_or(1.0),
        skip: skip
            .map(|n| weight(&n, at.slot("skip"), vec![heads]))
            .transpose()?,
    };
    if matches!(recurrence.decay, Forgetting::Rates(_)) {
        check_scan(&fields, &recurrence)?;
    }
    Ok((StepOp::Recurrence(Box::new(recurrence)), width))
}

/// Rates of every component are for heads of one component each, which share a key.
fn check_scan(fields: &Fields<'_, '_>, r: &Recurrence) -> Read<()> {
    let wrong = |found: String, expected: &str| {
        let fault = Fault::Range {
            found,
            expected: format!("{expected}, since it has `rate`"),
        };
        Err(fields.node.fault(fault))
    };
    if r.value_dim != 1 || r.key_heads != 1 {
        let found = format!(
            "values of {} components and {} key heads",
            r.value_dim, r.key_heads
        );
        return wrong(found, "values of one component and one key head");
    }
    if r.corrects || r.scale != 1.0 {
        let found = format!("correct = {} and scale = {}", r.corrects, r.scale);
        return wrong(found, "`\"correct\": false` and no scale");
    }
    match r.write {
        Operand::Value(_) => Ok(()),
        Operand::Vector(_) | Operand::Scalar(_) => wrong("no `write`".into(), "`write`"),
    }
}

/// `decay`, a value's name or what constants are made of, or `rate`, a weight.
fn forgetting(
    at: &At<'_, '_, '_>,
    fields: &Fields<'_, '_>,
    heads: usize,
    key_dim: usize,
) -> Read<Forgetting> {
    match (fields.optional("decay")?, fields.optional("rate")?) {
        (Some(node), None) if node.value.is_object() => {
            let constant = node.object(form::CONSTANT_DECAY)?;
            let number = |key| constant.value(key, Node::real);
            let made = Made::Decays {
                most: number("most")?.unwrap_or(8.0),
                first: number("first")?.unwrap_or(1.0),
                per_layer: number("per_layer")?.unwrap_or(0.0),
            };
            let weight = Weight::made(at.slot("decay"), heads, made);
            Ok(Forgetting::Factor(Operand::Vector(weight)))
        }
        (Some(node), None) => {
            let name = decay_of(at, &node, heads, key_dim)?;
            Ok(Forgetting::Factor(Operand::Value(name)))
        }
        (None, Some(node)) => {
            let shape = vec![heads, key_dim];
            row_by_row(&node, at.slot("rate"), shape).map(Forgetting::Rates)
        }
        (Some(_), Some(_)) | (None, None) => {
            Err(at.node.wrong("a step with either `decay` or `rate`"))
        }
    }
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
