//! Properties of every built-in spec's tiny preset, in both programs, after every number of passes; and of random graphs.

use graver::codegen::Instruments;
use graver::driver::{plain_program, plan_program};
use graver::graph::{self, Binary, Dim, Graph, Matmul, NodeId, Op, Program, ProgramKind, Unary};
use graver::passes::{PASSES, PassOptions};
use graver::spec;
use graver::spec::model::Activation;
use graver_runtime::abi::{CacheType, Dtype, Encoding};

use graver_tests::{arena, programs::around, tiny};

const KINDS: [ProgramKind; 2] = [ProgramKind::Decode, ProgramKind::Prefill];

/// Calls `check` with every spec, program and number of passes; the name says which.
fn for_all(mut check: impl FnMut(&str, Program, PassOptions)) {
    for name in spec::builtin_names() {
        let loaded = tiny(name);
        for kind in KINDS {
            for limit in 0..=PASSES.len() {
                let options = PassOptions {
                    limit: Some(limit),
                    ..PassOptions::default()
                };
                let program = plain_program(&loaded, kind, CacheType::F32);
                check(
                    &format!("{name} {kind} after {limit} passes"),
                    program,
                    options,
                );
            }
        }
    }
}

#[test]
fn graph_text_reads_back_as_it_was() {
    for_all(|at, mut program, options| {
        graver::passes::run(&mut program, &options);
        for block in &program.blocks {
            let text = block.graph.to_string();
            let again = graph::parse(&text).unwrap_or_else(|e| panic!("{at}, {}: {e}", block.name));
            assert_eq!(again.to_string(), text, "{at}, {}", block.name);
            graph::verify(&again).unwrap_or_else(|e| panic!("{at}, {}: {e}", block.name));
        }
    });
}

#[test]
fn no_value_is_overwritten_while_it_is_needed() {
    for_all(|at, program, options| {
        let (planned, _) = plan_program(program, &options, Instruments::default());
        for context in [1, 64, 1000] {
            if let Some(fault) = arena::fault(&planned, context) {
                panic!(
                    "{at}: {fault}\n{}\n{}",
                    planned.schedule,
                    planned.memory.text(&planned.program)
                );
            }
        }
    });
}

#[test]
fn no_value_of_a_random_graph_is_overwritten_while_it_is_needed() {
    for seed in 0..300 {
        for kind in KINDS {
            let program = random_program(kind, &mut Dice(seed));
            let (planned, _) = plan_program(
                program,
                &PassOptions {
                    no_fuse: true,
                    ..PassOptions::default()
                },
                Instruments::default(),
            );
            if let Some(fault) = arena::fault(&planned, 1) {
                let graph = &planned.program.blocks[1].graph;
                panic!(
                    "seed {seed}: {fault}\n{graph}\n{}\n{}",
                    planned.schedule,
                    planned.memory.text(&planned.program)
                );
            }
        }
    }
}

/// Small numbers from a seed (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }

    fn one_of(&mut self, nodes: &[NodeId]) -> NodeId {
        nodes[self.below(nodes.len())]
    }
}

/// A block of elementwise operations, matmuls and slices that takes and gives `h` and `g`.
fn random_program(kind: ProgramKind, dice: &mut Dice) -> Program {
    let mut graph = Graph::default();
    let row = |n: usize| vec![Dim::Tokens, Dim::Const(n)];
    let (h, g) = (graph.add_input("h", row(24)), graph.add_input("g", row(8)));
    let mut values = vec![h, g];
    for i in 0..3 + dice.below(12) {
        let x = dice.one_of(&values);
        let node = random_node(&mut graph, dice, x, &values, &format!("n{i}"));
        values.push(node);
    }
    for (name, width) in [("h", 24), ("g", 8)] {
        let x = dice.one_of(&values);
        let y = matmul(&mut graph, x, width, name);
        graph.outputs.push((name.into(), y));
    }
    around(graph, kind)
}

fn random_node(
    graph: &mut Graph,
    dice: &mut Dice,
    x: NodeId,
    values: &[NodeId],
    name: &str,
) -> NodeId {
    let width = graph.width(x);
    match dice.below(5) {
        0 => graph.add(Op::Unary(Unary::Act(Activation::Silu)), &[x], name),
        1 => {
            let same: Vec<NodeId> = values
                .iter()
                .copied()
                .filter(|v| graph.width(*v) == width)
                .collect();
            let y = dice.one_of(&same);
            graph.add(Op::Binary(Binary::Mul), &[x, y], name)
        }
        2 => graph.add(
            Op::Slice {
                start: 0,
                len: width.div_ceil(2),
            },
            &[x],
            name,
        ),
        _ => matmul(graph, x, 1 + dice.below(40), name),
    }
}

fn matmul(graph: &mut Graph, x: NodeId, rows: usize, name: &str) -> NodeId {
    let shape = vec![rows, graph.width(x)];
    let slot = format!("{name}.w");
    let row_stride = shape[1] * 4;
    let w = graph.add_weight(graph::WeightDecl {
        slot,
        shape,
        encoding: Encoding::Float(Dtype::F32),
        row_stride,
        count: 1,
        transposed: false,
        rounded: false,
        blocks: None,
    });
    graph.add(Op::Matmul(Matmul::plain(rows)), &[x, w], name)
}
