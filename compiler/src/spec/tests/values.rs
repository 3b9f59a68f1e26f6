//! Values of configs as Python writes and takes them.

use super::*;

fn with(changes: Value) -> Result<model::Model> {
    let mut spec = small();
    spec["params"]["biased"] = "biased ?? false".into();
    spec["params"]["eos"] = "eos_token_id ?? null".into();
    spec["layers"]["dense"][1]["residual"][0]["up"] = json!({
        "weight": "l.{i}.up", "bias": { "if": "biased", "tensor": "l.{i}.up.bias" }
    });
    spec["require"] = json!({ "odd": [false] });
    let mut config = config();
    config
        .as_object_mut()
        .unwrap()
        .extend(changes.as_object().unwrap().clone());
    bind(&spec, &config)
}

fn text(changes: Value) -> String {
    with(changes).unwrap_err().to_string()
}

#[test]
fn flags_may_be_one_and_zero() {
    let has_bias = |flag: Value| {
        let m = with(json!({ "biased": flag })).unwrap();
        let Item::Residual { branches, .. } = &m.kinds[0].items[1] else {
            panic!("no residual")
        };
        let StepOp::Mlp(mlp) = &branches[0][0].op else {
            panic!("no mlp")
        };
        mlp.up.bias.is_some()
    };
    assert!(has_bias(json!(true)) && has_bias(json!(1)) && has_bias(json!(1.0)));
    assert!(!has_bias(json!(false)) && !has_bias(json!(0)) && !has_bias(Value::Null));
    assert!(with(json!({ "odd": 0 })).is_ok());
    assert!(text(json!({ "odd": 1 })).contains("config.json has `odd` = 1"));
}

/// What is wrong with a config is said with the config's own key, wherever the value goes.
#[test]
fn mistakes_name_the_key_of_the_config() {
    for value in [json!(2), json!("yes"), json!([true])] {
        let text = text(json!({ "biased": value }));
        let path = "small: layers.dense.mlp.up.bias.if → config.json: biased: found ";
        assert!(text.starts_with(path), "{text}");
    }
    assert_eq!(
        text(json!({ "vocab_size": "11" })),
        "small: params.vocab → config.json: vocab_size: found the string \"11\", expected a whole number"
    );
    assert_eq!(
        text(json!({ "hidden_size": "16" })),
        "small: params.head_dim → config.json: hidden_size: `/` of the string \"16\", expected a number"
    );
    assert_eq!(
        text(json!({ "eos_token_id": [1, -1] })),
        "small: params.eos → config.json: eos_token_id[1]: found -1, expected a whole number from 0 to 4294967295"
    );
    assert_eq!(
        text(json!({ "rope_theta": "10000" })),
        "small: ropes.rope.theta → config.json: rope_theta: found the string \"10000\", expected a number"
    );
    assert_eq!(
        text(json!({ "heads": true })),
        "small: params.head_dim → config.json: heads: `/` of true, expected a number"
    );
    assert_eq!(
        text(json!({ "layers": 2.5 })),
        "small: params.n_layers → config.json: layers: found 2.5, expected a whole number from 1 to 4096"
    );
}

#[test]
fn numbers_that_are_not_finite_are_read_and_refused_where_they_count() {
    let config = |text: &str| parse_json(text.as_bytes()).unwrap();
    let spec = small();
    let m = bind(
        &spec,
        &config(r#"{"vocab_size": 11, "hidden_size": 16, "limits": [0.0, Infinity], "x": NaN}"#),
    );
    assert_eq!(m.unwrap().hidden, 16);
    let text = |key: &str, value: &str| {
        let json = format!(r#"{{"vocab_size": 11, "hidden_size": 16, "{key}": {value}}}"#);
        bind(&spec, &config(&json)).unwrap_err().to_string()
    };
    assert_eq!(
        text("layers", "Infinity"),
        "small: params.n_layers → config.json: layers: found inf, expected a whole number from 1 to 4096"
    );
    assert_eq!(
        text("head_dim", "NaN"),
        "small: ropes.rope.dim → config.json: head_dim: found NaN, expected a whole number from 2 to 65536"
    );
    assert_eq!(
        text("rope_theta", "-Infinity"),
        "small: ropes.rope.theta → config.json: rope_theta: found -inf, expected a number above 0 within float32"
    );
    assert_eq!(
        text("rope_theta", "Infinity"),
        "small: ropes.rope.theta → config.json: rope_theta: found inf, expected a number above 0 within float32"
    );
}

#[test]
fn sections_are_objects_of_the_config() {
    let mut spec = small();
    spec["config_section"] = "text_config".into();
    spec["params"]["whole"] = "outer.hidden_size ?? 0".into();
    let with = |section: Value| {
        let mut config = config();
        config["text_config"] = section;
        bind(&spec, &config)
    };
    assert_eq!(with(json!({ "hidden_size": 32 })).unwrap().hidden, 32);
    assert_eq!(with(Value::Null).unwrap().hidden, 16);
    assert_eq!(
        with(json!([1])).unwrap_err().to_string(),
        "small: config_section → config.json: text_config: found a list of 1, expected an object"
    );
    let wrong = with(json!({ "hidden_size": "32" }))
        .unwrap_err()
        .to_string();
    assert_eq!(
        wrong,
        "small: params.head_dim → config.json: hidden_size: `/` of the string \"32\", expected a number"
    );
    spec["config_section"] = 3.into();
    assert_eq!(
        bind(&spec, &config()).unwrap_err().to_string(),
        "small: config_section: found 3, expected a key of the config"
    );
}

#[test]
fn gains_of_a_head_are_its_own_or_shared() {
    let with = |over: &str, unit_offset: bool| {
        let mut spec = small();
        let norm = |gain| json!({ "op": "rms_norm", "eps": 1e-6, "gain": gain, "unit_offset": unit_offset });
        let norms = json!({ "over": over, "q": norm("l.{i}.q_norm"), "k": norm("l.{i}.k_norm") });
        spec["layers"]["dense"][0]["residual"][1]["qk_norm"] = norms;
        bind(&spec, &config())
    };
    for (over, per_head, numbers) in [
        ("head", true, 4),
        ("heads", true, 16),
        ("projection", false, 16),
    ] {
        let bound = with(over, false).unwrap();
        let norms = attention(&bound, 0).qk_norm.as_ref().unwrap();
        let gain = norms.q.gain.as_ref().unwrap();
        assert_eq!(
            (norms.per_head, &gain.shape[..]),
            (per_head, &[numbers][..]),
            "{over}"
        );
    }
    assert!(with("projection", true).is_ok());
    let said = with("heads", true).unwrap_err().to_string();
    assert!(
        said.contains("qk_norm.q") && said.contains("without `unit_offset`"),
        "{said}"
    );
    let said = with("rows", false).unwrap_err().to_string();
    assert!(said.contains("`heads`"), "{said}");
}
