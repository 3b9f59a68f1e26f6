//! Checkpoint folders as they come, seen from the command line: what is wrong with them has the same words in every verb.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use graver::weights::parse_header;

use super::errors::{copy, run_in};
use super::{Run, fixture, graver, graver_with};

/// Overwrites the first bytes of a tensor.
fn put(dir: &Path, tensor: &str, bytes: &[u8]) {
    let path = dir.join("model.safetensors");
    let mut file = fs::read(&path).unwrap();
    let tensors = parse_header(&file).unwrap();
    let found = tensors.iter().find(|t| t.name == tensor);
    let at = found.expect("a tensor of that name").offset_bytes;
    file[at..at + bytes.len()].copy_from_slice(bytes);
    fs::write(path, file).unwrap();
}

fn in_dir(dir: &Path, verb: &str, arguments: &[&str]) -> Run {
    let dir = dir.display().to_string();
    graver_with(&[&[verb, &dir], arguments].concat())
}

#[test]
fn no_verb_rounds_what_is_no_number() {
    let dir = copy("qwen3-f32");
    let out = tempfile::tempdir().unwrap();
    let program = out.path().join("program").display().to_string();
    let tokens = ["--tokens", "1", "--print-tokens", "-n", "1"];
    let verbs: [(&str, &[&str]); 4] = [
        ("run", &tokens),
        ("verify", &["--tokens", "8"]),
        ("bench", &["--prompt", "8", "--gen", "2"]),
        ("compile", &["-o", &program]),
    ];
    // A matrix, which is packed, and a vector, which is not.
    for tensor in ["self_attn.o_proj", "post_attention_layernorm"] {
        let tensor = format!("model.layers.1.{tensor}.weight");
        put(dir.path(), &tensor, &f32::NAN.to_le_bytes());
        for (verb, arguments) in verbs {
            for quant in ["q8", "q4"] {
                let arguments = [arguments, &["--quantize", quant]].concat();
                assert_eq!(
                    in_dir(dir.path(), verb, &arguments).refused(),
                    format!(
                        "tensor \"{tensor}\": row 0, column 0: found NaN, expected a finite number; download the checkpoint again"
                    ),
                    "{verb}"
                );
            }
        }
        let left = fs::read_dir(out.path()).unwrap().count();
        assert_eq!(left, 0, "compile leaves nothing behind");
        // What is not rounded shows it by itself.
        let message = run_in(dir.path());
        assert!(
            message.contains("is NaN, expected a finite number"),
            "{message}"
        );
        put(dir.path(), &tensor, &0.5f32.to_le_bytes());
    }
    let arguments = [&tokens[..], &["--quantize", "q8"]].concat();
    in_dir(dir.path(), "run", &arguments).ok();
}

/// Whatever file a command is given, and whatever lies in a folder: a pipe that nobody writes to is not waited for, and a device
/// is not read to its end.
#[test]
fn pipes_and_devices_are_refused_wherever_a_file_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe.json");
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo runs").success());
    let link = dir.path().join("zero.json");
    symlink("/dev/zero", &link).unwrap();
    let model = fixture("qwen3-f32");
    for (path, found) in [(&pipe, "a pipe"), (&link, "a device")] {
        let path = path.display();
        for command in [
            format!("run {path}"),
            format!("inspect {path}"),
            format!("run {model} --spec {path}"),
            format!("verify {model} --golden {path}"),
            format!("bench diff {path} {path}"),
            format!(
                "report llama -o {} --bench {path}",
                dir.path().join("report.html").display()
            ),
        ] {
            let message = graver(&command).refused();
            let end = format!("{path}: found {found}, expected a regular file");
            assert!(message.ends_with(&end), "{command}: {message}");
        }
    }
    for name in [
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "model.safetensors",
    ] {
        let dir = copy("qwen3-f32");
        let path = dir.path().join(name);
        // A tokenizer's other files count only beside the first.
        fs::write(dir.path().join("tokenizer.json"), "{}").unwrap();
        let _ = fs::remove_file(&path);
        symlink("/dev/zero", &path).unwrap();
        let message = in_dir(dir.path(), "run", &["-p", "a", "-n", "1"]).refused();
        let start = format!(
            "{}: found a device, expected a regular file",
            path.display()
        );
        assert!(message.starts_with(&start), "{name}: {message}");
    }
}
