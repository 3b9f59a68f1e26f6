//! Binding ends soon, with a model or a message, whatever a spec and a config say.

use super::*;

/// `p0` is `first`, and each of the next `p1 … pN` uses the one before it twice.
fn doubling(first: &str, join: &str, n: usize) -> Value {
    let mut params = serde_json::Map::new();
    // The last first, so that evaluation starts at the top.
    for i in (1..=n).rev() {
        let below = format!("p{}", i - 1);
        params.insert(format!("p{i}"), format!("{below} {join} {below}").into());
    }
    params.insert("p0".into(), first.into());
    Value::Object(params)
}

fn merged(mut spec: Value, key: &str, more: Value) -> Value {
    let empty = || Value::Object(serde_json::Map::new());
    let at = spec
        .as_object_mut()
        .unwrap()
        .entry(key)
        .or_insert_with(empty);
    at.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    spec
}

/// Each of 38 parameters uses the one before it twice: evaluated at every use, that is 2^37 evaluations.
#[test]
fn parameters_of_layers_are_evaluated_once() {
    let mut spec = merged(small(), "layer_params", doubling("layer", "+", 37));
    spec["layers"]["dense"][1]["residual"][0]["ffn"] = "p37 // 2 ** 37 + 8".into();
    let m = model(&spec);
    let Item::Residual { branches, .. } = &m.kinds[1].items[1] else {
        panic!("no residual")
    };
    let StepOp::Mlp(mlp) = &branches[0][0].op else {
        panic!("no mlp")
    };
    // Layer 1 has a value of its own, not what layer 0 left.
    assert_eq!(mlp.up.weight.shape, [9, 16]);
}

#[test]
fn what_parameters_failed_with_is_remembered() {
    let missing = "small: params.p0: config.json has no `no_such_key`";
    let spec = merged(small(), "params", doubling("no_such_key", "??", 37));
    assert_eq!(bind(&spec, &config()).unwrap_err().to_string(), missing);
    let spec = merged(
        small(),
        "layer_params",
        doubling("config.no_such_key", "??", 37),
    );
    let spec = merged(spec, "layer_params", json!({ "safe": "p37 ?? 3" }));
    let mut spec = spec;
    spec["layers"]["dense"][1]["residual"][0]["ffn"] = "safe".into();
    model(&spec);
}

#[test]
fn parameters_of_layers_in_a_circle_are_named() {
    let mut spec = merged(
        small(),
        "layer_params",
        json!({ "a": "b + 1", "b": "a + 1" }),
    );
    spec["layers"]["dense"][1]["residual"][0]["ffn"] = "a".into();
    let text = bind(&spec, &config()).unwrap_err().to_string();
    assert_eq!(
        text,
        "small: layer_params.a: depends on itself: a needs b needs a"
    );
}

/// Every layer searches a long list.
#[test]
fn work_has_a_limit() {
    let mut spec = small();
    spec["layers"]["dense"][1]["residual"][0]["ffn"] =
        "contains(config.list, layer) ? 8 : 16".into();
    let with = |layers: usize, len: usize| {
        let mut config = config();
        config["layers"] = layers.into();
        config["list"] = vec![-1; len].into();
        bind(&spec, &config)
    };
    with(4096, 100).unwrap();
    let text = with(4096, 100_000).unwrap_err().to_string();
    assert!(
        text.contains("binding takes more than 4194304 steps"),
        "{text}"
    );
}

#[test]
fn kinds_have_a_limit() {
    let mut spec = small();
    spec["layers"]["dense"][1]["residual"][0]["ffn"] = "layer + 1".into();
    let with = |layers: usize| {
        let mut config = config();
        config["layers"] = layers.into();
        bind(&spec, &config)
    };
    assert_eq!(with(256).unwrap().kinds.len(), 256);
    assert_eq!(
        with(257).unwrap_err().to_string(),
        "small: layers: found layers of more than 256 kinds, expected layers of which more are equal"
    );
}

#[test]
fn steps_have_a_limit() {
    let text = message(|s| {
        let step = |i| json!({ "name": format!("s{i}"), "op": "scale", "by": 1 });
        s["layers"]["dense"][0]["residual"] = (0..30_000).map(step).collect::<Vec<_>>().into();
    });
    assert_eq!(
        text,
        "small: layers.dense.s1024: found more than 1024 steps, expected a layer, or embedding and head together, of fewer"
    );
}

/// A name that nothing is like is compared with a part of a large config only.
#[test]
fn the_nearest_name_is_not_looked_for_at_any_price() {
    let mut spec = small();
    spec["params"]["x"] = format!("config.{}", "y".repeat(200)).into();
    let mut config = config();
    let name = |i| format!("{i:z>200}");
    for i in 0..200_000 {
        config[name(i)] = 1.into();
    }
    assert!(bind(&spec, &config).is_err());
    spec["params"]["x"] = "config.vocab_sizes".into();
    let text = bind(&spec, &config).unwrap_err().to_string();
    assert!(text.ends_with("(did you mean `vocab_size`?)"), "{text}");
}

#[test]
fn files_are_plain_and_not_endless() {
    let dir = tempfile::tempdir().unwrap();
    let in_dir = |name: &str| dir.path().join(name);
    let text = |path: &std::path::Path| {
        let spec = load(SpecSource::File(path)).map(drop);
        let both = [spec, read_config(path).map(drop)];
        both.map(|r| r.unwrap_err().to_string())
    };
    for path in ["/dev/zero", "/dev/null", "/"] {
        for text in text(path.as_ref()) {
            assert!(text.ends_with("expected a regular file"), "{text}");
        }
    }
    let pipe = in_dir("pipe.json");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    assert!(
        text(&pipe)
            .iter()
            .all(|t| t.ends_with("expected a regular file"))
    );
    let large = in_dir("large.json");
    let file = std::fs::File::create(&large).unwrap();
    file.set_len((64 << 20) + 1).unwrap();
    let [spec, config] = text(&large);
    assert!(spec.ends_with("at most 1048576 are read"), "{spec}");
    assert!(config.ends_with("at most 67108864 are read"), "{config}");
}
