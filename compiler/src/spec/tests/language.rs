//! What the format can say of names, alternatives and nulls.

use super::*;

/// The first weight of the layer's `mlp`.
fn up(m: &model::Model) -> &model::Weight {
    let found = m.kinds[0].steps().find_map(|s| match &s.op {
        StepOp::Mlp(mlp) => Some(&mlp.up.weight),
        _ => None,
    });
    found.expect("an mlp")
}

fn with_up(up: Value) -> Value {
    let mut spec = small();
    spec["params"]["block"] = "block ?? 'h'".into();
    spec["layers"]["dense"][1]["residual"][0]["up"] = up;
    spec
}

#[test]
fn expressions_stand_in_names_of_tensors() {
    let spec = with_up("{block}.{i}.{block}{heads + 1}.up".into());
    let m = model(&spec);
    assert_eq!(up(&m).tensors, ["h.{i}.h5.up"]);
    let config = json!({ "vocab_size": 11, "hidden_size": 16, "block": "model.layers" });
    let m = bind(&spec, &config).unwrap();
    assert_eq!(up(&m).tensors, ["model.layers.{i}.model.layers5.up"]);
}

#[test]
fn braces_that_mean_nothing_are_refused() {
    for name in ["l.{i.up", "l.i}.up", "l.{}.up", "l.{e}.up"] {
        let text = bind(&with_up(name.into()), &config())
            .unwrap_err()
            .to_string();
        let expected = format!("small: layers.dense.mlp.up: tensor name `{name}`: braces may");
        assert!(text.starts_with(&expected), "{text}");
    }
    let text = |name: &str| {
        let found = bind(&with_up(name.into()), &config());
        found.unwrap_err().to_string()
    };
    assert!(text("l.{blok}.up").contains("unknown parameter `blok` (did you mean `block`?)"));
    assert!(text("l.{heads == 4}.up").contains("found true, expected a string or a number"));
    let braces = json!({ "vocab_size": 11, "hidden_size": 16, "block": "{i}" });
    assert!(bind(&with_up("{block}.up".into()), &braces).is_err());
}

/// Each tensor of a list may say itself how it is stored.
#[test]
fn a_weight_may_be_stored_in_several_ways() {
    let spec = with_up(json!({ "tensor": [
        "l.{i}.up", "l.{i}.w1",
        { "tensor": "l.{i}.joined", "part": { "from": 3, "of": 100 }, "transposed": true }
    ] }));
    let m = model(&spec);
    assert_eq!(up(&m).tensors, ["l.{i}.up", "l.{i}.w1"]);
    assert!(!up(&m).transposed && up(&m).part.is_none());
    let [other] = &up(&m).others[..] else {
        panic!("{:?}", up(&m).others)
    };
    assert_eq!(other.tensors, ["l.{i}.joined"]);
    assert_eq!(other.part, Some(model::Range::one(3, 100)));
    assert!(other.transposed);
    let mixed = with_up(json!({ "tensor": [
        "l.{i}.up", { "tensor": "l.{i}.joined", "part": { "from": 0, "of": 20, "heads": 4 } }
    ] }));
    let text = bind(&mixed, &config()).unwrap_err().to_string();
    assert!(
        text.contains("`part.heads` in all of them, or in none"),
        "{text}"
    );
    let stray = with_up(json!({ "tensor": [{ "tensor": "a", "if": "false" }] }));
    let text = bind(&stray, &config()).unwrap_err().to_string();
    assert!(
        text.contains("none of the 1 alternatives applies"),
        "{text}"
    );
    let unknown = with_up(json!({ "tensor": [{ "tensor": "a", "parts": 1 }] }));
    let text = bind(&unknown, &config()).unwrap_err().to_string();
    assert!(
        text.contains("unknown key `parts` (did you mean `part`?)"),
        "{text}"
    );
}

/// Heads may have their rows in several tensors, all of which have to be there for the whole matrix.
#[test]
fn heads_may_be_joined_from_several_tensors() {
    let joined = |heads: usize, rows: [usize; 2]| {
        with_up(json!({ "tensor": ["l.{i}.up", { "heads": heads, "join": [
            { "tensor": "l.{i}.k", "rows": rows[0], "transposed": true }, { "tensor": "l.{i}.v", "rows": rows[1] }
        ] }] }))
    };
    let rows = up(&model(&with_up("l.{i}.up".into()))).shape[0];
    let m = model(&joined(2, [1, rows / 2 - 1]));
    let [other] = &up(&m).others[..] else {
        panic!("{:?}", up(&m).others)
    };
    let join = other.joined.as_ref().unwrap();
    assert_eq!((join.heads, join.parts.len()), (2, 2));
    assert!(join.parts[0].transposed && !join.parts[1].transposed);
    let text = bind(&joined(3, [1, 2]), &config()).unwrap_err().to_string();
    assert!(text.contains("found 3 heads of 3 rows"), "{text}");
    for (wrong, expected) in [
        (json!([]), "found 1 heads of 0 rows"),
        (json!("l.{i}.k"), "a list of tensors to `join`"),
        (
            json!([{ "tensor": "a", "rows": 1, "part": 2 }]),
            "unknown key `part`",
        ),
    ] {
        let spec = with_up(json!({ "tensor": [{ "heads": 1, "join": wrong }] }));
        let text = bind(&spec, &config()).unwrap_err().to_string();
        assert!(text.contains(expected), "{text}");
    }
}

/// A number of key heads that is null is as good as none.
#[test]
fn null_heads_are_absent_heads() {
    let mut spec = small();
    spec["layers"]["dense"][0]["residual"][1]["n_kv_heads"] = "get(config, 'kv_heads', 2)".into();
    let kv_heads = |value: Option<Value>| {
        let mut config = config();
        if let Some(value) = value {
            config["kv_heads"] = value;
        }
        attention(&bind(&spec, &config).unwrap(), 0).kv_heads
    };
    assert_eq!(kv_heads(None), 2);
    assert_eq!(kv_heads(Some(Value::Null)), 4);
    assert_eq!(kv_heads(Some(json!(1))), 1);
}

/// A string without quotes of its own is an expression, which is what its writer did not mean.
#[test]
fn strings_without_quotes_get_a_hint() {
    let text = message(|s| s["layers"]["dense"][1]["residual"][0]["act"] = "silu".into());
    assert!(
        text.contains("unknown parameter `silu`; known are ")
            && text.ends_with("; a string has quotes of its own: `'silu'`"),
        "{text}"
    );
    let text = message(|s| s["params"]["act"] = "act ?? silu".into());
    assert_eq!(
        text,
        "small: params.act: config.json has no `silu`; a string has quotes of its own: `'silu'`"
    );
    let text = message(|s| s["params"]["act"] = "actt".into());
    assert!(!text.contains("quotes"), "{text}");
}

/// A config whose text half says itself what it is goes to the spec that names both types.
#[test]
fn the_inner_type_decides() {
    let name = |outer: &str, inner: Value| {
        let config = json!({ "model_type": outer, "text_config": { "model_type": inner } });
        for_config(&config).map(|s| s.name().to_string())
    };
    assert_eq!(name("mistral3", json!("mistral")).unwrap(), "mistral");
    assert_eq!(name("mistral3", Value::Null).unwrap(), "mistral");
    assert_eq!(name("mistral3", json!("ministral3")).unwrap(), "ministral3");
    assert!(name("mistral33", json!("mistral")).is_err());
}

/// An empty list of requirements allows what is missing or null, and nothing else.
#[test]
fn a_requirement_can_be_that_a_key_is_absent() {
    let mut spec = small();
    spec["require"] = json!({ "clip": [] });
    let with = |clip: Value| {
        let mut config = config();
        config["clip"] = clip;
        bind(&spec, &config).map_err(|e| e.to_string())
    };
    assert!(with(Value::Null).is_ok() && bind(&spec, &config()).is_ok());
    assert_eq!(
        with(json!(0)).unwrap_err(),
        "small: require.clip: config.json has `clip` = 0; this spec supports only null"
    );
}

/// The last of two would be taken, and nothing would show it.
#[test]
fn a_key_that_a_spec_has_twice_is_refused() {
    for text in [
        r#"{ "extends": "llama", "extends": "gemma" }"#,
        r#"{ "params": { "vocab": 1 }, "about": "", "params": {} }"#,
        r#"{ "extends": "llama", "params": { "eps": NaN, "eps": 1 } }"#,
    ] {
        let name = "mine.json";
        let said = load(SpecSource::Text { name, text }).unwrap_err();
        let said = said.to_string();
        assert!(
            said.starts_with("mine.json: found the key \"") && said.contains("at line 1 column"),
            "{said}"
        );
    }
}

#[test]
fn no_built_in_spec_has_a_key_twice() {
    for name in crate::spec::builtin_names() {
        let text = crate::spec::builtin::text(name).unwrap();
        let read = crate::spec::json::parse_unique(text.as_bytes());
        assert!(read.is_ok(), "{name}: {}", read.unwrap_err());
    }
}
