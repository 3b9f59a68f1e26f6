//! Kinds of layers are found by index: their names are for people, and may be anything.

use std::fs;

use graver::spec::{self, SpecSource};
use graver_tests::load_preset;
use serde_json::{Value, json};

use super::{document, load, runs};

/// A Llama whose only kind of layer is called `name`.
fn called(name: &str) -> Value {
    let mut spec = document("llama");
    let kind = spec["layers"]["dense"].clone();
    spec["layers"] = json!({ name: kind });
    spec
}

#[test]
fn layer_kinds_of_any_name() {
    let names = [
        "embed",
        "head",
        "h",
        "logits",
        "layers",
        "rope0",
        "a.b",
        "a.1",
        "dense.",
        ".",
        "",
        "layers.a",
        "a[0]",
        "décodeur",
        "a b",
        "\"",
        "if",
        "like",
        "graver_decode",
    ];
    for name in names {
        let loaded = load(&called(name)).unwrap_or_else(|e| panic!("{name:?}: {e}"));
        let kinds: Vec<&str> = loaded.model.kinds.iter().map(|k| k.name.as_str()).collect();
        assert_eq!(kinds, [name], "one kind for all layers");
        runs(&called(name));
    }
    let said = load(&called("a\nb")).expect_err("a line break");
    assert_eq!(
        said,
        "hostile: layers: name of a layer kind \"a\\nb\": expected a name without line breaks and other control characters"
    );
}

/// A Llama of three kinds that differ: in the size of their feed-forward block.
fn three_kinds(names: [&str; 3]) -> Value {
    let mut spec = document("llama");
    let kind = |ffn: usize| {
        let mut kind = spec["layers"]["dense"].clone();
        kind[1]["residual"][1]["ffn"] = ffn.into();
        kind
    };
    let [a, b, c] = [20, 24, 28].map(kind);
    spec["layers"] = json!({ names[0]: a, names[1]: b, names[2]: c });
    let [a, b, c] = names;
    spec["layer_kind"] = format!("layer == 0 ? '{a}' : layer == 1 ? '{b}' : '{c}'").into();
    spec
}

#[test]
fn layer_kinds_whose_names_look_alike() {
    runs(&three_kinds(["a-b", "a_b", "a b"]));
    runs(&three_kinds(["embed", "head", "embed.0.embed.embed"]));
    // Variants of a kind are numbered: numbers that the spec has taken are left out.
    let mut spec = three_kinds(["dense", "dense.1", "dense.2"]);
    let kind = &mut spec["layers"]["dense"];
    kind[0]["residual"][1]["window"] = "layer % 2 == 0 ? 8 : null".into();
    spec["layer_kind"] = "layer < 2 ? 'dense' : 'dense.1'".into();
    let loaded = load(&spec).unwrap_or_else(|e| panic!("{e}"));
    let kinds: Vec<&str> = loaded.model.kinds.iter().map(|k| k.name.as_str()).collect();
    assert_eq!(kinds, ["dense", "dense.3", "dense.1"]);
    runs(&spec);
}

#[test]
fn extending_a_kind_with_a_dot_in_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let parent = dir.path().join("parent.json");
    fs::write(&parent, called("a.b").to_string()).unwrap();
    let child = dir.path().join("child.json");
    let edit = |steps: Value| {
        let mut doc = json!({ "extends": "parent.json", "match": { "model_type": ["x"] } });
        doc["presets"] = document("llama")["presets"].clone();
        doc["layers"] = json!({ "a.b": steps });
        fs::write(&child, doc.to_string()).unwrap();
        let spec = spec::load(SpecSource::File(&child)).unwrap_or_else(|e| panic!("{e}"));
        let loaded = load_preset(&spec, "tiny", 0, None);
        loaded.map_err(|e| e.to_string())
    };
    let loaded = edit(json!({ "mlp": { "ffn": 24 } })).unwrap_or_else(|e| panic!("{e}"));
    let names: Vec<&str> = loaded.model.kinds[0]
        .steps()
        .map(|s| s.name.as_str())
        .collect();
    assert_eq!(names, ["attention_norm", "attention", "mlp_norm", "mlp"]);
    let said = edit(json!({ "mlp": { "ffn": 0 } })).expect_err("no width");
    assert!(
        said.contains("child") && said.contains("layers.a.b.mlp.ffn"),
        "{said}"
    );
    let said = edit(json!({ "attention_norm": { "eps": -1 } })).expect_err("a negative number");
    assert!(said.contains("layers.a.b.attention_norm.eps"), "{said}");
}
