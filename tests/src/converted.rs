//! GGUF files that the reference's own converter has made of fixtures.

use std::fs;
use std::path::{Path, PathBuf};

use graver::driver::{Loaded, ModelSource, Purpose, load};
use graver::spec;
use graver::weights::GgufModel;
use serde_json::{Map, Value, json};

use crate::fixtures;

/// What the config of a fixture says and the format has no key for: real models have other values there, which the format
/// stands for, or llama.cpp computes something else.
const LOST: [(&str, &[&str]); 27] = [
    ("afmoe", &["layer_types", "global_attn_every_n_layers"]),
    (
        "dots1",
        &["sliding_window", "max_window_layers", "layer_types"],
    ),
    ("ernie4-5-moe", &["moe_layer_end_index"]),
    ("gemma3n", &["vocab_size_per_layer_input"]),
    ("hunyuan-moe", &["moe_topk"]),
    ("kimi-linear", &["num_expert_group"]),
    ("laguna", &["layer_types", "mlp_layer_types"]),
    ("mimo", &["mlp_layer_types"]),
    ("minicpm3", &["scale_emb", "dim_model_base"]),
    (
        "minimax-f32",
        &[
            "layer_types",
            "full_attn_alpha_factor",
            "full_attn_beta_factor",
            "linear_attn_alpha_factor",
            "linear_attn_beta_factor",
            "mlp_alpha_factor",
            "mlp_beta_factor",
        ],
    ),
    ("minimax-m3", &["swiglu_limit"]),
    ("nemotron-h-bf16", &["layers_block_type"]),
    ("phimoe", &["router_jitter_noise"]),
    ("starcoder2", &["sliding_window"]),
    ("step3p7", &["rope_parameters"]),
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

/// The files, in order; each has the name of the checkpoint that it was made of.
///
/// # Panics
/// Where they are not.
pub fn files() -> Vec<PathBuf> {
    let entries = fs::read_dir(fixtures().join("gguf")).expect("the folder is committed");
    let mut files: Vec<PathBuf> = entries
        .map(|e| e.expect("a readable entry").path())
        .collect();
    files.sort();
    files
}

/// Loads a file, by a spec that has what the format lost; its integers as floats, or packed.
///
/// # Errors
/// Anything wrong with it.
///
/// # Panics
/// For a path without a name.
pub fn open(path: &Path, floats: bool) -> Result<Loaded, Box<dyn std::error::Error>> {
    let folder = fixtures().join(path.file_stem().expect("a file"));
    let (base, _) = spec::for_gguf(&GgufModel::open(path)?.facts()?)?;
    let own = fs::read(folder.join("config.json"))?;
    let own: Value = serde_json::from_slice(&own)?;
    let own = own.get("text_config").unwrap_or(&own);
    let name = path.file_stem().expect("a file").to_string_lossy();
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
        floats,
    };
    Ok(load(&source, Purpose::Run, None, &|_, _, _| {})?)
}
