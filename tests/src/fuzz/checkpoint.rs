//! A small checkpoint, written anew in other types, files and orders, and then damaged, down to logits.
//!
//! The first line names one of the committed checkpoints, and the bytes after it choose what is done to it. Its numbers are
//! rounded first to what every float type holds, so that the type in which a tensor is stored, the order of tensors and the
//! files they are in change nothing: not a bit of what the interpreter computes. A checkpoint whose header, config or numbers
//! were changed loads or gives a message; what loads runs, and gives what the interpreter gives.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use graver::driver::{Loaded, plain_program};
use graver::graph::ProgramKind;
use graver::interp::Interpreter;
use graver::verify::oracle::any_tokens;
use graver::weights::Checkpoint;
use graver_runtime::abi;
use safetensors::Dtype;
use serde_json::{Map, Value, json};

use super::run::{self, Way};
use super::{Choices, json as documents};
use crate::{fixtures, load_checkpoint};

/// Most files of a checkpoint.
const MAX_FILES: usize = 4;
/// Most kinds of damage at once.
const MAX_DAMAGE: usize = 3;
/// Tokens that the original and what was written anew are compared by.
const TOKENS: usize = 9;

/// A tensor that is to be written.
#[derive(Clone, Debug)]
struct Tensor {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

/// A checkpoint that is to be written.
#[derive(Clone, Debug)]
struct Folder {
    config: Value,
    tensors: Vec<Tensor>,
    /// Which file each tensor is in.
    files: Vec<usize>,
    /// Bytes cut off the end of the first file.
    short: usize,
}

/// See the module.
pub fn check(data: &[u8]) {
    let end = data.iter().position(|b| *b == b'\n').unwrap_or(0);
    let (name, rest) = data.split_at(end);
    let mut choices = Choices::new(rest.strip_prefix(b"\n").unwrap_or(rest));
    let way = Way::choose(&mut choices);
    let names = names();
    let named = names.iter().find(|n| n.as_bytes() == name);
    let name = named.unwrap_or_else(|| &names[choices.below(names.len())]);
    let original = read(&fixtures().join(name));
    let mut folder = original.clone();
    store_otherwise(&mut folder, &mut choices);
    let damage = choices.below(2 * MAX_DAMAGE).saturating_sub(MAX_DAMAGE - 1);
    for _ in 0..damage {
        self::damage(&mut folder, &mut choices);
    }
    let dir = tempfile::tempdir().expect("a folder");
    folder.write(dir.path());
    let loaded = match load_checkpoint(dir.path()) {
        Ok(loaded) => loaded,
        Err(message) => {
            let message = message.to_string();
            assert!(damage > 0, "{name}: {message}");
            return;
        }
    };
    if damage == 0 {
        let before = tempfile::tempdir().expect("a folder");
        original.write(before.path());
        let before = load_checkpoint(before.path()).expect("a committed checkpoint");
        assert_eq!(interpret(&loaded), interpret(&before), "{name}");
    }
    if run::is_small(&loaded) {
        run::check(loaded, &way);
    }
}

/// Bits of the logits of a few tokens.
fn interpret(loaded: &Loaded) -> Vec<u32> {
    let program = plain_program(loaded, ProgramKind::Prefill, abi::CacheType::F32);
    let tokens = any_tokens(TOKENS, loaded.model.vocab);
    let logits = Interpreter::new(&program, &loaded.weights.slots()).step(&tokens);
    logits.iter().map(|v| v.to_bits()).collect()
}

/// Names of the committed checkpoints.
fn names() -> Vec<String> {
    let entries = fs::read_dir(fixtures()).expect("the committed checkpoints");
    let entries = entries.map(|e| e.expect("an entry").path());
    let folders = entries.filter(|p| p.join("config.json").exists());
    let mut names: Vec<String> = folders
        .filter_map(|p| Some(p.file_name()?.to_str()?.to_string()))
        .collect();
    names.sort();
    names
}

/// A checkpoint in one file, its floats rounded to what every type holds.
fn read(dir: &Path) -> Folder {
    let checkpoint = Checkpoint::open(dir).expect("a committed checkpoint");
    let tensors = checkpoint.tensors.iter().map(|(name, t)| {
        let bytes = &checkpoint.files[t.file].bytes[t.header.offset_bytes..][..t.header.bytes];
        let mut tensor = Tensor {
            name: name.clone(),
            dtype: t.header.dtype,
            shape: t.header.shape.clone(),
            bytes: bytes.to_vec(),
        };
        if let Some(dtype) = float(tensor.dtype) {
            let values: Vec<f32> = tensor
                .bytes
                .chunks_exact(dtype.size())
                .map(|b| held_by_all(dtype.read(b)))
                .collect();
            tensor.bytes = encode(&values, tensor.dtype);
        }
        tensor
    });
    let tensors: Vec<Tensor> = tensors.collect();
    Folder {
        config: checkpoint.config.clone(),
        files: vec![0; tensors.len()],
        tensors,
        short: 0,
    }
}

fn float(dtype: Dtype) -> Option<abi::Dtype> {
    match dtype {
        Dtype::F32 => Some(abi::Dtype::F32),
        Dtype::BF16 => Some(abi::Dtype::Bf16),
        Dtype::F16 => Some(abi::Dtype::F16),
        _ => None,
    }
}

/// The number cut to eight bits, and to nothing where it is less than the least normal number of 16 bits.
fn held_by_all(value: f32) -> f32 {
    let cut = f32::from_bits(value.to_bits() & 0xffff_0000);
    if cut.abs() < 6.2e-5 { 0.0 } else { cut }
}

/// Numbers as a tensor has them; they are among those that every type holds.
fn encode(values: &[f32], dtype: Dtype) -> Vec<u8> {
    let one = |v: &f32| match dtype {
        Dtype::F32 => v.to_le_bytes().to_vec(),
        Dtype::BF16 => ((v.to_bits() >> 16) as u16).to_le_bytes().to_vec(),
        _ => half(*v).to_le_bytes().to_vec(),
    };
    values.iter().flat_map(one).collect()
}

/// A normal number of at most eleven bits, or zero, in half precision.
fn half(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = (bits >> 16 & 0x8000) as u16;
    let exponent = (bits >> 23 & 0xff) as i32 - 127 + 15;
    match exponent {
        ..=0 => sign,
        31.. => sign | 0x7bff,
        _ => sign | (exponent as u16) << 10 | (bits >> 13 & 0x3ff) as u16,
    }
}

/// Other types, another order, several files.
fn store_otherwise(folder: &mut Folder, choices: &mut Choices<'_>) {
    let way = choices.byte();
    // Experts of a layer have to be stored alike, those that always take part as well, which have a stack of their own.
    let mut of_experts = BTreeMap::new();
    let is_stack = |t: &Tensor| t.name.contains(".shared_experts.") && t.shape.len() == 3;
    let has_stacks = folder.tensors.iter().any(is_stack);
    for tensor in &mut folder.tensors {
        let mut drawn = || choices.one_of(&[Dtype::F32, Dtype::BF16, Dtype::F16]);
        let stored = tensor.name.replace(".shared_experts.", ".experts.");
        let of_family = if has_stacks { &stored } else { &tensor.name };
        let to = match (way & 3, of_family.split_once(".experts.")) {
            (0, _) => tensor.dtype,
            (1, _) => Dtype::BF16,
            (2, _) => Dtype::F16,
            (_, None) => drawn(),
            (_, Some((layer, rest))) => {
                let part = rest.trim_start_matches(|c: char| c.is_ascii_digit());
                let part = if has_stacks { "" } else { part };
                *of_experts
                    .entry(format!("{layer}{part}"))
                    .or_insert_with(drawn)
            }
        };
        if let Some(dtype) = float(tensor.dtype) {
            let values: Vec<f32> = tensor
                .bytes
                .chunks_exact(dtype.size())
                .map(|b| dtype.read(b))
                .collect();
            tensor.bytes = encode(&values, to);
            tensor.dtype = to;
        }
    }
    if way & 4 != 0 {
        for i in (1..folder.tensors.len()).rev() {
            folder.tensors.swap(i, choices.below(i + 1));
        }
    }
    if way & 8 != 0 {
        let n = 1 + choices.below(MAX_FILES);
        folder.files.iter_mut().for_each(|f| *f = choices.below(n));
    }
}

/// One thing that is not as it should be.
fn damage(folder: &mut Folder, choices: &mut Choices<'_>) {
    let at = choices.below(folder.tensors.len());
    let other = choices.below(folder.tensors.len());
    let types = [
        Dtype::F32,
        Dtype::BF16,
        Dtype::F16,
        Dtype::F8_E4M3,
        Dtype::F8_E5M2,
        Dtype::U8,
        Dtype::I8,
        Dtype::U16,
        Dtype::I32,
        Dtype::F64,
        Dtype::BOOL,
        Dtype::F8_E8M0,
    ];
    let name = folder.tensors[other].name.clone();
    let tensor = &mut folder.tensors[at];
    match choices.below(14) {
        0 => tensor.dtype = choices.one_of(&types),
        1 => tensor.shape.reverse(),
        2 => {
            let n: usize = tensor.shape.iter().product();
            tensor.shape = vec![n];
        }
        3 => tensor.shape.push(1),
        4 => tensor.shape.iter_mut().for_each(|n| *n = n.div_ceil(2)),
        5 => tensor.name = name,
        6 => tensor.name.push_str(choices.one_of(&[
            "_scale_inv",
            "_scales",
            "_blocks",
            ".bias",
            "\n",
            "\0",
            "x",
        ])),
        7 => {
            let (a, b) = (
                folder.tensors[at].shape.clone(),
                folder.tensors[other].shape.clone(),
            );
            folder.tensors[at].shape = b;
            folder.tensors[other].shape = a;
        }
        8 => folder.short = 1 + choices.below(300),
        9 => odd_number(tensor, choices),
        10 => as_mxfp4(folder, at),
        11 => as_fp8(folder, at),
        _ => {
            let words = documents::words(&folder.config);
            let donor = folder.config.clone();
            documents::change(&mut folder.config, &donor, &words, choices);
        }
    }
}

fn odd_number(tensor: &mut Tensor, choices: &mut Choices<'_>) {
    let odd = [
        f32::NAN,
        f32::INFINITY,
        f32::MAX,
        f32::MIN_POSITIVE,
        1e-40,
        -0.0,
    ];
    let odd = choices.one_of(&odd);
    let one = match tensor.dtype {
        Dtype::F16 => 0x7c00u16.to_le_bytes().to_vec(),
        dtype => encode(&[odd], dtype),
    };
    if float(tensor.dtype).is_some() && tensor.bytes.len() >= one.len() {
        let place = choices.below(tensor.bytes.len() / one.len()) * one.len();
        tensor.bytes[place..place + one.len()].copy_from_slice(&one);
    }
}

/// Puts blocks of 32 four-bit numbers and their scales in the place of a tensor, whatever it is.
fn as_mxfp4(folder: &mut Folder, at: usize) {
    let tensor = folder.tensors[at].clone();
    let Some((n, outer)) = tensor.shape.split_last() else {
        return;
    };
    let shape = [outer, &[n.div_ceil(32)]].concat();
    let scales = shape.iter().product();
    let filled = |n: usize| {
        tensor
            .bytes
            .iter()
            .copied()
            .cycle()
            .take(n)
            .collect::<Vec<u8>>()
    };
    folder.tensors[at] = Tensor {
        name: format!("{}_blocks", tensor.name),
        dtype: Dtype::U8,
        bytes: filled(16 * scales),
        shape: [shape.as_slice(), &[16]].concat(),
    };
    let scales = Tensor {
        name: format!("{}_scales", tensor.name),
        dtype: Dtype::U8,
        // Powers of two around one.
        bytes: vec![127; scales],
        shape,
    };
    folder.push(scales);
}

/// Puts eight-bit floats in the place of a tensor's, with a scale for each 8 of them in every dimension.
fn as_fp8(folder: &mut Folder, at: usize) {
    let tensor = &mut folder.tensors[at];
    let n = tensor.shape.iter().product();
    let bytes = tensor.bytes.iter().map(|b| b & 0xbf).cycle();
    tensor.bytes = bytes.take(n).collect();
    tensor.dtype = Dtype::F8_E4M3;
    let shape: Vec<usize> = tensor.shape.iter().map(|n| n.div_ceil(8)).collect();
    let scales = vec![1.0; shape.iter().product()];
    let scales = Tensor {
        name: format!("{}_scale_inv", tensor.name),
        dtype: Dtype::F32,
        bytes: encode(&scales, Dtype::F32),
        shape,
    };
    folder.push(scales);
    if let Some(config) = folder.config.as_object_mut() {
        let fp8 = json!({"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [8, 8]});
        config.insert("quantization_config".into(), fp8);
    }
}

impl Folder {
    fn push(&mut self, tensor: Tensor) {
        self.tensors.push(tensor);
        self.files.push(0);
    }

    fn write(&self, dir: &Path) {
        let write = |name: &str, bytes: &[u8]| fs::write(dir.join(name), bytes).expect("a file");
        write("config.json", self.config.to_string().as_bytes());
        let last = self.files.iter().copied().max().unwrap_or(0);
        let mut map = Map::new();
        for file in 0..=last {
            let name = match last {
                0 => "model.safetensors".to_string(),
                _ => format!("model-{file}.safetensors"),
            };
            let here = self
                .tensors
                .iter()
                .zip(&self.files)
                .filter(|(_, f)| **f == file);
            let tensors: Vec<&Tensor> = here.map(|(t, _)| t).collect();
            map.extend(
                tensors
                    .iter()
                    .map(|t| (t.name.clone(), name.as_str().into())),
            );
            let mut bytes = file_of(&tensors);
            if file == 0 {
                bytes.truncate(bytes.len().saturating_sub(self.short));
            }
            write(&name, &bytes);
        }
        if last > 0 {
            let index = json!({"metadata": {"total_size": 0}, "weight_map": map});
            write("model.safetensors.index.json", index.to_string().as_bytes());
        }
    }
}

/// A safetensors file; of two tensors with one name both are in it.
fn file_of(tensors: &[&Tensor]) -> Vec<u8> {
    let (mut entries, mut data) = (vec![], vec![]);
    for t in tensors {
        let begin = data.len();
        data.extend_from_slice(&t.bytes);
        let entry =
            json!({"dtype": t.dtype, "shape": t.shape, "data_offsets": [begin, data.len()]});
        entries.push(format!("{}:{entry}", json!(t.name)));
    }
    let header = format!("{{{}}}", entries.join(","));
    [
        &(header.len() as u64).to_le_bytes(),
        header.as_bytes(),
        &data,
    ]
    .concat()
}

/// Every committed checkpoint: as it is, stored otherwise, and damaged.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut out = vec![];
    for (i, name) in names().iter().enumerate() {
        let begin = format!("{name}\n").into_bytes();
        let i = i as u8;
        let otherwise: Vec<u8> = (0..250u8)
            .map(|b| b.wrapping_mul(97).wrapping_add(i))
            .collect();
        for way in [i % 3, 7 + (i & 8)] {
            out.push(
                [
                    begin.as_slice(),
                    &[i, 0, 0, 9, 1, 3, i, i / 2, way],
                    &otherwise,
                ]
                .concat(),
            );
        }
        out.push(
            [
                begin.as_slice(),
                &[
                    0,
                    0,
                    0,
                    9,
                    0,
                    0,
                    3 + i % 3,
                    i,
                    i / 2,
                    i,
                    i / 3,
                    i.wrapping_mul(3),
                    5,
                    9,
                ],
            ]
            .concat(),
        );
    }
    out
}
