//! Scales of published matrices: their number, the sizes of their blocks, and values that they make too large.

use super::experts::{Tensors, family, floats, resolved};
use super::*;

/// Codes of 0.5, 1, −2, 448 and NaN in e4m3.
const HALF: u8 = 0x30;
const ONE: u8 = 0x38;
const MINUS_TWO: u8 = 0xc0;
const MOST: u8 = 0x7e;
const NAN: u8 = 0x7f;

fn fp8(block: Value) -> Value {
    json!({"quantization_config": {"quant_method": "fp8", "weight_block_size": block}})
}

fn mxfp4() -> Value {
    json!({"quantization_config": {"quant_method": "mxfp4"}})
}

fn refused(model: &Model, config: Value, tensors: Tensors) -> String {
    resolved(model, config, tensors).unwrap_err().to_string()
}

/// A matrix of 3 rows of 4 columns in blocks of 2 × 2, of whose four scales the second is `scale`.
fn scaled(codes: [u8; 12], scale: f32) -> Result<Vec<f32>, String> {
    let tensors: Tensors = &[
        ("0.w", "F8_E4M3", &[3, 4], codes.to_vec()),
        (
            "0.w_scale_inv",
            "F32",
            &[2, 2],
            f32_bytes(&[1.0, scale, 1.0, 1.0]),
        ),
    ];
    let weights = resolved(&family("{e}.w", &[3, 4], 1), fp8(json!([2, 2])), tensors);
    let weights = weights.map_err(|e| e.to_string())?;
    Ok(floats(&weights, &weights.layers[0][0]))
}

#[test]
fn scales_that_are_no_numbers() {
    for (scale, said) in [
        (f32::NAN, "NaN"),
        (f32::INFINITY, "inf"),
        (f32::NEG_INFINITY, "-inf"),
    ] {
        // Whatever they scale, zeros too.
        for code in [ONE, 0] {
            assert_eq!(
                scaled([code; 12], scale).unwrap_err(),
                format!(
                    "tensor \"0.w_scale_inv\": row 0, column 1: found {said}, expected a finite number; download the checkpoint again"
                )
            );
        }
    }
    // One for everything, in the other types.
    for (stored, bytes) in [("BF16", vec![0x80, 0x7f]), ("F16", vec![0x00, 0x7c])] {
        let tensors: Tensors = &[
            ("0.w", "F8_E4M3", &[2, 2], vec![ONE; 4]),
            ("0.w_scale_inv", stored, &[1], bytes),
        ];
        let said = refused(&family("{e}.w", &[2, 2], 1), fp8(Value::Null), tensors);
        let start = "tensor \"0.w_scale_inv\": row 0, column 0: found inf,";
        assert!(said.starts_with(start), "{said}");
    }
}

#[test]
fn scales_that_make_values_too_large() {
    let mut codes = [HALF; 12];
    // A scale is as large as its values let it be.
    assert_eq!(scaled(codes, 3e38).unwrap()[2], 1.5e38);
    codes[7] = MINUS_TWO;
    assert_eq!(scaled(codes, 1.5e38).unwrap()[7], -3e38);
    assert_eq!(
        scaled(codes, 3e38).unwrap_err(),
        "tensor \"0.w\": row 1, column 3: found -2 in a block of scale 3e38, expected a product below 2^128, the limit of f32 and bf16; download the checkpoint again"
            .replace("3e38", &format!("{:e}", f64::from(3e38f32)))
    );
    codes[2] = MOST;
    let said = scaled(codes, -1e36).unwrap_err();
    assert!(
        said.starts_with("tensor \"0.w\": row 0, column 2: found 448 in a block"),
        "{said}"
    );
    // Elsewhere it does no harm.
    codes[2] = ONE;
    codes[0] = MOST;
    assert_eq!(scaled(codes, 1e38).unwrap()[0], 448.0);
    // What was not a number before is not one after, and shows in the logits.
    codes[0] = NAN;
    assert!(scaled(codes, 1e38).unwrap()[0].is_nan());
}

/// Matrices of a stack, and more values than are made at once: places are counted through.
#[test]
fn places_in_a_stack_of_large_matrices() {
    let (rows, columns) = (700, 260);
    let mut codes = vec![ONE; 2 * rows * columns];
    codes[(rows + 650) * columns + 259] = MOST;
    let mut scales = vec![1.0; 2 * 6 * 3];
    *scales.last_mut().unwrap() = 1e37;
    let tensors = |scales: &[f32]| {
        vec![
            ("w", "F8_E4M3", &[2, 700, 260][..], codes.clone()),
            ("w_scale_inv", "F32", &[2, 6, 3][..], f32_bytes(scales)),
        ]
    };
    let model = family("w", &[rows, columns], 2);
    let said = refused(&model, fp8(json!([128, 128])), &tensors(&scales));
    let start = "tensor \"w\": row 1350, column 259: found 448 in a block of scale";
    assert!(said.starts_with(start), "{said}");
    // Of several, the first.
    (scales[20], scales[30]) = (f32::NAN, f32::NAN);
    let said = refused(&model, fp8(json!([128, 128])), &tensors(&scales));
    let start = "tensor \"w_scale_inv\": row 6, column 2: found NaN";
    assert!(said.starts_with(start), "{said}");
}

#[test]
fn powers_of_mxfp4_that_are_none_or_too_large() {
    // Two rows of two groups of 32; pair `[low, high]` of codes everywhere in the last one.
    let of = |low: u8, high: u8, scale: u8| {
        let mut pairs = vec![0x11; 48];
        pairs.extend(vec![low | high << 4; 16]);
        let tensors: Tensors = &[
            ("w_blocks", "U8", &[1, 2, 2, 16], pairs),
            ("w_scales", "U8", &[1, 2, 2], vec![127, 0, 252, scale]),
        ];
        let weights = resolved(&family("w", &[2, 64], 1), mxfp4(), tensors);
        let weights = weights.map_err(|e| e.to_string())?;
        Ok::<_, String>(floats(&weights, &weights.layers[0][0])[96..98].to_vec())
    };
    // Codes 5 to 7 are 3, 4 and 6, and 8 more is their negative.
    let two_to = |n: i32| 2f32.powi(n);
    assert_eq!(
        of(7, 15, 252).unwrap(),
        [6.0 * two_to(125), -6.0 * two_to(125)]
    );
    assert_eq!(
        of(5, 13, 253).unwrap(),
        [3.0 * two_to(126), -3.0 * two_to(126)]
    );
    assert_eq!(of(3, 2, 254).unwrap(), [1.5 * two_to(127), two_to(127)]);
    for (low, high, scale, column, found) in [
        (5, 6, 253, 33, "4"),
        (15, 7, 253, 32, "-6"),
        (3, 4, 254, 33, "2"),
    ] {
        let said = of(low, high, scale).unwrap_err();
        let start =
            format!("tensor \"w_blocks\": row 1, column {column}: found {found} in a block");
        assert!(said.starts_with(&start), "{said}");
        assert!(said.contains("expected a product below 2^128"), "{said}");
    }
    assert_eq!(
        of(0, 0, 255).unwrap_err(),
        "tensor \"w_scales\": row 1, column 1: found NaN, expected a finite number; download the checkpoint again"
    );
}

#[test]
fn blocks_that_are_larger_than_the_matrix() {
    let with = |block: Value| {
        let tensors: Tensors = &[
            ("0.w", "F8_E4M3", &[3, 4], vec![ONE; 12]),
            ("0.w_scale_inv", "F32", &[1, 1], f32_bytes(&[3.0])),
        ];
        let weights = resolved(&family("{e}.w", &[3, 4], 1), fp8(block), tensors).unwrap();
        floats(&weights, &weights.layers[0][0])
    };
    for block in [
        json!([3, 4]),
        json!([128, 128]),
        json!([128, 1u64 << 62]),
        json!([1u64 << 62, 5]),
        json!([u64::MAX, u64::MAX]),
        Value::Null,
    ] {
        assert_eq!(with(block), [3.0; 12]);
    }
}

#[test]
fn blocks_of_no_size() {
    for block in [
        json!([]),
        json!([128]),
        json!([128, 128, 128]),
        json!([0, 8]),
        json!([8, 0]),
        json!([-1, 8]),
        json!([1.5, 8]),
        json!([8, 1e300]),
        json!(["128", "128"]),
        json!([null, 8]),
        json!(128),
        json!("128"),
        json!(true),
        json!({}),
    ] {
        assert_eq!(
            refused(&family("w", &[1, 2], 1), fp8(block.clone()), &[]),
            format!(
                "config.json: quantization_config.weight_block_size: found {block}, expected two sizes of at least 1, as in [128, 128]"
            )
        );
    }
}

#[test]
fn scales_of_another_size() {
    let model = family("{e}.w", &[3, 4], 1);
    let with = |stored: &str, shape: &[usize]| {
        let size = if stored == "F32" { 4 } else { 2 };
        let bytes = vec![0; shape.iter().product::<usize>() * size];
        let tensors: Tensors = &[
            ("0.w", "F8_E4M3", &[3, 4], vec![ONE; 12]),
            ("0.w_scale_inv", stored, shape, bytes),
        ];
        resolved(&model, fp8(json!([2, 3])), tensors).map_err(|e| e.to_string())
    };
    let expected = "expected F32 [2, 2], a scale for each [2, 3] of [3, 4]; download the checkpoint again, or its unquantised form";
    let start = "tensor \"0.w_scale_inv\": for layers.0.experts[0]: found";
    for shape in [
        &[1, 1][..],
        &[2],
        &[2, 1],
        &[1, 2],
        &[4],
        &[2, 2, 1],
        &[3, 2],
        &[3, 4],
        &[],
        &[0, 2],
    ] {
        let said = with("F32", shape).unwrap_err();
        assert_eq!(said, format!("{start} F32 {shape:?}, {expected}"));
    }
    assert!(with("BF16", &[2, 2]).is_ok());
    let said = with("I16", &[2, 2]).unwrap_err();
    assert_eq!(said, format!("{start} I16 [2, 2], {expected}"));
    let alone: Tensors = &[("0.w", "F8_E4M3", &[3, 4], vec![ONE; 12])];
    let said = refused(&model, fp8(json!([2, 3])), alone);
    assert_eq!(said, format!("{start} nothing, {expected}"));
}
