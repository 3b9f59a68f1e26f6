//! Named values: what a step can read other than the result of the step before, and the steps that combine values.
//!
//! Every step may name its result (`as`) and read a named value in place of its input (`from`). Names hold inside a layer;
//! those that the spec's `carried` lists, and `h`, the residual stream, are handed from layer to layer.

use super::at::At;
use super::error::{Fault, Read};
use super::limits::MAX_WIDTH;
use super::mlp::activation;
use super::model::{Operand, StepOp, Xielu};
use super::read::Node;
use super::weights::weight;

type Out = Read<(StepOp, usize)>;

/// `{"op": "pick", "from": "a"}`.
pub(super) fn pick(at: &At<'_, '_, '_>) -> Out {
    at.fields()?;
    Ok((StepOp::Pick, at.width()?))
}

/// `{"op": "concat", "value": "a"}`: the input's components, then the value's.
pub(super) fn concat(at: &At<'_, '_, '_>) -> Out {
    let (fields, width) = (at.fields()?, at.width()?);
    let node = fields.required("value")?;
    let value = node.literal("the name of a value")?;
    let own = at.seen.width(value).map_err(|f| node.fault(f))?;
    if width + own > MAX_WIDTH {
        return Err(at.node.fault(Fault::Range {
            found: format!("{width} and {own} components"),
            expected: format!("at most {MAX_WIDTH} together"),
        }));
    }
    Ok((StepOp::Concat(value.into()), width + own))
}

/// `{"op": "activation", "act": "silu"}`.
pub(super) fn activation_step(at: &At<'_, '_, '_>) -> Out {
    let act = activation(&at.fields()?.required("act")?)?;
    Ok((StepOp::Act(act), at.width()?))
}

/// `{"op": "add", "value": "a"}`, or a `vector` of the checkpoint.
pub(super) fn add(at: &At<'_, '_, '_>) -> Out {
    let (fields, width) = (at.fields()?, at.width()?);
    let operand = match (fields.optional("value")?, fields.optional("vector")?) {
        (Some(node), None) => Operand::Value(value(at, &node, width)?),
        (None, Some(node)) => vector(at, &node, width)?,
        (Some(_), Some(_)) | (None, None) => {
            return Err(at.node.wrong("a step with either `value` or `vector`"));
        }
    };
    Ok((StepOp::Add(operand), width))
}

/// `{"op": "mul", "value": "a"}`, or a `vector` of the checkpoint, or a `scalar` of it, which multiplies everything.
pub(super) fn mul(at: &At<'_, '_, '_>) -> Out {
    let (fields, width) = (at.fields()?, at.width()?);
    let [by_value, by_vector, scalar] =
        ["value", "vector", "scalar"].map(|key| fields.optional(key));
    let operand = match (by_value?, by_vector?, scalar?) {
        (Some(node), None, None) => Operand::Value(value(at, &node, width)?),
        (None, Some(node), None) => vector(at, &node, width)?,
        (None, None, Some(node)) => Operand::Scalar(weight(&node, at.slot("scalar"), vec![1])?),
        (_, _, _) => {
            let expected = "a step with one of `value`, `vector` and `scalar`";
            return Err(at.node.wrong(expected));
        }
    };
    Ok((StepOp::Mul(operand), width))
}

fn vector(at: &At<'_, '_, '_>, node: &Node<'_, '_>, width: usize) -> Read<Operand> {
    Ok(Operand::Vector(weight(
        node,
        at.slot("vector"),
        vec![width],
    )?))
}

/// The name of a value of a certain width.
pub(super) fn value(at: &At<'_, '_, '_>, node: &Node<'_, '_>, width: usize) -> Read<String> {
    let name = node.literal("the name of a value")?;
    let found = at.seen.width(name).map_err(|f| node.fault(f))?;
    if found == width {
        return Ok(name.into());
    }
    Err(node.fault(Fault::Mismatch {
        what: "its width",
        found,
        expected: width,
    }))
}

/// `{"op": "weighted_sum", "values": ["a", "b"], "start": 0}`: the input's columns weigh the values.
pub(super) fn weighted_sum(at: &At<'_, '_, '_>) -> Out {
    let fields = at.fields()?;
    let list = fields.required_list("values")?;
    let first = list[0].literal("the name of a value")?;
    let width = at.seen.width(first).map_err(|f| list[0].fault(f))?;
    let values = list
        .iter()
        .map(|n| value(at, n, width))
        .collect::<Read<Vec<_>>>()?;
    let start_node = fields.optional("start")?;
    let start = start_node
        .as_ref()
        .map_or(Ok(0), |n| n.whole(0, MAX_WIDTH))?;
    let (end, columns) = (start + values.len(), at.width()?);
    if end > columns {
        let found = format!("columns {start} to {end}");
        let expected = format!("columns within the {columns} of its input");
        return Err(at.node.fault(Fault::Range { found, expected }));
    }
    Ok((StepOp::WeightedSum { values, start }, width))
}

/// `{"op": "match_rms", "like": "a", "least": 1e-5}`.
pub(super) fn match_rms(at: &At<'_, '_, '_>) -> Out {
    let fields = at.fields()?;
    let width = at.width()?;
    let like = value(at, &fields.required("like")?, width)?;
    let least = fields.required("least")?.real()?;
    Ok((StepOp::MatchRms { like, least }, width))
}

/// `{"op": "xielu", "positive": w, "negative": w, "beta": 0.5, "eps": -1e-6}`.
pub(super) fn xielu(at: &At<'_, '_, '_>) -> Out {
    let fields = at.fields()?;
    let scalar = |key: &'static str| {
        let node = fields.required(key)?;
        weight(&node, at.slot(key), vec![1])
    };
    let xielu = Xielu {
        positive: scalar("positive")?,
        negative: scalar("negative")?,
        beta: fields.value("beta", Node::real)?.unwrap_or(0.5),
        eps: fields.value("eps", Node::real)?.unwrap_or(-1e-6),
    };
    Ok((StepOp::Xielu(Box::new(xielu)), at.width()?))
}
