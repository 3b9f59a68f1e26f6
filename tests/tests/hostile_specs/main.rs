//! Specs that put things where they cannot be: each is refused, with its place, what was found and what was expected. And
//! specs that only look odd: those run, and compute what the interpreter says.

mod names;

use std::fs;

use graver::codegen::Target;
use graver::driver::{CompileOptions, Loaded};
use graver::passes::PassOptions;
use graver::spec::{self, Spec, SpecSource};
use graver::verify::oracle::{against_interpreter, any_tokens};
use graver_runtime::abi::{CacheType, Dtype};
use graver_tests::{fixtures, load_preset};
use serde_json::{Value, json};

/// A built-in spec's document.
fn document(name: &str) -> Value {
    let path = fixtures().join(format!("../../specs/{name}.json"));
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn read(document: &Value) -> Spec {
    let text = document.to_string();
    let source = SpecSource::Text {
        name: "hostile",
        text: &text,
    };
    spec::load(source).unwrap_or_else(|e| panic!("{e}"))
}

fn load(document: &Value) -> Result<Loaded, String> {
    let loaded = load_preset(&read(document), "tiny", 0, Some(Dtype::Bf16));
    loaded.map_err(|e| e.to_string())
}

/// What is said of a spec that extends a built-in one.
#[track_caller]
fn refused(parent: &str, mut child: Value) -> String {
    child["extends"] = parent.into();
    child["match"] = json!({ "model_type": ["hostile"] });
    child["presets"] = document(parent)["presets"].clone();
    load(&child).expect_err("a spec to be refused")
}

/// Runs a spec, and compares it with the interpreter after every pass.
#[track_caller]
fn runs(document: &Value) {
    let loaded = load(document).unwrap_or_else(|e| panic!("{e}"));
    let target = Target::named("native").unwrap();
    let options = CompileOptions::new(PassOptions::default(), CacheType::F32, target);
    let tokens = any_tokens(20, loaded.model.vocab);
    let report = against_interpreter(loaded, &options, &tokens, Some(1), &mut |_| {});
    let report = report.unwrap_or_else(|e| panic!("{e}"));
    assert!(report.passed, "{report}");
}

/// A step of every kind that keeps state, with weights of its own.
fn stateful() -> [(&'static str, Value); 3] {
    let attention = json!({
        "op": "attention", "n_heads": 2, "head_dim": 4, "q": "a.q", "k": "a.k", "v": "a.v", "o": "a.o"
    });
    let latent = json!({
        "op": "latent_attention", "n_heads": 2, "rank": 8, "nope_dim": 4, "rope_dim": 2, "value_dim": 4,
        "q": "l.q", "kv_a": "l.kv_a", "kv_b": "l.kv_b", "o": "l.o",
        "kv_norm": { "op": "rms_norm", "eps": 1e-6, "gain": "l.norm" }
    });
    let convolved =
        |key: &str| json!({ "weight": format!("d.{key}"), "conv": format!("d.{key}_conv") });
    let delta = json!({
        "op": "delta_net", "value_heads": 2, "key_dim": 4, "value_dim": 4, "taps": 3,
        "q_norm": { "op": "l2_norm", "eps": 1e-6 }, "k_norm": { "op": "l2_norm", "eps": 1e-6 },
        "q": convolved("q"), "k": convolved("k"), "v": convolved("v"), "decay": "d.decay", "rate": "d.rate",
        "decay_bias": "d.decay_bias", "beta": "d.beta", "o": "d.o"
    });
    [
        ("attention", attention),
        ("latent_attention", latent),
        ("delta_net", delta),
    ]
}

fn moe() -> Value {
    json!({
        "op": "moe", "experts": 4, "top_k": 2, "ffn": 8, "act": "'silu'",
        "router": { "weight": "e.router", "score": "'softmax'" }, "up": "e.{e}.up", "down": "e.{e}.down"
    })
}

fn with(mut step: Value, key: &str, value: &str) -> Value {
    step[key] = value.into();
    step
}

#[test]
fn state_in_the_head_or_the_embedding() {
    for (op, step) in stateful() {
        let why = format!(
            "found a step that keeps state (`{op}`), expected one that does not: only layers have state"
        );
        let head = json!({ "evil": with(step.clone(), "before", "final_norm") });
        let said = refused("llama", json!({ "head": head }));
        assert_eq!(said, format!("hostile: head.evil: {why}"));
        let embed = json!({ "evil": with(step, "after", "embed") });
        let said = refused("llama", json!({ "embed": embed }));
        assert_eq!(said, format!("hostile: embed.evil: {why}"));
    }
}

#[test]
fn rows_of_tokens_in_the_head() {
    let look_up = json!({ "op": "embed", "table": "e.table", "width": "hidden" });
    let position = json!({ "op": "position_embed", "table": "e.table" });
    let waves = json!({ "op": "sinusoids", "theta": 10000 });
    for (step, does) in [
        (waves, "goes by position (`sinusoids`)"),
        (look_up, "looks rows up by token (`embed`)"),
        (position, "looks rows up by position (`position_embed`)"),
        (moe(), "sorts tokens by expert (`moe`)"),
    ] {
        let head = json!({ "evil": with(step, "before", "final_norm") });
        let said = refused("llama", json!({ "head": head }));
        assert_eq!(
            said,
            format!(
                "hostile: head.evil: found a step that {does}, expected one that does not: the head has rows for the \
                 wanted logits alone, not for all tokens"
            )
        );
    }
}

#[test]
fn what_is_refused_in_the_head_runs_in_layers_and_experts_in_the_embedding() {
    let mut spec = document("llama");
    spec["embed"].as_array_mut().unwrap().push(moe());
    let layer = spec["layers"]["dense"].as_array_mut().unwrap();
    for (op, step) in stateful() {
        layer.push(json!({ "residual": [with(step, "name", &format!("more_{op}"))] }));
    }
    layer.push(json!({ "residual": [{ "op": "position_embed", "table": "p.table" }] }));
    layer
        .push(json!({ "residual": [{ "op": "sinusoids", "theta": 100, "offset": 3, "over": 7 }] }));
    runs(&spec);
}

#[test]
fn steps_that_the_head_can_have() {
    let mut spec = document("llama");
    let more = json!([
        { "op": "mlp", "name": "mlp", "ffn": 24, "act": "'gelu'", "gate": "m.gate", "up": "m.up", "down": "m.down", "as": "m" },
        { "op": "match_rms", "like": "h", "least": 1e-5 },
        { "op": "mul", "name": "by", "vector": "m.by" },
        { "op": "linear", "name": "weights", "out": 2, "weight": "m.weights" },
        { "op": "weighted_sum", "values": ["h", "m"] },
        { "op": "add", "name": "sum", "value": "m" }
    ]);
    let head = spec["head"].as_array_mut().unwrap();
    head.splice(0..0, more.as_array().unwrap().clone());
    head.push(json!({ "op": "softcap", "cap": 30 }));
    runs(&spec);
}

#[test]
fn carried_values_under_names_that_mean_something() {
    for (name, meaning) in [
        ("h", "the residual stream"),
        ("logits", "what the head gives"),
        ("rope0", "the angles of a rope"),
        ("rope17", "the angles of a rope"),
    ] {
        let embed = json!({ "kept": { "after": "embed", "op": "scale", "by": 1, "as": name } });
        let carried = json!({ name: "hidden" });
        let said = refused("llama", json!({ "embed": embed, "carried": carried }));
        assert_eq!(
            said,
            format!("hostile: carried.{name}: `{name}` is {meaning}; expected another name")
        );
    }
    let said = refused("llama", json!({ "carried": { "a\nb": "hidden" } }));
    assert!(
        said.ends_with("value name `a\nb`: expected letters, digits and `_`"),
        "{said}"
    );
    let embed = json!({ "kept": { "after": "embed", "op": "scale", "by": 1, "as": "%h = input" } });
    let said = refused("llama", json!({ "embed": embed }));
    assert_eq!(
        said,
        "hostile: embed.kept: value name `%h = input`: expected letters, digits and `_`"
    );
}

/// A Llama that carries a value called `name` through its layers, which change it, into the head.
fn carrying(name: &str) -> Value {
    let mut spec = document("llama");
    spec["carried"] = json!({ name: "hidden" });
    let keep = json!({ "name": "kept", "op": "scale", "by": 0.5, "as": name });
    spec["embed"].as_array_mut().unwrap().push(keep);
    let change = json!({ "plain": [
        { "name": "changed", "op": "add", "value": name, "as": name },
        { "op": "pick", "from": "h" }
    ] });
    spec["layers"]["dense"].as_array_mut().unwrap().push(change);
    let head = spec["head"].as_array_mut().unwrap();
    head.insert(0, json!({ "name": "both", "op": "add", "value": name }));
    spec
}

#[test]
fn carried_values_under_other_names() {
    for name in ["rope", "rope0x", "logits2", "embed", "head", "x"] {
        runs(&carrying(name));
    }
}

/// What is said of a Llama whose layer 1 shares layer 0's keys and values, with `attention` changed by `edit`.
#[track_caller]
fn shared(edit: Value) -> String {
    let mut attention = json!({ "rope": null, "share": "layer == 1 ? 0 : null" });
    attention
        .as_object_mut()
        .unwrap()
        .extend(edit.as_object().unwrap().clone());
    refused(
        "llama",
        json!({ "layers": { "dense": { "attention": attention } } }),
    )
}

#[test]
fn a_share_of_other_keys_and_values() {
    let place = "hostile: layers.dense.attention.share: found layer 0, which keeps";
    assert_eq!(
        shared(
            json!({ "n_kv_heads": "layer == 0 ? 1 : n_heads", "head_dim": "layer == 0 ? 2 : 4096" })
        ),
        format!(
            "{place} key heads 1 of 2 for all positions, expected one that keeps key heads 6 of 4096 for all positions"
        )
    );
    assert_eq!(
        shared(json!({ "n_kv_heads": "layer == 0 ? 1 : 2" })),
        format!(
            "{place} key heads 1 of 10 for all positions, expected one that keeps key heads 2 of 10 for all positions"
        )
    );
    assert_eq!(
        shared(json!({ "window": "layer == 0 ? 8 : null" })),
        format!(
            "{place} key heads 2 of 10 for the last 8 positions, expected one that keeps key heads 2 of 10 for all positions"
        )
    );
    assert_eq!(
        shared(json!({ "window": "layer == 0 ? 8 : 16" })),
        format!(
            "{place} key heads 2 of 10 for the last 8 positions, expected one that keeps key heads 2 of 10 for the last 16 \
             positions"
        )
    );
    assert_eq!(
        shared(json!({ "if": "layer > 0" })),
        format!(
            "{place} no keys and values, expected one that keeps key heads 2 of 10 for all positions"
        )
    );
}

#[test]
fn a_share_of_latents_or_of_a_recurrent_state() {
    let sharing = json!({
        "before": "attention_norm", "op": "attention", "n_heads": 5, "head_dim": 18, "share": "layer - 1", "if": "layer == 1",
        "q": "e.{i}.q", "o": "e.{i}.o"
    });
    let mut spec = json!({ "layers": { "dense": { "evil": sharing } } });
    spec["layers"]["dense"]["attention"] = json!({ "if": "layer != 1" });
    spec["layer_kind"] = "'dense'".into();
    let said = refused("deepseek_v3", spec);
    assert!(
        said.starts_with("hostile: layers.dense.evil.share: found layer 0, which keeps latents"),
        "{said}"
    );
    let mut spec = document("llama");
    let [_, _, (_, delta)] = stateful();
    let delta = json!({ "residual": [with(delta, "if", "layer == 0")] });
    let layer = spec["layers"]["dense"].as_array_mut().unwrap();
    layer.insert(0, delta);
    layer[1]["residual"][1]["if"] = "layer > 0".into();
    layer[1]["residual"][1]["share"] = "layer == 1 ? 0 : null".into();
    let said = load(&spec).expect_err("nothing to share");
    assert!(
        said.contains(
            "layers.dense.attention.share: found layer 0, which keeps no keys and values"
        ),
        "{said}"
    );
}

#[test]
fn a_share_beside_state_of_its_own() {
    for (op, step) in stateful() {
        let mut spec = document("llama");
        let layer = spec["layers"]["dense"].as_array_mut().unwrap();
        layer[0]["residual"][1]["share"] = "layer == 1 ? 0 : null".into();
        layer.push(json!({ "residual": [with(step, "name", "more")] }));
        let said = load(&spec).expect_err("two kinds of state");
        assert!(
            said.contains(
                "layers.dense.more: found state of its own, or another layer's, beside `attention`, which shares layer 0's"
            ),
            "{op}: {said}"
        );
    }
}

#[test]
fn shares_that_fit() {
    // Two steps share two, of which each has a size of its own.
    let mut spec = document("llama");
    let [(_, more), _, _] = stateful();
    let layer = spec["layers"]["dense"].as_array_mut().unwrap();
    layer.push(json!({ "residual": [with(more, "name", "more")] }));
    layer[0]["residual"][1]["share"] = "layer == 2 ? 0 : null".into();
    layer[2]["residual"][0]["share"] = "layer == 2 ? 0 : null".into();
    layer[2]["residual"][0]["window"] = 8.into();
    runs(&spec);
    // The other way round they do not.
    layer_of(&mut spec)[2]["residual"][0]["n_heads"] = "layer == 2 ? 4 : 2".into();
    let said = load(&spec).expect_err("four heads for two");
    assert!(
        said.contains("layers.dense.more.share: found layer 0"),
        "{said}"
    );
}

#[test]
fn norms_of_keys_that_another_layer_keeps() {
    let norm =
        |name: &str| json!({ "op": "rms_norm", "eps": 1e-6, "gain": format!("n.{{i}}.{name}") });
    let mut spec = document("llama");
    let attention = &mut layer_of(&mut spec)[0]["residual"][1];
    attention["share"] = "layer == 1 ? 0 : null".into();
    attention["qk_norm"] =
        json!({ "over": "head", "q": norm("q"), "k": norm("k"), "v": norm("v") });
    runs(&spec);
}

fn layer_of(spec: &mut Value) -> &mut Vec<Value> {
    spec["layers"]["dense"].as_array_mut().unwrap()
}

#[test]
fn tables_and_filters_that_cannot_be_read_row_by_row() {
    let turned = json!({ "tensor": "w", "transposed": true });
    let of_heads = json!({ "tensor": "w", "part": { "from": 0, "of": 422, "heads": 211 } });
    let expected = "expected one whose rows follow each other: they are read one by one";
    for (weight, found) in [
        (turned.clone(), "a tensor that is stored transposed"),
        (of_heads, "a run of rows of each head"),
    ] {
        let said = refused(
            "llama",
            json!({ "embed": { "embed": { "table": weight } } }),
        );
        assert_eq!(
            said,
            format!("hostile: embed.embed.table: found {found}, {expected}")
        );
    }
    let step = json!({ "after": "embed", "op": "position_embed", "table": turned });
    let said = refused("llama", json!({ "embed": { "evil": step } }));
    assert!(
        said.starts_with("hostile: embed.evil.table: found a tensor"),
        "{said}"
    );
    let mut spec = document("qwen3_next");
    let kinds = spec["layers"].as_object_mut().unwrap();
    let found = kinds.values_mut().any(|kind| replace_filter(kind, &turned));
    assert!(found, "a convolution");
    let said = load(&spec).expect_err("a filter that is transposed");
    assert!(
        said.contains(".conv: found a tensor that is stored transposed"),
        "{said}"
    );
}

/// Puts a weight in the place of the first convolution's.
fn replace_filter(value: &mut Value, weight: &Value) -> bool {
    match value {
        Value::Object(map) => {
            if let Some(conv) = map.get_mut("conv") {
                *conv = weight.clone();
                return true;
            }
            map.values_mut().any(|v| replace_filter(v, weight))
        }
        Value::Array(list) => list.iter_mut().any(|v| replace_filter(v, weight)),
        _ => false,
    }
}

#[test]
fn latents_expanded_by_a_part_of_each_heads_rows() {
    // Rows of a head are 12 of 15 in the tensor: products by head cannot reach them, so that nothing is absorbed.
    let mut spec = document("llama");
    let [_, (_, mut latent), _] = stateful();
    latent["kv_b"] = json!({ "tensor": "l.kv_b", "part": { "from": 3, "of": 15, "heads": 2 } });
    latent["value_dim"] = 8.into();
    layer_of(&mut spec).push(json!({ "residual": [latent] }));
    runs(&spec);
}
