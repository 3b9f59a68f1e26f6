//! An architecture of one's own: a spec that extends a built-in one, with random weights, checked against the plain interpreter.
//!
//!     cargo run --release --example custom_spec

use std::error::Error;
use std::io::{self, Write};

use graver::{Model, Options};

/// A Llama whose attention is normalised on both sides, with a soft cap on the logits.
const SPEC: &str = r#"{
    "about": "A Llama with norms before and after attention",
    "extends": "llama",
    "match": { "model_type": ["sandwich"] },
    "layers": { "dense": {
        "out_norm": {
            "after": "attention", "op": "rms_norm", "eps": "eps",
            "gain": "model.layers.{i}.attention_out_norm.weight"
        }
    } },
    "head": { "cap": { "after": "logits", "op": "softcap", "cap": 30.0 } }
}"#;

fn main() -> Result<(), Box<dyn Error>> {
    run(&mut io::stdout())
}

pub(crate) fn run(out: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    // It has no sizes of its own: those of the Llama that it extends are taken.
    let model = Model::from_spec("sandwich", SPEC)?;
    let options = Options::default();
    writeln!(out, "{}", model.summary(&options)?)?;
    writeln!(out, "{}", model.explain(&options)?)?;
    let report = model.verify(&options)?;
    writeln!(out, "{report}")?;
    match report.passed {
        true => Ok(()),
        false => Err("compiled code and interpreter differ".into()),
    }
}
