//! Scaling parameters of configs: every key known, every number within its range.

use super::*;

/// A rope of 4 components over a config with `parameters`, in a context of 64.
fn with(parameters: Value, more: Value) -> Result<model::Rope> {
    let mut spec = small();
    spec["ropes"]["rope"]["parameters"] = "config.rope_scaling ?? null".into();
    spec["ropes"]["rope"]["original_context"] = "config.original ?? null".into();
    let mut config = config();
    config["rope_scaling"] = parameters;
    let more = more.as_object().unwrap().clone();
    config.as_object_mut().unwrap().extend(more);
    bind(&spec, &config).map(|m| m.ropes[0].clone())
}

fn longrope(changes: Value) -> Value {
    let mut parameters = json!({
        "rope_type": "longrope", "short_factor": [1, 2], "long_factor": [3, 4], "original_max_position_embeddings": 16
    });
    let changes = changes.as_object().unwrap().clone();
    parameters.as_object_mut().unwrap().extend(changes);
    parameters
}

fn text(parameters: Value) -> String {
    with(parameters, json!({})).unwrap_err().to_string()
}

#[test]
fn keys_of_parameters_are_known() {
    let text = text(json!({ "rope_type": "dynamic", "factor": 2, "alpha": 1000 }));
    let start = "small: ropes.rope.parameters → config.json: rope_scaling: unknown parameter of a RoPE, which may change its meaning, `alpha`; known are `rope_type`, ";
    assert!(text.starts_with(start), "{text}");
    let without_meaning =
        json!({ "mrope_section": [1, 1], "mrope_interleaved": true, "finetuned": true });
    let plain = with(json!({}), json!({})).unwrap();
    assert_eq!(with(without_meaning, json!({})).unwrap(), plain);

    let mut spec = small();
    spec["ropes"]["rope"]["parameters"] = json!({ "beta": 1 });
    assert!(
        bind(&spec, &config())
            .unwrap_err()
            .to_string()
            .starts_with("small: ropes.rope.parameters: unknown parameter of a RoPE")
    );
    spec["ropes"]["rope"]["elsewhere"] = json!(["beta"]);
    assert_eq!(bind(&spec, &config()).unwrap().ropes[0], plain);
}

#[test]
fn pairs_can_turn_backwards() {
    let rope = |backwards: bool| {
        let mut spec = small();
        spec["ropes"]["rope"]["parameters"] = longrope(json!({}));
        spec["ropes"]["rope"]["backwards"] = backwards.into();
        bind(&spec, &config()).unwrap().ropes[0].clone()
    };
    let (mut turned, plain) = (rope(true), rope(false));
    assert_ne!(turned, plain);
    turned.freqs.iter_mut().for_each(|f| *f = -*f);
    let long = &mut turned.long.as_mut().unwrap().freqs;
    long.iter_mut().for_each(|f| *f = -*f);
    assert_eq!(turned, plain);
}

#[test]
fn original_contexts_are_numbers_of_positions() {
    let short = |original: Value| {
        let rope = with(
            longrope(json!({ "original_max_position_embeddings": original })),
            json!({}),
        );
        rope.map(|r| (r.long.unwrap().above, r.scale))
    };
    let (above, scale) = short(json!(16.0)).unwrap();
    assert_eq!(above, 16);
    assert!((scale - (1.0f32 + 4f32.ln() / 16f32.ln()).sqrt()).abs() < 1e-6);
    // More than the context: long sequences never come, and nothing was stretched.
    assert_eq!(short(json!(1 << 20)).unwrap(), (1 << 20, 1.0));
    // Null is not given: the context itself.
    assert_eq!(short(Value::Null).unwrap(), (64, 1.0));
    let place = "small: ropes.rope.parameters → config.json: rope_scaling.original_max_position_embeddings: found ";
    for bad in [
        json!(1e300),
        json!(-4),
        json!(0),
        json!(16.5),
        json!(u64::MAX),
    ] {
        let text = short(bad).unwrap_err().to_string();
        let expected = "expected a whole number from 1 to 1073741824";
        assert!(
            text.starts_with(place) && text.ends_with(expected),
            "{text}"
        );
    }
    let text = short(json!("16")).unwrap_err().to_string();
    assert_eq!(
        text,
        format!("{place}the string \"16\", expected a whole number")
    );
    let text = short(json!(1)).unwrap_err().to_string();
    assert!(text.contains("an original context of 1 position"), "{text}");
    for bad in [json!(1e300), json!(-1), json!(0.5), json!(0), json!(true)] {
        let text = with(longrope(json!({})), json!({ "original": bad }))
            .unwrap_err()
            .to_string();
        assert!(
            text.starts_with("small: ropes.rope.original_context → config.json: original: found "),
            "{text}"
        );
    }
    assert_eq!(
        with(longrope(json!({})), json!({ "original": 8 }))
            .unwrap()
            .long
            .unwrap()
            .above,
        8
    );
}

#[test]
fn numbers_of_scalings_have_ranges() {
    for (key, value) in [
        ("factor", json!(-2)),
        ("factor", json!(0)),
        ("factor", json!(1e300)),
        ("factor", json!("2")),
        ("factor", json!([2])),
        ("attention_factor", json!(1e300)),
        ("attention_factor", json!(-1)),
        ("rope_theta", json!(1e-300)),
        ("rope_theta", json!(false)),
        ("short_factor", json!([1])),
        ("short_factor", json!([1, -1])),
        ("short_factor", json!([1, "2"])),
        ("long_factor", json!([1, 1e300])),
        ("long_factor", json!(3)),
        ("rope_type", json!(7)),
        ("rope_type", json!("longrop")),
    ] {
        let text = text(longrope(json!({ key: value })));
        let place = format!("small: ropes.rope.parameters → config.json: rope_scaling.{key}: ");
        assert!(text.starts_with(&place), "{value}: {text}");
    }
    let yarn = |changes: Value| {
        let mut parameters =
            json!({ "rope_type": "yarn", "factor": 4, "original_max_position_embeddings": 1024 });
        parameters
            .as_object_mut()
            .unwrap()
            .extend(changes.as_object().unwrap().clone());
        with(parameters, json!({ "head_dim": 16 }))
    };
    for (key, value) in [
        ("beta_fast", json!(-1)),
        ("mscale", json!("1")),
        ("truncate", json!("no")),
        ("truncate", json!(3)),
    ] {
        let text = yarn(json!({ key: value })).unwrap_err().to_string();
        let place = format!("small: ropes.rope.parameters → config.json: rope_scaling.{key}: ");
        assert!(text.starts_with(&place), "{value}: {text}");
    }
    // As in Python, null and 0 are false where there is a flag, and 0 is "not given" where there is a number.
    let same = |a: Value, b: Value| yarn(a).unwrap() == yarn(b).unwrap();
    assert!(same(
        json!({ "truncate": null }),
        json!({ "truncate": false })
    ));
    assert!(same(json!({ "truncate": 0 }), json!({ "truncate": false })));
    assert!(!same(json!({ "truncate": null }), json!({})));
    assert!(same(json!({ "beta_fast": 0, "mscale": 0 }), json!({})));
}
