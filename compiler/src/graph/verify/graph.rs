//! What has to hold of one graph.

use super::error::VerifyError;
use super::operands;
use crate::graph::dim::{StateId, shape_text};
use crate::graph::nodes::{Graph, NodeId};
use crate::graph::ops::{Dest, Op, Role};

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
    let shape = graph.infer(op, &operands).map_err(|e| e.to_string())?;
    if shape != *graph.shape(id) {
        return Err(format!(
            "shape is {}, its operands give {}",
            shape_text(graph.shape(id)),
            shape_text(&shape)
        ));
    }
    operands::check(graph, id, &operands)?;
    check_quantized(graph, op, &operands)?;
    let facts = op.facts();
    match (facts.reads, facts.writes.as_slice()) {
        (_, [first, rest @ ..]) if rest.iter().any(|s| s != first) => {
            Err("writes more than one state".into())
        }
        (Some(state), _) => reads_after_write(graph, op, &operands, state),
        (None, _) => Ok(()),
    }
}

/// That a state is written, by this layer or an earlier one, before it is read.
fn reads_after_write(
    graph: &Graph,
    op: &Op,
    operands: &[NodeId],
    state: StateId,
) -> Result<(), String> {
    let order = op.roles().iter().position(|(role, _)| *role == Role::After);
    let writer = order.map(|at| graph.op(operands[at]));
    let written = |op: &Op| op.facts().writes.contains(&state) || *op == Op::CacheRead { state };
    match writer.is_some_and(written) {
        true => Ok(()),
        false => Err(format!(
            "reads state {state} after a node that does not write it"
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
            let plain = m.parts.iter().all(|p| p.epilogue.dest == Dest::Output);
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
