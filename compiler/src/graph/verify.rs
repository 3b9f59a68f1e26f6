//! The verifier: what has to hold of every graph, before and after every pass.

use super::{Graph, NodeId, Op, Program, shape};

/// A broken invariant.
#[derive(Debug, thiserror::Error)]
#[error("{node}: {what}")]
pub struct VerifyError {
    /// Printed name of the node.
    pub node: String,
    /// What is wrong with it.
    pub what: String,
}

/// Checks that shapes follow from operands, that there is no cycle, that every input and output stands, and that a state
/// is written before it is read.
///
/// # Errors
/// The first node, in topological order, that breaks a rule.
pub fn verify(graph: &Graph) -> Result<(), VerifyError> {
    let order = graph.order();
    if order.len() != graph.len() {
        return Err(VerifyError {
            node: "graph".into(),
            what: "has a cycle".into(),
        });
    }
    let names = graph.names();
    for id in &order {
        check(graph, *id).map_err(|what| VerifyError {
            node: names[id].clone(),
            what,
        })?;
    }
    match graph.outputs.iter().find(|(_, id)| !names.contains_key(id)) {
        Some((name, _)) => Err(VerifyError {
            node: name.clone(),
            what: "output of a removed node".into(),
        }),
        None => Ok(()),
    }
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
            "shape is {:?}, its operands give {shape:?}",
            graph.shape(id)
        ));
    }
    let state = match op {
        Op::Scores(a) | Op::Mix(a) | Op::Attention(a) => a.state,
        _ => return Ok(()),
    };
    let writer = operands[1];
    match graph.op(writer).writes() {
        Some(s) if s == state => Ok(()),
        _ => Err(format!(
            "reads state {state} behind a node that does not write it"
        )),
    }
}

/// [`verify`] on every block, and that blocks hand on what the next one takes.
///
/// # Errors
/// As [`verify`], the node's name with its block in front.
pub fn verify_program(program: &Program) -> Result<(), VerifyError> {
    for b in &program.blocks {
        verify(&b.graph).map_err(|e| VerifyError {
            node: format!("{}: {}", b.name, e.node),
            what: e.what,
        })?;
    }
    Ok(())
}
