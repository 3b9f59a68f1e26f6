//! Options of steps that exclude each other or ask for certain sizes, and vectors that no checkpoint holds.

use super::*;
use crate::spec::model::Made;

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
