//! The schema of specs: it takes what is built in, and refuses keys that mean nothing.

use super::*;

/// Whether `value` is what `schema` describes, of the keywords that the schema uses; an unknown one is a fault of the test.
fn fits(value: &Value, schema: &Value, root: &Value) -> bool {
    let rules = schema.as_object().expect("a schema is an object");
    rules.iter().all(|(key, rule)| match key.as_str() {
        "$ref" => {
            let name = rule.as_str().unwrap().strip_prefix("#/$defs/").unwrap();
            let definition = root["$defs"].get(name);
            fits(
                value,
                definition.unwrap_or_else(|| panic!("no definition {name}")),
                root,
            )
        }
        "anyOf" => rule
            .as_array()
            .unwrap()
            .iter()
            .any(|s| fits(value, s, root)),
        "const" => value == rule,
        "type" => types(rule).any(|t| t == type_of(value)),
        "items" => value
            .as_array()
            .into_iter()
            .flatten()
            .all(|v| fits(v, rule, root)),
        "required" => {
            let keys = rule.as_array().unwrap().iter().map(|k| k.as_str().unwrap());
            value
                .as_object()
                .is_none_or(|map| keys.into_iter().all(|k| map.contains_key(k)))
        }
        "properties" => {
            let map = value.as_object().into_iter().flatten();
            map.filter_map(|(k, v)| Some((v, rule.get(k)?)))
                .all(|(v, s)| fits(v, s, root))
        }
        "additionalProperties" => {
            let known = |k: &str| schema["properties"].get(k).is_some();
            let mut others = value
                .as_object()
                .into_iter()
                .flatten()
                .filter(|(k, _)| !known(k));
            match rule {
                Value::Bool(allowed) => *allowed || others.next().is_none(),
                rule => others.all(|(_, v)| fits(v, rule, root)),
            }
        }
        "$schema" | "title" | "$defs" => true,
        other => panic!("keyword {other}"),
    })
}

fn types(rule: &Value) -> impl Iterator<Item = &str> {
    let many = rule
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    rule.as_str().into_iter().chain(many)
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn takes(spec: &Value) -> bool {
    let schema = schema();
    fits(spec, &schema, &schema)
}

#[test]
fn every_builtin_spec_fits() {
    for name in builtin_names() {
        let text = super::super::builtin::text(name).unwrap();
        assert!(takes(&parse_json(text.as_bytes()).unwrap()), "{name}");
    }
    assert!(takes(&small()));
}

/// What the reader of specs refuses for its keys, the schema refuses as well.
#[test]
fn stray_keys_do_not_fit() {
    let stray = |path: &[&str], key: &str| {
        let mut spec = small();
        let mut at = &mut spec;
        for part in path {
            at = match part.parse::<usize>() {
                Ok(index) => &mut at[index],
                Err(_) => &mut at[*part],
            };
        }
        at[key] = "1".into();
        let read = bind(&spec, &config()).err().map(|e| e.to_string());
        assert!(
            read.is_some_and(|t| t.contains("unknown key")),
            "{path:?} {key}"
        );
        takes(&spec)
    };
    assert!(!stray(&[], "layer"));
    assert!(!stray(&["ropes", "rope"], "dims"));
    assert!(!stray(&["embed", "0"], "tables"));
    assert!(!stray(&["layers", "dense", "0"], "residuals"));
    assert!(!stray(&["layers", "dense", "0", "residual", "1"], "heads"));
    assert!(!stray(&["layers", "dense", "1", "residual", "0"], "gates"));
}

#[test]
fn weights_and_edits_have_their_keys() {
    let with = |changes: Value| json!({ "extends": "llama", "layers": { "dense": changes } });
    assert!(takes(&with(
        json!({ "mlp": { "up": { "tensor": ["a", { "tensor": "b", "part": { "from": 0, "of": 4 } }] } } })
    )));
    assert!(takes(&with(
        json!({ "mlp": null, "like": "other", "a": { "after": "mlp", "residual": [] } })
    )));
    assert!(!takes(&with(json!({ "mlp": { "ups": "a" } }))));
    assert!(!takes(&with(json!({ "mlp": "a" }))));
    let mut spec = small();
    spec["layers"]["dense"][1]["residual"][0]["up"] = json!({ "tensor": "a", "parts": 1 });
    assert!(!takes(&spec));
    spec["layers"]["dense"][1]["residual"][0]["up"] =
        json!({ "weight": "a", "bias": { "if": "true", "tensor": "b" } });
    assert!(takes(&spec));
}

/// Keys of all objects of the schema.
fn keys<'v>(at: &'v Value, found: &mut Vec<&'v str>) {
    let Some(map) = at.as_object() else {
        at.as_array()
            .into_iter()
            .flatten()
            .for_each(|v| keys(v, found));
        return;
    };
    let properties = map.get("properties").and_then(Value::as_object);
    found.extend(
        properties
            .into_iter()
            .flat_map(|p| p.keys().map(String::as_str)),
    );
    map.values().for_each(|v| keys(v, found));
}

/// What a spec may say is on the page that describes specs.
#[test]
fn every_key_is_documented() {
    let page = include_str!("../../../../specs/README.md");
    let schema = schema();
    let mut all = Vec::new();
    keys(&schema, &mut all);
    assert!(all.len() > 100);
    for key in all {
        let forms = [format!("`{key}`"), format!("\"{key}\""), format!("`{key}:")];
        assert!(
            forms.iter().any(|f| page.contains(f)),
            "`{key}` is not in specs/README.md"
        );
    }
}
