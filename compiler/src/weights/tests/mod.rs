//! Tests of checkpoints and weights, on files written by hand, byte by byte.

mod broken_files;
mod experts;
mod folders;
mod index;
mod integers;
mod joined;
mod listed;
mod misfits;
mod published;
mod quantize;
mod random;
mod scales;
mod settings;
mod sharing;
mod vectors;
mod views;

use crate::spec::model::{Item, LayerKind, Linear, Model, Norm, NormKind, Step, StepOp, Weight};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A folder of its own for a test, removed with its contents.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("graver-weights-{}-{n}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        Folder(dir)
    }

    fn with(files: &[(&str, &[u8])]) -> Folder {
        let folder = Folder::new();
        for (name, bytes) in files {
            fs::write(folder.0.join(name), bytes).unwrap();
        }
        folder
    }

    /// A message with this folder's path replaced by `DIR`.
    fn message(&self, error: &impl ToString) -> String {
        error
            .to_string()
            .replace(&self.0.display().to_string(), "DIR")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl AsRef<Path> for Folder {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

/// A safetensors file of any header and data.
fn raw_file(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(data);
    bytes
}

/// A valid safetensors file: `(name, type, shape, bytes)` one after the other.
fn file(tensors: &[(&str, &str, &[usize], Vec<u8>)]) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    let mut data = Vec::new();
    for (name, dtype, shape, bytes) in tensors {
        let offsets = [data.len(), data.len() + bytes.len()];
        let entry = json!({"dtype": dtype, "shape": shape, "data_offsets": offsets});
        header.insert(name.to_string(), entry);
        data.extend_from_slice(bytes);
    }
    raw_file(&Value::Object(header).to_string(), &data)
}

fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

/// The upper halves of f32 values that have nothing in the lower.
fn bf16_bytes(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| ((value.to_bits() >> 16) as u16).to_le_bytes())
        .collect()
}

fn f16_bytes(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| half::f16::from_f32(*value).to_le_bytes())
        .collect()
}

fn weight(slot: &str, tensor: &str, shape: &[usize]) -> Weight {
    Weight {
        slot: slot.into(),
        tensors: vec![tensor.into()],
        others: vec![],
        shape: shape.into(),
        transposed: false,
        exponential: false,
        part: None,
        columns: None,
        family: None,
        experts: None,
        joined: None,
        made: None,
    }
}

fn linear(weight: Weight, bias: Option<Weight>) -> Step {
    Step::new("linear", StepOp::Linear(Linear { weight, bias }))
}

fn norm(gain: Weight, unit_offset: bool) -> Step {
    let kind = NormKind::Rms;
    let norm = Norm {
        kind,
        eps: 1e-5,
        gain: Some(gain),
        bias: None,
        unit_offset,
        group: None,
    };
    Step::new("norm", StepOp::Norm(norm))
}

fn embed(table: Weight) -> Step {
    Step::new(
        "embed",
        StepOp::Embed {
            table,
            scale: 1.0,
            limit: None,
        },
    )
}

/// A model whose layers are all of one kind.
fn model(embed: Vec<Step>, layer: Vec<Step>, layers: usize, head: Vec<Step>) -> Model {
    let kind = LayerKind {
        name: "dense".into(),
        items: vec![Item::Residual {
            before: vec![],
            branches: vec![layer],
        }],
    };
    Model {
        name: "test".into(),
        vocab: 6,
        hidden: 4,
        context: 16,
        ropes: Vec::new(),
        embed,
        carried: vec![],
        kinds: vec![kind],
        layers: vec![0; layers],
        sources: vec![None; layers],
        head,
        output: None,
        eos: Vec::new(),
        bos: None,
        prefixes: Vec::new(),
        ignore: Vec::new(),
    }
}
