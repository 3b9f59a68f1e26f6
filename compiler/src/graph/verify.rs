//! The verifier: what has to hold of every graph and of every program, when it is built, after every pass, and when it is
//! scheduled. Behind it nothing is checked any more: generated code reads and writes what the graph says.

mod operands;
mod program;
#[cfg(test)]
mod tests;

use super::text::shape_text;
use super::{Dest, Graph, NodeId, Op, shape};

/// A broken invariant.
#[derive(Debug, thiserror::Error)]
#[error("{node}: {what}")]
pub struct VerifyError {
    /// Printed name of the node, or what else of a program.
    pub node: String,
    /// What is wrong with it.
    pub what: String,
    /// The block that it is in, of a program.
    pub(super) block: Option<usize>,
}

impl VerifyError {
    pub(crate) fn new(node: impl Into<String>, what: impl Into<String>) -> VerifyError {
        VerifyError {
            node: node.into(),
            what: what.into(),
            block: None,
        }
    }
}

/// Checks that shapes follow from operands, that there is no cycle, that every input and output stands, that weights are
/// stored as code reads them, that a state is written before it is read, and that quantised weights meet quantised rows.
///
/// # Errors
/// The first node, in topological order, that breaks a rule.
pub fn verify(graph: &Graph) -> Result<(), VerifyError> {
    let order = graph.order();
    if order.len() != graph.len() {
        return Err(VerifyError::new("graph", "has a cycle"));
    }
    let names = graph.names();
    for id in &order {
        check(graph, *id).map_err(|what| VerifyError::new(names[id].clone(), what))?;
    }
    for (name, id) in &graph.outputs {
        let what = match names.contains_key(id) {
            false => "output of a removed node",
            true if graph.is_quantized(*id) => "blocks hand on f32, not int8",
            true => continue,
        };
        return Err(VerifyError::new(name.clone(), what));
    }
    Ok(())
}

fn check(graph: &Graph, id: NodeId) -> Result<(), String> {
    let op = graph.op(id);
    if matches!(op, Op::Input(_)) {
        return Ok(());
    }
    let operands = graph.operands(id);
    let shape = shape::infer(graph, op, &operands).map_err(|e| e.to_string())?;
    if shape != *graph.shape(id) {
        return Err(format!(
            "shape is {}, its operands give {}",
            shape_text(graph.shape(id)),
            shape_text(&shape)
        ));
    }
    operands::check(graph, op, &operands)?;
    check_quantized(graph, op, &operands)?;
    let state = match op {
        Op::Scores(a) | Op::Mix(a) | Op::Attention(a) => a.state,
        Op::LatentAttention(l) => l.attention.state,
        _ => return Ok(()),
    };
    let writer = operands[1];
    match graph.op(writer).writes() {
        Some(s) if s == state => Ok(()),
        None if *graph.op(writer) == (Op::CacheRead { state }) => Ok(()),
        _ => Err(format!(
            "reads state {state} behind a node that does not write it"
        )),
    }
}

/// Rows in int8 are for matmuls with quantised weights, which read nothing else.
fn check_quantized(graph: &Graph, op: &Op, operands: &[NodeId]) -> Result<(), String> {
    let is_weight = |o: &&NodeId| {
        graph
            .weight(**o)
            .is_some_and(|w| w.encoding.quant().is_some())
    };
    let is_value = |o: &&NodeId| graph.is_quantized(**o);
    match op {
        Op::Matmul(m) => {
            let weights = operands.iter().filter(is_weight).count();
            let x = graph.is_quantized(operands[0]);
            let others = operands[1..].iter().any(|o| is_value(&o));
            let fits = if m.quantize_x || x { m.parts.len() } else { 0 };
            if weights != fits || (m.quantize_x || m.norm.is_some()) && x || others {
                return Err("int8 rows and quantised weights go together, all or none".into());
            }
            let plain = m.parts.iter().all(|p| p.finish.dest == Dest::Output);
            match m.quantize_y && !plain {
                true => Err("what goes into a state is not rounded to int8 as well".into()),
                false => Ok(()),
            }
        }
        Op::GroupedMatmul(_) | Op::ExpertsIn(_) | Op::ExpertsOut(_) => {
            let rounds = matches!(op, Op::ExpertsIn(e) if e.quantize_x);
            let matrices = operands.iter().filter(|o| is_matrix(graph, **o)).count();
            let weights = operands.iter().filter(is_weight).count();
            let x = graph.is_quantized(operands[0]);
            let fits = if x || rounds { matrices } else { 0 };
            let before = matches!(op, Op::ExpertsIn(e) if e.norm.is_some() || e.weighted || rounds);
            let others = operands[1..].iter().any(|o| is_value(&o));
            match weights != fits || x && before || others {
                true => Err("int8 rows and quantised weights go together, all or none".into()),
                false => Ok(()),
            }
        }
        Op::Embed { .. } => Ok(()),
        _ if operands.iter().any(|o| is_value(&o) || is_weight(&o)) => Err(format!(
            "{} reads no int8 and no quantised weights",
            op.name()
        )),
        _ => Ok(()),
    }
}

fn is_matrix(graph: &Graph, id: NodeId) -> bool {
    graph.weight(id).is_some_and(|w| w.shape.len() > 1)
}
