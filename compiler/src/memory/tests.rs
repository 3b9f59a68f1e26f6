//! Tests of the memory planner, on the graphs of the built-in specs.

use super::*;
use crate::graph::ProgramKind;
use crate::passes::PassOptions;
use crate::pipeline::{load_preset, plain_program, plan as planned};
use crate::spec::{SpecSource, builtin_names, load};

fn overlap(a: &Buffer, b: &Buffer) -> bool {
    let place = |b: &Buffer| match b.place {
        Place::Arena {
            offset,
            per_position: 0,
        } if b.bytes_per_position == 0 => Some((offset, offset + b.bytes)),
        Place::Arena { .. } | Place::Logits => None,
    };
    let (Some(a), Some(b)) = (place(a), place(b)) else {
        return false;
    };
    a.0 < b.1 && b.0 < a.1
}

/// Scores of the second tile are computed after the first one's values have been mixed.
#[test]
fn one_tile_does_not_overwrite_the_queries_of_the_next() {
    for name in builtin_names() {
        let spec = load(SpecSource::Builtin(name)).unwrap();
        let loaded = load_preset(&spec, "tiny", 0, None).unwrap();
        let options = PassOptions {
            no_fuse: true,
            ..PassOptions::default()
        };
        let program = plain_program(
            &loaded,
            ProgramKind::Decode,
            graver_runtime::abi::Dtype::F32,
        );
        let p = planned(program, &options).0;
        for (block, buffers) in p.program.blocks.iter().zip(&p.memory.blocks) {
            let graph = &block.graph;
            let find = |wanted: fn(&Op) -> bool| {
                let mut all = graph.order().into_iter();
                all.find(|id| wanted(graph.op(*id)))
            };
            let scores = find(|op| matches!(op, Op::Scores(_)));
            let mix = find(|op| matches!(op, Op::Mix(_)));
            let (Some(scores), Some(mix)) = (scores, mix) else {
                continue;
            };
            let q = root(graph, graph.operands(scores)[0]);
            let (q, mix) = (&buffers[&q], &buffers[&mix]);
            assert!(!overlap(q, mix), "{name}: {q} and {mix}");
        }
    }
}
