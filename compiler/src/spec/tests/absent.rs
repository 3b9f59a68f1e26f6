//! What `if` switches off is not there.

use super::*;

fn names(items: &[Item]) -> Vec<Vec<&str>> {
    let branches = items.iter().flat_map(|item| match item {
        Item::Residual { branches, .. } => branches.iter().collect::<Vec<_>>(),
        Item::Plain(steps) => vec![steps],
    });
    branches
        .map(|b| b.iter().map(|s| s.name.as_str()).collect())
        .collect()
}

#[test]
fn items_have_conditions() {
    let mut spec = small();
    let item = &mut spec["layers"]["dense"][0];
    item["if"] = "layer == 1".into();
    let m = model(&spec);
    assert_eq!(names(&m.kinds[0].items), [vec!["mlp"]]);
    assert_eq!(
        names(&m.kinds[1].items),
        [vec!["norm1", "attention"], vec!["mlp"]]
    );
    // Of several the first whose condition holds.
    let other = json!({ "plain": [{ "op": "scale", "by": 2 }] });
    let item = spec["layers"]["dense"][0].take();
    spec["layers"]["dense"][0] = json!([item, other]);
    let m = model(&spec);
    assert_eq!(names(&m.kinds[0].items), [vec!["scale"], vec!["mlp"]]);
    assert_eq!(m.kinds[1].items.len(), 2);
    assert_eq!(names(&m.kinds[1].items)[0], ["norm1", "attention"]);
}

#[test]
fn ropes_have_conditions() {
    let mut spec = small();
    spec["ropes"]["rope"]["if"] = "head_dim > 1".into();
    spec["ropes"]["other"] = json!([
        { "if": "head_dim > 4", "dim": 2, "theta": 10 },
        { "if": "head_dim > 3", "dim": 2, "theta": 100 }
    ]);
    let ropes = model(&spec).ropes;
    assert_eq!(ropes.len(), 2);
    assert_eq!(
        (ropes[1].name.as_str(), &ropes[1].freqs[..]),
        ("other", &[1.0][..])
    );
    spec["ropes"]["rope"]["if"] = "head_dim > 4".into();
    assert_eq!(
        bind(&spec, &config()).unwrap_err().to_string(),
        "small: layers.dense.attention.rope: unknown rope `rope`; known are `other`"
    );
}

/// A branch without steps is not `h + h`.
#[test]
fn branches_without_steps_add_nothing() {
    let mut spec = small();
    spec["layers"]["dense"][1]["residual"][0]["if"] = "layer == 1".into();
    let m = model(&spec);
    assert_eq!(names(&m.kinds[0].items), [vec!["norm1", "attention"]]);
    assert_eq!(names(&m.kinds[1].items).len(), 2);

    let scale = |name: &str, condition: &str| json!({ "name": name, "if": condition, "op": "scale", "by": 2, "as": name });
    let parallel = |a: &str, b: &str| {
        let mut spec = small();
        spec["layers"]["dense"][1] = json!({
            "before": [scale("x", "true")],
            "parallel": [[scale("a", a)], [scale("b", b)]]
        });
        spec
    };
    assert_eq!(
        names(&model(&parallel("true", "false")).kinds[0].items)[1..],
        [vec!["a"]]
    );
    assert_eq!(model(&parallel("false", "false")).kinds[0].items.len(), 1);
    // Values that steps of such an item named are not there either.
    let mut spec = parallel("false", "false");
    let late = json!({ "plain": [{ "op": "pick", "from": "x" }] });
    spec["layers"]["dense"].as_array_mut().unwrap().push(late);
    assert_eq!(
        bind(&spec, &config()).unwrap_err().to_string(),
        "small: layers.dense.pick: unknown value `x` (did you mean `h`?); known are `h`"
    );
    let mut spec = small();
    spec["layers"]["dense"][1] = json!({ "plain": [scale("a", "false")] });
    assert_eq!(model(&spec).kinds[0].items.len(), 1);
}

/// Layers of which nothing is left hand the stream on.
#[test]
fn layers_may_have_no_items() {
    let mut spec = small();
    spec["layers"]["dense"] = json!([]);
    assert_eq!(model(&spec).kinds[0].items, []);
}
