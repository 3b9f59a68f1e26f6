//! What each operand is read as, and that it is that: rows in the arena, or a weight in a form that code reads.

use crate::graph::{Graph, NodeId, Op, WeightDecl};
use graver_runtime::abi::{Dtype, Encoding};

/// How an operation reads one of its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reads {
    /// Rows that another node has computed.
    Rows,
    /// Rows, or a vector that every row sees.
    RowsOrVector,
    /// f32, element behind element, or in rows that follow each other.
    Vector,
    /// A matrix in any form.
    Matrix,
    /// A matrix of floats, by row and column.
    MatrixByHead,
    /// Rows of a matrix by their number.
    Table,
    /// Nothing: it orders what reads a state behind what writes it.
    Order,
}

/// Checks the operands of one node, whose shapes fit.
pub(super) fn check(graph: &Graph, op: &Op, operands: &[NodeId]) -> Result<(), String> {
    for (role, id) in op.roles().iter().zip(operands) {
        let decl = graph.weight(*id);
        let fits = match (reads(op, role), decl) {
            (Reads::Rows | Reads::RowsOrVector, None) | (Reads::Order, _) => Ok(()),
            (Reads::Rows, Some(_)) => Err("is a weight, where rows are read".into()),
            (_, None) => Err("is no weight, where one is read".into()),
            (Reads::Vector | Reads::RowsOrVector, Some(d)) => vector(d),
            (Reads::Matrix, Some(d)) => rows_apart(d),
            (Reads::MatrixByHead, Some(d)) => by_head(d).and_then(|()| rows_apart(d)),
            (Reads::Table, Some(d)) => row_by_row(d).and_then(|()| rows_apart(d)),
        };
        fits.map_err(|what| format!("{role} of {} {what}", op.name()))?;
    }
    Ok(())
}

/// How `op` reads the operand in `role`.
fn reads(op: &Op, role: &str) -> Reads {
    let rows = |values: &[&str]| match values.contains(&role) {
        true => Reads::Rows,
        false => Reads::Vector,
    };
    // `w0`, `w1`, …: but for the numbers behind them, matrices are called `w`.
    let is_matrix = role.trim_end_matches(|c: char| c.is_ascii_digit()) == "w";
    match op {
        Op::Input(_) | Op::Weight(_) | Op::RopeAngles { .. } | Op::CacheRead { .. } => Reads::Rows,
        Op::Embed { .. } | Op::PositionRows { .. } => Reads::Table,
        Op::Binary(_) if role == "b" => Reads::RowsOrVector,
        Op::Norm(_) | Op::Quantize { .. } | Op::Softmax(_) | Op::Route(_) => rows(&["x"]),
        Op::Decay { .. } | Op::ShortConv(_) => rows(&["x"]),
        Op::Finish { .. } => rows(&["x", "angles"]),
        Op::DeltaRule(_) => rows(&["q", "k", "v", "decay", "beta", "gate"]),
        Op::Matmul(_) | Op::GroupedMatmul(_) | Op::ExpertsIn(_) | Op::ExpertsOut(_)
            if is_matrix =>
        {
            Reads::Matrix
        }
        Op::Matmul(_) => rows(&["x", "angles", "residual"]),
        Op::GroupedMatmul(_) => rows(&["x", "groups"]),
        Op::ExpertsIn(_) => rows(&["x", "groups", "scores"]),
        Op::ExpertsOut(_) => rows(&["x", "groups", "scores", "shared", "shared_gate", "residual"]),
        Op::HeadMatmul(_) | Op::LatentAttention(_) if is_matrix => Reads::MatrixByHead,
        Op::Scores(_) | Op::Mix(_) | Op::Attention(_) | Op::LatentAttention(_)
            if role == "after" =>
        {
            Reads::Order
        }
        Op::Scores(_) | Op::Mix(_) | Op::LatentAttention(_) | Op::HeadMatmul(_) => Reads::Rows,
        Op::Attention(_) => rows(&["q"]),
        Op::Binary(_) | Op::Unary(_) | Op::Rope(_) | Op::PositionScale(_) => Reads::Rows,
        Op::CacheWrite { .. } | Op::GatherRows | Op::Copy => Reads::Rows,
        Op::Slice { .. } | Op::HeadSlice(_) | Op::HeadConcat(_) => Reads::Rows,
        Op::GroupByExpert(_) | Op::GatherTokens { .. } | Op::Activate(_) => Reads::Rows,
        Op::Combine { .. } | Op::ScaleRows | Op::WeightedSum(_) => Reads::Rows,
        Op::MatchRms { .. } | Op::Cutoff { .. } => Reads::Rows,
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

/// Rows, or panels of them, do not lie in each other.
fn rows_apart(d: &WeightDecl) -> Result<(), String> {
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
