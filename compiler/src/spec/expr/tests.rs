//! Tests of expressions.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::super::error::{Fault, Located};
use super::*;

/// Names are keys of an object.
struct Keys(Value);

impl<'a> Scope<'a> for Keys {
    fn lookup(&self, name: &str, _: usize) -> Result<Cow<'a, Value>, Located> {
        match self.0.get(name) {
            Some(Value::Null) => Err(Fault::NullInConfig(name.into()).at("here")),
            Some(value) => Ok(Cow::Owned(value.clone())),
            None => Err(Fault::not_in_config(name).at("here")),
        }
    }

    fn path(&self) -> &str {
        "here"
    }

    fn spend(&self, _: usize) -> Result<(), Fault> {
        Ok(())
    }

    fn fault_of(&self, _: &Value, fault: Fault) -> Located {
        fault.at("here")
    }
}

fn keys() -> Keys {
    Keys(json!({
        "two": 2, "seven": 7, "half": 0.5, "yes": true, "no": false, "none": null, "text": "full",
        "list": [10, 20, 30, 20], "inner": { "a": { "b": 5 }, "gone": null }
    }))
}

fn read_and_evaluate(text: &str) -> Result<Cow<'static, Value>, Located> {
    let expr = parse(text).map_err(|f| f.at("here"))?;
    evaluate(&expr, &keys(), 0)
}

fn value(text: &str) -> Value {
    let value = read_and_evaluate(text).unwrap_or_else(|e| panic!("{text}: {}", e.fault));
    value.into_owned()
}

fn fault(text: &str) -> String {
    let found = read_and_evaluate(text)
        .err()
        .unwrap_or_else(|| panic!("{text} has a value"));
    assert_eq!(found.path, "here");
    found.fault.to_string()
}

#[test]
fn whole_numbers_stay_whole() {
    assert_eq!(value("seven // two"), json!(3));
    assert_eq!(value("-seven // two"), json!(-4));
    assert_eq!(value("seven % two"), json!(1));
    assert_eq!(value("-seven % two"), json!(1));
    assert_eq!(value("6 / two"), json!(3));
    assert_eq!(value("two ** 10"), json!(1024));
    assert_eq!(value("two ** -1"), json!(0.5));
    assert_eq!(value("seven * half"), json!(3.5));
    assert_eq!(value("7.0 / two"), json!(3.5));
}

#[test]
fn operators_bind_as_usual() {
    assert_eq!(value("1 + 2 * 3 ** 2"), json!(19));
    assert_eq!(value("(1 + 2) * 3"), json!(9));
    assert_eq!(value("10 - 3 - 2"), json!(5));
    assert_eq!(value("2 ** 3 ** 2"), json!(512));
    assert_eq!(value("-2 ** 2"), json!(-4));
    assert_eq!(value("1 < 2 && 2 < 1 || yes"), json!(true));
    assert_eq!(value("!no && 1 != 2"), json!(true));
    assert_eq!(value("no ? 1 : yes ? 2 : 3"), json!(2));
    assert_eq!(value("missing ?? no == false"), json!(true));
    assert_eq!(value("1 == 1.0"), json!(true));
    assert_eq!(value("text == 'full'"), json!(true));
}

#[test]
fn defaults_stand_for_what_is_missing_or_null() {
    assert_eq!(value("missing ?? 3"), json!(3));
    assert_eq!(value("none ?? missing ?? 4"), json!(4));
    assert_eq!(value("inner.gone ?? 5"), json!(5));
    assert_eq!(value("inner.a.c ?? 6"), json!(6));
    assert_eq!(value("none.anything ?? 7"), json!(7));
    assert_eq!(value("two ?? 1 / 0"), json!(2));
    assert_eq!(value("none ?? null"), Value::Null);
}

/// Only what is missing has a default; a mistake stays one.
#[test]
fn defaults_hide_no_mistakes() {
    assert_eq!(
        fault("7 / 2 ?? 1"),
        "7 / 2 leaves a remainder of 1; expected an exact division (`//` rounds down)"
    );
    assert_eq!(
        fault("text.a ?? 1"),
        "`.` of the string \"full\", expected an object"
    );
}

#[test]
fn only_the_side_that_matters_is_looked_at() {
    assert_eq!(value("yes ? 1 : 1 / 0"), json!(1));
    assert_eq!(value("no && 1 / 0 == 1"), json!(false));
    assert_eq!(value("yes || 1 / 0 == 1"), json!(true));
}

#[test]
fn functions() {
    assert_eq!(value("min(two, seven)"), json!(2));
    assert_eq!(value("max(two, 7.5)"), json!(7.5));
    assert_eq!(value("floor(2.7) + ceil(2.1)"), json!(5));
    assert_eq!(value("sqrt(16)"), json!(4.0));
    assert_eq!(value("log(1)"), json!(0.0));
    assert_eq!(value("len(list)"), json!(4));
    assert_eq!(value("list[two]"), json!(30));
    assert_eq!(
        value("contains(list, 20) && !contains(list, 21)"),
        json!(true)
    );
    assert_eq!(value("has(inner, 'a') && !has(inner, 'b')"), json!(true));
    assert_eq!(value("element(list, 1) + element(seven, 1)"), json!(27));
    assert_eq!(value("last_index(list, 20, 4)"), json!(3));
    assert_eq!(value("last_index(list, 20, 3)"), json!(1));
    assert_eq!(value("inner.a.b"), json!(5));
}

#[test]
fn strings_are_looked_into_and_joined() {
    assert_eq!(value("len(text) + len('')"), json!(4));
    assert_eq!(value("text[1]"), json!("u"));
    assert_eq!(value("'Grün'[3]"), json!("n"));
    assert_eq!(value("contains(text, 'ul')"), json!(true));
    assert_eq!(value("contains(text, 'lu')"), json!(false));
    assert_eq!(value("str(seven)"), json!("7"));
    assert_eq!(value("concat(str(half), str(yes))"), json!("0.5true"));
    assert_eq!(value("concat(text, '.')"), json!("full."));
    assert_eq!(value("len(concat(list, list))"), json!(8));
    assert_eq!(fault("text[4]"), "index 4 of a list of 4");
    assert_eq!(
        fault("contains(text, 1)"),
        "`contains` of 1, expected a string, to look for in a string"
    );
    assert_eq!(
        fault("concat(text, list)"),
        "`concat` of a list of 4, expected two lists or two strings"
    );
    assert_eq!(
        fault("str(list)"),
        "`str` of a list of 4, expected a number, a flag or a string"
    );
}

/// What `concat` gives cannot grow without limit.
#[test]
fn joined_values_have_a_limit() {
    let twice = |x: String| format!("concat({x}, {x})");
    let text = (0..3).fold("text".to_string(), |x, _| twice(x));
    assert_eq!(value(&format!("len({text})")), json!(32));
    let long = Value::from("x".repeat(3000));
    let expr = parse("concat(a, a)").unwrap();
    let fault = evaluate(&expr, &Keys(json!({ "a": long })), 0).unwrap_err();
    assert_eq!(
        fault.fault.to_string(),
        "found 6000 elements or bytes, expected at most 4096"
    );
    let nested = Keys(json!({ "a": [[1]] }));
    assert!(evaluate(&expr, &nested, 0).is_err());
}

/// `get` tells a key that is missing from one that is null.
#[test]
fn get_keeps_null() {
    assert_eq!(value("get(inner.a, 'b')"), json!(5));
    assert_eq!(value("get(inner, 'gone', 3)"), Value::Null);
    assert_eq!(value("get(inner, 'gone', 3) ?? 4"), json!(4));
    assert_eq!(value("get(inner, 'missing', 3)"), json!(3));
    assert_eq!(value("get(none ?? null, 'missing', 3)"), json!(3));
    assert_eq!(value("get(inner.a, concat('', 'b'), 1 / 0)"), json!(5));
    assert_eq!(fault("get(inner, 'x')"), "config.json has no `x`");
    assert_eq!(
        fault("get(text, 'x', 1)"),
        "`get` of the string \"full\", expected an object"
    );
}

#[test]
fn mistakes_of_values_have_both_sides() {
    assert_eq!(fault("missing"), "config.json has no `missing`");
    assert_eq!(
        fault("none"),
        "config.json: `none` is null, expected a value"
    );
    assert_eq!(fault("seven / 0"), "7 is divided by zero");
    assert_eq!(fault("two ** 63"), "`**` gives a number that is too large");
    assert_eq!(
        fault("9223372036854775807 + 1"),
        "`+` gives a number that is too large"
    );
    assert_eq!(fault("list[4]"), "index 4 of a list of 4");
    assert_eq!(fault("list[-1]"), "index -1 of a list of 4");
    assert_eq!(
        fault("text + 1"),
        "`+` of the string \"full\", expected a number"
    );
    assert_eq!(fault("two ? 1 : 2"), "`?` of 2, expected true or false");
    assert_eq!(fault("len(two)"), "`len` of 2, expected a list");
    assert_eq!(fault("1e308 * 10"), "`*` gives a number that is too large");
}

#[test]
fn mistakes_of_syntax_have_the_column() {
    assert_eq!(
        fault("two +"),
        "`two +`, character 6: expected a name, a number, a 'string' or `(`"
    );
    assert_eq!(
        fault("two two"),
        "`two two`, character 5: expected an operator or the end"
    );
    assert_eq!(fault("(two"), "`(two`, character 5: expected `)`");
    assert_eq!(fault("list[1"), "`list[1`, character 7: expected `]`");
    assert_eq!(fault("yes ? 1"), "`yes ? 1`, character 8: expected `:`");
    assert_eq!(
        fault("inner."),
        "`inner.`, character 7: expected a name after `.`"
    );
    assert_eq!(
        fault("'full"),
        "`'full`, character 2: the string is not closed"
    );
    assert!(
        fault("root(2)")
            .starts_with("`root(2)`, character 1: no such function; there are min, max, ")
    );
    assert!(fault("min(2)").contains("wrong number of arguments"));
}

/// Neither length nor nesting can exhaust the stack.
#[test]
fn endless_expressions_are_refused() {
    assert!(fault(&"(".repeat(500)).contains("too long or nested too deep"));
    assert!(fault(&"-".repeat(500)).contains("too long or nested too deep"));
    assert!(fault(&"1 + ".repeat(500)).contains("too long or nested too deep"));
    assert!(fault(&format!("1{}", " + 1".repeat(200))).contains("nested more than 80 deep"));
    assert_eq!(value(&format!("1{}", " + 1".repeat(70))), json!(71));
}
