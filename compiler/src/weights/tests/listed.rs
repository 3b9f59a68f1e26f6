//! Tables of whole numbers: read as they are stored, and refused where one is no expert's.

use super::experts::floats;
use super::*;
use crate::spec::{SpecSource, load};
use crate::weights::{Checkpoint, Source, Weights, WeightsError, resolve};

/// Weights of a model of one layer, whose experts a table of this type lists.
fn with_table(dtype: &str, bytes: Vec<u8>) -> Result<Weights, WeightsError> {
    let text = json!({
        "about": "listed", "match": { "model_type": ["listed"] },
        "params": { "vocab": 3, "hidden": 2, "n_layers": 1, "context": 8 },
        "embed": [{ "op": "embed", "table": "embed" }],
        "layers": { "sparse": [{ "plain": [{ "op": "moe", "experts": 4, "top_k": 2, "ffn": 1, "act": "'silu'",
            "router": { "weight": "router", "listed": "table", "score": "'sigmoid'" }, "up": "up", "down": "down" }] }] },
        "head": [{ "op": "linear", "out": "vocab", "weight": "head" }],
        "presets": { "tiny": {} }
    })
    .to_string();
    let name = "listed";
    let spec = load(SpecSource::Text { name, text: &text }).unwrap();
    let model = spec.bind(&json!({})).unwrap();
    let zeros = |n: usize| f32_bytes(&vec![0.0; n]);
    let tensors = [
        ("embed", "F32", &[3, 2][..], zeros(6)),
        ("router", "F32", &[4, 2], zeros(8)),
        ("table", dtype, &[3, 2], bytes),
        ("up", "F32", &[4, 1, 2], zeros(8)),
        ("down", "F32", &[4, 2, 1], zeros(8)),
        ("head", "F32", &[3, 2], zeros(6)),
    ];
    let folder = Folder::with(&[
        ("config.json", b"{}"),
        ("model.safetensors", &file(&tensors)),
    ]);
    resolve(&model, Source::Checkpoint(Checkpoint::open(&folder.0)?))
}

fn long(numbers: [i64; 6]) -> Vec<u8> {
    numbers.iter().flat_map(|n| n.to_le_bytes()).collect()
}

#[test]
fn whole_numbers_are_read_as_they_are_stored() {
    let numbers = [3, 0, 1, 1, 2, 3];
    let short = numbers.iter().flat_map(|n| (*n as i32).to_le_bytes());
    for (dtype, bytes) in [("I64", long(numbers)), ("I32", short.collect())] {
        let weights = with_table(dtype, bytes).unwrap();
        let table = &weights.layers[0][1];
        let expected = numbers.map(|n| n as f32);
        assert_eq!(floats(&weights, table), expected, "{dtype}");
    }
}

#[test]
fn what_is_no_expert_is_refused() {
    for (number, found) in [(4, "4"), (-1, "-1"), (1 << 40, "1099511627776")] {
        let error = with_table("I64", long([0, 1, 2, number, 0, 1])).unwrap_err();
        let expected = format!("found {found}, expected the number of an expert, 0 to 3");
        assert!(error.to_string().contains(&expected), "{error}");
        assert!(error.to_string().contains("table"), "{error}");
    }
    let floats = with_table("F32", f32_bytes(&[0.0; 6])).unwrap_err();
    let expected = "tensor \"table\": found type F32, expected I32 or I64 for layers.0.moe.router.listed, whole numbers";
    assert_eq!(floats.to_string(), expected);
}
