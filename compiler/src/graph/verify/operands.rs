//! What each operand is read as, and that it is that: rows in the arena, or a weight in a form that code reads.

use graver_runtime::abi::{Dtype, Encoding};

use crate::graph::decl::WeightDecl;
use crate::graph::nodes::{Graph, NodeId};
use crate::graph::ops::{Op, Reads};

/// Checks the operands of a node, whose shapes fit.
pub(super) fn check(graph: &Graph, node: NodeId, operands: &[NodeId]) -> Result<(), String> {
    let op = graph.op(node);
    for ((role, reads), id) in op.roles().into_iter().zip(operands) {
        let decl = graph.weight(*id);
        let fits = match (reads, decl) {
            (Reads::Rows | Reads::RowsOrVector, None) | (Reads::Order, _) => Ok(()),
            (Reads::Positions, None) => positions(graph, *id),
            (Reads::Rows | Reads::Positions, Some(_)) => {
                Err("is a weight, where rows are read".into())
            }
            (_, None) => Err("is not a weight, where one is read".into()),
            (Reads::Vector | Reads::RowsOrVector, Some(d)) => vector(d),
            (Reads::Matrix, Some(d)) => rows_apart(d),
            (Reads::MatrixByHead, Some(d)) => by_head(d).and_then(|()| rows_apart(d)),
            (Reads::Table, Some(d)) => row_by_row(d).and_then(|()| rows_apart(d)),
        };
        fits.map_err(|what| format!("{role} of {} {what}", op.name()))?;
    }
    match op.overwrites_input() && graph.only_user(graph.input(node)) != Some(node) {
        true => Err(format!("{} overwrites what others read too", op.name())),
        false => Ok(()),
    }
}

/// Positions come from an index, of this layer or an earlier one; nothing computes with them on the way.
fn positions(graph: &Graph, id: NodeId) -> Result<(), String> {
    match graph.op(id) {
        Op::PickKeys(_) | Op::Input(_) => Ok(()),
        Op::Copy | Op::Slice { .. } => positions(graph, graph.input(id)),
        other => Err(format!(
            "comes from {}, where positions are read",
            other.name()
        )),
    }
}

/// Vectors and filters are read as f32, whatever the checkpoint has.
fn vector(d: &WeightDecl) -> Result<(), String> {
    if d.encoding != Encoding::Float(Dtype::F32) {
        return Err(format!("is @{} in {}, read as f32", d.slot, d.encoding));
    }
    row_by_row(d)?;
    rows_apart(d)
}

fn row_by_row(d: &WeightDecl) -> Result<(), String> {
    match d.transposed || d.blocks.is_some() {
        true => Err(format!(
            "is @{}, whose rows do not follow each other, read row by row",
            d.slot
        )),
        false => Ok(()),
    }
}

fn by_head(d: &WeightDecl) -> Result<(), String> {
    match d.encoding.float() {
        None => Err(format!("is @{} in {}, read as floats", d.slot, d.encoding)),
        Some(_) if d.blocks.is_some() => Err(format!(
            "is @{}, a run of rows of each head, read as whole heads",
            d.slot
        )),
        Some(_) => Ok(()),
    }
}

/// Rows, or panels of them, do not lie in each other; what is multiplied with rounded rows is rows of bf16.
fn rows_apart(d: &WeightDecl) -> Result<(), String> {
    if d.rounded && (d.encoding != Encoding::Float(Dtype::Bf16) || d.transposed) {
        return Err(format!(
            "is @{} in {}, multiplied with rows that are rounded, as only rows of bf16 are",
            d.slot, d.encoding
        ));
    }
    let runs = d.blocks.is_none_or(|b| b.rows > 0 && b.rows <= b.every);
    if d.shape.contains(&0) || !runs {
        return Err(format!(
            "is @{}, of which no rows can be read, or rows that lie in each other",
            d.slot
        ));
    }
    let least = d.stored_row_bytes();
    match d.row_stride < least {
        true => Err(format!(
            "is @{}, whose rows of {least} bytes begin every {} bytes",
            d.slot, d.row_stride
        )),
        false => Ok(()),
    }
}
