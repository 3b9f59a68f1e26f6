//! Memory: weights go through a compilation piece by piece, and `run` maps them where they are.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{GRAVER, folder, output, start};

/// Bytes of weights in the tests' models: several times what the program itself takes.
const WEIGHTS: usize = 400 << 20;
/// The most that compiling may hold in memory: program, the runtime it links, and some pieces of weights.
const MOST: usize = 240 << 20;

/// The largest resident size of a process that has to succeed, in bytes.
#[expect(
    clippy::zombie_processes,
    reason = "wait4 waits for it, and says how much memory it took"
)]
fn peak_memory(command: &mut Command) -> usize {
    let child = start(command);
    let mut status = 0;
    // SAFETY: plain numbers, for which zeros are a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    let pid = child.id() as libc::pid_t;
    // SAFETY: the child is ours and nobody else waits for it; both pointers are to values that outlive the call.
    let waited = unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) };
    assert_eq!((waited, status), (pid, 0));
    usage.ru_maxrss as usize * 1024
}

/// What compiling to more than `bytes` bytes takes.
fn compile(model: &Path, out: &Path, options: &[&str], bytes: usize) -> usize {
    let mut command = Command::new(GRAVER);
    command
        .arg("compile")
        .arg(model)
        .arg("-o")
        .arg(out)
        .arg("--quiet")
        .args(options);
    let peak = peak_memory(&mut command);
    assert!(fs::metadata(out).unwrap().len() as usize > bytes);
    peak
}

#[test]
fn random_weights_are_drawn_and_packed_while_they_are_written() {
    let folder = folder();
    let spec = folder.path().join("deep.json");
    let text = format!(
        r#"{{
            "about": "A deep one", "extends": "llama", "match": {{ "model_type": ["deep"] }},
            "presets": {{ "tiny": {} }}
        }}"#,
        config(size_of::<f32>()),
    );
    fs::write(&spec, text).unwrap();
    for (name, options, bytes) in [
        ("drawn", &[][..], WEIGHTS),
        ("packed", &["--quantize", "q8"], WEIGHTS / 4),
    ] {
        let peak = compile(&spec, &folder.path().join(name), options, bytes);
        assert!(peak < MOST, "{name}: {peak} bytes");
    }
}

#[test]
fn a_checkpoint_is_copied_or_packed_piece_by_piece() {
    let folder = folder();
    zeros(folder.path());
    for (name, options, bytes) in [
        ("copied", &[][..], WEIGHTS),
        ("packed", &["--quantize", "q8"], WEIGHTS / 2),
    ] {
        let peak = compile(folder.path(), &folder.path().join(name), options, bytes);
        assert!(peak < MOST, "{name}: {peak} bytes");
    }
}

/// Memory of its own, and not mapped from files, is what `ulimit -d` counts: a copy of the weights would not fit.
#[test]
fn a_run_maps_its_weights_where_they_are() {
    let folder = folder();
    zeros(folder.path());
    let script = format!(
        "ulimit -d {}; exec '{GRAVER}' run '{}' --tokens 1,2,3 -n 2 --temp 0 -t 1 -c 16 --print-tokens",
        MOST / 1024,
        folder.path().display(),
    );
    let output = output(Command::new("sh").args(["-c", &script]));
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{message}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "0,0\n");
}

const HIDDEN: usize = 1024;
const WIDE: usize = 4096;

/// Layers that make up all the weights, three matrices each, at some bytes for an element.
fn layers(size: usize) -> usize {
    WEIGHTS.div_ceil(3 * HIDDEN * WIDE * size)
}

fn config(size: usize) -> String {
    format!(
        r#"{{
            "model_type": "llama", "vocab_size": 64, "hidden_size": {HIDDEN}, "num_hidden_layers": {},
            "num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 8, "intermediate_size": {WIDE},
            "max_position_embeddings": 512, "tie_word_embeddings": false
        }}"#,
        layers(size),
    )
}

/// A checkpoint in bf16 whose weights are zeros, which take no room on disk.
fn zeros(folder: &Path) {
    fs::write(folder.join("config.json"), config(2)).unwrap();
    let mut tensors = vec![
        ("model.embed_tokens".to_string(), vec![64, HIDDEN]),
        ("model.norm".into(), vec![HIDDEN]),
        ("lm_head".into(), vec![64, HIDDEN]),
    ];
    for layer in 0..layers(2) {
        let named = [
            ("input_layernorm", vec![HIDDEN]),
            ("self_attn.q_proj", vec![8, HIDDEN]),
            ("self_attn.k_proj", vec![8, HIDDEN]),
            ("self_attn.v_proj", vec![8, HIDDEN]),
            ("self_attn.o_proj", vec![HIDDEN, 8]),
            ("post_attention_layernorm", vec![HIDDEN]),
            ("mlp.gate_proj", vec![WIDE, HIDDEN]),
            ("mlp.up_proj", vec![WIDE, HIDDEN]),
            ("mlp.down_proj", vec![HIDDEN, WIDE]),
        ];
        tensors.extend(named.map(|(name, shape)| (format!("model.layers.{layer}.{name}"), shape)));
    }
    let mut end = 0;
    let mut header = serde_json::Map::new();
    for (name, shape) in tensors {
        let start = end;
        end += 2 * shape.iter().product::<usize>();
        let entry =
            serde_json::json!({ "dtype": "BF16", "shape": shape, "data_offsets": [start, end] });
        header.insert(name + ".weight", entry);
    }
    let header = serde_json::to_vec(&header).unwrap();
    let mut file = File::create(folder.join("model.safetensors")).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes())
        .unwrap();
    file.write_all(&header).unwrap();
    file.set_len((8 + header.len() + end) as u64).unwrap();
}

/// Pages of a file are given back as they are packed: what stays is the packed weights, a tokenizer and the state of a short context. The models
/// are real ones, in the folder that `GRAVER_MODELS` names.
#[test]
fn a_gguf_file_is_not_kept_beside_what_is_packed_of_it() {
    for name in [
        "gemma-3-270m.Q4_K_M.gguf",
        "SmolLM2-135M-Instruct.Q4_1.gguf",
    ] {
        let models = std::env::var_os("GRAVER_MODELS").map(PathBuf::from);
        let path = models.map(|dir| dir.join(name)).filter(|p| p.is_file());
        let Some(path) = path else {
            eprintln!("skipped: GRAVER_MODELS names no folder with {name}");
            continue;
        };
        let mut command = Command::new(GRAVER);
        command
            .arg("run")
            .arg(&path)
            .args(["-p", "Once", "-n", "4", "-c", "64"]);
        let (peak, file) = (
            peak_memory(&mut command),
            fs::metadata(&path).unwrap().len(),
        );
        let most = file as usize + 300_000_000;
        assert!(peak <= most, "{name}: {peak} bytes, at most {most}");
    }
}
