//! Graphs as objects: the blocks of a program, their nodes in order, and what each reads.

use graver::graph::{Program, op_text, shape_text};
use pyo3::prelude::*;

/// A block of a program: the embedding, a kind of layer, or the head.
#[pyclass(frozen, get_all, module = "graver")]
pub(crate) struct Block {
    /// `layers.dense`.
    name: String,
    /// Nodes in an order in which each comes after what it reads.
    nodes: Vec<Py<Node>>,
}

/// An operation.
#[pyclass(frozen, get_all, module = "graver")]
pub(crate) struct Node {
    /// Its name in the block's text.
    name: String,
    /// The operation's name.
    op: String,
    /// All of the operation, with its options.
    text: String,
    /// Its value's shape.
    shape: String,
    /// Names of the nodes that it reads, in the order of its operands.
    reads: Vec<String>,
}

#[pymethods]
impl Block {
    fn __repr__(&self) -> String {
        format!("<Block {}: {} nodes>", self.name, self.nodes.len())
    }
}

#[pymethods]
impl Node {
    fn __repr__(&self) -> String {
        format!("<Node {} = {} : {}>", self.name, self.text, self.shape)
    }
}

/// The blocks of a program.
pub(crate) fn blocks(python: Python<'_>, program: &Program) -> PyResult<Vec<Block>> {
    let blocks = program.blocks.iter().enumerate();
    let block = |(i, block): (usize, &graver::graph::Block)| {
        let graph = &block.graph;
        let names = graph.names();
        let node = |(id, name): (&graver::graph::NodeId, &String)| {
            let (node, reads) = (graph.node(*id), graph.operands(*id));
            Py::new(
                python,
                Node {
                    name: name.clone(),
                    op: node.op.name().into(),
                    text: op_text(&node.op),
                    shape: shape_text(&node.shape),
                    reads: reads.iter().map(|id| names[id].clone()).collect(),
                },
            )
        };
        Ok(Block {
            name: program.place(i),
            nodes: names.iter().map(node).collect::<PyResult<_>>()?,
        })
    };
    blocks.map(block).collect()
}
