//! A mixture of experts as a GGUF file, in blocks of nearly all types.

use std::path::Path;

use graver::driver::{self, Loaded, ModelSource, Purpose};
use graver::weights::StorageType;
use tempfile::NamedTempFile;

use crate::gguf::{Writer, kind};

const HIDDEN: usize = 256;
/// Rows of an expert's matrices, whole panels of them.
pub const FFN: usize = 256;
/// Experts of a layer.
pub const EXPERTS: usize = 5;
const VOCAB: usize = 72;
/// Types of gate, up and down in each layer.
pub const TYPES: [[&str; 3]; 4] = [
    ["Q4_K", "Q4_K", "Q6_K"],
    ["Q5_0", "Q8_0", "Q5_K"],
    ["Q4_0", "Q4_1", "IQ4_XS"],
    ["Q3_K", "Q5_1", "MXFP4"],
];

/// A power of two of −14 and more in f16.
const fn power(exponent: i16) -> u16 {
    ((exponent + 15) as u16) << 10
}

/// The sign in f16.
const NEGATIVE: u16 = 1 << 15;

/// Random bytes.
struct Random(u64);

impl Random {
    fn byte(&mut self) -> u8 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 56) as u8
    }

    fn floats(&mut self, count: usize, around: f32, by: f32) -> Vec<u8> {
        let floats = (0..count).map(|_| around + by * (f32::from(self.byte()) / 127.5 - 1.0));
        floats.flat_map(f32::to_le_bytes).collect()
    }

    /// Blocks of random codes, whose scales are such that values are small numbers around zero.
    fn blocks(&mut self, dtype: &str, count: usize) -> Vec<u8> {
        let storage = StorageType::named(dtype).unwrap();
        let mut bytes: Vec<u8> = (0..count / storage.block * storage.bytes)
            .map(|_| self.byte())
            .collect();
        // Where a block's scale and minimum are, in f16.
        let halves: &[(usize, u16)] = match dtype {
            "Q4_0" => &[(0, power(-7))],
            "Q4_1" => &[(0, power(-7)), (2, power(-4) | NEGATIVE)],
            "Q5_0" => &[(0, power(-8))],
            "Q5_1" => &[(0, power(-8)), (2, power(-4) | NEGATIVE)],
            "Q8_0" => &[(0, power(-11))],
            "Q3_K" => &[(108, power(-11))],
            "Q4_K" => &[(0, power(-13)), (2, power(-10))],
            "Q5_K" => &[(0, power(-14)), (2, power(-10))],
            "Q6_K" => &[(208, power(-14))],
            "IQ4_XS" => &[(0, power(-14))],
            "MXFP4" => &[],
            other => panic!("{other} has no scale here"),
        };
        for block in bytes.chunks_exact_mut(storage.bytes) {
            for (at, value) in halves {
                block[*at..at + 2].copy_from_slice(&value.to_le_bytes());
            }
            match dtype {
                "MXFP4" => block[0] = 120,
                // −128 has no place in panels.
                "Q8_0" => block[2..].iter_mut().for_each(|q| *q = (*q).max(1) ^ 0x80),
                _ => {}
            }
        }
        bytes
    }
}

/// A model of the Qwen3 family with experts, `rows` in each of their gates, [`FFN`] or another multiple of four.
///
/// # Panics
/// Never: all types are known.
pub fn mixture(rows: usize) -> Writer {
    let mut random = Random(7);
    let mut file = Writer::default()
        .text("general.architecture", "qwen3moe")
        .whole("qwen3moe.embedding_length", HIDDEN as u32)
        .whole("qwen3moe.block_count", TYPES.len() as u32)
        .whole("qwen3moe.attention.head_count", 4)
        .whole("qwen3moe.attention.head_count_kv", 2)
        .whole("qwen3moe.attention.key_length", 32)
        .whole("qwen3moe.context_length", 64)
        .whole("qwen3moe.feed_forward_length", 512)
        .single("qwen3moe.attention.layer_norm_rms_epsilon", 1e-5)
        .single("qwen3moe.rope.freq_base", 1e4)
        .whole("qwen3moe.expert_count", EXPERTS as u32)
        .whole("qwen3moe.expert_used_count", 2)
        .whole("qwen3moe.expert_feed_forward_length", rows as u32)
        .list("tokenizer.ggml.tokens", kind::TEXT, &[]);
    let floats = |file: Writer, random: &mut Random, name: &str, shape: &[usize], around: f32| {
        let bytes = random.floats(shape.iter().product(), around, 0.1);
        file.tensor(name, "F32", shape, bytes)
    };
    let blocks = |file: Writer, random: &mut Random, name: &str, dtype: &str, shape: &[usize]| {
        let bytes = random.blocks(dtype, shape.iter().product());
        file.tensor(name, dtype, shape, bytes)
    };
    file = blocks(
        file,
        &mut random,
        "token_embd.weight",
        "Q6_K",
        &[VOCAB, HIDDEN],
    );
    file = floats(file, &mut random, "output_norm.weight", &[HIDDEN], 1.0);
    for (i, [gate, up, down]) in TYPES.iter().enumerate() {
        let name = |what: &str| format!("blk.{i}.{what}.weight");
        for norm in ["attn_norm", "ffn_norm"] {
            file = floats(file, &mut random, &name(norm), &[HIDDEN], 1.0);
        }
        for norm in ["attn_q_norm", "attn_k_norm"] {
            file = floats(file, &mut random, &name(norm), &[32], 1.0);
        }
        for (what, rows, columns) in [
            ("attn_q", 128, HIDDEN),
            ("attn_k", 64, HIDDEN),
            ("attn_v", 64, HIDDEN),
            ("attn_output", HIDDEN, 128),
        ] {
            file = blocks(file, &mut random, &name(what), "Q8_0", &[rows, columns]);
        }
        file = floats(
            file,
            &mut random,
            &name("ffn_gate_inp"),
            &[EXPERTS, HIDDEN],
            0.0,
        );
        for (what, dtype) in [("ffn_gate_exps", gate), ("ffn_up_exps", up)] {
            let shape = [EXPERTS, rows, HIDDEN];
            file = blocks(file, &mut random, &name(what), dtype, &shape);
        }
        let (shape, down_exps) = ([EXPERTS, HIDDEN, rows], name("ffn_down_exps"));
        file = match rows {
            FFN => blocks(file, &mut random, &down_exps, down, &shape),
            // No whole number of blocks.
            _ => floats(file, &mut random, &down_exps, &shape, 0.0),
        };
    }
    file
}

/// A [mixture] in a file of its own.
///
/// # Panics
/// Where it cannot be written.
pub fn written(rows: usize) -> NamedTempFile {
    let file = tempfile::Builder::new().suffix(".gguf").tempfile();
    let file = file.expect("a temporary file");
    std::fs::write(&file, mixture(rows).bytes()).expect("room for it");
    file
}

/// The model in such a file, its blocks as floats, or packed.
///
/// # Panics
/// Where it does not load.
pub fn load(path: &Path, floats: bool) -> Loaded {
    let source = ModelSource::Gguf {
        path,
        spec: None,
        floats,
    };
    driver::load(&source, Purpose::Run, None, &|_, _, _| {}).expect("a whole model")
}
