//! Configs as families publish them, on the specs that are built in.

use super::*;

fn bound(name: &str, changes: Value) -> model::Model {
    let spec = load(SpecSource::Builtin(name)).unwrap();
    let mut config = spec.preset("tiny").unwrap();
    let changes = changes.as_object().unwrap().clone();
    let at = config.as_object_mut().unwrap();
    for (key, value) in changes {
        // Presets of multimodal families may have their sizes in the section of text.
        match (value, at.get_mut(&key).and_then(Value::as_object_mut)) {
            (Value::Object(more), Some(section)) => section.extend(more),
            (value, _) => drop(at.insert(key, value)),
        }
    }
    spec.bind(&config).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn heads(m: &model::Model) -> Vec<(usize, usize)> {
    let steps = m.kinds.iter().flat_map(model::LayerKind::steps);
    let heads = steps.filter_map(|s| match &s.op {
        model::StepOp::Attention(a) => Some((a.heads, a.kv_heads)),
        _ => None,
    });
    heads.collect()
}

/// Null key heads are as many as there are query heads, which is not what a config that says nothing means.
#[test]
fn null_key_heads_are_as_many_as_query_heads() {
    for (name, default) in [
        ("qwen2", 32),
        ("qwen3", 32),
        ("qwen2_moe", 16),
        ("qwen3_moe", 4),
        ("qwen3_next", 2),
        ("mistral", 8),
        ("mixtral", 8),
        ("smollm3", 4),
        ("glm4_moe", 8),
        ("gpt_oss", 8),
        ("minimax_m2", 8),
        ("llama4_text", 8),
        ("gemma2", 4),
        ("gemma3", 4),
        ("gemma3n", 2),
    ] {
        let m = bound(name, json!({ "num_key_value_heads": null }));
        assert!(heads(&m).iter().all(|(q, kv)| q == kv), "{name}");
        let spec = load(SpecSource::Builtin(name)).unwrap();
        let mut config = spec.preset("tiny").unwrap();
        let map = config.as_object_mut().unwrap();
        map.remove("num_key_value_heads");
        map.insert("num_attention_heads".into(), (default * 3).into());
        map.insert("hidden_size".into(), 192.into());
        let m = spec.bind(&config).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(heads(&m).iter().all(|(_, kv)| *kv == default), "{name}");
    }
}

/// As `generate` of `transformers` has it: the whole config's ids, or else those of its text half.
#[test]
fn ends_of_a_whole_config_go_before_those_of_its_text_half() {
    for name in ["gemma3", "gemma3n", "mistral", "llama4"] {
        let ends = |outer: Value, inner: Value| {
            let section = |key: &str, value: Value| json!({ key: value });
            let mut changes = json!({});
            if !outer.is_null() || name == "gemma3" {
                changes["eos_token_id"] = outer.clone();
                changes["bos_token_id"] = outer;
            }
            changes["text_config"] = section("eos_token_id", inner.clone());
            changes["text_config"]["bos_token_id"] = inner;
            let m = bound(name, changes);
            (m.eos, m.bos)
        };
        assert_eq!(
            ends(json!([99, 135]), json!(1)),
            (vec![99, 135], Some(99)),
            "{name}"
        );
        assert_eq!(ends(json!(7), Value::Null), (vec![7], Some(7)), "{name}");
        assert_eq!(
            ends(Value::Null, json!([5, 6])),
            (vec![5, 6], Some(5)),
            "{name}"
        );
        assert_eq!(ends(Value::Null, Value::Null), (vec![], None), "{name}");
    }
}

/// A config that says null has no end, where one that says nothing has the family's.
#[test]
fn null_ends_are_none() {
    for (name, default) in [
        ("cohere2", 255_001),
        ("gemma2", 1),
        ("gemma3", 1),
        ("granite", 2),
        ("llama4_text", 2),
        ("minimax_m2", 200_020),
        ("mistral", 2),
        ("olmo3", 50_279),
        ("phi3", 32_000),
        ("smollm3", 128_001),
    ] {
        assert_eq!(bound(name, json!({})).eos, [default], "{name}");
        assert_eq!(
            bound(name, json!({ "eos_token_id": null })).eos,
            [0u32; 0],
            "{name}"
        );
        assert_eq!(
            bound(name, json!({ "eos_token_id": [3, 4] })).eos,
            [3, 4],
            "{name}"
        );
    }
}

/// Null is false for flags whose default is true.
#[test]
fn null_flags_are_false() {
    let interleaved = |changes| bound("deepseek_v3", changes).ropes[0].interleaved;
    assert!(interleaved(json!({})));
    assert!(!interleaved(json!({ "rope_interleave": null })));
    assert!(!interleaved(json!({ "rope_interleave": 0 })));
}

/// Sizes from a config alone, whose table of weights and state would not fit anywhere.
#[test]
fn models_beyond_any_machine_are_refused() {
    let text = |name: &str, changes: Value| {
        let spec = load(SpecSource::Builtin(name)).unwrap();
        let mut config = spec.preset("tiny").unwrap();
        let changes = changes.as_object().unwrap().clone();
        config.as_object_mut().unwrap().extend(changes);
        spec.bind(&config).unwrap_err().to_string()
    };
    let found = text(
        "qwen3_moe",
        json!({ "num_experts": 65536, "num_hidden_layers": 4096, "mlp_only_layers": [] }),
    );
    assert!(
        found.contains("found more than 524288 weights, each expert's counted"),
        "{found}"
    );
    let wide = json!({ "intermediate_size": 1 << 24, "hidden_size": 1 << 24, "head_dim": 2, "num_hidden_layers": 4096 });
    let found = text("llama", wide);
    assert!(
        found.contains("weights of more than 1125899906842624 elements"),
        "{found}"
    );
    let long = json!({ "max_position_embeddings": 1 << 30, "num_attention_heads": 1 << 14, "num_key_value_heads": 1 << 14, "head_dim": 1 << 10 });
    let found = text("llama", long);
    assert!(
        found.contains("a state of more than 1125899906842624 elements"),
        "{found}"
    );
    let found = text(
        "llama",
        json!({ "num_attention_heads": 65536, "num_key_value_heads": 1, "head_dim": 65536 }),
    );
    assert!(
        found.contains("found 65536 heads of 65536 components, expected at most 16777216"),
        "{found}"
    );
}

/// A part of each head that rotates is refused where the spec rotates all of it, in either layout of a config.
#[test]
fn partial_rotation_is_not_ignored() {
    for name in [
        "llama", "qwen3", "olmo2", "olmo3", "gemma2", "gemma3", "gemma3n",
    ] {
        let spec = load(SpecSource::Builtin(name)).unwrap();
        let with = |kind: &str, part: f64| {
            let mut config = spec.preset("tiny").unwrap();
            let parameters = json!({ "rope_type": "default", "partial_rotary_factor": part });
            config["rope_parameters"] = json!({ kind: parameters });
            spec.bind(&config).map(|m| m.ropes.len())
        };
        let kinds = match name {
            "llama" | "qwen3" => &["full_attention"][..],
            _ => &["full_attention", "sliding_attention"],
        };
        for kind in kinds {
            // Layers have ropes of their own in these families alone.
            let taken = name.starts_with("gemma3") || name == "olmo3";
            if taken || *kind == "full_attention" && name != "gemma2" {
                with(kind, 1.0).unwrap_or_else(|e| panic!("{name}: {e}"));
            }
            let text = with(kind, 0.5).unwrap_err().to_string();
            assert!(text.contains("this spec supports only 1"), "{name}: {text}");
        }
    }
}

/// Layers that share keys and values read those of the last layer of their type that has its own, whether the config lists types or not.
#[test]
fn shared_layers_find_their_source_without_a_list_of_types() {
    let config = |layers: usize, shared: usize| {
        let spec = load(SpecSource::Builtin("gemma4")).unwrap();
        let mut config = spec.preset("tiny").unwrap();
        let map = config.as_object_mut().unwrap();
        map.insert("num_hidden_layers".into(), layers.into());
        map.insert("num_kv_shared_layers".into(), shared.into());
        map.remove("layer_types");
        (spec, config)
    };
    for (layers, shared) in [(14, 5), (24, 6), (12, 6), (19, 6), (10, 0)] {
        let (spec, mut config) = config(layers, shared);
        let plain = spec.bind(&config).unwrap();
        let kind = |i: usize| match (i + 1).is_multiple_of(6) || i + 1 == layers {
            true => "full_attention",
            false => "sliding_attention",
        };
        let types: Vec<&str> = (0..layers).map(kind).collect();
        config["layer_types"] = json!(types);
        let listed = spec.bind(&config).unwrap();
        assert_eq!(plain, listed, "{shared} of {layers}");
        assert_eq!(plain.sources.iter().flatten().count(), shared);
    }
    let (spec, mut config) = config(8, 4);
    assert_eq!(
        spec.bind(&config).unwrap_err().to_string(),
        "gemma4.json: layer_params.source: config.json has no `layer_types`"
    );
    let mut types = vec!["sliding_attention"; 8];
    types[5] = "full_attention";
    config["layer_types"] = json!(types);
    let said = spec.bind(&config).unwrap_err().to_string();
    let end = "expected the string \"full_attention\" among the first 4 of the list";
    assert!(
        said.starts_with("gemma4.json: layer_params.source: found [\"sliding_attention\",")
            && said.ends_with(end),
        "{said}"
    );
}
