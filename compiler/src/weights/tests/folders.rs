//! Checkpoint folders: one file, shards, and what can be wrong with either.

use super::*;
use crate::weights::Checkpoint;

fn message(folder: &Folder) -> String {
    folder.message(&Checkpoint::open(&folder.0).unwrap_err())
}

fn one(name: &str, value: f32) -> Vec<u8> {
    file(&[(name, "F32", &[1], f32_bytes(&[value]))])
}

fn sharded(index: Value, shards: &[(&str, Vec<u8>)]) -> Folder {
    let index = index.to_string();
    let mut files: Vec<(&str, &[u8])> = vec![
        ("config.json", b"{}"),
        ("model.safetensors.index.json", index.as_bytes()),
    ];
    files.extend(shards.iter().map(|(name, bytes)| (*name, bytes.as_slice())));
    Folder::with(&files)
}

#[test]
fn one_file_and_nothing_else() {
    let golden = b"not even safetensors";
    let folder = Folder::with(&[
        ("config.json", br#"{"model_type": "x"}"#),
        ("model.safetensors", &one("a", 1.5)),
        ("golden.safetensors", golden),
    ]);
    let checkpoint = Checkpoint::open(&folder.0).unwrap();
    assert_eq!(checkpoint.config["model_type"], "x");
    assert_eq!(checkpoint.tensors.keys().collect::<Vec<_>>(), ["a"]);
    let stored = &checkpoint.tensors["a"];
    assert_eq!(
        checkpoint.files[stored.file].bytes(&stored.header),
        1.5f32.to_le_bytes()
    );
}

#[test]
fn shards() {
    let index = json!({"metadata": {"total_size": 8}, "weight_map": {"a": "m-2.safetensors", "b": "m-1.safetensors"}});
    let folder = sharded(
        index,
        &[
            ("m-1.safetensors", one("b", 2.0)),
            ("m-2.safetensors", one("a", 1.0)),
        ],
    );
    let checkpoint = Checkpoint::open(&folder.0).unwrap();
    for (name, value) in [("a", 1.0f32), ("b", 2.0)] {
        let stored = &checkpoint.tensors[name];
        assert_eq!(
            checkpoint.files[stored.file].bytes(&stored.header),
            value.to_le_bytes()
        );
    }
}

#[test]
fn no_config() {
    let folder = Folder::new();
    assert_eq!(
        message(&folder),
        "DIR/config.json: cannot open: No such file or directory (os error 2)"
    );
}

#[test]
fn bad_config() {
    let folder = Folder::with(&[("config.json", b"{\"a\": }")]);
    assert_eq!(
        message(&folder),
        "DIR/config.json: not valid JSON: expected value at line 1 column 7"
    );
    let folder = Folder::with(&[("config.json", b"[1, 2]")]);
    assert_eq!(
        message(&folder),
        "DIR/config.json: expected a JSON object, found an array"
    );
    let folder = Folder::with(&[("config.json", &[b'{', 0xff])]);
    assert_eq!(
        message(&folder),
        "DIR/config.json: not valid JSON: key must be a string at line 1 column 2"
    );
    let folder = Folder::new();
    fs::create_dir(folder.0.join("config.json")).unwrap();
    assert_eq!(message(&folder), "DIR/config.json: not a regular file");
    let folder = Folder::new();
    fs::File::create(folder.0.join("config.json"))
        .unwrap()
        .set_len(65 << 20)
        .unwrap();
    assert_eq!(
        message(&folder),
        "DIR/config.json: 68157440 bytes is too large for this file; at most 67108864 are read"
    );
}

#[test]
fn no_weights() {
    let folder = Folder::with(&[("config.json", b"{}")]);
    let neither = "DIR: found neither model.safetensors nor model.safetensors.index.json";
    assert_eq!(message(&folder), neither);
    fs::write(folder.0.join("pytorch_model.bin"), b"").unwrap();
    assert_eq!(
        message(&folder),
        format!(
            "{neither}; the folder has pickled weights, which are not read: convert them to safetensors"
        )
    );
}

#[test]
fn empty_weights() {
    let folder = Folder::with(&[("config.json", b"{}"), ("model.safetensors", b"")]);
    assert!(message(&folder).starts_with("DIR/model.safetensors: 0 bytes is too short"));
}

#[test]
fn index_without_a_map() {
    let folder = sharded(json!({"metadata": {}}), &[]);
    assert_eq!(
        message(&folder),
        "DIR/model.safetensors.index.json: expected `weight_map`, an object from tensor names to file names"
    );
}

#[test]
fn index_naming_a_missing_shard() {
    let folder = sharded(
        json!({"weight_map": {"a": "one", "b": "two", "c": "two"}}),
        &[("one", one("a", 1.0))],
    );
    assert_eq!(
        message(&folder),
        "DIR/model.safetensors.index.json: tensor \"b\" (and 1 more) should be in \"two\", which is not in this folder; was the download complete?"
    );
}

#[test]
fn index_naming_a_tensor_that_the_shard_lacks() {
    let folder = sharded(
        json!({"weight_map": {"layer.weight": "one"}}),
        &[("one", one("layer.weigh", 1.0))],
    );
    assert_eq!(
        message(&folder),
        "DIR/model.safetensors.index.json: tensor \"layer.weight\" should be in \"one\", which has no such tensor; the nearest name there is \"layer.weigh\""
    );
}

#[test]
fn index_reaching_out_of_the_folder() {
    for file in [
        json!("../secret"),
        json!("/etc/passwd"),
        json!("a/b"),
        json!(".."),
        json!(""),
        json!(7),
    ] {
        let folder = sharded(json!({"weight_map": {"a": file}}), &[]);
        let message = message(&folder);
        let expected = "DIR/model.safetensors.index.json: tensor \"a\": expected the name of a file in this folder, found ";
        assert!(message.starts_with(expected), "{message}");
    }
}

#[test]
fn a_broken_shard_is_named() {
    let folder = sharded(
        json!({"weight_map": {"a": "one"}}),
        &[("one", b"123".to_vec())],
    );
    assert!(message(&folder).starts_with("DIR/one: 3 bytes is too short"));
}
