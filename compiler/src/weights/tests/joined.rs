//! Matrices whose heads have rows in several tensors.

use super::experts::{Tensors, floats, resolved};
use super::*;
use crate::spec::model::{Joined, JoinedPart};

/// Two heads, each with a row of keys and two of values, of three inputs.
fn keys_and_values() -> Model {
    let part = |tensor: &str, rows, transposed| JoinedPart {
        tensor: tensor.into(),
        rows,
        transposed,
    };
    let mut whole = weight("kv", "kv", &[6, 3]);
    whole.others = vec![Weight {
        joined: Some(Joined {
            heads: 2,
            parts: vec![part("k.{i}", 1, true), part("v.{i}", 2, false)],
        }),
        ..weight("kv", "k.{i}", &[6, 3])
    }];
    model(
        vec![embed(weight("embed", "embed", &[2, 2]))],
        vec![linear(whole, None)],
        1,
        vec![linear(weight("head", "head", &[2, 2]), None)],
    )
}

const KEYS: [f32; 6] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
const VALUES: [f32; 12] = [
    10.0, 11.0, 12.0, 13.0, 14.0, 15.0, 20.0, 21.0, 22.0, 23.0, 24.0, 25.0,
];

#[test]
fn rows_of_each_head_follow_each_other() {
    let tensors = [
        ("k.0", "F32", &[2, 3, 1][..], f32_bytes(&KEYS)),
        ("v.0", "BF16", &[2, 2, 3][..], bf16_bytes(&VALUES)),
    ];
    let weights = resolved(&keys_and_values(), json!({}), &tensors).unwrap();
    let found = floats(&weights, &weights.layers[0][0]);
    let heads = KEYS.chunks(3).zip(VALUES.chunks(6));
    let expected: Vec<f32> = heads.flat_map(|(k, v)| [k, v].concat()).collect();
    assert_eq!(found, expected);
}

/// Whatever else there is, the whole matrix comes first.
#[test]
fn a_tensor_with_all_rows_is_taken_as_it_is() {
    let whole: Vec<f32> = (0..18).map(|i| i as f32).collect();
    let tensors = [("kv", "F32", &[6, 3][..], f32_bytes(&whole))];
    let weights = resolved(&keys_and_values(), json!({}), &tensors).unwrap();
    assert_eq!(floats(&weights, &weights.layers[0][0]), whole);
}

#[test]
fn a_part_that_is_missing_or_misshapen_is_named() {
    let keys = ("k.0", "F32", &[2, 3, 1][..], f32_bytes(&KEYS));
    let said = |tensors: Tensors| {
        let refused = resolved(&keys_and_values(), json!({}), tensors);
        refused.unwrap_err().to_string()
    };
    let missing = said(std::slice::from_ref(&keys));
    assert!(missing.contains("no tensor named \"v.0\""), "{missing}");
    let values = ("v.0", "F32", &[2, 3, 2][..], f32_bytes(&VALUES));
    let misshapen = said(&[keys.clone(), values]);
    assert!(
        misshapen.contains("\"v.0\"") && misshapen.contains("[2, 3, 2]"),
        "{misshapen}"
    );
    let values = ("v.0", "I32", &[2, 2, 3][..], f32_bytes(&VALUES));
    let of_integers = said(&[keys.clone(), values]);
    assert!(of_integers.contains("I32"), "{of_integers}");
}
