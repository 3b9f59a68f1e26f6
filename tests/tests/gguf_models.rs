//! Models as the reference's own converter writes them into GGUF files, against the logits of the checkpoints that they
//! were made of.

use std::fs;
use std::path::{Path, PathBuf};

use graver::driver::{Loaded, ModelSource, Purpose, load};
use graver::spec;
use graver::verify::{Golden, against_golden};
use graver::weights::GgufModel;
use graver_tests::{compile_for, fixtures};
use serde_json::{Map, Value, json};

/// What the config of a fixture says and the format has no key for: real models have other values there, which the format
/// stands for, or llama.cpp computes something else.
const LOST: [(&str, &[&str]); 12] = [
    ("cohere2", &["sliding_window_pattern", "layer_types"]),
    ("gemma2", &["query_pre_attn_scalar"]),
    (
        "gemma3",
        &[
            "query_pre_attn_scalar",
            "layer_types",
            "sliding_window_pattern",
        ],
    ),
    ("glm4", &[]),
    (
        "llama4",
        &[
            "attention_chunk_size",
            "layer_types",
            "no_rope_layers",
            "attn_scale",
            "floor_scale",
            "moe_layers",
            "use_qk_norm",
        ],
    ),
    ("mixtral", &["sliding_window"]),
    ("olmo3", &["layer_types"]),
    ("qwen2-window", WINDOW),
    ("qwen3-window", WINDOW),
    ("qwen3-moe-window", WINDOW),
    ("smollm3", &["no_rope_layers", "no_rope_layer_interval"]),
    ("phi3", &[]),
];
const WINDOW: &[&str] = &[
    "use_sliding_window",
    "sliding_window",
    "max_window_layers",
    "layer_types",
];

/// Loads a file, by a spec that has what the format lost.
fn open(path: &Path, folder: &Path) -> Result<Loaded, Box<dyn std::error::Error>> {
    let (base, _) = spec::for_gguf(&GgufModel::open(path)?.facts()?)?;
    let own = fs::read(folder.join("config.json"))?;
    let own: Value = serde_json::from_slice(&own)?;
    let own = own.get("text_config").unwrap_or(&own);
    let name = folder.file_name().unwrap().to_str().unwrap();
    let lost = LOST.iter().find(|(start, _)| name.starts_with(start));
    let lost = lost.into_iter().flat_map(|(_, keys)| *keys);
    let config: Map<String, Value> = lost
        .filter_map(|key| Some((key.to_string(), own.get(*key)?.clone())))
        .collect();
    let extension = json!({
        "extends": base.name(),
        "match": { "model_type": base.model_types() },
        "gguf": { "config": config },
    });
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("with_what_is_lost.json");
    fs::write(&file, extension.to_string())?;
    let source = ModelSource::Gguf {
        path,
        spec: (!config.is_empty()).then_some(file.as_path()),
        floats: true,
    };
    Ok(load(&source, Purpose::Run, None, &|_, _, _| {})?)
}

#[test]
fn converted_fixtures_match_the_reference() {
    let entries = fs::read_dir(fixtures().join("gguf")).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 12);
    let mut wrong = vec![];
    for path in files {
        let folder = fixtures().join(path.file_stem().unwrap());
        let golden_path = folder.join("golden.safetensors");
        let golden = Golden::open(&golden_path).unwrap();
        let loaded = match open(&path, &folder) {
            Ok(loaded) => loaded,
            Err(error) => {
                wrong.push(format!("{}: {error}", path.display()));
                continue;
            }
        };
        let mut session = compile_for(loaded, false, 2);
        let report = against_golden(&mut session, &golden, &golden_path).unwrap();
        if !report.passed {
            wrong.push(format!("{}: off by {:e}", path.display(), report.largest));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
