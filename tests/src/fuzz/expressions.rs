//! The expressions of specs: each line of a text is a parameter of a spec that is bound to a config with something of
//! everything in it.
//!
//! Binding ends with a message, since the spec has no layers, but never with a panic. And an expression has one value:
//! written in brackets in another parameter it is the same.

use serde_json::{Map, Value, json};

use super::spec_texts;
use graver::spec::{self, Error, Fault, SpecSource};

/// Most lines that are read.
const MAX_LINES: usize = 8;
/// What the comparison names where the values differ; there is no such key.
const DIFFERS: &str = "the_values_differ";

/// See the module.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let mut params = Map::new();
    for (i, line) in text.lines().take(MAX_LINES).enumerate() {
        params.insert(format!("value_{i}"), line.into());
        // A parameter's own name stands for the config's key inside of it, and for the parameter elsewhere.
        if !line.contains("value_") {
            let same = format!("({line}) == value_{i} ? 0 : {DIFFERS}");
            params.insert(format!("same_{i}"), same.into());
        }
    }
    let document = json!({ "params": params }).to_string();
    let source = SpecSource::Text {
        name: "expressions",
        text: &document,
    };
    let Ok(spec) = spec::load(source) else { return };
    let error = spec.bind(&config()).expect_err("a spec without layers");
    let message = error.to_string();
    let differs = matches!(&error, Error::At { fault: Fault::NotInConfig { name, .. }, .. } if name == DIFFERS);
    assert!(!differs, "{message}");
}

/// A config that has most of what the built-in specs ask for, and values of every type.
fn config() -> Value {
    json!({
        "vocab_size": 211, "hidden_size": 60, "num_hidden_layers": 3, "num_attention_heads": 6,
        "intermediate_size": 172, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true,
        "sliding_window": null, "layer_types": ["full_attention", "sliding_attention", "full_attention"],
        "mlp_only_layers": [], "eos_token_id": [1, 2], "hidden_act": "silu",
        "rope_scaling": {"rope_type": "llama3", "factor": 32.0, "low_freq_factor": null},
        "rope_parameters": {"full_attention": {"rope_theta": 1e6}, "sliding_attention": {}},
        "least": i64::MIN, "most": i64::MAX, "huge": u64::MAX, "tiny": 5e-324, "large": 1e308, "zero": 0, "minus": -0.0,
    })
}

/// All expressions of the built-in specs, a few to an input, and some of each operator and function.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut lines: Vec<String> = spec_texts().flat_map(|(_, spec)| params(&spec)).collect();
    lines.sort();
    lines.dedup();
    let more = [
        "least // -1\nleast % -1\n-least\nleast - 1",
        "2 ** 63\n2 ** -1\n0 ** 0\nlarge ** 2",
        "floor(-7.5) ?? ceil(tiny)\nsqrt(-1)\nlog(0)\nnormal_quantile(tiny)",
        "element(layer_types, 1)\nlayer_types[2]\nlast_index(layer_types, 'full_attention', huge)\nelement(5, -1)",
        "has(config, 'zero') && !has(rope_scaling, 'x')\ncontains(eos_token_id, 2.0)\nlen(layer_types)",
        "value_1 + value_1\nvalue_2 + value_2\nvalue_3 + value_3\nvalue_0",
        "rope_scaling.low_freq_factor ?? rope_scaling.high ?? rope_parameters.none.none ?? 'x'",
        "true ? 1 : 1 / 0\nmin(huge, 1e19)\nmax(minus, zero)\n1 < 2 == true",
    ];
    let groups = lines.chunks(3).map(|lines| lines.join("\n"));
    groups
        .chain(more.map(String::from))
        .map(String::into_bytes)
        .collect()
}

fn params(spec: &Value) -> Vec<String> {
    let sections = ["params", "layer_params"].map(|s| spec[s].as_object());
    let values = sections.into_iter().flatten().flat_map(|s| s.values());
    values
        .filter_map(|v| v.as_str().map(String::from))
        .collect()
}
