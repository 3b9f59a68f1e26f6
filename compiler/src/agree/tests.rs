//! Parts of a model that do not agree any more, and what is said of each.

use super::*;
use crate::codegen::{Instruments, Planned};
use crate::driver::{self, Loaded, ModelSource, Purpose, load, plain_program, plan_program};
use crate::graph::{ProgramKind, RecurrentDecl};
use crate::passes::PassOptions;
use crate::spec::{self, SpecSource};
use crate::weights::Weights;
use graver_runtime::abi::{CacheType, Dtype, Encoding};

fn tiny(spec: &str) -> Loaded {
    let spec = spec::load(SpecSource::Builtin(spec)).unwrap();
    let tiny = ModelSource::Random {
        spec: &spec,
        config: spec.preset("tiny").unwrap(),
        seed: 0,
        dtype: Some(Dtype::Bf16),
    };
    load(&tiny, Purpose::Run, None, &|_, _, _| {}).unwrap()
}

fn planned(loaded: &Loaded, kind: ProgramKind) -> Planned {
    let plain = plain_program(loaded, kind, CacheType::F32);
    plan_program(plain, &PassOptions::default(), Instruments::default()).0
}

fn both(loaded: &Loaded) -> [Program; 2] {
    [ProgramKind::Decode, ProgramKind::Prefill].map(|kind| planned(loaded, kind).program)
}

/// What is said of the slots of a model after `edit`.
#[track_caller]
fn slots_after(edit: impl FnOnce(&mut Program, &mut Weights)) -> String {
    let mut loaded = tiny("qwen3_moe");
    let [mut program, _] = both(&loaded);
    slots(&program, &loaded.weights).unwrap();
    edit(&mut program, &mut loaded.weights);
    let found = slots(&program, &loaded.weights);
    found.expect_err("a difference").to_string()
}

#[test]
fn every_slot_has_the_bytes_that_code_reads() {
    let short = slots_after(|_, w| w.head[0].bytes -= 2);
    assert!(
        short.starts_with("head, block 4, final_norm.gain: has 238 bytes of")
            && short.contains("code reads 240"),
        "{short}"
    );
    // A gain held as bf16, which code that reads f32 runs past: half the bytes.
    let narrow = slots_after(|_, w| {
        w.head[0].encoding = Encoding::Float(Dtype::Bf16);
        w.head[0].bytes /= 2;
    });
    assert!(narrow.contains("final_norm.gain: code reads"), "{narrow}");
    // The last of a family of experts.
    let expert = slots_after(|_, w| {
        let last = w.layers[2].last_mut().unwrap();
        last.bytes += 2;
    });
    assert!(expert.starts_with("layers."), "{expert}");
    assert!(expert.contains(", block 3, "), "{expert}");
}

#[test]
fn slots_are_those_of_the_program_in_its_order() {
    let swapped = slots_after(|_, w| w.layers[1].swap(0, 1));
    assert!(swapped.contains(", block 2, "), "{swapped}");
    let missing = slots_after(|_, w| drop(w.layers[1].pop()));
    assert!(missing.contains("slots, code reads"), "{missing}");
    let layer = slots_after(|_, w| drop(w.layers.pop()));
    assert_eq!(layer, "slots: of 4 blocks, expected 5");
    let turned = slots_after(|p, _| {
        let head = p.head();
        let decl = p.blocks[head].graph.weights.last_mut().unwrap();
        decl.transposed = !decl.transposed;
    });
    assert!(turned.contains("logits.weight: code reads"), "{turned}");
    let strided = slots_after(|p, _| p.blocks[1].graph.weights[1].row_stride += 2);
    assert!(strided.contains("code reads"), "{strided}");
}

/// What is said of a model's sizes after `edit`.
#[track_caller]
fn sizes_after(spec: &str, edit: impl FnOnce(&mut Program, &mut Model)) -> String {
    let mut loaded = tiny(spec);
    let [mut program, _] = both(&loaded);
    sizes(&program, &loaded.model).unwrap();
    edit(&mut program, &mut loaded.model);
    let found = sizes(&program, &loaded.model);
    found.expect_err("a difference").to_string()
}

#[test]
fn look_ups_stay_inside_their_tables() {
    let tokens = sizes_after("gpt2", |p, _| p.blocks[0].graph.weights[0].shape[0] -= 1);
    assert!(tokens.starts_with("embed: reads 211 rows of"), "{tokens}");
    let positions = sizes_after("gpt2", |_, m| m.context += 1);
    assert!(positions.contains("positions.table"), "{positions}");
}

#[test]
fn logits_are_as_many_as_the_vocabulary() {
    let said = sizes_after("gpt2", |p, m| {
        m.vocab -= 1;
        assert_eq!(p.blocks[0].graph.weights[0].shape[0], 211);
    });
    assert_eq!(said, "head: gives rows of 211, expected 210");
}

#[test]
fn decode_and_prefill_share_weights_and_state() {
    type Edit = fn(&mut Program);
    let edits: [(Edit, &str); 7] = [
        (
            |p| p.layers.reverse(),
            "layers: decode and prefill differ in their number",
        ),
        (
            |p| p.sources[1] = Some(0),
            "layers: decode and prefill differ in their number",
        ),
        (
            |p| p.ropes[0].scale = 2.0,
            "layers: decode and prefill differ in their number",
        ),
        (
            |p| p.blocks[0].graph.weights[0].row_stride += 2,
            "embed: decode and prefill differ in weights",
        ),
        (
            |p| drop(p.blocks[1].graph.weights.pop()),
            "decode and prefill differ in weights",
        ),
        (
            |p| p.blocks[1].graph.states[0].dtype = CacheType::F16,
            "decode and prefill differ in state",
        ),
        (
            |p| {
                p.blocks[1].graph.recurrent.push(RecurrentDecl {
                    name: "past".into(),
                    heads: 1,
                    rows: 2,
                    columns: 8,
                })
            },
            "decode and prefill differ in state",
        ),
    ];
    let [decode, prefill] = both(&tiny("deepseek_v3"));
    programs(&decode, &prefill).unwrap();
    for (edit, expected) in edits {
        let mut other = prefill.clone();
        edit(&mut other);
        let said = programs(&decode, &other).expect_err(expected).to_string();
        assert!(said.contains(expected), "{said}");
    }
}

/// What is said of a table of states after `edit`.
#[track_caller]
fn states_after(spec: &str, edit: impl FnOnce(&mut Vec<StateInfo>)) -> String {
    let [program, _] = both(&tiny(spec));
    let mut table = driver::states(&program);
    states(&program, &table).unwrap();
    edit(&mut table);
    states(&program, &table)
        .expect_err("a difference")
        .to_string()
}

#[test]
fn every_state_is_where_code_looks_for_it() {
    // Keys and values, latents, recurrent state, and layers that share others'.
    for spec in ["gemma2", "deepseek_v3", "qwen3_next", "gemma3n"] {
        let fewer = states_after(spec, |t| drop(t.pop()));
        assert!(fewer.contains("is None in the table"), "{spec}: {fewer}");
        let more = states_after(spec, |t| t.push(t[0].clone()));
        assert!(
            more.starts_with("the table of states: has "),
            "{spec}: {more}"
        );
        let smaller = states_after(spec, |t| {
            let last = t.last_mut().unwrap();
            last.bytes_per_position /= 2;
            last.fixed_bytes /= 2;
        });
        assert!(
            smaller.contains("in the table, expected"),
            "{spec}: {smaller}"
        );
    }
    let ring = states_after("gemma2", |t| {
        let ring = t.iter_mut().find(|s| s.ring.is_some()).unwrap();
        ring.ring = None;
    });
    assert!(ring.contains("in the table, expected"), "{ring}");
}

#[test]
#[should_panic(expected = "in the manifest: embed: gives nothing")]
fn a_difference_names_who_found_it() {
    let found = Err(VerifyError::new("embed", "gives nothing"));
    expect(found, "in the manifest");
}
