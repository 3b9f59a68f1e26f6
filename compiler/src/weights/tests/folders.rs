//! Checkpoint folders: their files, what is not a file, and what lies there in place of weights.

use super::*;
use crate::weights::Checkpoint;
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

pub(super) fn message(folder: &Folder) -> String {
    folder.message(&Checkpoint::open(&folder.0).unwrap_err())
}

pub(super) fn one(name: &str, value: f32) -> Vec<u8> {
    file(&[(name, "F32", &[1], f32_bytes(&[value]))])
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
    assert_eq!(
        message(&folder),
        "DIR/config.json: found a folder, expected a regular file"
    );
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
fn empty_weights() {
    let folder = Folder::with(&[("config.json", b"{}"), ("model.safetensors", b"")]);
    assert!(message(&folder).starts_with("DIR/model.safetensors: 0 bytes is too short"));
}

/// Each file of a folder in turn is something else: nothing waits, and nothing is read without end.
#[test]
fn files_that_are_none() {
    let whole = || {
        let index = json!({"weight_map": {"a": "one"}}).to_string();
        Folder::with(&[
            ("config.json", b"{}"),
            ("model.safetensors", &one("a", 1.0)),
            ("model.safetensors.index.json", index.as_bytes()),
            ("one", &one("a", 1.0)),
        ])
    };
    let pipe = |path: &Path| {
        let path = CString::new(path.as_os_str().as_bytes()).unwrap();
        // SAFETY: a path that ends with a zero.
        assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
    };
    for name in [
        "config.json",
        "model.safetensors",
        "model.safetensors.index.json",
        "one",
    ] {
        let folder = whole();
        assert!(Checkpoint::open(&folder.0).is_ok());
        if name == "model.safetensors.index.json" || name == "one" {
            fs::remove_file(folder.0.join("model.safetensors")).unwrap();
        }
        let path = folder.0.join(name);
        let end = |what: &str| format!("DIR/{name}: found {what}, expected a regular file");
        let again = || fs::remove_file(&path).unwrap();
        again();
        pipe(&path);
        assert_eq!(message(&folder), end("a pipe"));
        again();
        symlink("/dev/zero", &path).unwrap();
        assert_eq!(message(&folder), end("a device"));
        again();
        symlink("../blobs/0a1b", &path).unwrap();
        assert_eq!(
            message(&folder),
            format!(
                "DIR/{name}: a broken link to ../blobs/0a1b; download the file again, or copy it there"
            )
        );
        again();
        fs::write(
            &path,
            "version https://git-lfs.github.com/spec/v1\nsize 9\n",
        )
        .unwrap();
        assert_eq!(
            message(&folder),
            format!(
                "DIR/{name}: a Git LFS pointer to a file of 9 bytes, not the file itself; run `git lfs pull`"
            )
        );
        again();
        fs::create_dir(&path).unwrap();
        assert_eq!(message(&folder), end("a folder"));
    }
}

/// Files that begin as other formats do, under the name of a safetensors file.
#[test]
fn weights_in_other_formats_under_this_name() {
    let said = |bytes: &[u8]| {
        let folder = Folder::with(&[("config.json", b"{}"), ("model.safetensors", bytes)]);
        let message = message(&folder);
        let end = ", expected a safetensors file; download the file again, or convert it";
        let found = message.strip_prefix("DIR/model.safetensors: found ");
        let found = found.and_then(|found| found.strip_suffix(end));
        found.unwrap_or_else(|| panic!("{message}")).to_string()
    };
    assert_eq!(said(b"GGUF\x03\0\0\0\x10\0\0\0"), "a GGUF file");
    assert_eq!(
        said(b"PK\x03\x04\0\0\x08\x08\0\0"),
        "a zip archive, as of pickled weights"
    );
    assert_eq!(said(b"\x80\x02}q\0(X\x05\0\0"), "a pickle");
    assert_eq!(
        said(b"Entry not found"),
        "a text that begins with \"Entry not found\""
    );
    assert_eq!(
        said(b"<!DOCTYPE html>\n<html><head>"),
        "a text that begins with \"<!DOCTYPE html>\""
    );
}

#[test]
fn no_weights() {
    let said = |files: &[(&str, &[u8])]| {
        let folder = Folder::with(files);
        fs::write(folder.0.join("config.json"), "{}").unwrap();
        let message = message(&folder);
        let neither = "DIR: found neither model.safetensors nor model.safetensors.index.json";
        let rest = message.strip_prefix(neither);
        rest.unwrap_or_else(|| panic!("{message}")).to_string()
    };
    assert_eq!(said(&[]), "");
    // What training leaves is not a model.
    assert_eq!(
        said(&[("training_args.bin", b""), ("optimizer.pt", b"")]),
        ""
    );
    let pickled =
        " is a pickle, which can run any code and is not read: convert it to model.safetensors";
    for name in [
        "pytorch_model.bin",
        "pytorch_model-00001-of-00002.bin",
        "model.pt",
        "consolidated.00.pth",
        "last.CKPT",
    ] {
        assert_eq!(
            said(&[(name, b""), ("optimizer.pt", b"")]),
            format!("; {name}{pickled}")
        );
    }
    assert_eq!(
        said(&[("a.Q4_K_M.gguf", b""), ("b.gguf", b"")]),
        "; a.Q4_K_M.gguf is a GGUF file: give that in place of the folder"
    );
    assert_eq!(
        said(&[("model.onnx", b"")]),
        "; model.onnx is another framework's, and not read: fetch the model as safetensors"
    );
    assert_eq!(
        said(&[("weights.safetensors", b""), ("pytorch_model.bin", b"")]),
        "; rename weights.safetensors to model.safetensors if it is the model"
    );
    assert_eq!(
        said(&[("b.safetensors", b""), ("a.safetensors", b"")]),
        "; a.safetensors and 1 more have other names: rename the model's to model.safetensors, or add an index"
    );
    assert_eq!(
        said(&[
            ("model-00001-of-00002.safetensors", b""),
            ("a.safetensors", b"")
        ]),
        "; model-00001-of-00002.safetensors is a shard, and their index is missing: fetch model.safetensors.index.json"
    );
}

#[test]
fn adapters() {
    let said = |file: &str, config: &[u8]| {
        let folder = Folder::with(&[
            ("config.json", b"{}"),
            (file, b""),
            ("adapter_config.json", config),
        ]);
        let message = message(&folder);
        message
            .rsplit_once(".json; ")
            .expect("a hint")
            .1
            .to_string()
    };
    let end = ", not a model: merge it into that model's weights";
    let lora = br#"{"peft_type": "LORA", "base_model_name_or_path": "some/base-1b"}"#;
    for file in ["adapter_model.safetensors", "adapter_model.bin"] {
        assert_eq!(
            said(file, lora),
            format!("{file} is a LoRA adapter of \"some/base-1b\"{end}")
        );
    }
    assert_eq!(
        said("x", br#"{"peft_type": "IA3"}"#),
        format!("adapter_config.json is a \"IA3\" adapter of another model{end}")
    );
    assert_eq!(
        said("x", b"{"),
        format!("adapter_config.json is an adapter of another model{end}")
    );
}

/// Names that are not text, or more than one line, are names all the same; messages show what they are.
#[test]
fn odd_names() {
    for name in [&b"caf\xe9\n\x1b[2J"[..], b"new\nline"] {
        let folder = Folder::new();
        let dir = folder.0.join(OsStr::from_bytes(name));
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("config.json"), "{}").unwrap();
        fs::write(dir.join("model.safetensors"), one("a", 1.5)).unwrap();
        let checkpoint = Checkpoint::open(&dir).unwrap();
        assert_eq!(checkpoint.tensors.keys().collect::<Vec<_>>(), ["a"]);
        fs::write(dir.join("model.safetensors"), b"short").unwrap();
        let message = Checkpoint::open(&dir).unwrap_err().to_string();
        let path = format!("{:?}", dir.join("model.safetensors"));
        assert!(
            message.starts_with(&format!("{path}: 5 bytes")),
            "{message}"
        );
        assert!(!message.contains(char::is_control), "{message}");
        // And as what lies in a folder: the name of a shard, of other weights, of a tensor.
        fs::rename(dir.join("model.safetensors"), dir.join("a\nb.safetensors")).unwrap();
        let message = Checkpoint::open(&dir).unwrap_err().to_string();
        assert!(
            message.contains("rename \"a\\nb.safetensors\""),
            "{message}"
        );
        fs::remove_file(dir.join("a\nb.safetensors")).unwrap();
        let index = json!({"weight_map": {"t\n1": "s\n1"}});
        fs::write(dir.join("model.safetensors.index.json"), index.to_string()).unwrap();
        let message = Checkpoint::open(&dir).unwrap_err().to_string();
        assert!(
            message.contains(r#"tensor "t\n1""#) && message.contains(r#""s\n1""#),
            "{message}"
        );
        assert!(!message.contains(char::is_control), "{message}");
        fs::write(dir.join("s\n1"), one("t\n1", 1.0)).unwrap();
        assert_eq!(Checkpoint::open(&dir).unwrap().tensors.len(), 1);
    }
}
