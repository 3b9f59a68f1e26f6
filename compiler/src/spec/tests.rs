//! Tests of the stage as a whole: a small spec, and what happens when something of it is changed.

use super::model::{Item, StepOp};
use super::*;
use serde_json::{Value, json};

mod absent;
mod extensions;
mod language;
mod limits;
mod mechanisms;
mod published;
mod ropes;
mod schema;
mod values;

#[test]
fn every_preset_of_every_builtin_spec_binds() {
    for name in builtin_names() {
        let spec = load(SpecSource::Builtin(name)).unwrap();
        assert!(
            spec.presets().contains(&"tiny"),
            "{name} has no preset `tiny`"
        );
        for preset in spec.presets() {
            let config = spec.preset(preset).unwrap();
            assert_eq!(for_config(&config).unwrap().name(), name);
            spec.bind(&config)
                .unwrap_or_else(|e| panic!("{name}, preset {preset}: {e}"));
        }
    }
}

/// A whole spec, as small as one can be.
fn small() -> Value {
    json!({
        "about": "small",
        "match": { "model_type": ["small"] },
        "params": {
            "vocab": "vocab_size", "hidden": "hidden_size", "n_layers": "layers ?? 2", "context": 64,
            "heads": "heads ?? 4", "head_dim": "head_dim ?? hidden / heads"
        },
        "ropes": { "rope": { "dim": "head_dim", "theta": "config.rope_theta ?? 10000" } },
        "embed": [{ "op": "embed", "table": "embed.weight" }],
        "layers": {
            "dense": [
                { "residual": [
                    { "name": "norm1", "op": "rms_norm", "eps": 1e-6, "gain": "l.{i}.norm1" },
                    { "op": "attention", "n_heads": "heads", "head_dim": "head_dim", "rope": "rope",
                      "q": "l.{i}.q", "k": "l.{i}.k", "v": "l.{i}.v", "o": "l.{i}.o" }
                ] },
                { "residual": [
                    { "op": "mlp", "ffn": "4 * hidden", "act": "'silu'", "up": "l.{i}.up", "down": "l.{i}.down" }
                ] }
            ]
        },
        "head": [{ "name": "logits", "op": "linear", "out": "vocab", "weight": "head.weight" }],
        "presets": { "tiny": { "vocab_size": 11, "hidden_size": 16 } }
    })
}

fn bind(spec: &Value, config: &Value) -> Result<model::Model> {
    let text = spec.to_string();
    load(SpecSource::Text {
        name: "small",
        text: &text,
    })?
    .bind(config)
}

fn config() -> Value {
    json!({ "vocab_size": 11, "hidden_size": 16 })
}

fn model(spec: &Value) -> model::Model {
    bind(spec, &config()).unwrap_or_else(|e| panic!("{e}"))
}

/// The message after `change`.
fn message(change: impl FnOnce(&mut Value)) -> String {
    let mut spec = small();
    change(&mut spec);
    let found = bind(&spec, &config());
    found.expect_err("a mistake").to_string()
}

/// The attention step of a layer kind.
fn attention(m: &model::Model, kind: usize) -> &model::Attention {
    let Item::Residual { branches, .. } = &m.kinds[kind].items[0] else {
        panic!("no residual")
    };
    let found = branches[0].iter().find_map(|s| match &s.op {
        StepOp::Attention(a) => Some(&**a),
        _ => None,
    });
    found.expect("an attention step")
}

#[test]
fn numbers_come_from_the_config_or_its_defaults() {
    let m = model(&small());
    assert_eq!(
        (m.vocab, m.hidden, m.layers.len(), m.context),
        (11, 16, 2, 64)
    );
    assert_eq!((attention(&m, 0).heads, attention(&m, 0).head_dim), (4, 4));
    let config =
        json!({ "vocab_size": 11, "hidden_size": 16, "layers": 5, "head_dim": 6, "heads": null });
    let m = bind(&small(), &config).unwrap();
    assert_eq!(
        (
            m.layers.len(),
            attention(&m, 0).head_dim,
            attention(&m, 0).heads
        ),
        (5, 6, 4)
    );
}

#[test]
fn weights_have_slots_names_and_shapes() {
    let m = model(&small());
    let q = &attention(&m, 0).q.weight;
    assert_eq!(q.slot, "attention.q.weight");
    assert_eq!(q.tensors, ["l.{i}.q"]);
    assert_eq!(q.shape, [16, 16]);
}

#[test]
fn layers_that_come_out_equal_share_a_kind() {
    let mut spec = small();
    spec["layers"]["dense"][0]["residual"][1]["window"] = "layer % 2 == 0 ? 8 : null".into();
    let config = json!({ "vocab_size": 11, "hidden_size": 16, "layers": 5 });
    let m = bind(&spec, &config).unwrap();
    assert_eq!(m.layers, [0, 1, 0, 1, 0]);
    assert_eq!(
        m.kinds.iter().map(|k| k.name.as_str()).collect::<Vec<_>>(),
        ["dense", "dense.1"]
    );
}

#[test]
fn a_rule_chooses_among_kinds() {
    let mut spec = small();
    spec["layer_kind"] = "layer == 1 ? 'short' : 'dense'".into();
    spec["layers"]["short"] = json!({ "like": "dense", "norm1": null });
    let m = model(&spec);
    assert_eq!(
        m.kinds.iter().map(|k| k.name.as_str()).collect::<Vec<_>>(),
        ["dense", "short"]
    );
    let Item::Residual { branches, .. } = &m.kinds[1].items[0] else {
        panic!("no residual")
    };
    assert_eq!(branches[0].len(), 1);
    spec["layer_kind"] = "'shorter'".into();
    let text = bind(&spec, &config()).unwrap_err().to_string();
    assert_eq!(
        text,
        "small: layer_kind: unknown layer kind `shorter` (did you mean `short`?); known are `dense`, `short`"
    );
}

#[test]
fn alternatives_are_taken_by_their_conditions() {
    let mut spec = small();
    spec["embed"][0]["table"] = json!([{ "if": "vocab > 100", "tensor": "large" }, "small"]);
    spec["layers"]["dense"][0]["residual"][0]["if"] = json!("hidden > 100");
    let m = model(&spec);
    let StepOp::Embed { table, .. } = &m.embed[0].op else {
        panic!("no embedding")
    };
    assert_eq!(table.tensors, ["small"]);
    let Item::Residual { branches, .. } = &m.kinds[0].items[0] else {
        panic!("no residual")
    };
    assert_eq!(branches[0].len(), 1);
}

#[test]
fn requirements_refuse_what_the_spec_does_not_describe() {
    let mut spec = small();
    spec["require"] = json!({ "bias": [false], "rope.factor": "config.rope.factor ?? 1 == 1" });
    assert!(bind(&spec, &config()).is_ok());
    let with = |extra: Value| {
        let mut config = config();
        config
            .as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        bind(&spec, &config).unwrap_err().to_string()
    };
    assert_eq!(
        with(json!({ "bias": true })),
        "small: require.bias: config.json has `bias` = true; this spec supports only false"
    );
    assert!(with(json!({ "rope": { "factor": 2 } })).contains("config.json has `rope.factor` = 2"));
}

#[test]
fn mistakes_have_their_path_and_both_values() {
    let steps = |s: &mut Value| {
        s["layers"]["dense"][0]["residual"]
            .as_array_mut()
            .unwrap()
            .clone()
    };
    assert_eq!(
        message(|s| s["layers"]["dense"][0]["residual"][1]["n_kv_heads"] = 3.into()),
        "small: layers.dense.attention.n_kv_heads: 3 does not divide n_heads = 4"
    );
    assert_eq!(
        message(|s| s["params"]["heads"] = "hidden / 5".into()),
        "small: params.heads: 16 / 5 leaves a remainder of 1; expected an exact division (`//` rounds down)"
    );
    assert_eq!(
        message(|s| s["params"]["vocab"] = "vocab_sise".into()),
        "small: params.vocab: config.json has no `vocab_sise` (did you mean `vocab_size`?)"
    );
    assert_eq!(
        message(|s| s["head"][0]["out"] = "vocab - 1".into()),
        "small: head: its output's width is 10, expected 11"
    );
    assert_eq!(
        message(|s| s["layers"]["dense"][1]["residual"][0]["act"] = "'silo'".into())
            .split("; known")
            .next(),
        Some("small: layers.dense.mlp.act: unknown activation `silo` (did you mean `silu`?)")
    );
    assert_eq!(
        message(|s| s["layers"]["dense"][0]["residual"][1]["rope"] = "rop".into()),
        "small: layers.dense.attention.rope: unknown rope `rop` (did you mean `rope`?); known are `rope`"
    );
    assert_eq!(
        message(|s| s["layers"]["dense"][0]["residual"][0]["op"] = "rms_nrom".into())
            .split("; known")
            .next(),
        Some("small: layers.dense.norm1: unknown op `rms_nrom` (did you mean `rms_norm`?)")
    );
    assert_eq!(
        message(|s| {
            let first = steps(s)[0].clone();
            s["layers"]["dense"][0]["residual"]
                .as_array_mut()
                .unwrap()
                .insert(0, first);
        }),
        "small: layers.dense.norm1: there are two steps `norm1`; give one of them another `name`"
    );
    assert_eq!(
        message(|s| s["embed"][0]["table"] = "embed.{i}.weight".into()),
        "small: embed.embed.table: tensor name `embed.{i}.weight`: braces may contain `i`, the layer's index, in \
         layers, `e`, the expert's, in matrices of experts, or an expression"
    );
    assert_eq!(
        message(|s| s["ropes"]["rope"]["dim"] = 3.into()),
        "small: ropes.rope.dim: found 3, expected an even number: components rotate in pairs"
    );
    assert_eq!(
        message(|s| s["params"]["n_layers"] = "n_heads".into()),
        "small: params.n_layers: config.json has no `n_heads`"
    );
}

#[test]
fn missing_keys_are_named() {
    for (path, key) in [("", "embed"), ("", "head"), ("", "layers")] {
        let text = message(|s| drop(s.as_object_mut().unwrap().shift_remove(key)));
        assert!(
            text.ends_with(&format!("missing key `{key}`")),
            "{path} {text}"
        );
    }
    let text = message(|s| drop(s["params"].as_object_mut().unwrap().shift_remove("context")));
    assert_eq!(text, "small: params: missing key `context`");
    let text = message(|s| {
        let attention = &mut s["layers"]["dense"][0]["residual"][1];
        drop(attention.as_object_mut().unwrap().shift_remove("q"));
    });
    assert_eq!(text, "small: layers.dense.attention: missing key `q`");
}

#[test]
fn parameters_in_a_circle_are_named() {
    let text = message(|s| {
        s["params"]["a"] = "b + 1".into();
        s["params"]["b"] = "a + 1".into();
    });
    assert_eq!(
        text,
        "small: params.a: depends on itself: a needs b needs a"
    );
}

#[test]
fn sizes_have_limits() {
    let huge = |key: &str| {
        let mut config = config();
        config[key] = (1u64 << 40).into();
        bind(&small(), &config).unwrap_err().to_string()
    };
    assert_eq!(
        huge("vocab_size"),
        "small: params.vocab → config.json: vocab_size: found 1099511627776, expected a whole number from 1 to 16777216"
    );
    assert_eq!(
        huge("layers"),
        "small: params.n_layers → config.json: layers: found 1099511627776, expected a whole number from 1 to 4096"
    );
}

#[test]
fn an_extension_changes_only_what_it_names() {
    let parent = load(SpecSource::Builtin("llama")).unwrap();
    let text = json!({
        "extends": "llama",
        "layers": { "dense": {
            "attention": { "softcap": 30 },
            "mlp_norm": null,
            "late_norm": { "after": "mlp", "op": "rms_norm", "eps": "eps" }
        } }
    })
    .to_string();
    let child = load(SpecSource::Text {
        name: "mine",
        text: &text,
    })
    .unwrap();
    assert_eq!(
        (
            child.name(),
            child.presets().len(),
            child.model_types().len()
        ),
        // Sizes of its own it has none: its parent's are taken.
        ("mine", parent.presets().len(), 0)
    );
    let config = parent.preset("tiny").unwrap();
    let (old, new) = (parent.bind(&config).unwrap(), child.bind(&config).unwrap());
    assert_eq!(attention(&old, 0).softcap, None);
    assert_eq!(attention(&new, 0).softcap, Some(30.0));
    assert_eq!(attention(&old, 0).q, attention(&new, 0).q);
    let names = |m: &model::Model| {
        let Item::Residual { branches, .. } = &m.kinds[0].items[1] else {
            panic!("no residual")
        };
        branches[0]
            .iter()
            .map(|s| s.name.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&old), ["mlp_norm", "mlp"]);
    assert_eq!(names(&new), ["mlp", "late_norm"]);
}

#[test]
fn mistakes_of_an_extension_stand_in_its_own_file() {
    let with = |layers: Value| {
        let text = json!({ "extends": "llama", "layers": { "dense": layers } }).to_string();
        let spec = load(SpecSource::Text {
            name: "mine",
            text: &text,
        })?;
        let config = load(SpecSource::Builtin("llama"))?.preset("tiny")?;
        spec.bind(&config)
    };
    let text = |layers| with(layers).unwrap_err().to_string();
    assert_eq!(
        text(json!({ "mlp_nrom": { "eps": 1 } })),
        "mine: layers.dense.mlp_nrom: the parent has no step `mlp_nrom` (did you mean `mlp_norm`?); to add one, give it `before`, \
         `after` or `replace` and the name of a step"
    );
    assert_eq!(
        text(json!({ "mlp": 3 })),
        "mine: layers.dense.mlp: found 3, expected an object with what changes in this step, or null to delete it"
    );
    assert_eq!(
        text(json!({ "attention": { "n_kv_heads": 5 } })),
        "mine: layers.dense.attention.n_kv_heads: 5 does not divide n_heads = 6"
    );
}

#[test]
fn extensions_end() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, extends: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, json!({ "extends": extends }).to_string()).unwrap();
        path
    };
    let (a, _) = (file("a.json", "b.json"), file("b.json", "a.json"));
    let text = load(SpecSource::File(&a)).unwrap_err().to_string();
    assert!(
        text.ends_with("extends: extends itself or too many others: a extends b extends a"),
        "{text}"
    );
    let lost = file("c.json", "lama");
    let text = load(SpecSource::File(&lost)).unwrap_err().to_string();
    assert!(
        text.contains("c.json: extends: unknown spec `lama` (did you mean `llama`?); known are "),
        "{text}"
    );
    let lost = file("d.json", "llama.json");
    let text = load(SpecSource::File(&lost)).unwrap_err().to_string();
    assert!(
        text.ends_with(
            "d.json: extends: no file `llama.json` beside this one; a built-in spec is named without `.json`"
        ),
        "{text}"
    );
}

#[test]
fn unknown_model_types_get_the_known_ones() {
    let text = |config: Value| for_config(&config).unwrap_err().to_string();
    let unknown = text(json!({ "model_type": "lama" }));
    assert!(unknown.starts_with(
        "config.json: model_type: no built-in spec takes `lama` (did you mean `llama`?); known are "
    ));
    assert!(unknown.ends_with("; `--spec FILE` takes a spec from a file"));
    let none = text(json!({}));
    assert!(
        none.starts_with("config.json: model_type: nothing, expected the name of a model type ("),
        "{none}"
    );
}
