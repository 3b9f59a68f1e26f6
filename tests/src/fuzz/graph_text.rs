//! The text form of graphs: any text is a graph or a message, what was read prints as a text that reads back as the same, and
//! the verifier has an answer to all of it.

use graver::driver::plain_program;
use graver::graph::{self, Block, Graph, Program, ProgramKind};
use graver_runtime::abi::CacheType;

use crate::{filetest, tiny};

/// Specs whose graphs together have every operation of the plain graph; as seeds.
const SPECS: [&str; 5] = ["gpt2", "llama", "deepseek_v3", "gemma3n", "qwen3_next"];

/// See the module.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let graph = match graph::parse(text) {
        Ok(graph) => graph,
        Err(message) => return drop(message.to_string()),
    };
    let printed = graph.to_string();
    let again = graph::parse(&printed).unwrap_or_else(|e| panic!("{e}\n{printed}"));
    assert_eq!(again.to_string(), printed);
    let verdict = |g: &Graph| graph::verify(g).map_err(|e| e.to_string());
    assert_eq!(verdict(&graph), verdict(&again), "{printed}");
    let block = |graph: &Graph| Block {
        name: "layer".into(),
        graph: graph.clone(),
    };
    let program = Program {
        kind: ProgramKind::Decode,
        blocks: vec![block(&Graph::default()), block(&graph), block(&graph)],
        layers: vec![1, 1],
        sources: vec![None, Some(0)],
        ropes: vec![],
    };
    drop(program.verify().map_err(|e| e.to_string()));
}

/// The inputs of all filetests, and the graphs of a few specs with nothing and with everything fused.
pub fn seeds() -> Vec<Vec<u8>> {
    let areas = ["pass", "verify", "schedule", "memory"];
    let mut out: Vec<Vec<u8>> = areas.into_iter().flat_map(filetest::inputs).collect();
    for name in SPECS {
        let loaded = tiny(name);
        for kind in [ProgramKind::Decode, ProgramKind::Prefill] {
            let mut program = plain_program(&loaded, kind, CacheType::F32);
            out.extend(texts(&program));
            graver::passes::run(&mut program, &graver::passes::PassOptions::default());
            out.extend(texts(&program));
        }
    }
    out
}

fn texts(program: &Program) -> impl Iterator<Item = Vec<u8>> {
    program
        .blocks
        .iter()
        .map(|b| b.graph.to_string().into_bytes())
}
