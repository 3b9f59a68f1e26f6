//! Families of weights, and matrices in the forms in which large models are published.

use super::*;
use crate::weights::{Checkpoint, Source, View, Weights, WeightsError, resolve};

/// Files by name, type, shape and bytes.
pub(super) type Tensors<'a> = &'a [(&'a str, &'a str, &'a [usize], Vec<u8>)];

/// A model of one layer whose only weight is a family of `experts`; embedding and head are stored with it.
pub(super) fn family(tensor: &str, shape: &[usize], experts: usize) -> Model {
    let weight = Weight {
        family: Some(experts),
        ..weight("experts", tensor, shape)
    };
    model(
        vec![embed(super::weight("embed", "embed", &[2, 2]))],
        vec![linear(weight, None)],
        1,
        vec![linear(super::weight("head", "head", &[2, 2]), None)],
    )
}

pub(super) fn resolved(
    model: &Model,
    config: Value,
    tensors: Tensors,
) -> Result<Weights, WeightsError> {
    let two = [
        ("embed", "F32", &[2, 2][..], f32_bytes(&[0.0; 4])),
        ("head", "F32", &[2, 2][..], f32_bytes(&[0.0; 4])),
    ];
    let all: Vec<_> = two.iter().cloned().chain(tensors.iter().cloned()).collect();
    let folder = Folder::with(&[
        ("config.json", config.to_string().as_bytes()),
        ("model.safetensors", &file(&all)),
    ]);
    resolve(model, Source::Checkpoint(Checkpoint::open(&folder.0)?))
}

/// The elements between a view's first and last, as f32.
pub(super) fn floats(weights: &Weights, view: &View) -> Vec<f32> {
    let bytes = weights.bytes(view);
    match view.encoding.float().unwrap().size() {
        4 => bytes
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
            .collect(),
        _ => bytes
            .chunks_exact(2)
            .map(|b| f32::from_bits(u32::from(u16::from_le_bytes(b.try_into().unwrap())) << 16))
            .collect(),
    }
}

fn counting(n: usize) -> Vec<f32> {
    (0..n).map(|i| i as f32).collect()
}

#[test]
fn experts_lie_one_behind_the_other_or_apart() {
    let stacked = resolved(
        &family("w", &[1, 2], 3),
        json!({}),
        &[("w", "F32", &[3, 1, 2], f32_bytes(&counting(6)))],
    );
    let apart = resolved(
        &family("{e}.w", &[1, 2], 3),
        json!({}),
        &[
            ("2.w", "F32", &[1, 2], f32_bytes(&[4.0, 5.0])),
            ("0.w", "F32", &[1, 2], f32_bytes(&[0.0, 1.0])),
            ("1.w", "F32", &[1, 2], f32_bytes(&[2.0, 3.0])),
        ],
    );
    for weights in [stacked.unwrap(), apart.unwrap()] {
        let views = &weights.layers[0];
        assert_eq!(views.len(), 3);
        for (e, view) in views.iter().enumerate() {
            let first = 2.0 * e as f32;
            assert_eq!(floats(&weights, view), [first, first + 1.0], "expert {e}");
        }
    }
}

/// A family of which one tensor stacks the first, and the others lie apart, counted from the first of them.
#[test]
fn tensors_hold_some_of_the_experts() {
    let mut model = family("some", &[1, 2], 3);
    let Item::Residual { branches, .. } = &mut model.kinds[0].items[0] else {
        unreachable!("as made")
    };
    let StepOp::Linear(l) = &mut branches[0][0].op else {
        unreachable!("as made")
    };
    l.weight.experts = Some((0, 2));
    l.weight.others = vec![Weight {
        tensors: vec!["other.{e}".into()],
        experts: Some((2, 1)),
        ..l.weight.clone()
    }];
    let some = ("some", "F32", &[2, 1, 2][..], f32_bytes(&counting(4)));
    let other = ("other.0", "F32", &[1, 2][..], f32_bytes(&[4.0, 5.0]));
    let weights = resolved(&model, json!({}), &[some.clone(), other]).unwrap();
    let rows = weights.layers[0].iter().map(|v| floats(&weights, v));
    let rows: Vec<_> = rows.collect();
    assert_eq!(rows, [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]);
    let found = resolved(&model, json!({}), &[some]).unwrap_err();
    let found = found.to_string();
    assert!(
        found.contains("other.0") && !found.contains("some,"),
        "{found}"
    );
}

/// The same family as two kinds of checkpoints store it: a tensor for each expert, or all in one with another matrix.
#[test]
fn experts_are_found_in_either_form() {
    let mut model = family("{e}.up", &[1, 2], 2);
    let Item::Residual { branches, .. } = &mut model.kinds[0].items[0] else {
        unreachable!("as made")
    };
    let StepOp::Linear(l) = &mut branches[0][0].op else {
        unreachable!("as made")
    };
    l.weight.others = vec![Weight {
        tensors: vec!["gate_up".into()],
        part: Some(crate::spec::model::Range::one(1, 2)),
        ..l.weight.clone()
    }];
    let apart: Tensors = &[
        ("0.up", "F32", &[1, 2], f32_bytes(&[2.0, 3.0])),
        ("1.up", "F32", &[1, 2], f32_bytes(&[6.0, 7.0])),
    ];
    let joined: Tensors = &[("gate_up", "F32", &[2, 2, 2], f32_bytes(&counting(8)))];
    for tensors in [apart, joined] {
        let weights = resolved(&model, json!({}), tensors).unwrap();
        let rows: Vec<_> = weights.layers[0]
            .iter()
            .map(|v| floats(&weights, v))
            .collect();
        assert_eq!(rows, [[2.0, 3.0], [6.0, 7.0]]);
    }
    let none = resolved(&model, json!({}), &[]).unwrap_err().to_string();
    assert!(
        none.contains("0.up") && none.contains("gate_up"),
        "both names were tried: {none}"
    );
}

#[test]
fn a_part_of_stacked_and_transposed_experts() {
    // Two experts of [in 2, out 4]; the second half of their outputs is wanted.
    let mut model = family("w", &[2, 2], 2);
    let Item::Residual { branches, .. } = &mut model.kinds[0].items[0] else {
        unreachable!("as made")
    };
    let StepOp::Linear(l) = &mut branches[0][0].op else {
        unreachable!("as made")
    };
    l.weight.transposed = true;
    l.weight.part = Some(crate::spec::model::Range::one(2, 4));
    let weights = resolved(
        &model,
        json!({}),
        &[("w", "F32", &[2, 2, 4], f32_bytes(&counting(16)))],
    )
    .unwrap();
    let rows: Vec<_> = weights.layers[0]
        .iter()
        .map(|v| floats(&weights, v))
        .collect();
    assert_eq!(
        rows,
        [
            [2.0, 3.0, 4.0, 5.0, 6.0, 7.0],
            [10.0, 11.0, 12.0, 13.0, 14.0, 15.0]
        ]
    );
    assert!(
        weights.layers[0]
            .iter()
            .all(|v| v.transposed && v.row_stride_bytes == 16)
    );
}

#[test]
fn an_expert_of_another_type_is_named() {
    let error = resolved(
        &family("{e}.w", &[1, 2], 2),
        json!({}),
        &[
            ("0.w", "F32", &[1, 2], f32_bytes(&[0.0, 1.0])),
            ("1.w", "BF16", &[1, 2], bf16_bytes(&[2.0, 3.0])),
        ],
    );
    let message = error.unwrap_err().to_string();
    assert!(
        message.contains(r#""0.w" is stored as f32, "1.w" as bf16"#),
        "{message}"
    );
}

#[test]
fn a_missing_expert_is_named() {
    let tensors: Tensors = &[("0.w", "F32", &[1, 2], f32_bytes(&[0.0, 1.0]))];
    let error = resolved(&family("{e}.w", &[1, 2], 2), json!({}), tensors).unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains(r#"layers.0.experts[1]: no tensor named "1.w""#),
        "{message}"
    );
}

/// Codes of 0.5, 1, −2 and 448 in e4m3.
const E4M3: [u8; 4] = [0x30, 0x38, 0xc0, 0x7e];

fn fp8(block: usize) -> Value {
    json!({"quantization_config": {"quant_method": "fp8", "weight_block_size": [block, block]}})
}

#[test]
fn fp8_blocks_become_exact_f32() {
    // 3 rows of 3 columns in blocks of 2 × 2, cut off at the right and at the bottom.
    let codes = [0, 1, 2, 3, 0, 1, 2, 3, 0].map(|i| E4M3[i]);
    let scales = [1.0, 3.0, 1.1, 5.0];
    let weights = resolved(
        &family("{e}.w", &[3, 3], 1),
        fp8(2),
        &[
            ("0.w", "F8_E4M3", &[3, 3], codes.to_vec()),
            ("0.w_scale_inv", "F32", &[2, 2], f32_bytes(&scales)),
        ],
    )
    .unwrap();
    let value = [0.5, 1.0, -2.0, 448.0];
    let [a, b, c, d] = scales;
    let expected = [
        value[0] * a,
        value[1] * a,
        value[2] * b,
        value[3] * a,
        value[0] * a,
        value[1] * b,
        value[2] * c,
        value[3] * c,
        value[0] * d,
    ];
    assert_eq!(floats(&weights, &weights.layers[0][0]), expected);
}

#[test]
fn fp8_of_stacked_experts_with_one_scale() {
    let config = json!({"quantization_config": {"quant_method": "fp8"}});
    for (scales, values) in [(vec![3.0], [3.0, 3.0]), (vec![3.0, 5.0], [3.0, 5.0])] {
        let shape = [scales.len(), 1, 1];
        let weights = resolved(
            &family("w", &[2, 2], 2),
            config.clone(),
            &[
                ("w", "F8_E4M3", &[2, 2, 2], vec![0x38; 8]),
                ("w_scale_inv", "F32", &shape, f32_bytes(&scales)),
            ],
        )
        .unwrap();
        for (view, value) in weights.layers[0].iter().zip(values) {
            assert_eq!(floats(&weights, view), [value; 4]);
        }
    }
}

#[test]
fn fp8_codes_are_what_the_format_says() {
    let codes: Vec<u8> = (0..=255).collect();
    let weights = resolved(
        &family("{e}.w", &[16, 16], 1),
        fp8(16),
        &[
            ("0.w", "F8_E4M3", &[16, 16], codes),
            ("0.w_scale_inv", "F32", &[1, 1], f32_bytes(&[1.0])),
        ],
    )
    .unwrap();
    let values = floats(&weights, &weights.layers[0][0]);
    for (code, value) in [
        (0x00, 0.0),
        (0x01, 2f32.powi(-9)),
        (0x07, 7.0 * 2f32.powi(-9)),
        (0x08, 2f32.powi(-6)),
        (0x7e, 448.0),
        (0xfe, -448.0),
    ] {
        assert_eq!(values[code], value, "{code:#x}");
    }
    assert!(values[0x7f].is_nan() && values[0xff].is_nan());
}

#[test]
fn fp8_without_a_method_is_no_weight_type() {
    let tensors: Tensors = &[("0.w", "F8_E4M3", &[2, 2], E4M3.to_vec())];
    let error = resolved(&family("{e}.w", &[2, 2], 1), json!({}), tensors).unwrap_err();
    assert!(
        error.to_string().contains("expected F32, F16 or BF16"),
        "{error}"
    );
}

#[test]
fn an_unknown_method_is_an_error() {
    let config = json!({"quantization_config": {"quant_method": "bitsandbytes"}});
    let error = resolved(&family("w", &[1, 2], 1), config, &[]).unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains(
            "`bitsandbytes` cannot be read; known are fp8, fbgemm_fp8, mxfp4, gptq, awq, compressed-tensors"
        ),
        "{message}"
    );
}

#[test]
fn mxfp4_becomes_exact_bf16_the_other_way_round() {
    // Two experts of [in 64, out 1], which are stored as [out 1, in 64] in two groups each.
    let mut model = family("w", &[1, 64], 2);
    let Item::Residual { branches, .. } = &mut model.kinds[0].items[0] else {
        unreachable!("as made")
    };
    let StepOp::Linear(l) = &mut branches[0][0].op else {
        unreachable!("as made")
    };
    l.weight.transposed = true;
    let pairs: Vec<u8> = (0..64).map(|i| (i % 16) | (15 - i % 16) << 4).collect();
    let weights = resolved(
        &model,
        json!({"quantization_config": {"quant_method": "mxfp4"}}),
        &[
            ("w_blocks", "U8", &[2, 1, 2, 16], pairs),
            ("w_scales", "U8", &[2, 1, 2], vec![127, 128, 120, 0]),
        ],
    )
    .unwrap();
    let levels = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];
    let level = |code: usize| {
        if code < 8 {
            levels[code]
        } else {
            -levels[code - 8]
        }
    };
    for (e, scales) in [[1.0, 2.0], [2f32.powi(-7), 2f32.powi(-127)]]
        .iter()
        .enumerate()
    {
        let view = &weights.layers[0][e];
        assert!(!view.transposed && view.row_stride_bytes == 128);
        let values = floats(&weights, view);
        for (i, value) in values.iter().enumerate() {
            let code = if i % 2 == 0 {
                i / 2 % 16
            } else {
                15 - i / 2 % 16
            };
            assert_eq!(
                *value,
                level(code) * scales[i / 32],
                "expert {e}, element {i}"
            );
        }
    }
}

#[test]
fn mxfp4_without_scales_is_an_error() {
    let config = json!({"quantization_config": {"quant_method": "mxfp4"}});
    let blocks: Tensors = &[("w_blocks", "U8", &[1, 1, 1, 16], vec![0; 16])];
    let error = resolved(&family("w", &[1, 32], 1), config, blocks).unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains(
            r#"tensor "w_scales": for layers.0.experts[0]: found nothing, expected U8 [1, 1, 1]"#
        ),
        "{message}"
    );
}

#[test]
fn mxfp4_of_broken_groups_is_an_error() {
    let config = json!({"quantization_config": {"quant_method": "mxfp4"}});
    let error = resolved(
        &family("w", &[1, 48], 1),
        config,
        &[
            ("w_blocks", "U8", &[1, 1, 1, 24], vec![0; 24]),
            ("w_scales", "U8", &[1, 1, 1], vec![127]),
        ],
    );
    let message = error.unwrap_err().to_string();
    assert!(
        message.contains("in groups of 32 along the 48 columns"),
        "{message}"
    );
}
