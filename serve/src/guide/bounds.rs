//! What of a JSON schema is brought within the library's means before it sees it.
//!
//! The library keeps bounds of numbers as floats, and those of whole numbers as 64-bit integers besides, into which it squeezes larger
//! ones; the least of them has no opposite, so that it never ends on it. Bounds are therefore moved inwards, to the nearest number that
//! both hold: what follows the schema that comes of it follows the one that was given. What optional properties take grows with their square.

use serde_json::{Map, Number, Value};

use super::wrong;
use crate::engine::ConstraintError;

/// The largest float that is a 64-bit integer.
const LARGEST: f64 = 9_223_372_036_854_774_784.0;
/// Up to here every whole number is a float.
const EXACT: f64 = 9_007_199_254_740_992.0;
/// The most properties of an object that may be left out.
const MOST_OPTIONAL: usize = 1000;

/// Brings a schema within bounds, or says why it cannot be.
pub(super) fn bound(schema: &mut Value) -> Result<(), ConstraintError> {
    match schema {
        Value::Object(fields) => {
            check_optional(fields)?;
            let flags = ["exclusiveMinimum", "exclusiveMaximum"]
                .map(|name| fields.get(name) == Some(&true.into()));
            for (key, value) in fields.iter_mut() {
                match key.as_str() {
                    "minimum" | "exclusiveMinimum" => {
                        bound_number(key, value, key != "minimum" || flags[0], 1.0)?;
                    }
                    "maximum" | "exclusiveMaximum" => {
                        bound_number(key, value, key != "maximum" || flags[1], -1.0)?;
                    }
                    "const" | "enum" => check_exact(key, value)?,
                    _ => {}
                }
                bound(value)?;
            }
            Ok(())
        }
        Value::Array(parts) => parts.iter_mut().try_for_each(bound),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

/// [`bound`] for every schema in a grammar in Lark's notation.
pub(super) fn bound_in_lark(lark: &str) -> Result<String, ConstraintError> {
    const BEGIN: &str = "%json";
    let mut out = String::with_capacity(lark.len());
    let mut rest = lark;
    while let Some(at) = rest.find(BEGIN) {
        let (before, after) = rest.split_at(at + BEGIN.len());
        out.push_str(before);
        let mut values = serde_json::Deserializer::from_str(after).into_iter::<Value>();
        rest = match values.next() {
            Some(Ok(mut schema)) => {
                let given = schema.clone();
                bound(&mut schema)?;
                let (text, after) = after.split_at(values.byte_offset());
                match schema == given {
                    true => out.push_str(text),
                    false => out.push_str(&format!(" {schema}")),
                }
                after
            }
            // The library says what is wrong with it.
            Some(Err(_)) | None => after,
        };
    }
    out.push_str(rest);
    Ok(out)
}

/// Moves a bound inwards, where `inwards` is 1 for a least number and -1 for a largest.
fn bound_number(
    key: &str,
    value: &mut Value,
    is_exclusive: bool,
    inwards: f64,
) -> Result<(), ConstraintError> {
    let Value::Number(given) = value else {
        return Ok(());
    };
    let Some(float) = given.as_f64() else {
        return Ok(());
    };
    if float.abs() < EXACT {
        return Ok(());
    }
    // As if it were a least number.
    let mut least = float * inwards;
    let is_rounded_outwards = given
        .as_i128()
        .is_some_and(|n| (least as i128) < n * inwards as i128);
    if is_exclusive || is_rounded_outwards {
        least = least.next_up();
    }
    let moved = Number::from_f64(least.max(-LARGEST) * inwards);
    match moved {
        Some(number) if least <= LARGEST => *given = number,
        _ => {
            let (expected, largest) = if inwards > 0.0 {
                ("at most", LARGEST)
            } else {
                ("at least", -LARGEST)
            };
            return Err(wrong(format!(
                "{key}: found {given}, expected {expected} {largest:.0}"
            )));
        }
    }
    Ok(())
}

/// What has to be written as it is may have whole numbers that are floats.
fn check_exact(key: &str, value: &Value) -> Result<(), ConstraintError> {
    match value {
        Value::Number(number) => match number.as_i128() {
            Some(n) if n.unsigned_abs() > EXACT as u128 => Err(wrong(format!(
                "{key}: found {number}, expected a whole number of at most 2^53 or a string"
            ))),
            Some(_) | None => Ok(()),
        },
        Value::Array(parts) => parts.iter().try_for_each(|part| check_exact(key, part)),
        Value::Object(fields) => fields.values().try_for_each(|part| check_exact(key, part)),
        Value::Null | Value::Bool(_) | Value::String(_) => Ok(()),
    }
}

fn check_optional(fields: &Map<String, Value>) -> Result<(), ConstraintError> {
    let Some(Value::Object(properties)) = fields.get("properties") else {
        return Ok(());
    };
    let required = fields
        .get("required")
        .and_then(Value::as_array)
        .map_or(0, Vec::len);
    let optional = properties.len().saturating_sub(required);
    match optional > MOST_OPTIONAL {
        true => Err(wrong(format!(
            "properties: found {optional} that may be left out, expected at most {MOST_OPTIONAL}"
        ))),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn bounded(mut schema: Value) -> Result<Value, String> {
        bound(&mut schema).map(|()| schema).map_err(|e| e.message)
    }

    #[test]
    fn bounds_out_of_reach_move_inwards() {
        let reach = LARGEST;
        for (given, expected) in [
            (
                json!({"minimum": i64::MIN, "maximum": i64::MAX}),
                json!({"minimum": -reach, "maximum": reach}),
            ),
            (
                json!({"anyOf": [{"minimum": -1e300, "maximum": 1e300}]}),
                json!({"anyOf": [{"minimum": -reach, "maximum": reach}]}),
            ),
            (json!({"maximum": u64::MAX}), json!({"maximum": reach})),
            // Between what floats hold.
            (
                json!({"minimum": 9_007_199_254_740_993_i64}),
                json!({"minimum": 9_007_199_254_740_994.0}),
            ),
            (
                json!({"maximum": 9_007_199_254_740_995_i64}),
                json!({"maximum": 9_007_199_254_740_994.0}),
            ),
            (
                json!({"exclusiveMinimum": 9_007_199_254_740_994_i64}),
                json!({"exclusiveMinimum": 9_007_199_254_740_996.0}),
            ),
            (
                json!({"minimum": 9_007_199_254_740_994_i64, "exclusiveMinimum": true}),
                json!({"minimum": 9_007_199_254_740_996.0, "exclusiveMinimum": true}),
            ),
        ] {
            assert_eq!(bounded(given.clone()), Ok(expected), "{given}");
        }
        let ordinary = json!({"properties": {"minimum": {"minimum": -5, "maximum": 1.5}}, "const": "a", "enum": [1, 2.5, null]});
        assert_eq!(bounded(ordinary.clone()), Ok(ordinary));
    }

    #[test]
    fn what_no_bound_can_say_is_refused() {
        for (given, found) in [
            (
                json!({"minimum": 1e19, "maximum": 1.5e19}),
                "minimum: found 1e+19, expected at most 9223372036854774784",
            ),
            (
                json!({"exclusiveMaximum": i64::MIN}),
                "exclusiveMaximum: found -9223372036854775808, expected at least -9223372036854774784",
            ),
            (
                json!({"items": {"const": i64::MIN}}),
                "const: found -9223372036854775808, expected a whole number of at most 2^53 or a string",
            ),
            (
                json!({"enum": [{"a": [u64::MAX]}]}),
                "enum: found 18446744073709551615, expected",
            ),
        ] {
            let said = bounded(given.clone()).expect_err("refused");
            assert!(said.starts_with(found), "{given}: {said}");
        }
    }

    #[test]
    fn optional_properties_are_counted() {
        let properties: Map<_, _> = (0..1100).map(|i| (format!("p{i}"), json!({}))).collect();
        let required: Vec<_> = properties.keys().take(100).cloned().collect();
        assert!(bounded(json!({"properties": properties, "required": required})).is_ok());
        let said = bounded(json!({"properties": properties})).expect_err("refused");
        assert!(
            said.starts_with("properties: found 1100 that may be left out"),
            "{said}"
        );
    }

    #[test]
    fn schemas_in_grammars_are_bounded_too() {
        let lark = |minimum: &str| {
            format!(
                "start: a b\na: %json {{\"minimum\":{minimum}}}\nb: \"%json\" %json {{\n \"maximum\": 7 }}\n"
            )
        };
        let moved = bound_in_lark(&lark("-9223372036854775808")).map_err(|e| e.message);
        assert_eq!(moved, Ok(lark("-9.223372036854775e+18")));
        let kept = bound_in_lark(&lark("-5")).map_err(|e| e.message);
        assert_eq!(kept, Ok(lark("-5")));
    }
}
