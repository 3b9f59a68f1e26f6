//! Checked execution: no kernel of any spec leaves what is its own, and nothing depends on what memory held before, on the
//! order of threads, or on the order of chunks. Each kind of check is shown to find a mistake of its kind, planted here.

use std::sync::Arc;

use graver::access::access;
use graver::artifact::jit;
use graver::codegen::{Instruments, Planned};
use graver::driver::{self, CompileOptions, Loaded};
use graver::memory::Place;
use graver::passes::PassOptions;
use graver::schedule::Work;
use graver::spec;
use graver::weights::QuantChoice;
use graver_runtime::abi::{CacheType, KernelTable, Quant};
use graver_runtime::checked::CheckOptions;
use graver_runtime::kernels::{self, Record};
use graver_runtime::session::{Session, SessionOptions, Wanted};
use graver_tests::{
    compile_options, compile_with, fixture_folders, load_checkpoint, mixture, quantized, share,
    tiny,
};

fn tokens(n: usize, vocab: usize) -> Vec<u32> {
    (0..n).map(|i| ((i * 7 + i * i) % vocab) as u32).collect()
}

/// Logits of a prompt fed whole, of a few tokens more one by one and five at once, and of a second sequence.
fn logits(session: &mut Session) -> Vec<u32> {
    let n = 70.min(session.context() - 8);
    let prompt = tokens(n + 8, session.vocab());
    let mut out: Vec<u32> = vec![];
    let mut feed = |session: &mut Session, slot: usize, tokens: &[u32]| {
        let logits = session
            .feed(slot, tokens, Wanted::All)
            .unwrap_or_else(|e| panic!("{e}"));
        out.extend(logits.values().iter().map(|v| v.to_bits()));
    };
    feed(session, 0, &prompt[..n]);
    feed(session, 0, &prompt[n..n + 1]);
    feed(session, 1, &prompt[3..9]);
    feed(session, 0, &prompt[n + 1..n + 2]);
    feed(session, 0, &prompt[n + 2..n + 7]);
    session.reset(1).expect("there is a second slot");
    feed(session, 1, &prompt[..20.min(n)]);
    out
}

fn session(
    loaded: Loaded,
    (no_fuse, cache): (bool, CacheType),
    checks: Option<CheckOptions>,
) -> Session {
    let passes = PassOptions {
        no_fuse,
        ..PassOptions::default()
    };
    let options = SessionOptions {
        threads: Some(if checks.is_some() { 3 } else { 1 }),
        context: Some(128.min(loaded.model.context)),
        slots: 2,
        checks,
        ..SessionOptions::default()
    };
    compile_with(loaded, passes, cache, options)
}

fn quantised(loaded: Loaded, quant: Option<Quant>) -> Loaded {
    match quant {
        None => loaded,
        Some(quant) => {
            let choice = QuantChoice {
                layers: quant,
                head: quant,
            };
            quantized(loaded, choice)
        }
    }
}

/// How a model is compiled: quantised or not, fused or not, and what keys and values are kept in.
type Way = (Option<Quant>, bool, CacheType);
const WAYS: [Way; 8] = [
    (None, false, CacheType::F32),
    (None, true, CacheType::F32),
    (Some(Quant::Q8), false, CacheType::F32),
    (Some(Quant::Q8), true, CacheType::F16),
    (Some(Quant::Q4), false, CacheType::Bf16),
    (Some(Quant::Q4Super), true, CacheType::F32),
    (None, false, CacheType::Q8),
    (None, true, CacheType::Q8),
];

/// Compares checked with unchecked execution in those of `ways` that fall to this run ([`share`]).
fn agrees(name: &str, ways: impl Iterator<Item = Way>, load: &dyn Fn() -> Loaded) {
    for way in ways {
        let (quant, no_fuse, cache) = way;
        if !share::has(&format!("{name} {way:?}")) {
            continue;
        }
        let open = |checks| session(quantised(load(), quant), (no_fuse, cache), checks);
        let plain = logits(&mut open(None));
        let checked = logits(&mut open(Some(CheckOptions::ALL)));
        assert!(
            plain == checked,
            "{name} {way:?}: other bits than unchecked"
        );
    }
}

#[test]
fn every_spec_stays_within_its_own_memory() {
    for name in spec::builtin_names() {
        agrees(name, WAYS.into_iter(), &|| tiny(name));
    }
}

/// What a fixture adds to its spec are sizes and how its weights lie, so that each is compiled in two ways of the eight, which
/// change from one to the next.
#[test]
fn every_fixture_stays_within_its_own_memory() {
    for (i, folder) in fixture_folders().into_iter().enumerate() {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let load = || load_checkpoint(&folder).expect("a committed checkpoint");
        let ways = WAYS.into_iter().skip(i % 4).step_by(4);
        agrees(&name, ways, &load);
    }
}

/// Experts in panels of all types that GGUF files have.
#[test]
fn experts_in_blocks_stay_within_their_own_memory() {
    let file = mixture::written(mixture::FFN);
    let load = || mixture::load(file.path(), false);
    let ways = WAYS.into_iter().filter(|(quant, ..)| quant.is_none());
    agrees("a mixture in blocks", ways, &load);
}

/// A tiny model whose code was made from `code`, checked against what `stated` says of it.
fn planted(
    name: &str,
    edit_code: impl Fn(&mut Planned),
    edit_stated: impl Fn(&mut Planned),
    (checks, kernels): (CheckOptions, Option<&'static KernelTable>),
) -> Session {
    let loaded = tiny(name);
    let options = CompileOptions {
        instruments: Instruments {
            checks: true,
            ..Instruments::default()
        },
        ..compile_options(PassOptions::default(), CacheType::F32)
    };
    let mut code = driver::plan(&loaded, &options);
    let mut stated = code.programs.clone();
    code.programs.iter_mut().for_each(edit_code);
    stated.iter_mut().for_each(edit_stated);
    let program = jit(&code).expect("code for this processor");
    let program = program.with_checks(access(&stated[0]), access(&stated[1]));
    let options = SessionOptions {
        threads: Some(3),
        context: Some(128),
        slots: 2,
        kernels,
        checks: Some(checks),
        ..SessionOptions::default()
    };
    let weights = Arc::new(loaded.weights);
    driver::start(program, &weights, options).expect("a session")
}

const NOTHING_ELSE: CheckOptions = CheckOptions {
    poison: false,
    guards: false,
    order: None,
};

/// What a checked prompt of a model with a planted mistake says.
fn found(session: &mut Session) -> String {
    let prompt = tokens(20, session.vocab());
    match session.feed(0, &prompt, Wanted::All) {
        Ok(_) => "nothing".into(),
        Err(e) => e.to_string(),
    }
}

fn untouched(_: &mut Planned) {}

#[test]
fn a_value_that_is_not_where_the_plan_has_it_is_found() {
    // The kernel writes 64 bytes further on than it may, or reads there.
    let moved = |p: &mut Planned| {
        let kernel = p.schedule.blocks[1]
            .kernels
            .last()
            .expect("layers have kernels");
        let input = p.program.blocks[1].graph.operands(kernel.node)[0];
        let buffer = p.memory.blocks[1]
            .get_mut(&input)
            .expect("it lies in the arena");
        if let Place::Arena { offset, .. } = &mut buffer.place {
            *offset += 64;
        }
    };
    let text = found(&mut planted(
        "llama",
        untouched,
        moved,
        (NOTHING_ELSE, None),
    ));
    let kernel = "prefill.layers.dense.mlp.gate+up (matmul) (layer 0)";
    let wanted = format!("{kernel} through matmul_f32 writes 64 bytes at 0x");
    assert!(text.contains(&wanted), "{text}");
}

#[test]
fn scratch_that_is_too_small_is_found() {
    // The last area has room for one short row.
    let small = |p: &mut Planned| {
        for k in p.schedule.blocks.iter_mut().flat_map(|b| &mut b.kernels) {
            if let [_products, .., last] = k.scratch.areas.as_mut_slice() {
                last.bytes = 40;
            }
        }
    };
    let text = found(&mut planted(
        "llama",
        untouched,
        small,
        (NOTHING_ELSE, None),
    ));
    assert!(
        text.contains("attention.q+k+v (matmul) (layer 0) through matmul_f32 writes"),
        "{text}"
    );
}

#[test]
fn a_weight_slot_that_is_another_s_is_found() {
    let swapped = |p: &mut Planned| {
        let graph = &mut p.program.blocks[1].graph;
        let last = graph.weights.len() - 1;
        graph.weights[last].count = 0;
    };
    let text = found(&mut planted(
        "llama",
        untouched,
        swapped,
        (NOTHING_ELSE, None),
    ));
    assert!(text.contains("reads 8 bytes"), "{text}");
}

#[test]
fn a_value_read_after_its_end_is_found_by_poison() {
    let honest = logits(&mut planted(
        "llama",
        untouched,
        untouched,
        (NOTHING_ELSE, None),
    ));
    // As if the planner had let every value of the layer die when its maker was done.
    let short_lived = |p: &mut Planned| {
        for b in p.memory.blocks[1].values_mut() {
            b.last = b.first;
        }
    };
    let poison = CheckOptions {
        poison: true,
        ..NOTHING_ELSE
    };
    let poisoned =
        |edit: fn(&mut Planned)| logits(&mut planted("llama", untouched, edit, (poison, None)));
    assert!(poisoned(untouched) == honest);
    assert!(poisoned(short_lived) != honest);
}

#[test]
fn state_read_before_it_was_written_is_found_by_poison() {
    let poison = CheckOptions {
        poison: true,
        ..NOTHING_ELSE
    };
    // Queries are computed, keys and values are not.
    let unwritten = |p: &mut Planned| {
        let graph = &p.program.blocks[1].graph;
        let kernels = p.schedule.blocks[1].kernels.iter_mut();
        for kernel in kernels.filter(|k| graph.op(k.node).writes_cache()) {
            if let Work::Columns(parts) = &mut kernel.work {
                parts[1..].iter_mut().for_each(|part| part.1 = 0);
            }
        }
    };
    let logits = |edit: fn(&mut Planned), checks| {
        let mut session = planted("llama", edit, untouched, (checks, None));
        let prompt = tokens(20, session.vocab());
        session
            .feed(0, &prompt, Wanted::All)
            .expect("it stays inside")
            .to_vec()
    };
    let finite = |logits: Vec<f32>| logits.iter().all(|v| v.is_finite());
    assert!(finite(logits(untouched, poison)));
    assert!(
        finite(logits(unwritten, NOTHING_ELSE)),
        "unseen: zeros are as good as any"
    );
    assert!(!finite(logits(unwritten, poison)));
}

#[test]
fn a_missing_barrier_is_found_by_the_order_of_threads() {
    let honest = logits(&mut planted(
        "llama",
        untouched,
        untouched,
        (NOTHING_ELSE, None),
    ));
    let order = CheckOptions {
        order: Some(3),
        ..NOTHING_ELSE
    };
    assert!(logits(&mut planted("llama", untouched, untouched, (order, None))) == honest);
    for missing in 1..5 {
        let without = |p: &mut Planned| p.schedule.blocks[1].kernels[missing].barrier = false;
        let drawn = logits(&mut planted("llama", without, untouched, (order, None)));
        assert!(drawn != honest, "without barrier {missing}");
    }
}

/// A micro-kernel that reads one byte past the weights it is given.
unsafe extern "C" fn reads_on(
    x: *const f32,
    x_stride: usize,
    m: usize,
    w: *const u8,
    w_stride_bytes: usize,
    n: usize,
    k: usize,
    out: *mut f32,
    out_stride: usize,
    accumulate: usize,
    arranged: *const u8,
    scratch: *mut u8,
) {
    // SAFETY: none, which is what the test is about: the byte after the last row is not the caller's.
    let beyond = unsafe { w.add(n * w_stride_bytes).read_volatile() };
    std::hint::black_box(beyond);
    let f = kernels::table(&Record::default()).unwrap().matmul_f32;
    // SAFETY: the arguments are the caller's.
    unsafe {
        f(
            x,
            x_stride,
            m,
            w,
            w_stride_bytes,
            n,
            k,
            out,
            out_stride,
            accumulate,
            arranged,
            scratch,
        )
    };
}

#[test]
fn a_read_beyond_a_weight_is_found_by_guards() {
    const CHILD: &str = "GRAVER_TEST_READS_ON";
    if let Ok(guards) = std::env::var(CHILD) {
        let kernels = KernelTable {
            matmul_f32: reads_on,
            ..*kernels::table(&Record::default()).unwrap()
        };
        let checks = CheckOptions {
            guards: guards == "1",
            ..NOTHING_ELSE
        };
        let kernels = Some(&*Box::leak(Box::new(kernels)));
        logits(&mut planted(
            "llama",
            untouched,
            untouched,
            (checks, kernels),
        ));
        return;
    }
    let child = |guards: &str| {
        let exe = std::env::current_exe().expect("tests know their file");
        let mut child = std::process::Command::new(exe);
        child.args(["--exact", "a_read_beyond_a_weight_is_found_by_guards"]);
        child
            .env(CHILD, guards)
            .output()
            .expect("the test runs again")
            .status
    };
    assert!(
        child("0").success(),
        "without guards the byte is some other weight's"
    );
    assert!(
        !child("1").success(),
        "a read of an unmapped page ends the process"
    );
}
