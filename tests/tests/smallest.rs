//! Models as small as they can be: one token, one layer, one head, sizes of one; and some sizes that are cut into pieces. What cannot be
//! computed is an error that says so, and everything else is computed as the interpreter has it, fused and not.

use graver::driver::{LoadError, Loaded, plain_program};
use graver::graph::ProgramKind;
use graver::interp::Interpreter;
use graver::spec::{self, SpecSource};
use graver_runtime::abi::CacheType;
use graver_runtime::session::Wanted;
use graver_tests::{compile_for, load_preset};
use serde_json::{Value, json};

/// A built-in spec with some sizes changed, random weights.
fn load(name: &str, changes: &Value) -> Result<Loaded, LoadError> {
    let spec = spec::load(SpecSource::Builtin(name)).unwrap();
    let mut sizes = spec.preset("tiny").unwrap();
    let map = sizes.as_object_mut().unwrap();
    map.extend(changes.as_object().unwrap().clone());
    // What is called `layers` is a change of the spec.
    let layers = map.remove("layers").unwrap_or(json!({}));
    let text =
        json!({ "extends": name, "layers": layers, "presets": { "tiny": sizes } }).to_string();
    let source = SpecSource::Text { name, text: &text };
    load_preset(&spec::load(source)?, "tiny", 0, None)
}

/// Compares compiled code with the interpreter, which computes all tokens at once.
fn check(name: &str, changes: &Value) {
    let open = || load(name, changes).unwrap_or_else(|e| panic!("{name} {changes}: {e}"));
    let loaded = open();
    let n = loaded.model.context.min(13);
    let vocab = loaded.model.vocab as u32;
    let tokens: Vec<u32> = (0..n as u32)
        .map(|i| (i * i * 31 + i * 7 + 5) % vocab)
        .collect();
    let program = plain_program(&loaded, ProgramKind::Decode, CacheType::F32);
    let expected = Interpreter::new(&program, &loaded.weights.slots()).step(&tokens);
    let size = expected.iter().map(|v| v.abs()).fold(0.0, f32::max);
    for no_fuse in [false, true] {
        let mut session = compile_for(open(), no_fuse, 2);
        for run in [1, 5, n] {
            session.reset(0).unwrap();
            let mut found = vec![];
            for run in tokens.chunks(run) {
                let logits = session.feed(0, run, Wanted::All).unwrap();
                found.extend_from_slice(logits.values());
            }
            assert_eq!(found.len(), expected.len());
            for (a, b) in found.iter().zip(&expected) {
                let far = (a - b).abs();
                assert!(
                    far <= 1e-4 * size,
                    "{name} {changes} no_fuse={no_fuse}: {a}, expected {b}"
                );
            }
        }
    }
}

#[test]
fn one_token_in_the_vocabulary() {
    for name in [
        "llama",
        "gpt2",
        "qwen3_moe",
        "deepseek_v3",
        "gemma2",
        "qwen3_next",
        "kimi_linear",
        "gemma3n",
    ] {
        check(name, &json!({ "vocab_size": 1 }));
    }
}

#[test]
fn sizes_of_one() {
    for changes in [
        json!({ "num_hidden_layers": 1 }),
        json!({ "num_attention_heads": 1, "num_key_value_heads": 1 }),
        json!({ "head_dim": 2 }),
        json!({ "intermediate_size": 1 }),
        json!({ "max_position_embeddings": 1 }),
        json!({ "hidden_size": 1, "head_dim": 2 }),
        json!({ "vocab_size": 1, "hidden_size": 1, "num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1,
            "head_dim": 2, "intermediate_size": 1, "max_position_embeddings": 1 }),
    ] {
        check("llama", &changes);
    }
    check("gpt2", &json!({ "n_head": 60, "n_inner": 1, "n_layer": 1 }));
    check(
        "qwen3_moe",
        &json!({ "num_experts": 1, "num_experts_per_tok": 1, "moe_intermediate_size": 1 }),
    );
    check(
        "deepseek_v3",
        &json!({ "num_attention_heads": 1, "kv_lora_rank": 1, "qk_nope_head_dim": 1, "qk_rope_head_dim": 2, "v_head_dim": 1 }),
    );
    check(
        "qwen3_next",
        &json!({ "linear_num_key_heads": 1, "linear_num_value_heads": 1, "linear_key_head_dim": 1, "linear_value_head_dim": 1 }),
    );
}

/// Decode multiplies a few thousand rows of a matrix at once, and as many of an expert's as stay in cache.
#[test]
fn more_rows_than_are_multiplied_at_once() {
    check(
        "llama",
        &json!({ "vocab_size": 9001, "intermediate_size": 9003 }),
    );
    check(
        "gpt_oss",
        &json!({ "vocab_size": 4097, "intermediate_size": 2051 }),
    );
    check("qwen3_moe", &json!({ "moe_intermediate_size": 3001 }));
}

/// A branch without steps adds nothing, and a layer without branches is the same as none.
#[test]
fn layers_of_nothing() {
    let off = json!({ "dense": {
        "attention_norm": { "if": "layer > 0" }, "attention": { "if": "layer > 0" },
        "mlp_norm": { "if": "false" }, "mlp": { "if": "false" }
    } });
    check("llama", &json!({ "layers": off }));
    check("llama", &json!({ "layers": { "dense": [] } }));
    let logits = |changes: Value| {
        let loaded = load("llama", &changes).unwrap();
        let program = plain_program(&loaded, ProgramKind::Decode, CacheType::F32);
        Interpreter::new(&program, &loaded.weights.slots()).step(&[1, 2, 3])
    };
    let nothing = json!({ "dense": [{ "residual": [{ "if": "false", "op": "scale", "by": 1 }] }] });
    assert_eq!(
        logits(json!({ "layers": nothing })),
        logits(json!({ "layers": { "dense": [] } }))
    );
}

#[test]
fn sizes_that_cannot_be() {
    for (name, changes, message) in [
        (
            "llama",
            json!({ "num_hidden_layers": 0 }),
            "params.n_layers → config.json: num_hidden_layers: found 0, expected a whole number from 1 to 4096",
        ),
        (
            "llama",
            json!({ "vocab_size": 0 }),
            "params.vocab → config.json: vocab_size: found 0, expected a whole number from 1 to 16777216",
        ),
        (
            "llama",
            json!({ "head_dim": 1 }),
            "ropes.rope.dim → config.json: head_dim: found 1, expected a whole number from 2 to 65536",
        ),
        (
            "llama",
            json!({ "head_dim": 3 }),
            "ropes.rope.dim: found 3, expected an even number: components rotate in pairs",
        ),
        (
            "llama",
            json!({ "num_attention_heads": 0 }),
            "params.head_dim: 60 is divided by zero",
        ),
        (
            "llama",
            json!({ "intermediate_size": 0 }),
            "layers.dense.mlp.ffn → config.json: intermediate_size: found 0, expected a whole number from 1 to 16777216",
        ),
        (
            "qwen3_moe",
            json!({ "num_experts_per_tok": 0 }),
            "layers.sparse.moe.top_k → config.json: num_experts_per_tok: found 0, expected a whole number from 1 to 7",
        ),
        (
            "gemma3n",
            json!({ "num_hidden_layers": 1 }),
            "layers.dense.attention.share: found -2, expected null: the first layer has none before it",
        ),
    ] {
        let found = load(name, &changes).expect_err(message).to_string();
        let (_, found) = found.split_once(".json: ").expect("a file's name");
        assert_eq!(found, message, "{changes}");
    }
}

/// Profiles of a bias by distance: fewer distances than positions and more, one profile of one distance; with everything else that
/// scores may have.
#[test]
fn biases_by_distance() {
    let relative = |dim: usize, extent: usize| json!({ "dim": dim, "extent": extent, "r": "model.layers.{i}.r", "profiles": "model.layers.{i}.p" });
    for more in [
        json!({ "relative": relative(5, 4) }),
        json!({ "relative": relative(1, 1), "rope": null }),
        json!({ "relative": relative(16, 900), "softcap": 2, "alibi": {}, "sinks": "model.layers.{i}.sinks" }),
        json!({ "relative": relative(3, 6), "window": 6, "position_scale": { "scale": 0.5, "every": 2 } }),
        json!({ "relative": relative(3, 6), "chunk": 4, "qk_norm": { "over": "projection", "q": { "op": "rms_norm", "eps": 1e-6 } } }),
    ] {
        let layers = json!({ "dense": { "attention": more } });
        check("llama", &json!({ "layers": layers }));
    }
}

/// Keys and values that steps before have made, cut off, normed and rotated as those of matrices are.
#[test]
fn named_keys_and_values() {
    let made = |name: &str| json!({ "before": "attention", "op": "linear", "name": name, "from": "x", "out": "n_kv_heads * head_dim", "weight": format!("model.layers.{{i}}.{name}"), "as": name });
    let named = |name: &str| json!({ "value": name, "weight": null, "bias": null });
    let norm = json!({ "op": "rms_norm", "eps": 1e-6 });
    let attention = json!({ "from": "x", "k": named("keys"), "v": named("values"), "clip": 0.8,
        "qk_norm": { "over": "head", "q": norm, "k": norm } });
    let layers = json!({ "dense": { "attention_norm": { "as": "x" }, "keys": made("keys"), "values": made("values"), "attention": attention } });
    check("llama", &json!({ "layers": layers }));
}

/// Experts that take part for every token beside none, one and all of the others; scores before the choice and after it.
#[test]
fn experts_that_always_take_part() {
    let router = |more: Value| json!({ "sparse": { "moe": { "router": more } } });
    for (top_k, more) in [
        (1, json!({ "always": 6 })),
        (
            2,
            json!({ "always": 1, "score": "'sigmoid'", "correction": "model.layers.{i}.c", "expert_scale": "model.layers.{i}.s" }),
        ),
        (
            3,
            json!({ "always": 4, "after": true, "renormalise": null }),
        ),
    ] {
        let changes = json!({ "num_experts_per_tok": top_k, "layers": router(more) });
        check("qwen3_moe", &changes);
    }
}

/// Experts by a table of tokens, of which some list an expert twice.
#[test]
fn experts_that_are_listed() {
    for more in [
        json!({ "score": "'sqrt_softplus'", "renormalise": 1e-20, "scale": 1.5 }),
        json!({ "after": true, "expert_scale": "model.layers.{i}.s" }),
    ] {
        let mut router = json!({ "listed": "model.layers.{i}.tid2eid" });
        let more = more.as_object().unwrap().clone();
        router.as_object_mut().unwrap().extend(more);
        let layers = json!({ "sparse": { "moe": { "router": router } } });
        check("qwen3_moe", &json!({ "layers": layers }));
    }
}

/// Queries that grow with every position from some on.
#[test]
fn queries_grow_smoothly() {
    let scale = json!({ "scale": 0.5, "every": 2.5, "offset": 1, "smooth": true });
    let layers = json!({ "dense": { "attention": { "position_scale": scale } } });
    check("llama", &json!({ "layers": layers }));
}

/// A number of the checkpoint that multiplies all that a layer has made.
#[test]
fn one_number_scales_a_layer() {
    let scaled = json!({ "after": "mlp", "op": "mul", "scalar": "model.layers.{i}.scalar" });
    let layers = json!({ "dense": { "scaled": scaled } });
    check("llama", &json!({ "layers": layers }));
}

/// Scores of a router that are square roots of softplus: before the choice, with groups and a correction, and after it.
#[test]
fn square_roots_of_softplus_weigh_experts() {
    let router = |more: Value| json!({ "sparse": { "moe": { "router": more } } });
    let score = "'sqrt_softplus'";
    check(
        "qwen3_moe",
        &json!({ "layers": router(json!({ "score": score })) }),
    );
    let after = json!({ "score": score, "after": true, "renormalise": null, "scale": 2.5 });
    check("qwen3_moe", &json!({ "layers": router(after) }));
    check(
        "deepseek_v3",
        &json!({ "layers": router(json!({ "score": score })) }),
    );
}

/// One gain for all groups of a norm, which is normalised group by group.
#[test]
fn a_norm_of_groups_may_have_a_gain() {
    let norm = json!({ "group": "hidden // 2" });
    check(
        "llama",
        &json!({ "layers": { "dense": { "mlp_norm": norm } } }),
    );
}

/// Value heads with the same key head need not follow each other.
#[test]
fn value_heads_may_take_key_heads_in_turn() {
    let net = json!({ "in_turn": true });
    check(
        "qwen3_5",
        &json!({ "layers": { "dense": { "delta_net": net } } }),
    );
}
