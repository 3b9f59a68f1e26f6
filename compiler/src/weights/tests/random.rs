//! Random weights: reproducible, and with the moments they promise.

use super::*;
use crate::spec::model::Range;
use crate::weights::{RandomWeights, Source, View, Weights, resolve};
use graver_runtime::abi::Dtype;

fn draw(model: &Model, seed: u64, dtype: Dtype) -> Weights {
    resolve(model, Source::Random(RandomWeights::new(seed, dtype))).unwrap()
}

/// A model with one weight of each role; the head may read the embedding's table.
fn roles(head: &str) -> Model {
    let (gain, offset_gain) = (
        weight("gain", "gain", &[5000]),
        weight("offset", "offset", &[5000]),
    );
    let matrix = linear(
        weight("matrix", "{i}.matrix", &[100, 400]),
        Some(weight("bias", "{i}.bias", &[5000])),
    );
    let table = embed(weight("embed", "embed", &[200, 400]));
    let head = linear(weight("head", head, &[200, 400]), None);
    model(
        vec![table, norm(gain, false), norm(offset_gain, true)],
        vec![matrix],
        2,
        vec![head],
    )
}

fn values(weights: &Weights, view: &View) -> Vec<f32> {
    let bytes = weights.bytes(view);
    match view.encoding.float().unwrap() {
        Dtype::F32 => bytes
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
            .collect(),
        Dtype::Bf16 => bytes
            .chunks_exact(2)
            .map(|b| f32::from_bits(u32::from(b[1]) << 24 | u32::from(b[0]) << 16))
            .collect(),
        Dtype::F16 => panic!("not drawn here"),
    }
}

fn moments(values: &[f32]) -> (f32, f32) {
    let n = values.len() as f32;
    let mean = values.iter().sum::<f32>() / n;
    (
        mean,
        (values.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / n).sqrt(),
    )
}

#[test]
fn moments_are_as_promised() {
    for dtype in [Dtype::F32, Dtype::Bf16] {
        let weights = draw(&roles("head"), 1, dtype);
        let expected = [
            (0.0, 1.0),
            (1.0, 0.2),
            (0.0, 0.2),
            (0.0, 0.05),
            (0.0, 0.3),
            (0.0, 0.05),
            (0.0, 0.3),
            (0.0, 0.05),
        ];
        for (view, (mean, deviation)) in weights.views().zip(expected) {
            let (m, d) = moments(&values(&weights, view));
            let error_of_mean = 4.0 * deviation / 5000f32.sqrt();
            assert!(
                (m - mean).abs() < error_of_mean && (d / deviation - 1.0).abs() < 0.05,
                "{}: {m} ± {d}",
                view.name
            );
            let is_vector = view.slot == "gain" || view.slot == "offset" || view.slot == "bias";
            assert_eq!(
                view.encoding.float(),
                Some(if is_vector { Dtype::F32 } else { dtype })
            );
        }
    }
}

#[test]
fn tied_tables_are_shared_and_scaled_as_matrices() {
    let weights = draw(&roles("embed"), 1, Dtype::F32);
    assert_eq!(weights.embed[0].offset_bytes, weights.head[0].offset_bytes);
    let (_, deviation) = moments(&values(&weights, &weights.embed[0]));
    assert!((deviation / 0.05 - 1.0).abs() < 0.05, "{deviation}");
}

#[test]
fn the_seed_and_the_name_decide() {
    let (a, b, c) = (
        draw(&roles("head"), 1, Dtype::F32),
        draw(&roles("head"), 1, Dtype::F32),
        draw(&roles("head"), 2, Dtype::F32),
    );
    let layer = |weights: &Weights, layer: usize| values(weights, &weights.layers[layer][0]);
    assert_eq!(a.blobs[0].as_bytes(), b.blobs[0].as_bytes());
    assert_ne!(layer(&a, 0), layer(&c, 0));
    assert_ne!(layer(&a, 0), layer(&a, 1));
    // Without the embedding everything moves to other offsets, and has the same values.
    let mut fewer = roles("head");
    fewer.embed.clear();
    assert_eq!(layer(&draw(&fewer, 1, Dtype::F32), 1), layer(&a, 1));
}

#[test]
fn chunks_of_a_long_tensor_differ() {
    let model = model(
        vec![],
        vec![],
        0,
        vec![linear(weight("w", "w", &[4, 1 << 16]), None)],
    );
    let weights = draw(&model, 7, Dtype::F32);
    let all = values(&weights, &weights.head[0]);
    let chunks: Vec<&[f32]> = all.chunks(1 << 16).collect();
    assert!(chunks[0] != chunks[1] && chunks[1] != chunks[2] && chunks[0] != chunks[3]);
}

#[test]
fn parts_of_one_tensor_do_not_overlap() {
    let part = |slot: &str, first| {
        linear(
            Weight {
                part: Some(Range::one(first, 6)),
                transposed: true,
                ..weight(slot, "joined", &[2, 4])
            },
            None,
        )
    };
    let model = model(
        vec![],
        vec![],
        0,
        vec![part("q", 0), part("k", 2), part("v", 4)],
    );
    let weights = draw(&model, 3, Dtype::F32);
    assert_eq!(weights.tensors.len(), 1);
    let starts: Vec<usize> = weights.head.iter().map(|view| view.offset_bytes).collect();
    assert_eq!(starts, [0, 8, 16]);
    assert!(weights.head.iter().all(|view| view.row_stride_bytes == 24));
}

#[test]
fn a_preset_too_large_for_memory_is_an_error() {
    let huge = |n| {
        model(
            vec![],
            vec![],
            0,
            vec![linear(weight("w", "w", &[n, n]), None)],
        )
    };
    let said = |n| {
        let source = Source::Random(RandomWeights::new(0, Dtype::F32));
        resolve(&huge(n), source).unwrap_err().to_string()
    };
    let message = said(1 << 26);
    assert!(
        message.starts_with("the weights need 18014 TB of memory, but only ")
            && message.contains(" is available; choose smaller sizes (--preset), "),
        "{message}"
    );
    // More than addresses can be counted for.
    let message = said(1 << 33);
    assert!(
        message.starts_with("cannot allocate ") && message.ends_with("; try a smaller preset"),
        "{message}"
    );
}

#[test]
fn large_presets_are_bf16() {
    assert_eq!(RandomWeights::default_dtype(&roles("head")), Dtype::F32);
    let large = model(
        vec![],
        vec![linear(weight("w", "{i}", &[4096, 4096]), None)],
        32,
        vec![],
    );
    assert_eq!(RandomWeights::default_dtype(&large), Dtype::Bf16);
}
