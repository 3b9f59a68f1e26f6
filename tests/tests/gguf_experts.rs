//! Mixtures of experts whose GGUF files keep them in blocks of any type: all experts of a layer in one tensor.

use graver::driver::plain_program;
use graver::graph::ProgramKind;
use graver::interp::Interpreter;
use graver_runtime::abi::quant::PANEL_ROWS;
use graver_runtime::abi::{CacheType, Encoding, Quant};
use graver_runtime::session::Wanted;
use graver_tests::compile_for;
use graver_tests::mixture::{EXPERTS, FFN, TYPES, load, written};

const TOKENS: [u32; 7] = [3, 14, 15, 71, 26, 53, 5];

/// Bits of all values of a matrix in panels, row after row.
fn values(quant: Quant, bytes: &[u8], columns: usize) -> Vec<u32> {
    let rows = bytes.len() / quant.panel_bytes(columns) * PANEL_ROWS;
    let places = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
    let value = |(row, column): (usize, usize)| {
        let panel = &bytes[row / PANEL_ROWS * quant.panel_bytes(columns)..];
        quant.value(panel, row % PANEL_ROWS, column).to_bits()
    };
    places.map(value).collect()
}

#[test]
fn experts_keep_the_values_of_their_blocks_in_panels() {
    let file = written(FFN);
    let (packed, floats) = (load(file.path(), false), load(file.path(), true));
    assert!(
        packed.weights.widened.is_empty(),
        "{:?}",
        packed.weights.widened
    );
    let (mut experts, mut kinds) = (0, std::collections::BTreeSet::new());
    for (view, plain) in packed.weights.views().zip(floats.weights.views()) {
        assert_eq!(view.slot, plain.slot);
        let Encoding::Quantized(quant) = view.encoding else {
            continue;
        };
        let columns = plain.row_stride_bytes / 4;
        let held = values(quant, packed.weights.bytes(view), columns);
        let plain = floats.weights.bytes(plain).chunks_exact(4);
        let plain = plain.map(|b| u32::from_le_bytes(b.try_into().unwrap()));
        assert!(held.into_iter().eq(plain), "{} {quant}", view.name);
        if view.name.contains("_exps") {
            experts += 1;
            kinds.insert(quant.to_string());
        }
    }
    assert_eq!(experts, TYPES.len() * 3 * EXPERTS);
    let kinds: Vec<&str> = kinds.iter().map(String::as_str).collect();
    assert_eq!(kinds, ["q4", "q4n", "q4s", "q8", "q8h", "q8m"]);
}

/// As for weights that are rounded by ourselves: now and then an activation is rounded to the other side.
#[test]
fn code_of_experts_in_panels_is_what_the_interpreter_says() {
    let file = written(FFN);
    let loaded = load(file.path(), false);
    let program = plain_program(&loaded, ProgramKind::Prefill, CacheType::F32);
    let expected = Interpreter::new(&program, &loaded.weights.slots()).step(&TOKENS);
    for no_fuse in [false, true] {
        let mut session = compile_for(load(file.path(), false), no_fuse, 2);
        let vocab = session.vocab();
        let found = session.feed(0, &TOKENS, Wanted::All).unwrap();
        let rows = found.chunks(vocab).zip(expected.chunks(vocab));
        let differences: Vec<f32> = rows
            .map(|(a, b)| {
                a.iter()
                    .zip(b)
                    .map(|(a, b)| (a - b).abs())
                    .fold(0.0, f32::max)
            })
            .collect();
        assert!(differences.iter().all(|d| *d < 0.2), "{differences:?}");
        let equal = differences.iter().filter(|d| **d < 1e-4).count();
        assert!(equal * 2 >= differences.len(), "{differences:?}");
        // Token by token, as it is decoded.
        let mut session = compile_for(load(file.path(), false), no_fuse, 1);
        for (i, token) in TOKENS.iter().enumerate() {
            let one = session.feed(0, &[*token], Wanted::All).unwrap();
            let difference = one.iter().zip(&expected[i * vocab..]);
            let difference = difference.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(difference < 0.2, "token {i}: {difference}");
        }
    }
}

/// Panels hold eight rows: where an expert begins in the middle of one, none has panels of its own.
#[test]
fn experts_that_share_a_panel_become_floats() {
    let file = written(FFN + 4);
    let loaded = load(file.path(), false);
    let widened = loaded.weights.widened.iter();
    let widened: Vec<_> = widened.map(|w| (w.storage, w.tensors)).collect();
    let expected = TYPES.iter().flat_map(|[gate, up, _]| [*gate, *up]);
    let mut counts = std::collections::BTreeMap::new();
    expected.for_each(|name| *counts.entry(name).or_insert(0) += 1);
    assert_eq!(widened, counts.into_iter().collect::<Vec<_>>());
    let mut session = compile_for(loaded, false, 2);
    let logits = session.feed(0, &TOKENS, Wanted::Last).unwrap();
    assert!(logits.iter().all(|x| x.is_finite()));
}
