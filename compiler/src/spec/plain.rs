//! Steps of one operation: embeddings, a matrix, a factor, a soft-cap.

use super::at::At;
use super::error::{Fault, Read};
use super::limits::MAX_WIDTH;
use super::model::{Linear, StepOp};
use super::read::{Fields, Node};
use super::weights::{row_by_row, weight};

pub(super) fn embed(at: &At<'_, '_, '_>) -> Read<(StepOp, usize)> {
    let fields = at.fields()?;
    let sized = fields.value("width", |n| n.whole(1, MAX_WIDTH))?;
    if let (Some(width), None) = (at.width, sized) {
        return Err(at.node.fault(Fault::NotFirst(width)));
    }
    let width = sized.unwrap_or(at.around.hidden);
    let rows = fields.value("rows", |n| n.whole(1, MAX_WIDTH))?;
    let shape = vec![rows.unwrap_or(at.around.vocab), width];
    let table = row_by_row(&fields.required("table")?, at.slot("table"), shape)?;
    let scale = fields.value("scale", Node::real)?.unwrap_or(1.0);
    let limit = rows.filter(|rows| *rows < at.around.vocab);
    let embed = StepOp::Embed {
        table,
        scale,
        limit,
    };
    Ok((embed, width))
}

pub(super) fn position_embed(at: &At<'_, '_, '_>) -> Read<(StepOp, usize)> {
    let fields = at.fields()?;
    let offset = offset(&fields)?;
    let width = at.width()?;
    let table = row_by_row(
        &fields.required("table")?,
        at.slot("table"),
        vec![at.around.context + offset, width],
    )?;
    Ok((StepOp::PositionEmbed { table, offset }, width))
}

/// What is added to positions.
fn offset(fields: &Fields) -> Read<usize> {
    let offset = fields.value("offset", |n| n.whole(0, 1 << 16))?;
    Ok(offset.unwrap_or(0))
}

/// `{"op": "sinusoids", "offset": 2, "theta": 10000.0, "over": "hidden / 2 - 1"}`: frequency `i` is `theta^(−i / over)`.
pub(super) fn sinusoids(at: &At<'_, '_, '_>) -> Read<(StepOp, usize)> {
    let fields = at.fields()?;
    let offset = offset(&fields)?;
    let width = at.width()?;
    if !width.is_multiple_of(2) {
        return Err(at.node.fault(Fault::Range {
            found: format!("rows of {width}"),
            expected: "an even width: there are as many sines as cosines".into(),
        }));
    }
    let theta = fields.required("theta")?;
    let base = theta.above_zero()?;
    if base <= 1.0 {
        return Err(theta.fault(Fault::Range {
            found: base.to_string(),
            expected: "a number above 1".into(),
        }));
    }
    let over = fields.value("over", |n| n.whole(1, MAX_WIDTH))?;
    let step = f64::from(base).ln() / over.unwrap_or(width / 2) as f64;
    let step = step as f32;
    Ok((StepOp::Sinusoids { offset, step }, width))
}

pub(super) fn linear_step(at: &At<'_, '_, '_>) -> Read<(StepOp, usize)> {
    let fields = at.fields()?;
    let out = fields.required("out")?.whole(1, MAX_WIDTH)?;
    let width = at.width()?;
    let bias = fields.optional("bias")?;
    let linear = Linear {
        weight: weight(
            &fields.required("weight")?,
            at.slot("weight"),
            vec![out, width],
        )?,
        bias: bias
            .map(|n| weight(&n, at.slot("bias"), vec![out]))
            .transpose()?,
    };
    Ok((StepOp::Linear(linear), out))
}

pub(super) fn scale(at: &At<'_, '_, '_>) -> Read<(StepOp, usize)> {
    let factor = at.fields()?.required("by")?.real()?;
    Ok((StepOp::Scale(factor), at.width()?))
}

pub(super) fn softcap(at: &At<'_, '_, '_>) -> Read<(StepOp, usize)> {
    let cap = at.fields()?.required("cap")?.above_zero()?;
    Ok((StepOp::Softcap(cap), at.width()?))
}

/// `{"op": "clamp", "least": 0, "most": 1}`, of which one may be absent.
pub(super) fn clamp(at: &At<'_, '_, '_>) -> Read<(StepOp, usize)> {
    let fields = at.fields()?;
    let (least, most) = (
        fields.value("least", Node::real)?,
        fields.value("most", Node::real)?,
    );
    if least.is_none() && most.is_none() {
        return Err(at.node.wrong("a step with `least`, `most` or both"));
    }
    let least = least.unwrap_or(f32::NEG_INFINITY);
    let most = most.unwrap_or(f32::INFINITY);
    if least > most {
        return Err(at.node.fault(Fault::Range {
            found: format!("least = {least}"),
            expected: format!("at most `most` = {most}"),
        }));
    }
    Ok((StepOp::Clamp { least, most }, at.width()?))
}
