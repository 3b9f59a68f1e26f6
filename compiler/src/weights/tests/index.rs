//! Checkpoints in shards: what the index says, what the shards have, and which of the two counts.

use super::folders::{message, one};
use super::*;
use crate::weights::{Checkpoint, Source, resolve};

fn sharded(index: &str, shards: &[(&str, Vec<u8>)]) -> Folder {
    let mut files: Vec<(&str, &[u8])> = vec![
        ("config.json", b"{}"),
        ("model.safetensors.index.json", index.as_bytes()),
    ];
    files.extend(shards.iter().map(|(name, bytes)| (*name, bytes.as_slice())));
    Folder::with(&files)
}

/// The index of a map from tensors to shards.
fn map(entries: &[(&str, &str)]) -> String {
    // By hand, so that keys can stand twice.
    let entries: Vec<String> = entries
        .iter()
        .map(|(t, f)| format!("{t:?}: {f:?}"))
        .collect();
    format!(
        r#"{{"metadata": {{"total_size": 8}}, "weight_map": {{{}}}}}"#,
        entries.join(", ")
    )
}

/// What the tensors "a" and "b" hold, which are all that the model needs.
fn values(folder: &Folder) -> Result<[f32; 2], String> {
    let head = ["a", "b"].map(|name| linear(weight(name, name, &[1, 1]), None));
    let model = model(vec![], vec![], 0, head.into());
    let checkpoint = Checkpoint::open(&folder.0).map_err(|e| folder.message(&e))?;
    let weights = resolve(&model, Source::Checkpoint(checkpoint));
    let weights = weights.map_err(|e| folder.message(&e))?;
    let value = |i: usize| f32::from_le_bytes(weights.bytes(&weights.head[i]).try_into().unwrap());
    Ok([value(0), value(1)])
}

fn two(first: (&str, f32), second: (&str, f32)) -> Vec<u8> {
    let of = |value: f32| f32_bytes(&[value]);
    file(&[
        (first.0, "F32", &[1], of(first.1)),
        (second.0, "F32", &[1], of(second.1)),
    ])
}

#[test]
fn shards_as_listed() {
    let index = map(&[("a", "m-2"), ("b", "m-1")]);
    let folder = sharded(&index, &[("m-1", one("b", 2.0)), ("m-2", one("a", 1.0))]);
    assert_eq!(values(&folder).unwrap(), [1.0, 2.0]);
}

#[test]
fn a_tensor_that_is_not_listed_is_found_in_a_listed_shard() {
    let index = map(&[("a", "m-1")]);
    let folder = sharded(&index, &[("m-1", two(("a", 1.0), ("b", 2.0)))]);
    assert_eq!(values(&folder).unwrap(), [1.0, 2.0]);
    // And where the index puts it into another.
    let index = map(&[("a", "m-1"), ("b", "m-1")]);
    let folder = sharded(&index, &[("m-1", one("a", 1.0))]);
    assert!(values(&folder).is_err());
    let index = map(&[("a", "m-1"), ("b", "m-1"), ("c", "m-2")]);
    let shards = [("m-1", one("a", 1.0)), ("m-2", two(("b", 2.0), ("c", 3.0)))];
    let said = values(&sharded(&index, &shards)).unwrap_err();
    assert!(said.contains("left over: \"c\""), "{said}");
    let shards = [("m-1", two(("a", 1.0), ("c", 3.0))), ("m-2", one("b", 2.0))];
    let index = map(&[("a", "m-1"), ("b", "m-1"), ("d", "m-2")]);
    assert_eq!(values(&sharded(&index, &shards)).unwrap(), [1.0, 2.0]);
}

#[test]
fn what_nothing_needs_may_be_missing_or_unlisted() {
    let index = map(&[("a", "m-1"), ("b", "m-1"), ("mtp", "m-1")]);
    let folder = sharded(&index, &[("m-1", two(("a", 1.0), ("b", 2.0)))]);
    assert_eq!(values(&folder).unwrap(), [1.0, 2.0]);
    let index = map(&[("a", "m-1"), ("b", "m-2")]);
    let shards = [
        ("m-1", two(("a", 1.0), ("extra", 3.0))),
        ("m-2", two(("b", 2.0), ("extra", 4.0))),
    ];
    assert_eq!(values(&sharded(&index, &shards)).unwrap(), [1.0, 2.0]);
}

#[test]
fn what_is_needed_and_in_no_shard_is_named_with_its_shard() {
    let index = map(&[("a", "m-1"), ("b", "m-2"), ("c", "m-2")]);
    let folder = sharded(&index, &[("m-1", one("a", 1.0)), ("m-2", one("c", 3.0))]);
    assert_eq!(
        values(&folder).unwrap_err(),
        "head.b: tensor \"b\" should be in \"m-2\", as the index says, but no shard has it; fetch the shard again, or the index, if one of them is older"
    );
    // What neither the index nor a shard knows.
    let folder = sharded(&map(&[("a", "m-1")]), &[("m-1", one("a", 1.0))]);
    let said = values(&folder).unwrap_err();
    assert!(said.starts_with("head.b: no tensor named \"b\""), "{said}");
}

#[test]
fn of_two_shards_with_a_tensor_the_index_chooses() {
    let shards = [
        ("m-1", two(("a", 1.0), ("b", 2.0))),
        ("m-2", two(("a", 10.0), ("b", 20.0))),
    ];
    let index = map(&[("a", "m-2"), ("b", "m-1")]);
    assert_eq!(values(&sharded(&index, &shards)).unwrap(), [10.0, 2.0]);
    let third = [shards.clone().to_vec(), vec![("m-3", one("c", 3.0))]].concat();
    let unsaid = [
        // Not listed, listed in a third, and listed in both.
        map(&[("a", "m-2"), ("c", "m-1"), ("d", "m-3")]),
        map(&[("a", "m-2"), ("b", "m-3"), ("c", "m-1")]),
        map(&[("a", "m-2"), ("b", "m-1"), ("b", "m-2"), ("c", "m-3")]),
    ];
    for index in unsaid {
        assert_eq!(
            values(&sharded(&index, &third)).unwrap_err(),
            "head.b: tensor \"b\" is in each of \"m-1\" and \"m-2\", and the index does not say which one is meant; fetch the index again",
            "{index}"
        );
    }
    // Twice the same, or twice where only one has it, leaves no doubt.
    let index = map(&[("a", "m-2"), ("a", "m-2"), ("b", "m-1")]);
    assert_eq!(values(&sharded(&index, &shards)).unwrap(), [10.0, 2.0]);
    let index = map(&[("a", "m-1"), ("a", "m-2"), ("b", "m-2")]);
    let apart = [("m-1", one("a", 1.0)), ("m-2", one("b", 2.0))];
    assert_eq!(values(&sharded(&index, &apart)).unwrap(), [1.0, 2.0]);
}

/// A tied head does not fall back to the table where there is doubt about its own tensor.
#[test]
fn doubt_about_a_preferred_name_is_an_error() {
    let mut head = weight("head", "h", &[1, 1]);
    head.tensors.push("e".into());
    let model = model(vec![], vec![], 0, vec![linear(head, None)]);
    let opened = |index: &str, shards: &[(&str, Vec<u8>)]| {
        let checkpoint = Checkpoint::open(&sharded(index, shards).0).unwrap();
        resolve(&model, Source::Checkpoint(checkpoint))
    };
    let index = map(&[("e", "m-1"), ("f", "m-2")]);
    let shards = [
        ("m-1", two(("h", 1.0), ("e", 2.0))),
        ("m-2", two(("h", 3.0), ("f", 2.0))),
    ];
    let said = opened(&index, &shards).unwrap_err().to_string();
    assert!(
        said.starts_with("head.head: tensor \"h\" is in each of"),
        "{said}"
    );
    // One that is listed and in no shard was left out because it is tied.
    let index = map(&[("e", "m-1"), ("h", "m-1")]);
    assert!(opened(&index, &[("m-1", one("e", 2.0))]).is_ok());
}

#[test]
fn an_index_that_is_none() {
    let start = "DIR/model.safetensors.index.json: ";
    let none = format!("{start}expected `weight_map`, an object from tensor names to file names");
    for index in [
        "{}",
        r#"{"metadata": {}}"#,
        r#"{"weight_map": null}"#,
        r#"{"weight_map": {}}"#,
    ] {
        assert_eq!(message(&sharded(index, &[])), none, "{index}");
    }
    let end = "; expected an object with `weight_map`, from tensor names to file names";
    for (index, what) in [
        ("[1]", "invalid type: integer `1`, expected"),
        ("7", "invalid type: integer `7`, expected an object at"),
        (
            r#"{"weight_map": ["a"]}"#,
            "invalid type: sequence, expected an object from tensor names to file names at",
        ),
        (
            r#"{"weight_map": {}, "weight_map": {}}"#,
            "duplicate field `weight_map` at",
        ),
        (r#"{"weight_map": {"a": "#, "EOF while parsing"),
    ] {
        let said = message(&sharded(index, &[]));
        assert!(
            said.starts_with(&format!("{start}{what}")),
            "{index}: {said}"
        );
        assert!(said.ends_with(end), "{said}");
    }
}

#[test]
fn an_index_of_more_than_any_checkpoint_has() {
    let names: Vec<String> = (0..(1 << 20) + 1)
        .map(|i| format!(r#""{i}":"a""#))
        .collect();
    let index = format!(r#"{{"weight_map":{{{}}}}}"#, names.join(","));
    let said = message(&sharded(&index, &[]));
    assert!(
        said.contains("json: more than 1048576 tensors at line 1"),
        "{said}"
    );
}

#[test]
fn a_shard_that_is_not_there() {
    let index = map(&[("a", "one"), ("b", "two"), ("c", "two")]);
    assert_eq!(
        message(&sharded(&index, &[("one", one("a", 1.0))])),
        "DIR/model.safetensors.index.json: tensor \"b\" (and 1 more) should be in \"two\", which is not in this folder; was the download complete?"
    );
}

#[test]
fn an_index_that_reaches_out_of_the_folder() {
    for file in [
        json!("../secret"),
        json!("/etc/passwd"),
        json!("a/b"),
        json!("a/../b"),
        json!("./a"),
        json!("a/"),
        json!(".."),
        json!("."),
        json!(""),
        json!(7),
        json!(null),
        json!(["a"]),
    ] {
        let folder = sharded(&json!({"weight_map": {"a": file}}).to_string(), &[]);
        let message = message(&folder);
        let expected = "DIR/model.safetensors.index.json: tensor \"a\": expected the name of a file in this folder, found ";
        assert_eq!(message, format!("{expected}{file}"));
    }
    // A name that no file can have.
    let folder = sharded(&json!({"weight_map": {"a": "x\0y"}}).to_string(), &[]);
    assert!(message(&folder).contains("which is not in this folder"));
}

#[test]
fn a_broken_shard_is_named() {
    let folder = sharded(&map(&[("a", "one")]), &[("one", b"123".to_vec())]);
    assert!(message(&folder).starts_with("DIR/one: 3 bytes is too short"));
}
