//! Layer kinds that are like others, through extensions; and keys that nothing knows, wherever they stand.

use super::*;

/// Binds the last of `versions`, each of which extends the one before it, the first `small`.
fn bind_versions(versions: &[Value]) -> Result<model::Model> {
    let dir = tempfile::tempdir().unwrap();
    let path = |i: usize| dir.path().join(format!("v{i}.json"));
    std::fs::write(path(0), small().to_string()).unwrap();
    for (i, version) in versions.iter().enumerate() {
        let mut version = version.clone();
        version["extends"] = format!("v{i}.json").into();
        std::fs::write(path(i + 1), version.to_string()).unwrap();
    }
    let mut config = config();
    config["layers"] = 3.into();
    load(SpecSource::File(&path(versions.len())))?.bind(&config)
}

/// Names of the steps of each kind, and the activations of their MLPs.
fn summary(m: &model::Model) -> Vec<(&str, Vec<String>)> {
    let steps = |kind: &model::LayerKind| {
        let branches = kind.items.iter().flat_map(|item| match item {
            Item::Residual { branches, .. } => branches.concat(),
            Item::Plain(steps) => steps.clone(),
        });
        let name = |s: model::Step| match s.op {
            StepOp::Mlp(mlp) => format!("{} {:?}", s.name, mlp.act),
            _ => s.name,
        };
        branches.map(name).collect()
    };
    m.kinds
        .iter()
        .map(|k| (k.name.as_str(), steps(k)))
        .collect()
}

#[test]
fn kinds_that_are_like_others_see_their_edits() {
    let parent = json!({
        "layer_kind": "layer == 0 ? 'dense' : layer == 1 ? 'other' : 'third'",
        "layers": {
            "other": { "like": "dense", "norm1": null },
            "third": { "like": "other", "late": { "after": "mlp", "op": "scale", "by": 2 } }
        }
    });
    let child = json!({ "layers": { "dense": { "mlp": { "act": "'relu'" }, "more": { "before": "attention", "op": "scale", "by": 3 } } } });
    let grandchild = json!({ "layers": { "third": { "late": null, "mlp": { "act": "'gelu'" } }, "dense": { "norm1": { "eps": 0.5 } } } });
    let steps = |list: &[&str]| list.iter().map(|s| s.to_string()).collect::<Vec<_>>();
    let m = bind_versions(&[parent.clone(), child, grandchild]).unwrap();
    assert_eq!(
        summary(&m),
        [
            ("dense", steps(&["norm1", "more", "attention", "mlp Relu"])),
            ("other", steps(&["more", "attention", "mlp Relu"])),
            ("third", steps(&["more", "attention", "mlp Gelu"])),
        ]
    );
    // A `like` of its own begins a kind anew, a list replaces it, null deletes it.
    let anew = json!({ "layers": { "third": { "like": "dense" } } });
    let m = bind_versions(&[parent.clone(), anew]).unwrap();
    assert_eq!(summary(&m)[2].1, ["norm1", "attention", "mlp Silu"]);
    let list = json!({ "layers": { "third": [] } });
    assert_eq!(
        summary(&bind_versions(&[parent.clone(), list]).unwrap())[2].1,
        [""; 0]
    );
    let gone = json!({ "layers": { "third": null }, "layer_kind": "'other'" });
    assert_eq!(summary(&bind_versions(&[parent, gone]).unwrap()).len(), 1);
}

#[test]
fn mistakes_of_kinds_stand_where_they_were_made() {
    let text = |versions: &[Value]| {
        let text = bind_versions(versions).unwrap_err().to_string();
        let name = text.rsplit_once("/v").map_or("", |(_, name)| name);
        name.to_string()
    };
    let kinds = |kinds: Value| json!({ "layer_kind": "'dense'", "layers": kinds });
    assert_eq!(
        text(&[kinds(json!({ "a": { "like": "b" }, "b": { "like": "a" } }))]),
        "1.json: layers.b.like: like itself: a is like b is like a"
    );
    assert_eq!(
        text(&[kinds(json!({ "a": { "like": "a" } }))]),
        "1.json: layers.a.like: like itself: a is like a"
    );
    assert_eq!(
        text(&[kinds(json!({ "a": { "like": "dens" } })), json!({})]),
        "1.json: layers.a.like: unknown layer kind `dens` (did you mean `dense`?); known are `dense`"
    );
    assert_eq!(
        text(&[kinds(json!({ "a": { "norm1": null } })), json!({})]),
        "1.json: layers.a: found an object with 1 keys, expected a list of items, or an object with `like` and the kind that it edits"
    );
    // An edit that an earlier version's kind does not have room for, through a kind that is like it.
    let like = kinds(json!({ "a": { "like": "dense", "norm1": { "eps": 1 } } }));
    let deletes = json!({ "layers": { "dense": { "norm1": null } } });
    assert!(
        text(&[like.clone(), deletes])
            .starts_with("1.json: layers.a.norm1: the parent has no step `norm1`")
    );
    let twice =
        json!({ "layers": { "dense": { "mlp": { "after": "norm1", "op": "scale", "by": 1 } } } });
    assert_eq!(
        text(&[twice]),
        "1.json: layers.dense.mlp: there are two steps `mlp`; give one of them another `name`"
    );
}

/// Kinds that are like each other could be as many as the text has characters, each with the steps of a long one.
#[test]
fn kinds_do_not_multiply_without_limit() {
    let step = |i: usize| json!({ "name": format!("s{i}"), "op": "scale", "by": [1, 2, 3, 4, 5] });
    let mut kinds = serde_json::Map::new();
    for i in 0..250 {
        kinds.insert(format!("k{i}"), json!({ "like": "dense" }));
    }
    kinds.insert(
        "dense".into(),
        vec![json!({ "plain": (0..1000).map(step).collect::<Vec<_>>() })].into(),
    );
    let with = |kinds: serde_json::Map<String, Value>| {
        let mut spec = small();
        spec["layers"] = Value::Object(kinds);
        bind(&spec, &config()).unwrap_err().to_string()
    };
    assert!(
        with(kinds.clone()).contains("kinds of layers with more than a million values together")
    );
    for i in 250..300 {
        kinds.insert(format!("k{i}"), json!({ "like": "dense" }));
    }
    assert!(with(kinds).contains("301 kinds of layers, expected at most 256"));
}

#[test]
fn unknown_keys_are_found_wherever_they_stand() {
    let unknown = |place: &str, key: &str, value: Value| {
        let mut spec = small();
        // A kind that no layer is of, and a step that is switched off.
        spec["layer_kind"] = "'dense'".into();
        spec["layers"]["unused"] = spec["layers"]["dense"].clone();
        spec["layers"]["dense"][1]["residual"][0]["if"] = "false".into();
        spec["layers"]["dense"][0]["residual"][1]["qk_norm"] = json!({
            "if": "false", "over": "head", "q": { "op": "l2_norm", "eps": 0 }
        });
        spec["ignore"] = json!([{ "if": "false", "name": "x" }]);
        *spec.pointer_mut(place).expect(place) = match spec.pointer(place).unwrap().clone() {
            Value::Object(mut map) => {
                map.insert(key.into(), value);
                Value::Object(map)
            }
            _ => panic!("{place} is not an object"),
        };
        bind(&spec, &config()).unwrap_err().to_string()
    };
    let unused = "/layers/unused/1/residual/0";
    for (place, key, path, nearest) in [
        (unused, "gates", "layers.unused.mlp", "gate"),
        (
            "/layers/unused/0",
            "residuals",
            "layers.unused[0]",
            "residual",
        ),
        ("/layers/dense/0", "fi", "layers.dense[0]", ""),
        (
            "/layers/dense/1/residual/0",
            "upp",
            "layers.dense.mlp",
            "up",
        ),
        (
            "/layers/dense/0/residual/1/qk_norm",
            "after_ropes",
            "layers.dense.attention.qk_norm",
            "after_rope",
        ),
        (
            "/layers/dense/0/residual/1/qk_norm/q",
            "gaim",
            "layers.dense.attention.qk_norm.q",
            "gain",
        ),
        ("/ropes/rope", "dimm", "ropes.rope", "dim"),
        ("/ignore/0", "names", "ignore[0]", "name"),
        ("/embed/0", "scales", "embed.embed", "scale"),
        ("/head/0", "outs", "head.logits", "out"),
        ("/match", "model_types", "match", "model_type"),
    ] {
        let text = unknown(place, key, 1.into());
        let hint = match nearest {
            "" => String::new(),
            n => format!(" (did you mean `{n}`?)"),
        };
        let start = format!("small: {path}: unknown key `{key}`{hint}; expected ");
        assert!(text.starts_with(&start), "{text}\n{start}");
    }
    let text = unknown(unused, "up", json!({ "weight": "w", "tensor": "w" }));
    assert!(
        text.starts_with("small: layers.unused.mlp.up: unknown key `tensor`"),
        "{text}"
    );
    let text = unknown(unused, "op", "mpl".into());
    assert!(
        text.starts_with("small: layers.unused.mpl: unknown op `mpl` (did you mean `mul`?)"),
        "{text}"
    );
    assert_eq!(
        unknown(unused, "ffn", json!({ "value": 3 })),
        "small: layers.unused.mlp.ffn: found an object with 1 keys, expected a value or an expression"
    );
    let text = message(|s| s["if"] = "false".into());
    assert_eq!(
        text,
        "small: if: found the string \"false\", expected no condition: a spec is always there"
    );
}

/// Items and steps of the first kind of layers, in order: branches in brackets.
fn outline(m: &model::Model) -> String {
    let names = |steps: &[model::Step]| {
        let names: Vec<&str> = steps.iter().map(|s| s.name.as_str()).collect();
        names.join(" ")
    };
    let item = |item: &Item| match item {
        Item::Plain(steps) => format!("={}", names(steps)),
        Item::Residual { before, branches } => {
            let branches: Vec<String> =
                branches.iter().map(|b| format!("[{}]", names(b))).collect();
            format!("{}{}", names(before), branches.concat())
        }
    };
    let items: Vec<String> = m.kinds[0].items.iter().map(item).collect();
    items.join("; ")
}

fn edited(edits: Value) -> String {
    let child = json!({ "layers": { "dense": edits } });
    outline(&bind_versions(&[small(), child]).unwrap_or_else(|e| panic!("{e}")))
}

#[test]
fn items_and_branches_are_added_replaced_and_removed() {
    let extra = || json!([{ "op": "scale", "name": "extra", "by": 2 }]);
    assert_eq!(edited(json!({})), "[norm1 attention]; [mlp]");
    assert_eq!(
        edited(json!({ "a": { "after": "mlp", "residual": extra() } })),
        "[norm1 attention]; [mlp]; [extra]"
    );
    assert_eq!(
        edited(json!({ "a": { "before": "attention", "plain": extra() } })),
        "=extra; [norm1 attention]; [mlp]"
    );
    assert_eq!(
        edited(json!({ "a": { "replace": "norm1", "residual": extra() } })),
        "[extra]; [mlp]"
    );
    assert_eq!(
        edited(json!({ "a": { "replace": "mlp", "item": null } })),
        "[norm1 attention]"
    );
    assert_eq!(
        edited(json!({ "a": { "beside": "attention", "branch": extra() } })),
        "[norm1 attention][extra]; [mlp]"
    );
    let twice = json!({
        "a": { "beside": "attention", "branch": extra() },
        "b": { "replace": "attention", "branch": [{ "op": "scale", "name": "other", "by": 2 }] }
    });
    assert_eq!(edited(twice), "[other][extra]; [mlp]");
    let gone = json!({
        "a": { "beside": "attention", "branch": extra() },
        "b": { "replace": "extra", "branch": null }
    });
    assert_eq!(edited(gone), "[norm1 attention]; [mlp]");
    assert_eq!(
        edited(json!({ "a": { "replace": "attention", "branch": extra() } })),
        "[extra]; [mlp]"
    );
    assert_eq!(
        edited(json!({ "extra": { "replace": "mlp", "op": "scale", "by": 2 } })),
        "[norm1 attention]; [extra]"
    );
    assert_eq!(
        edited(json!({ "mlp": { "replace": "mlp", "op": "scale", "by": 2 } })),
        "[norm1 attention]; [mlp]"
    );
}

#[test]
fn edits_of_items_that_mean_nothing_are_refused() {
    let text = |part: &str, edits: Value| {
        let child = match part {
            "head" => json!({ "head": edits }),
            _ => json!({ "layers": { "dense": edits } }),
        };
        bind_versions(&[small(), child]).unwrap_err().to_string()
    };
    let extra = || json!([{ "op": "scale", "name": "extra", "by": 2 }]);
    let refused = [
        (
            "layers",
            json!({ "a": { "after": "atention", "residual": extra() } }),
            "no step `atention` (did you mean `attention`?)",
        ),
        (
            "layers",
            json!({ "a": { "beside": "mlp", "residual": extra() } }),
            "`beside` is for a branch",
        ),
        (
            "layers",
            json!({ "a": { "after": "mlp", "branch": extra() } }),
            "`replace` or `beside` for a branch",
        ),
        (
            "layers",
            json!({ "a": { "after": "mlp", "item": null } }),
            "expected null, and `replace`",
        ),
        (
            "layers",
            json!({ "a": { "replace": "mlp", "branch": 3 } }),
            "found 3, expected a list of steps, or null",
        ),
        (
            "layers",
            json!({ "extra": { "beside": "mlp", "op": "scale", "by": 2 } }),
            "`beside` is for a branch",
        ),
        (
            "head",
            json!({ "a": { "after": "logits", "residual": extra() } }),
            "there are no items and branches here",
        ),
    ];
    for (part, edits, expected) in refused {
        let found = text(part, edits.clone());
        assert!(found.contains(expected), "{edits}: {found}");
    }
}

/// Null is a value of a parameter, not its absence.
#[test]
fn a_parameter_can_be_null() {
    let mut parent = small();
    parent["params"]["width"] = 3.into();
    parent["layers"]["dense"][0]["residual"][1]["window"] = "width".into();
    let reach = |versions: &[Value]| attention(&bind_versions(versions).unwrap(), 0).reach;
    assert_eq!(reach(&[parent.clone()]), model::Reach::Window(3));
    let child = json!({ "params": { "width": null } });
    assert_eq!(reach(&[parent, child]), model::Reach::Full);
}
