//! What matrices are multiplied with: remembered by column, in plain graphs, where products have nothing in front of them.

use super::values::Rows;
use crate::graph::{Graph, NodeId, Op};

/// What the columns of a matrix have been multiplied with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// Of each column the sum of the squares, each row's being 1 on average: some rows, such as a text's first, are large everywhere, and
    /// would decide alone. Empty where there has been nothing.
    pub squares: Vec<f64>,
}

impl Seen {
    /// Adds what another sequence has seen of the same matrix.
    pub fn merge(&mut self, other: &Seen) {
        self.squares
            .resize(other.squares.len().max(self.squares.len()), 0.0);
        let both = self.squares.iter_mut().zip(&other.squares);
        both.for_each(|(sum, more)| *sum += more);
    }

    fn add(&mut self, x: &Rows) {
        self.squares.resize(x.width, 0.0);
        for row in x.iter() {
            let square = |x: &f32| f64::from(*x) * f64::from(*x);
            let mean = row.iter().map(square).sum::<f64>() / row.len() as f64;
            if mean > 0.0 {
                let each = self.squares.iter_mut().zip(row);
                each.for_each(|(sum, x)| *sum += square(x) / mean);
            }
        }
    }
}

/// Remembers the operand of a product for the matrices that it is multiplied with. `seen` are those of the graph's slots.
pub(super) fn watch(graph: &Graph, id: NodeId, operands: &[&Rows], seen: &mut [Seen]) {
    let is_product = matches!(graph.op(id), Op::Matmul(_) | Op::GroupedMatmul(_));
    let Some(x) = operands.first().filter(|_| is_product) else {
        return;
    };
    for operand in graph.operands(id) {
        let Op::Weight(w) = graph.op(operand) else {
            continue;
        };
        let (decl, first) = (&graph.weights[w.0 as usize], graph.pointer(*w));
        if matches!(decl.shape[..], [_, columns] if columns == x.width) {
            seen[first..first + decl.count]
                .iter_mut()
                .for_each(|seen| seen.add(x));
        }
    }
}
