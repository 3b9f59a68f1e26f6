//! Vectors and filters: f32 for generated code, in whatever form the checkpoint or the seed has them.

use super::*;
use crate::spec::model::Range;
use crate::weights::{Checkpoint, RandomWeights, Source, View, Weights, WeightsError, resolve};
use graver_runtime::abi::{Dtype, Encoding};

/// A head of a norm and a projection with a bias, 32 components wide.
fn head(gain: &str, matrix: &str, bias: &str) -> Model {
    let gain = norm(weight("norm.gain", gain, &[32]), false);
    let bias = weight("logits.bias", bias, &[32]);
    let matrix = linear(weight("logits.weight", matrix, &[32, 32]), Some(bias));
    model(vec![], vec![], 0, vec![gain, matrix])
}

fn resolved(
    model: &Model,
    config: Value,
    tensors: &[(&str, &str, &[usize], Vec<u8>)],
) -> Result<Weights, WeightsError> {
    let folder = Folder::with(&[
        ("config.json", config.to_string().as_bytes()),
        ("model.safetensors", &file(tensors)),
    ]);
    resolve(model, Source::Checkpoint(Checkpoint::open(&folder.0)?))
}

#[track_caller]
fn is_f32(weights: &Weights, view: &View, expected: &[f32]) {
    assert_eq!(view.encoding, Encoding::Float(Dtype::F32), "{}", view.slot);
    assert_eq!(view.row_stride_bytes, expected.len() * 4, "{}", view.slot);
    assert_eq!(weights.bytes(view), f32_bytes(expected), "{}", view.slot);
}

#[test]
fn of_mxfp4_become_f32_beside_matrices_of_bf16() {
    let config = json!({"quantization_config": {"quant_method": "mxfp4"}});
    // Every group holds 1.5, −0.5, 1.5, −0.5, … times its power of two.
    let groups = |n: usize| vec![0x93; n * 16];
    let weights = resolved(
        &head("g", "w", "b"),
        config,
        &[
            ("g_blocks", "U8", &[1, 16], groups(1)),
            ("g_scales", "U8", &[1], vec![129]),
            ("w_blocks", "U8", &[32, 1, 16], groups(32)),
            ("w_scales", "U8", &[32, 1], vec![127; 32]),
            ("b_blocks", "U8", &[1, 16], groups(1)),
            ("b_scales", "U8", &[1], vec![1]),
        ],
    )
    .unwrap();
    let [gain, matrix, bias] = &weights.head[..] else {
        panic!("three slots")
    };
    is_f32(&weights, gain, &[6.0, -2.0].repeat(16));
    let small = 2f32.powi(-126);
    is_f32(&weights, bias, &[1.5 * small, -0.5 * small].repeat(16));
    assert_eq!(matrix.encoding, Encoding::Float(Dtype::Bf16));
    assert_eq!(matrix.bytes, 32 * 32 * 2);
    let pair = bf16_bytes(&[1.5, -0.5]);
    assert_eq!(weights.bytes(matrix), pair.repeat(32 * 16));
}

#[test]
fn of_fp8_become_f32() {
    let config =
        json!({"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}});
    let ones = [0x38; 32].to_vec();
    let tensors = |shape: &'static [usize]| {
        vec![
            ("g", "F8_E4M3", shape, ones.clone()),
            ("g_scale_inv", "F32", &[1, 1][..], f32_bytes(&[3.0])),
            ("w", "F32", &[32, 32][..], vec![0; 4096]),
            ("b", "F16", &[32][..], vec![0; 64]),
        ]
    };
    let model = head("g", "w", "b");
    let mut row = tensors(&[1, 32]);
    row[1].0 = "g_weight_scale_inv";
    let error = resolved(&model, config.clone(), &row).unwrap_err();
    assert!(error.to_string().contains("g_scale_inv"), "{error}");
    row[1].0 = "g_scale_inv";
    let weights = resolved(&model, config.clone(), &row).unwrap();
    is_f32(&weights, &weights.head[0], &[3.0; 32]);
    is_f32(&weights, &weights.head[2], &[0.0; 32]);
    // As vectors are published, in one dimension: in blocks of 128, and in several of 16.
    let mut flat = tensors(&[32]);
    flat[1].2 = &[1];
    let weights = resolved(&model, config, &flat).unwrap();
    is_f32(&weights, &weights.head[0], &[3.0; 32]);
    let config =
        json!({"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 16]}});
    let error = resolved(&model, config.clone(), &flat).unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains("for head.norm.gain: found F32 [1], expected F32 [2]"),
        "{message}"
    );
    (flat[1].2, flat[1].3) = (&[2], f32_bytes(&[3.0, 5.0]));
    let weights = resolved(&model, config, &flat).unwrap();
    let expected = [[3.0; 16], [5.0; 16]].concat();
    is_f32(&weights, &weights.head[0], &expected);
}

#[test]
fn that_are_drawn_beside_a_matrix_of_the_same_name_are_f32() {
    // One name for a matrix of one row, a gain and a table's only row.
    let gain = norm(weight("norm.gain", "w", &[64]), false);
    let matrix = linear(weight("one.weight", "w", &[1, 64]), None);
    for steps in [[gain.clone(), matrix.clone()], [matrix, gain]] {
        let model = model(vec![], vec![], 0, steps.to_vec());
        let random = RandomWeights::new(1, Dtype::Bf16);
        let weights = resolve(&model, Source::Random(random)).unwrap();
        let of = |slot: &str| weights.head.iter().find(|v| v.slot == slot).unwrap();
        let (gain, matrix) = (of("norm.gain"), of("one.weight"));
        assert_eq!(gain.encoding, Encoding::Float(Dtype::F32));
        assert_eq!(gain.bytes, 256);
        assert_eq!(matrix.encoding, Encoding::Float(Dtype::Bf16));
        assert_eq!(matrix.bytes, 128);
        let random = RandomWeights::new(1, Dtype::F32);
        let weights = resolve(&model, Source::Random(random)).unwrap();
        assert_eq!(weights.tensors.len(), 1, "one type is one tensor");
    }
}

/// A bias of two heads of six numbers, of which the slot takes two of each; a gain takes two others.
fn by_head(bias: Weight) -> Model {
    let part = |from| {
        Some(Range {
            heads: 2,
            ..Range::one(from, 6)
        })
    };
    let gain = Weight {
        part: part(0),
        ..weight("norm.gain", "b", &[4])
    };
    let bias = Weight {
        part: part(3),
        ..bias
    };
    let matrix = weight("logits.weight", "w", &[4, 4]);
    let steps = vec![norm(gain, false), linear(matrix, Some(bias))];
    model(vec![], vec![], 0, steps)
}

#[test]
fn numbers_of_each_head_are_put_together() {
    let model = by_head(weight("logits.bias", "b", &[4]));
    let numbers: Vec<f32> = (0..12).map(|i| i as f32).collect();
    for (dtype, bytes) in [("F32", f32_bytes(&numbers)), ("BF16", bf16_bytes(&numbers))] {
        let matrix = ("w", "F32", &[4, 4][..], vec![0; 64]);
        let tensors = [("b", dtype, &[12][..], bytes), matrix];
        let weights = resolved(&model, json!({}), &tensors).unwrap();
        is_f32(&weights, &weights.head[0], &[0.0, 1.0, 6.0, 7.0]);
        is_f32(&weights, &weights.head[2], &[3.0, 4.0, 9.0, 10.0]);
    }
}

#[test]
fn numbers_of_each_head_are_floats_of_one_vector() {
    let said = |model: &Model, dtype: &str, length: usize| {
        let bytes = length * if dtype == "F32" { 4 } else { 1 };
        let tensors = [
            ("b", dtype, &[length][..], vec![0; bytes]),
            ("s", "F32", &[2, 12][..], vec![0; 96]),
            ("w", "F32", &[4, 4][..], vec![0; 64]),
        ];
        let error = resolved(model, json!({}), &tensors).unwrap_err();
        error.to_string()
    };
    let one = by_head(weight("logits.bias", "b", &[4]));
    let found = said(&one, "U8", 12);
    assert!(
        found.contains("norm.gain") && found.contains("U8"),
        "{found}"
    );
    let found = said(&one, "F32", 11);
    assert!(found.contains("[12]") && found.contains("[11]"), "{found}");
    let stacked = Weight {
        family: Some(2),
        ..weight("logits.bias", "s", &[4])
    };
    let found = said(&by_head(stacked), "F32", 12);
    let end = "vectors that a tensor stacks for all experts cannot be taken by head";
    assert!(found.ends_with(end), "{found}");
}

#[test]
fn of_several_dimensions_are_read_in_order() {
    let tensors = |rows: usize| {
        let numbers: Vec<f32> = (0..rows * 8).map(|i| i as f32).collect();
        let shape: &'static [usize] = if rows == 4 { &[4, 8] } else { &[3, 8] };
        [
            ("g", "BF16", shape, bf16_bytes(&numbers)),
            ("w", "F32", &[32, 32][..], vec![0; 4096]),
            ("b", "F32", &[32][..], vec![0; 128]),
        ]
    };
    let model = head("g", "w", "b");
    let weights = resolved(&model, json!({}), &tensors(4)).unwrap();
    let numbers: Vec<f32> = (0..32).map(|i| i as f32).collect();
    is_f32(&weights, &weights.head[0], &numbers);
    let said = resolved(&model, json!({}), &tensors(3)).unwrap_err();
    assert!(said.to_string().contains("[3, 8]"), "{said}");
}

/// Numbers of which the tensor has the negative exponentials, beside a slot that reads the same tensor as it is.
#[test]
fn stored_as_exponentials_become_logarithms() {
    let model = |exponential| {
        let mut model = head("g", "w", "g");
        let StepOp::Norm(norm) = &mut model.head[0].op else {
            panic!("the norm is first")
        };
        norm.gain.as_mut().unwrap().exponential = exponential;
        model
    };
    let matrix = ("w", "F32", &[32, 32][..], f32_bytes(&[0.5; 32 * 32]));
    let powers: Vec<f32> = (0..32).map(|i| -(2f32.powi(i - 16))).collect();
    for (dtype, bytes) in [("F32", f32_bytes(&powers)), ("BF16", bf16_bytes(&powers))] {
        let tensors = [("g", dtype, &[32][..], bytes), matrix.clone()];
        let weights = resolved(&model(true), json!({}), &tensors).unwrap();
        let logarithms: Vec<f32> = powers.iter().map(|p| (-p).ln()).collect();
        is_f32(&weights, &weights.head[0], &logarithms);
        is_f32(&weights, &weights.head[2], &powers);
    }
    let mut positive = powers;
    positive[5] = 1.0;
    let tensors = [
        ("g", "F32", &[32][..], f32_bytes(&positive)),
        matrix.clone(),
    ];
    let said = resolved(&model(true), json!({}), &tensors).unwrap_err();
    let said = said.to_string();
    assert!(
        said.contains("\"g\"") && said.contains('5') && said.contains("NaN"),
        "{said}"
    );
    // A matrix of a product stays as it is.
    let mut of_matrix = model(false);
    let StepOp::Linear(linear) = &mut of_matrix.head[1].op else {
        panic!("the matrix is second")
    };
    linear.weight.exponential = true;
    let tensors = [("g", "F32", &[32][..], f32_bytes(&[1.0; 32])), matrix];
    let said = resolved(&of_matrix, json!({}), &tensors).unwrap_err();
    assert!(said.to_string().contains("can be exponentials"), "{said}");
}
