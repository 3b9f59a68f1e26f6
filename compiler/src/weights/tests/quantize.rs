//! Packing: which slots are quantised, where their numbers go, and what is shared.

use super::super::*;
use super::{Folder, embed, f32_bytes, file, linear, model, norm, weight};
use crate::spec::model::Range;
use crate::spec::model::{Model, Weight};
use graver_runtime::abi::quant::{GROUP, PANEL_ROWS};
use graver_runtime::abi::{Dtype, Encoding, Quant};

pub(super) const Q8: QuantChoice = QuantChoice {
    layers: Quant::Q8,
    head: Quant::Q8,
};

pub(super) fn packed(model: &Model, file: &[u8], choice: QuantChoice) -> Weights {
    let folder = Folder::with(&[
        ("config.json", b"{}".as_slice()),
        ("model.safetensors", file),
    ]);
    let checkpoint = Checkpoint::open(folder.as_ref()).unwrap();
    let weights = resolve(model, Source::Checkpoint(checkpoint)).unwrap();
    quantize(model, weights, &choice.into(), &|_, _| {}).unwrap()
}

pub(super) fn ramp(n: usize) -> Vec<f32> {
    (0..n)
        .map(|i| ((i * 37 + 11) % 101) as f32 / 50.0 - 1.0)
        .collect()
}

/// The number at `[row, column]`, read by the definition of panels.
pub(super) fn value(weights: &Weights, view: &View, k: usize, row: usize, column: usize) -> f32 {
    let quant = view.encoding.quant().unwrap();
    assert_eq!(view.row_stride_bytes, quant.panel_bytes(k));
    let panel = &weights.bytes(view)[row / PANEL_ROWS * view.row_stride_bytes..];
    quant.value(panel, row % PANEL_ROWS, column)
}

/// Only a head with one matrix.
pub(super) fn matrix_model(weight: Weight) -> Model {
    model(vec![], vec![], 0, vec![linear(weight, None)])
}

#[test]
fn numbers_stay_where_they_were() {
    let (rows, k) = (13, 45);
    let numbers = ramp(rows * k);
    let straight = packed(
        &matrix_model(weight("w", "w", &[rows, k])),
        &file(&[("w", "F32", &[rows, k], f32_bytes(&numbers))]),
        Q8,
    );
    let turned: Vec<f32> = (0..rows * k)
        .map(|i| numbers[i % rows * k + i / rows])
        .collect();
    let transposed = packed(
        &matrix_model(Weight {
            transposed: true,
            ..weight("w", "w", &[rows, k])
        }),
        &file(&[("w", "F32", &[k, rows], f32_bytes(&turned))]),
        Q8,
    );
    for weights in [&straight, &transposed] {
        let view = &weights.head[0];
        assert!(!view.transposed);
        assert_eq!(view.bytes, Quant::Q8.matrix_bytes(rows, k));
        for (row, column) in (0..rows).flat_map(|r| (0..k).map(move |c| (r, c))) {
            let (found, expected) = (
                value(weights, view, k, row, column),
                numbers[row * k + column],
            );
            assert!(
                (found - expected).abs() < 0.005,
                "[{row}, {column}]: {found} for {expected}"
            );
        }
    }
    let [a, b] = [&straight, &transposed].map(|w| w.bytes(&w.head[0]));
    assert_eq!(a, b);
}

#[test]
fn what_lies_beyond_the_edges_is_zero() {
    let weights = packed(
        &matrix_model(weight("w", "w", &[3, 5])),
        &file(&[("w", "F32", &[3, 5], f32_bytes(&ramp(15)))]),
        Q8,
    );
    let view = &weights.head[0];
    let outside = (0..PANEL_ROWS).flat_map(|r| (0..GROUP).map(move |c| (r, c)));
    for (row, column) in outside.filter(|(r, c)| *r >= 3 || *c >= 5) {
        assert_eq!(
            value(&weights, view, 5, row, column),
            0.0,
            "[{row}, {column}]"
        );
    }
}

#[test]
fn a_part_is_packed_by_itself() {
    let numbers = ramp(10 * 4);
    let part = Weight {
        part: Some(Range::one(6, 10)),
        ..weight("w", "w", &[4, 4])
    };
    let file = file(&[("w", "F32", &[10, 4], f32_bytes(&numbers))]);
    let weights = packed(&matrix_model(part), &file, Q8);
    for (row, column) in (0..4).flat_map(|r| (0..4).map(move |c| (r, c))) {
        let found = value(&weights, &weights.head[0], 4, row, column);
        assert!((found - numbers[(row + 6) * 4 + column]).abs() < 0.005);
    }
}

#[test]
fn a_tied_head_shares_and_vectors_stay() {
    let model = model(
        vec![embed(weight("table", "e", &[6, 4]))],
        vec![
            norm(weight("gain", "g", &[4]), false),
            linear(weight("w", "w", &[4, 4]), None),
        ],
        1,
        vec![linear(weight("head", "e", &[6, 4]), None)],
    );
    let file = file(&[
        ("e", "F32", &[6, 4], f32_bytes(&ramp(24))),
        ("g", "F32", &[4], f32_bytes(&ramp(4))),
        ("w", "F32", &[4, 4], f32_bytes(&ramp(16))),
    ]);
    let choice = QuantChoice {
        layers: Quant::Q4,
        head: Quant::Q8,
    };
    let weights = packed(&model, &file, choice);
    let (embed, head) = (&weights.embed[0], &weights.head[0]);
    assert_eq!(
        (embed.blob, embed.offset_bytes),
        (head.blob, head.offset_bytes)
    );
    let encodings: Vec<_> = weights.views().map(|v| v.encoding.to_string()).collect();
    assert_eq!(encodings, ["q8", "f32", "q4", "q8"]);
    assert_eq!(weights.tensors.len(), 3);
}

#[test]
fn files_that_nothing_reads_any_more_are_let_go() {
    let file = file(&[("w", "F32", &[3, 5], f32_bytes(&ramp(15)))]);
    let weights = packed(&matrix_model(weight("w", "w", &[3, 5])), &file, Q8);
    assert!(matches!(*weights.blobs[0], Blob::Empty));
    assert_eq!(weights.head[0].encoding, Encoding::Quantized(Quant::Q8));
}

#[test]
fn packed_when_written_is_packed_the_same() {
    let (rows, k) = (5 * PANEL_ROWS + 3, 45);
    let model = matrix_model(weight("w", "w", &[rows, k]));
    let file = file(&[("w", "F32", &[rows, k], f32_bytes(&ramp(rows * k)))]);
    let at_once = packed(&model, &file, Q8);
    let folder = Folder::with(&[
        ("config.json", b"{}".as_slice()),
        ("model.safetensors", &file),
    ]);
    let checkpoint = Checkpoint::open(folder.as_ref()).unwrap();
    let weights = resolve(&model, Source::Checkpoint(checkpoint)).unwrap();
    let later = quantize_when_written(&model, weights, &Q8.into()).unwrap();
    let expected = at_once.bytes(&at_once.head[0]);
    let tensor = &later.tensors[later.head[0].tensor];
    let mut written = vec![];
    later.byte_source(tensor).write(&mut written).unwrap();
    assert_eq!(written, expected);
    let Blob::Packing(packing) = &*later.blobs[tensor.blob] else {
        panic!("a blob yet to be packed");
    };
    // One panel at once, some, all.
    for piece in [1, 2 * Quant::Q8.panel_bytes(k), 1 << 20] {
        let mut written = vec![];
        packing
            .write(&later, tensor.offset_bytes, piece, &mut written)
            .unwrap();
        assert_eq!(written, expected, "{piece}");
    }
}

#[test]
fn random_weights_are_packed_when_written_as_they_are_at_once() {
    // A part of a larger tensor, so that its bytes begin elsewhere than the drawn ones.
    let part = Weight {
        part: Some(Range::one(64, 134)),
        ..weight("w", "w", &[70, 45])
    };
    let model = matrix_model(part);
    let random = RandomWeights::new(7, Dtype::Bf16);
    let drawn = resolve(&model, Source::Random(random)).unwrap();
    let at_once = quantize(&model, drawn, &Q8.into(), &|_, _| {}).unwrap();
    let undrawn = resolve(&model, Source::Shapes(random)).unwrap();
    let later = quantize_when_written(&model, undrawn, &Q8.into()).unwrap();
    let mut written = vec![];
    let tensor = &later.tensors[later.head[0].tensor];
    later.byte_source(tensor).write(&mut written).unwrap();
    assert_eq!(written, at_once.bytes(&at_once.head[0]));
}

/// The last rule that fits counts, whichever of a matrix's names it is about.
#[test]
fn rules_say_what_a_matrix_is_rounded_to() {
    let (rows, k) = (9, 33);
    let numbers = f32_bytes(&ramp(rows * k));
    let model = matrix_model(weight("w", "stored.w", &[rows, k]));
    let file = file(&[("stored.w", "F32", &[rows, k], numbers)]);
    let folder = Folder::with(&[
        ("config.json", b"{}".as_slice()),
        ("model.safetensors", file.as_slice()),
    ]);
    let of = |rules: &[&str]| {
        let checkpoint = Checkpoint::open(folder.as_ref()).unwrap();
        let weights = resolve(&model, Source::Checkpoint(checkpoint)).unwrap();
        let plan = QuantPlan {
            usual: Q8,
            rules: rules.iter().map(|rule| rule.parse().unwrap()).collect(),
            calibration: vec![],
        };
        let weights = quantize(&model, weights, &plan, &|_, _| {});
        weights.map(|weights| weights.head[0].encoding.quant())
    };
    assert_eq!(of(&[]).unwrap(), Some(Quant::Q8));
    assert_eq!(of(&["*=q4"]).unwrap(), Some(Quant::Q4Super));
    assert_eq!(of(&["head.w=q4"]).unwrap(), Some(Quant::Q4Super));
    assert_eq!(of(&["stored.*=none"]).unwrap(), None);
    // What another rule after it decides, a rule has no say in.
    let said = of(&["head.*=q4", "stored.*=none"]).unwrap_err().to_string();
    assert!(said.starts_with("head.*=…: matches no matrix"), "{said}");
    let said = of(&["stored.v=q4"]).unwrap_err().to_string();
    assert!(said.contains("the nearest is \"stored.w\""), "{said}");
}

/// A file is copied for the sake of what is read of it: not for a vector beside matrices that were packed.
#[test]
fn a_file_that_little_is_read_of_stays_where_it_is() {
    let (rows, k) = (2048, 512);
    let numbers = f32_bytes(&ramp(rows * k));
    let file = file(&[
        ("w", "F32", &[rows, k], numbers),
        ("g", "F32", &[k], f32_bytes(&ramp(k))),
    ]);
    let gain = norm(weight("g", "g", &[k]), false);
    let model = model(
        vec![],
        vec![],
        0,
        vec![gain, linear(weight("w", "w", &[rows, k]), None)],
    );
    let mut weights = packed(&model, &file, Q8);
    let blobs = |w: &Weights| {
        w.blobs
            .iter()
            .filter(|b| matches!(***b, Blob::Mapped(_)))
            .count()
    };
    assert_eq!(blobs(&weights), 1);
    weights.settle();
    assert_eq!(blobs(&weights), 1);
}

/// Minima lose less than one scale for a group does.
#[test]
fn heavy_tails_lose_less_with_minima() {
    let (rows, k) = (24, 700);
    let numbers: Vec<f32> = ramp(4 * rows * k)
        .chunks(4)
        .enumerate()
        .map(|(i, x)| {
            let sum = x[0] + x[1] * (i as f32).sin() + x[3] * (i as f32 * 0.37).cos();
            sum * sum * sum * 0.01
        })
        .collect();
    let model = matrix_model(weight("w", "w", &[rows, k]));
    let file = file(&[("w", "F32", &[rows, k], f32_bytes(&numbers))]);
    let error = |quant: Quant| {
        let (layers, head) = (quant, quant);
        let weights = packed(&model, &file, QuantChoice { layers, head });
        let each = numbers.iter().enumerate().map(|(i, x)| {
            let found = value(&weights, &weights.head[0], k, i / k, i % k);
            f64::from(found - x).powi(2)
        });
        each.sum::<f64>()
    };
    let (minima, scales) = (error(Quant::Q4Super), error(Quant::Q4));
    assert!(minima < 0.8 * scales, "{minima} against {scales}");
    assert!(minima > 0.0);
}

/// Layouts for what was published in integers are refused where floats are to be rounded.
#[test]
fn floats_are_not_rounded_to_every_type() {
    let model = matrix_model(weight("w", "w", &[3, 5]));
    let file = file(&[("w", "F32", &[3, 5], f32_bytes(&ramp(15)))]);
    let folder = Folder::with(&[
        ("config.json", b"{}".as_slice()),
        ("model.safetensors", &file),
    ]);
    for quant in Quant::ALL {
        let rule = QuantRule {
            pattern: "*".into(),
            quant: Some(quant),
        };
        let plans = [
            quant.into(),
            QuantPlan {
                rules: vec![rule],
                ..Q8.into()
            },
        ];
        for plan in plans {
            let checkpoint = Checkpoint::open(folder.as_ref()).unwrap();
            let weights = resolve(&model, Source::Checkpoint(checkpoint)).unwrap();
            let made = quantize(&model, weights, &plan, &|_, _| {});
            match quant {
                Quant::Q8 | Quant::Q4 | Quant::Q4Super => drop(made.unwrap()),
                Quant::Q4Min | Quant::Q8Min | Quant::Q8Half | Quant::Q4Narrow => {
                    let said = made.unwrap_err().to_string();
                    let expected = format!("{quant}: nothing is rounded to this type");
                    assert!(said.starts_with(&expected), "{said}");
                }
            }
        }
    }
}
