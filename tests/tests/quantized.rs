//! Quantised weights: compiled code against the interpreter, every path and number of threads, and what is lost.

use std::path::{Path, PathBuf};

use graver::codegen::{Instruments, Planned};
use graver::divergence::{Bounds, Reference, against_reference, of_interpreter};
use graver::driver::{self, Loaded, ModelSource, Purpose, plain_program, plan_program};
use graver::graph::{Op, ProgramKind};
use graver::interp::Interpreter;
use graver::passes::PassOptions;
use graver::verify::Golden;
use graver::verify::oracle::any_tokens;
use graver::weights::{QuantChoice, QuantPlan};
use graver_runtime::abi::{CacheType, Quant};
use graver_runtime::session::{Session, Wanted};
use graver_tests::{compile_for, fixtures, load_checkpoint, quantized, tiny};

/// Odd widths, a tied head, weights stored `[in, out]`, biases, norms of queries and keys, norms after the sublayers;
/// experts, with a shared one, as pairs of rows with biases, and with their input weighed.
const CHECKPOINTS: [&str; 9] = [
    "llama-gqa-tied-bf16-llama3",
    "llama-mqa-odd-f16",
    "gpt2-f32",
    "qwen3-tied-bf16",
    "olmo2-mha-f32",
    "qwen3-moe-f32",
    "deepseek-v3-groups-bf16",
    "gpt-oss-f32",
    "llama4-experts-f32",
];

const CHOICES: [QuantChoice; 3] = [
    QuantChoice {
        layers: Quant::Q8,
        head: Quant::Q8,
    },
    QuantChoice {
        layers: Quant::Q4Super,
        head: Quant::Q4Super,
    },
    QuantChoice {
        layers: Quant::Q4,
        head: Quant::Q8,
    },
];

fn load(dir: &Path, choice: QuantChoice) -> Loaded {
    quantized(load_checkpoint(dir).unwrap(), choice)
}

fn session(dir: &Path, choice: QuantChoice, no_fuse: bool, threads: usize) -> Session {
    compile_for(load(dir, choice), no_fuse, threads)
}

/// Logits that the interpreter gives for a golden's prompt.
fn interpreted(dir: &Path, choice: QuantChoice) -> Reference {
    let golden = Golden::open(&dir.join("golden.safetensors")).unwrap();
    let loaded = load(dir, choice);
    let program = plain_program(&loaded, ProgramKind::Prefill, CacheType::F32);
    let slots = loaded.weights.slots();
    let logits = Interpreter::new(&program, &slots).step(&golden.input_ids);
    Reference {
        tokens: golden.input_ids,
        logits,
    }
}

fn each_case(mut check: impl FnMut(PathBuf, QuantChoice)) {
    for name in CHECKPOINTS {
        CHOICES
            .iter()
            .for_each(|choice| check(fixtures().join(name), *choice));
    }
}

/// Sums of another order differ in the last bits, and now and then one activation lies so near the middle of two integers
/// that it is rounded to the other: that and the rows after it then differ by some of what eight bits lose. All others
/// agree like floats.
#[test]
fn compiled_code_is_what_the_interpreter_says() {
    let (mut rows, mut equal) = (0, 0);
    each_case(|dir, choice| {
        let reference = interpreted(&dir, choice);
        for no_fuse in [false, true] {
            let mut session = session(&dir, choice, no_fuse, 2);
            let vocab = session.vocab();
            let logits = session.feed(0, &reference.tokens, Wanted::All).unwrap();
            for (a, b) in logits.chunks(vocab).zip(reference.logits.chunks(vocab)) {
                let difference = a
                    .iter()
                    .zip(b)
                    .map(|(a, b)| (a - b).abs())
                    .fold(0.0, f32::max);
                let place = format!("{} {choice:?} no_fuse={no_fuse}", dir.display());
                assert!(difference < 0.2, "{place}: logits differ by {difference}");
                rows += 1;
                equal += usize::from(difference < 1e-5);
            }
        }
    });
    assert!(equal * 10 >= rows * 8, "only {equal} of {rows} rows agree");
}

/// Layers of one kind that rules tell apart become kinds of their own, and each product takes its own weights' type.
#[test]
fn matrices_have_the_types_that_rules_say() {
    let dir = fixtures().join(CHECKPOINTS[0]);
    let mut plan = QuantPlan::from(Quant::Q4Super);
    let rules = [
        "head=q8",
        "*.attention.v=none",
        "layers.1=q8",
        "model.layers.0.mlp.down_proj.weight=none",
    ];
    plan.rules = rules.map(|rule| rule.parse().unwrap()).to_vec();
    let loaded = quantized(load_checkpoint(&dir).unwrap(), plan);
    assert!(loaded.model.kinds.len() > load_checkpoint(&dir).unwrap().model.kinds.len());
    let golden = Golden::open(&dir.join("golden.safetensors")).unwrap();
    let program = plain_program(&loaded, ProgramKind::Prefill, CacheType::F32);
    let slots = loaded.weights.slots();
    let expected = Interpreter::new(&program, &slots).step(&golden.input_ids);
    let mut session = compile_for(loaded, false, 2);
    let found = session.feed(0, &golden.input_ids, Wanted::All).unwrap();
    let difference = found
        .iter()
        .zip(&expected)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max);
    assert!(difference < 0.2, "logits differ by {difference}");
}

#[test]
fn a_rule_about_nothing_is_refused() {
    let loaded = load_checkpoint(&fixtures().join(CHECKPOINTS[0])).unwrap();
    let mut plan = QuantPlan::from(Quant::Q8);
    plan.rules = vec!["layers.*.mlp.dwn=q4".parse().unwrap()];
    let refused = loaded.quantized(&plan, Purpose::Inspect, &|_, _, _| {});
    let Err(said) = refused.map(drop) else {
        panic!("a rule about nothing is taken")
    };
    assert!(
        said.to_string()
            .starts_with("layers.*.mlp.dwn=…: matches no matrix"),
        "{said}"
    );
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    each_case(|dir, choice| {
        let golden = Golden::open(&dir.join("golden.safetensors")).unwrap();
        let (long, short) = golden.input_ids.split_at(golden.input_ids.len() - 3);
        let logits = |threads| {
            let mut session = session(&dir, choice, false, threads);
            let mut out = session.feed(0, long, Wanted::All).unwrap().to_vec();
            out.extend_from_slice(&session.feed(0, short, Wanted::All).unwrap());
            out
        };
        let one = logits(1);
        for threads in [2, 3, 4] {
            assert!(
                logits(threads) == one,
                "{} {choice:?}: {threads} threads",
                dir.display()
            );
        }
    });
}

/// Those of trained models hold for tiny random ones too.
#[test]
fn what_is_lost_stays_within_bounds() {
    each_case(|dir, choice| {
        let golden = Golden::open(&dir.join("golden.safetensors")).unwrap();
        let reference = Reference {
            tokens: golden.input_ids,
            logits: golden.logits,
        };
        let bounds = Bounds::of(Some(&choice.into()));
        let mut session = session(&dir, choice, false, 2);
        let report = against_reference(&mut session, &reference, bounds).unwrap();
        assert!(report.passed, "{} {choice:?}: {report:#?}", dir.display());
    });
}

/// What the layers of this one make of rounded weights is more than bounds allow; code that loses no more than the interpreter is right, and
/// code that loses more is not.
#[test]
fn a_model_that_loses_much_is_measured_by_the_interpreter() {
    let of = |choice| quantized(tiny("zamba2"), choice);
    let [q8, q4, _] = CHOICES;
    let tokens = any_tokens(80, tiny("zamba2").model.vocab);
    let mut floats = compile_for(tiny("zamba2"), false, 1);
    let logits = floats.feed(0, &tokens, Wanted::All).unwrap().to_vec();
    let reference = Reference { tokens, logits };
    let bounds = Bounds::of(Some(&q8.into()));
    let report = |choice| {
        let mut session = compile_for(of(choice), false, 1);
        let mut report = against_reference(&mut session, &reference, bounds).unwrap();
        assert!(!report.passed, "{choice:?} is within bounds: {report:#?}");
        let exact = of_interpreter(&of(q8), CacheType::F32, &reference, bounds).unwrap();
        report.beside(exact);
        report
    };
    let right = report(q8);
    assert!(right.passed, "{right:#?}");
    let wrong = report(q4);
    assert!(!wrong.passed, "{wrong:#?}");
}

fn planned(dir: &Path) -> [Planned; 2] {
    let loaded = load(dir, CHOICES[0]);
    [ProgramKind::Decode, ProgramKind::Prefill].map(|kind| {
        let program = plain_program(&loaded, kind, CacheType::F16);
        plan_program(program, &PassOptions::default(), Instruments::default()).0
    })
}

/// All roundings to int8 happen where the rows are made or read: decode has no kernel and no barrier for them.
#[test]
fn decode_rounds_inside_its_matmuls() {
    let [decode, prefill] = planned(&fixtures().join("llama-gqa-tied-bf16-llama3"));
    let kernels = |p: &Planned| {
        let of = |b: &graver::graph::Block| {
            let nodes = b.graph.order();
            let is = |id: &&_| matches!(b.graph.op(**id), Op::Quantize { .. });
            nodes.iter().filter(is).count()
        };
        p.program.blocks.iter().map(of).collect::<Vec<_>>()
    };
    assert_eq!(kernels(&decode), [0, 0, 0]);
    // Behind each of the two norms, and of attention's result; in front of the head.
    assert_eq!(kernels(&prefill), [0, 3, 1]);
    assert_eq!(decode.schedule.barriers()[1].1, 5);
}

/// A text says which columns carry most, and a trained model loses less for it, on text that it has not been rounded for too.
#[test]
fn a_model_that_is_rounded_for_a_text_loses_less() {
    let load = || driver::load(&ModelSource::Embedded, Purpose::Run, None, &|_, _, _| {}).unwrap();
    let drawn = |seed| {
        let mut session = compile_for(load(), false, 2);
        Reference::drawn(&mut session, 0, 160, seed).unwrap()
    };
    let (read, other) = (drawn(1), drawn(2));
    let lost = |calibration: &[u32]| {
        let plan = QuantPlan {
            calibration: calibration.to_vec(),
            ..QuantPlan::from(Quant::Q4Super)
        };
        let bounds = Bounds::of(Some(&plan));
        let mut session = compile_for(quantized(load(), plan), false, 2);
        [&read, &other].map(|reference| {
            let report = against_reference(&mut session, reference, bounds).unwrap();
            report.paths[0].mean_kl
        })
    };
    let (blind, aware) = (lost(&[]), lost(&read.tokens));
    for (blind, aware) in blind.iter().zip(aware) {
        assert!(aware < 0.95 * blind, "{aware} against {blind}");
    }
}
