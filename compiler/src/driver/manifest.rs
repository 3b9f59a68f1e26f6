//! The manifest: what a compiled model says about itself.
//!
//! In: a loaded model and both of its programs, planned. Out: sizes, kernels, the table of states and the weight slots, as the
//! runtime wants them stated. The artifact's writer changes only where weights lie.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use graver_runtime::abi::{
    ABI_VERSION, BlobInfo, CollectiveInfo, CollectiveKind, Encoding, KernelInfo, Manifest,
    ProgramInfo, RankInfo, StateInfo, WeightInfo,
};

use super::options::CompileOptions;
use crate::agree;
use crate::codegen::Planned;
use crate::graph::{Collective, NodeId, Program};
use crate::schedule::early::summed_early;
use crate::schedule::{max_tokens, query_tile};
use crate::spec::model::Model;
use crate::weights::{Blob, Weights};

/// What the artifact says about itself; blobs are those of `weights`, in place.
pub(super) fn manifest(
    (model, weights): (&Model, &Weights),
    planned: &[Planned; 2],
    options: &CompileOptions,
    rank: Option<RankInfo>,
) -> Manifest {
    let states = states(&planned[0].program);
    for program in planned.each_ref().map(|p| &p.program) {
        agree::expect(agree::states(program, &states), "in the manifest");
        agree::expect(agree::slots(program, weights), "in the manifest");
    }
    let slots = weights.views().map(|v| WeightInfo {
        name: v.name.clone(),
        blob: v.blob,
        offset: v.offset_bytes,
        bytes: v.bytes,
    });
    let blob = |b: &Arc<Blob>| BlobInfo {
        file: None,
        offset: 0,
        bytes: b.as_bytes().len(),
    };
    Manifest {
        abi: ABI_VERSION,
        compiler: crate::VERSION.into(),
        spec: model.name.clone(),
        target: options.target.name.clone(),
        features: options.target.features.clone(),
        tuned: options.tuned.clone(),
        passes: options
            .passes
            .enabled()
            .iter()
            .map(|p| p.name.to_string())
            .collect(),
        vocab: model.vocab,
        output: model.output,
        hidden: model.hidden,
        layers: model.layers.len(),
        context: model.context,
        cache: options.cache,
        weight_types: weight_types(weights),
        rounds_activations: rounds_activations(&planned[1]),
        eos: model.eos.clone(),
        bos: model.bos,
        decode: program_info(&planned[0]),
        prefill: program_info(&planned[1]),
        length_switches: length_switches(model),
        states,
        weights: slots.collect(),
        blobs: weights.blobs.iter().map(blob).collect(),
        rank,
    }
}

fn rounds_activations(prefill: &Planned) -> bool {
    let blocks = &prefill.program.blocks;
    let mut weights = blocks.iter().flat_map(|b| &b.graph.weights);
    weights.any(|w| w.rounded)
}

/// Kernels of all blocks, in the order in which time stamps count them.
fn kernel_infos(p: &Planned) -> Vec<KernelInfo> {
    let blocks = p.program.blocks.iter().zip(&p.schedule.blocks).enumerate();
    blocks
        .flat_map(|(i, (block, schedule))| {
            let prefix = p.program.place(i);
            schedule.kernels.iter().map(move |k| KernelInfo {
                at: format!("{prefix}.{}", k.name),
                op: block.graph.op(k.node).name().into(),
            })
        })
        .collect()
}

/// Bytes of every element type. What views of one tensor read is of one type.
fn weight_types(weights: &Weights) -> BTreeMap<String, usize> {
    let tensors: BTreeMap<usize, Encoding> =
        weights.views().map(|v| (v.tensor, v.encoding)).collect();
    let mut types = BTreeMap::new();
    for (tensor, encoding) in tensors {
        *types.entry(encoding.to_string()).or_insert(0) += weights.tensors[tensor].bytes;
    }
    types
}

/// Lengths at which a rotary embedding changes, ascending.
fn length_switches(model: &Model) -> Vec<usize> {
    let long = model.ropes.iter().filter_map(|r| r.long.as_ref());
    let lengths: BTreeSet<usize> = long.map(|l| l.above).collect();
    lengths.into_iter().collect()
}

fn program_info(p: &Planned) -> ProgramInfo {
    ProgramInfo {
        max_tokens: max_tokens(p.program.kind),
        arena_bytes: p.memory.arena_bytes,
        arena_bytes_per_position: p.memory.arena_bytes_per_position,
        scratch_bytes: p.memory.scratch_bytes,
        query_tile: query_tile(p.program.kind),
        kernels: if p.instruments.stamps {
            kernel_infos(p)
        } else {
            vec![]
        },
        collectives: collectives(p),
    }
}

/// Where ranks meet, in the order in which code numbers these places.
fn collectives(p: &Planned) -> Vec<CollectiveInfo> {
    let program = &p.program;
    let info = |(block, id, collective): (usize, NodeId, Collective)| {
        let graph = &program.blocks[block].graph;
        let own = graph.width(graph.input(id));
        let (kind, first) = match collective {
            Collective::AllReduce => (CollectiveKind::AllReduce, 0),
            Collective::AllGather { first, .. } => (CollectiveKind::AllGather, first),
            Collective::HandOver { from, to } => (CollectiveKind::HandOver { from, to }, 0),
        };
        CollectiveInfo {
            at: format!("{}.{}", program.place(block), graph.node(id).name),
            kind,
            times: program.run_order().filter(|b| *b == block).count(),
            first,
            own,
            width: graph.width(id),
            early: summed_early(graph, &p.schedule.blocks[block], program.kind, id).is_some(),
        }
    };
    program.collectives().into_iter().map(info).collect()
}

/// Keys, values and recurrent states of every layer, in the order of the state table.
pub fn states(program: &Program) -> Vec<StateInfo> {
    let mut out = vec![];
    for (i, block) in program.layers.iter().enumerate() {
        if program.sources[i].is_some() {
            continue;
        }
        for s in &program.blocks[*block].graph.states {
            for (side, bytes_per_position) in s.buffers() {
                let name = format!("layers.{i}.{}.{side}", s.name);
                out.push(StateInfo {
                    name,
                    bytes_per_position,
                    fixed_bytes: 0,
                    ring: s.ring,
                });
            }
        }
        let recurrent = &program.blocks[*block].graph.recurrent;
        out.extend(recurrent.iter().map(|r| StateInfo {
            name: format!("layers.{i}.{}", r.name),
            bytes_per_position: 0,
            fixed_bytes: r.bytes(),
            ring: None,
        }));
    }
    out
}
