//! Options of steps that exclude each other or ask for certain sizes, and vectors that no checkpoint holds.

use super::*;
use crate::spec::model::{KeyValue, Made};

/// A spec whose second branch is made of these steps.
fn with_steps(steps: Value) -> Value {
    let mut spec = small();
    spec["layers"]["dense"][1]["residual"] = steps;
    spec
}

fn message_of(steps: Value) -> String {
    let found = bind(&with_steps(steps), &config());
    found.expect_err("a mistake").to_string()
}

/// A recurrence over channels, with `changes` in its step.
fn scan(changes: Value) -> Value {
    let mut step = json!({ "op": "recurrence", "heads": 16, "key_heads": 1, "key_dim": 3, "q": "k", "k": "k", "rate": "rate", "write": "w", "correct": false });
    let changes = changes.as_object().unwrap().clone();
    step.as_object_mut().unwrap().extend(changes);
    json!([
        { "name": "w", "op": "activation", "act": "'softplus'", "as": "w" },
        { "name": "k", "op": "linear", "out": 3, "weight": "k", "as": "k" },
        { "name": "pick", "op": "pick", "from": "w" },
        step
    ])
}

#[test]
fn rates_of_components_are_for_single_channels() {
    model(&with_steps(scan(json!({}))));
    for (change, expected) in [
        (
            json!({ "heads": 8 }),
            "small: layers.dense.recurrence.write: its width is 16, expected 8",
        ),
        (
            json!({ "correct": true }),
            "small: layers.dense.recurrence: found correct = true and scale = 1, expected `\"correct\": false` and no scale, since it has `rate`",
        ),
        (
            json!({ "write": null }),
            "small: layers.dense.recurrence: found no `write`, expected `write`, since it has `rate`",
        ),
    ] {
        assert_eq!(message_of(scan(change)), expected);
    }
    let both = message_of(scan(json!({ "decay": "w" })));
    assert!(both.contains("either `decay` or `rate`"), "{both}");
}

#[test]
fn a_clamp_has_an_end_and_ends_in_order() {
    let clamp = |fields: Value| {
        let mut step = json!({ "op": "clamp" });
        let fields = fields.as_object().unwrap().clone();
        step.as_object_mut().unwrap().extend(fields);
        json!([step])
    };
    model(&with_steps(clamp(json!({ "most": 2 }))));
    let none = message_of(clamp(json!({})));
    assert!(
        none.contains("a step with `least`, `most` or both"),
        "{none}"
    );
    assert_eq!(
        message_of(clamp(json!({ "least": 2, "most": 1 }))),
        "small: layers.dense.clamp: found least = 2, expected at most `most` = 1"
    );
}

#[test]
fn sinusoids_fall_from_one_and_have_cosines() {
    let waves = |theta: Value| json!([{ "op": "sinusoids", "theta": theta }]);
    model(&with_steps(waves(json!(1.5))));
    assert_eq!(
        message_of(waves(json!(1))),
        "small: layers.dense.sinusoids.theta: found 1, expected a number above 1"
    );
    let odd = json!([
        { "op": "linear", "name": "narrow", "out": 7, "weight": "narrow" },
        { "op": "sinusoids", "theta": 10000 },
    ]);
    assert_eq!(
        message_of(odd),
        "small: layers.dense.sinusoids: found rows of 7, expected an even width: there are as many sines as cosines"
    );
}

#[test]
fn choices_one_after_another_are_by_a_softmax() {
    let moe = |router: Value| json!([{ "op": "moe", "experts": 3, "top_k": 2, "ffn": 4, "act": "'silu'", "router": router, "up": "e.{e}.up", "down": "e.{e}.down" }]);
    model(&with_steps(moe(
        json!({ "weight": "r", "score": "'softmax'", "near": 0.1 }),
    )));
    let found = message_of(moe(
        json!({ "weight": "r", "score": "'sigmoid'", "near": 0.1 }),
    ));
    assert!(
        found.contains("a router with `near` whose score is 'softmax'"),
        "{found}"
    );
    let unknown = message_of(moe(
        json!({ "weight": "r", "score": "'softmax'", "from": "nothing" }),
    ));
    assert!(unknown.contains("nothing"), "{unknown}");
}

#[test]
fn a_gate_is_over_components_or_heads() {
    let mut spec = small();
    let step = &mut spec["layers"]["dense"][0]["residual"][1];
    step["gate"] = "l.{i}.gate".into();
    step["gate_over"] = "head".into();
    step["value_dim"] = 3.into();
    let m = model(&spec);
    let a = attention(&m, 0);
    assert_eq!(a.gate.as_ref().unwrap().linear.weight.shape, [4, 16]);
    assert_eq!(a.o.weight.shape, [16, 12]);
    spec["layers"]["dense"][0]["residual"][1]["gate_over"] = "heads".into();
    let found = bind(&spec, &config()).unwrap_err().to_string();
    assert!(found.contains("`heads` (did you mean `head`?)"), "{found}");
}

#[test]
fn slopes_are_in_no_tensor() {
    let mut spec = small();
    spec["layers"]["dense"][0]["residual"][1]["alibi"] = json!({});
    let m = model(&spec);
    let slopes = attention(&m, 0).slopes.as_ref().unwrap();
    assert!(slopes.tensors.is_empty() && slopes.shape == [4]);
    assert_eq!(slopes.made, Some(Made::Slopes { most: 8.0 }));
}

#[test]
fn experts_of_another_width_stand_alone() {
    let moe = |more: Value| {
        let mut step = json!({ "op": "moe", "experts": 3, "top_k": 2, "ffn": 4, "act": "'silu'", "out": 5, "router": { "weight": "r", "score": "'softmax'" }, "up": "e.{e}.up", "down": "e.{e}.down" });
        step.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        json!([step, { "name": "back", "op": "linear", "out": 16, "weight": "back" }])
    };
    model(&with_steps(moe(json!({}))));
    let found = message_of(moe(
        json!({ "shared": { "ffn": 4, "up": "s.up", "down": "s.down" } }),
    ));
    assert!(
        found
            .contains("out: found 5, beside a shared expert, expected hidden = 16, or no `shared`"),
        "{found}"
    );
}

#[test]
fn experts_that_give_back_their_input_are_scored_and_have_no_matrices() {
    let moe = |more: Value| {
        let mut step = json!({ "op": "moe", "experts": 3, "identity": 2, "top_k": 4, "ffn": 4, "act": "'silu'", "router": { "weight": "r", "score": "'softmax'" }, "up": "e.{e}.up", "down": "e.{e}.down" });
        step.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        json!([step])
    };
    let m = model(&with_steps(moe(json!({}))));
    let moes = m.kinds[0].steps().filter_map(|s| match &s.op {
        StepOp::Moe(m) => Some((m.router.weight.shape.clone(), m.down.weight.family)),
        _ => None,
    });
    assert_eq!(moes.collect::<Vec<_>>(), [(vec![5, 16], Some(3))]);
    let mut steps = moe(json!({ "out": 5 }));
    let back = json!({ "name": "back", "op": "linear", "out": 16, "weight": "back" });
    steps.as_array_mut().unwrap().push(back);
    let found = message_of(steps);
    let said = "identity: found 2, of experts from 16 components to 5, expected as many components as come in";
    assert!(found.contains(said), "{found}");
}

#[test]
fn values_stand_side_by_side() {
    let concat = |out: usize, value: &str| {
        json!([
            { "name": "few", "op": "linear", "out": 3, "weight": "few", "as": "few" },
            { "op": "concat", "from": "h", "value": value },
            { "name": "back", "op": "linear", "out": out, "weight": "back" }
        ])
    };
    let m = model(&with_steps(concat(16, "few")));
    let Item::Residual { branches, .. } = &m.kinds[0].items[1] else {
        panic!("no residual")
    };
    let StepOp::Linear(back) = &branches[0][2].op else {
        panic!("no matrix")
    };
    assert_eq!(back.weight.shape, [16, 19]);
    let unknown = message_of(concat(16, "fw"));
    assert!(unknown.contains("did you mean `few`?"), "{unknown}");
}

/// An index, then attention that `changes` are made to.
fn picking(index: Value, changes: Value) -> Value {
    let mut step = json!({ "op": "index", "from": "x", "as": "picked", "n_heads": 4, "dim": 6, "count": 3, "q": "iq", "k": "ik", "weigh": "iw" });
    let index = index.as_object().unwrap().clone();
    step.as_object_mut().unwrap().extend(index);
    let mut attention = json!({ "op": "attention", "name": "second", "from": "x", "n_heads": 4, "n_kv_heads": 2, "head_dim": 4, "picked": "picked",
        "q": "q", "k": "k", "v": "v", "o": "o" });
    let changes = changes.as_object().unwrap().clone();
    attention.as_object_mut().unwrap().extend(changes);
    json!([{ "op": "scale", "by": 1.0, "as": "x" }, step, attention])
}

#[test]
fn attention_is_limited_to_what_an_index_picks() {
    let nothing = || json!({});
    model(&with_steps(picking(nothing(), nothing())));
    for (index, change, expected) in [
        (
            nothing(),
            json!({ "picked": "x" }),
            "small: layers.dense.second.picked: found `x`, which does not list positions, expected the name of what an `index` gives",
        ),
        (
            json!({ "weigh": null, "n_heads": 4 }),
            nothing(),
            "small: layers.dense.second.picked: found `picked`, which has 4 lists, expected one list, or a number that divides the 2 key heads",
        ),
        (
            json!({ "near": 4 }),
            nothing(),
            "small: layers.dense.index.near: found 4, expected a whole number from 0 to 3",
        ),
    ] {
        assert_eq!(message_of(picking(index, change)), expected);
    }
    for key in ["window", "chunk"] {
        let found = message_of(picking(nothing(), json!({ key: 3 })));
        assert!(found.contains("`picked` or one of `window`"), "{found}");
    }
    let bias = json!({ "dim": 2, "extent": 3, "r": "r", "profiles": "p" });
    for (key, value) in [("alibi", nothing()), ("relative", bias)] {
        let found = message_of(picking(nothing(), json!({ key: value })));
        assert!(found.contains("`picked` or one of `window`"), "{found}");
    }
}

#[test]
fn keys_and_values_are_both_named_or_neither() {
    let attention = |k: Value, v: Value| {
        json!([
            { "name": "k", "op": "linear", "out": 8, "weight": "k", "as": "k" },
            { "name": "v", "op": "linear", "out": 6, "weight": "v", "as": "v" },
            { "name": "second", "op": "attention", "n_heads": 4, "n_kv_heads": 2, "head_dim": 4, "value_dim": 3, "q": "q", "k": k, "v": v, "o": "o" }
        ])
    };
    let named = |name: &str| json!({ "value": name });
    let with_input = |mut steps: Value| {
        steps[1]["from"] = "h".into();
        steps[2]["from"] = "h".into();
        steps
    };
    let m = model(&with_steps(with_input(attention(named("k"), named("v")))));
    let named_ones = m.kinds[0].steps().filter_map(|s| match &s.op {
        StepOp::Attention(a) => match &a.kv {
            KeyValue::Named(k, v) => Some([k.clone(), v.clone()]),
            _ => None,
        },
        _ => None,
    });
    assert_eq!(named_ones.collect::<Vec<_>>(), [["k", "v"]]);
    let one = message_of(with_input(attention(named("k"), "v".into())));
    assert!(one.contains("named values for both `k` and `v`"), "{one}");
    assert_eq!(
        message_of(with_input(attention(named("v"), named("v")))),
        "small: layers.dense.second.k.value: its width is 6, expected 8"
    );
}

#[test]
fn experts_that_always_take_part_are_none_of_those_chosen() {
    let moe = |router: Value, more: Value| {
        let mut step = json!({ "op": "moe", "experts": 5, "top_k": 2, "ffn": 4, "act": "'silu'", "router": { "weight": "r", "score": "'sigmoid'", "correction": "c" }, "up": "e.{e}.up", "down": "e.{e}.down" });
        let with = |to: &mut Value, from: Value| {
            let from = from.as_object().unwrap().clone();
            to.as_object_mut().unwrap().extend(from);
        };
        with(&mut step["router"], router);
        with(&mut step, more);
        json!([step])
    };
    let m = model(&with_steps(moe(json!({ "always": 2 }), json!({}))));
    let moes = m.kinds[0].steps().filter_map(|s| match &s.op {
        StepOp::Moe(m) => Some((
            m.top_k,
            m.route.always,
            m.correction.as_ref().unwrap().shape.clone(),
        )),
        _ => None,
    });
    assert_eq!(moes.collect::<Vec<_>>(), [(4, 2, vec![3])]);
    let groups = json!({ "count": 5, "top": 4, "best": 1 });
    for (router, more, expected) in [
        (json!({ "listed": "t" }), json!({}), "none of `correction`"),
        (
            json!({ "always": 4 }),
            json!({}),
            "always: found 4, expected a whole number from 0 to 3",
        ),
        (
            json!({ "always": 1 }),
            json!({ "identity": 1 }),
            "0, beside `identity`",
        ),
        (
            json!({ "always": 1, "groups": groups }),
            json!({}),
            "neither `groups` nor `near`",
        ),
    ] {
        let found = message_of(moe(router, more));
        assert!(found.contains(expected), "{found}");
    }
}

#[test]
fn tensors_hold_some_experts_of_a_family() {
    let held = |from: usize, count: usize| json!({ "tensor": [{ "tensor": "a", "experts": { "from": 0, "count": 2 } }, { "tensor": "b.{e}", "experts": { "from": from, "count": count } }] });
    let moe = |up: Value| json!([{ "op": "moe", "experts": 5, "top_k": 2, "ffn": 4, "act": "'silu'", "router": { "weight": "r", "score": "'sigmoid'" }, "up": up, "down": "e.{e}.down" }]);
    model(&with_steps(moe(held(2, 3))));
    let found = message_of(moe(held(2, 4)));
    assert!(
        found.contains("count: found 4, expected a whole number from 1 to 3"),
        "{found}"
    );
    let mut steps = moe(held(2, 3));
    steps[0]["router"]["weight"] = held(2, 3);
    let found = message_of(steps);
    assert!(
        found.contains("not one of each expert") || found.contains("{e}"),
        "{found}"
    );
}

#[test]
fn a_bias_by_distance_has_profiles_that_are_not_transposed() {
    let bias = |profiles: Value| {
        let mut spec = small();
        let step = &mut spec["layers"]["dense"][0]["residual"][1];
        step["relative"] = json!({ "dim": 3, "extent": 7, "r": "l.{i}.r", "profiles": profiles });
        spec
    };
    let m = model(&bias("l.{i}.p".into()));
    let relative = attention(&m, 0).relative.as_ref().unwrap();
    assert_eq!(relative.r.weight.shape, [12, 16]);
    assert_eq!(relative.profiles.shape, [3, 7]);
    let turned = bias(json!({ "tensor": "l.{i}.p", "transposed": true }));
    let found = bind(&turned, &config()).unwrap_err().to_string();
    assert!(found.contains("attention.relative.profiles: "), "{found}");
    let mut none = bias("l.{i}.p".into());
    none["layers"]["dense"][0]["residual"][1]["relative"]["extent"] = 0.into();
    let found = bind(&none, &config()).unwrap_err().to_string();
    assert!(
        found.contains("relative.extent: found 0, expected a whole number from 1"),
        "{found}"
    );
}

#[test]
fn a_name_that_is_given_again_lists_nothing() {
    let mut steps = picking(json!({}), json!({}));
    let again = json!({ "op": "linear", "name": "again", "from": "x", "out": 3, "weight": "a", "as": "picked" });
    steps.as_array_mut().unwrap().insert(2, again);
    let found = message_of(steps);
    assert!(found.contains("does not list positions"), "{found}");
}

#[test]
fn carried_values_are_made_before_they_are_read() {
    let index = json!({ "op": "index", "if": "layer == 1", "from": "x", "as": "picked", "n_heads": 4, "dim": 6, "count": 3, "q": "iq", "k": "ik", "weigh": "iw" });
    let read = |from: usize| {
        let mut steps = picking(json!({}), json!({ "if": format!("layer >= {from}") }));
        steps[1] = index.clone();
        steps
            .as_array_mut()
            .unwrap()
            .push(json!({ "op": "pick", "from": "x" }));
        let mut spec = with_steps(steps);
        spec["carried"] = json!({ "picked": 3 });
        spec
    };
    let mut config = config();
    config["layers"] = 4.into();
    let bound = bind(&read(1), &config).unwrap();
    assert_eq!(bound.carried, [("picked".to_string(), 3)]);
    let early = bind(&read(0), &config).unwrap_err().to_string();
    assert!(early.contains("unknown value `picked`"), "{early}");
    let mut never = read(1);
    never["carried"] = json!({ "picked": 3, "other": 3 });
    let never = bind(&never, &config).unwrap_err().to_string();
    assert!(never.contains("carried: unknown value `other`"), "{never}");
    let mut wide = read(1);
    wide["carried"] = json!({ "picked": 4 });
    let wide = bind(&wide, &config).unwrap_err().to_string();
    assert!(
        wide.contains("its output's width is 3, expected 4"),
        "{wide}"
    );
}

#[test]
fn gating_of_an_mlp_needs_a_gate() {
    let mlp = |fields: Value| {
        let mut step = json!({ "op": "mlp", "name": "second", "ffn": 4, "act": "'silu'", "up": "u", "down": "d" });
        step.as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        json!([step])
    };
    let gating = |g: Value| json!({ "gate": "g", "gating": g });
    let of = |fields: Value| {
        let m = model(&with_steps(mlp(fields)));
        let Item::Residual { branches, .. } = &m.kinds[0].items[1] else {
            panic!("no residual")
        };
        let StepOp::Mlp(mlp) = &branches[0][0].op else {
            panic!("no MLP")
        };
        mlp.gating
    };
    assert_eq!(of(gating(json!({ "limit": null, "after": true }))), None);
    let limited = of(gating(json!({ "limit": 2, "after": true }))).unwrap();
    assert!(limited.after && limited.limit == Some(2.0));
    let bare = message_of(mlp(json!({ "gating": { "limit": 2 } })));
    assert!(bare.contains("a `gate` and no `cutoff`"), "{bare}");
}
