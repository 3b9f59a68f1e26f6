//! A few products by a table's kernels and by the scalar ones, which define them: whether tiles do what they are said to do.

use std::ptr::null;

use half::{bf16, f16};

use crate::abi::quant::{Block, GROUP, block_row_bytes};
use crate::abi::{Arranged, KernelTable, MATMUL_SCRATCH, Quant};
use crate::kernels::scalar_table;
use crate::memory::Region;

/// Rows of activations and of weights, and terms: whole tiles and parts of them, two runs of the integers' groups and of the floats' terms.
const M: usize = 17;
const N: usize = 17;
const K: usize = 1060;
/// Of a float product, whose terms are of the order of 1, against one with another order of terms.
const TOLERANCE: f32 = 1e-3;

/// Whether the products of many rows are the scalar ones: the same bits, but for floats.
pub(super) fn agrees(table: &KernelTable) -> bool {
    let blocks = blocks();
    let integers = |quant| {
        let operands = (&*blocks, &*weights(quant));
        let bits = |table, arranged| {
            let products = integers(table, quant, operands, arranged);
            products.into_iter().map(f32::to_bits).collect::<Vec<_>>()
        };
        let expected = bits(scalar_table(), false);
        [false, true]
            .into_iter()
            .all(|arranged| bits(table, arranged) == expected)
    };
    let Ok(mut scratch) = Region::reserve("scratch", MATMUL_SCRATCH) else {
        return false;
    };
    let mut floats = |table| floats(table, &mut scratch);
    let near = |(a, b): (f32, f32)| (a - b).abs() < TOLERANCE;
    Quant::ALL.into_iter().all(integers)
        && floats(table)
            .into_iter()
            .zip(floats(scalar_table()))
            .all(near)
}

/// Numbers that follow each other at random, but are the same each time.
fn random() -> impl FnMut() -> u32 {
    let mut state = 1u64;
    move || {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 40) as u32
    }
}

/// Uniform in −1 .. 1.
fn value(random: u32) -> f32 {
    random as f32 / (1 << 23) as f32 - 1.0
}

/// Activations.
fn blocks() -> Vec<Block> {
    let mut random = random();
    let mut blocks = vec![Block::default(); M * K.div_ceil(GROUP)];
    for row in blocks.chunks_exact_mut(K.div_ceil(GROUP)) {
        let x: Vec<f32> = (0..K).map(|_| value(random())).collect();
        // SAFETY: `K` activations, and the blocks of a row.
        unsafe { (scalar_table().quantize)(x.as_ptr(), K, row.as_mut_ptr().cast()) }
    }
    blocks
}

/// Weights in panels.
fn weights(quant: Quant) -> Vec<u8> {
    let mut random = random();
    let mut weights = vec![0u8; quant.matrix_bytes(N, K)];
    for panel in weights.chunks_exact_mut(quant.panel_bytes(K)) {
        // Positive numbers of a usual size, as whatever type factors are read.
        panel.fill_with(|| 0x34 + (random() % 4) as u8);
        let groups = (0..K.div_ceil(GROUP)).map(|g| quant.group_at(g));
        for group in groups.map(|at| at + quant.factor_bytes()..at + quant.group_bytes()) {
            let (low, high) = quant.range();
            let of = |random: u32| match quant.bits() {
                4 => random as u8,
                _ => (low + random as i32 % (high - low + 1)) as u8,
            };
            panel[group].fill_with(|| of(random()));
        }
    }
    weights
}

/// Products of blocks as they lie, or arranged.
fn integers(
    table: &KernelTable,
    quant: Quant,
    (blocks, weights): (&[Block], &[u8]),
    arranged: bool,
) -> Vec<f32> {
    let (x, w) = (blocks.as_ptr().cast::<u8>(), weights.as_ptr());
    let (stride, groups) = (block_row_bytes(K), K.div_ceil(GROUP));
    let of = Arranged::Blocks;
    let mut room = vec![Line([0; 64]); of.room(M, K) / size_of::<Line>()];
    let to = room.as_mut_ptr().cast::<u8>();
    let mut tiles = null();
    if arranged {
        // SAFETY: the rows exist, and there is room for them.
        unsafe { table.arrange_all(of, (x, stride), M, K, to) };
        tiles = to.cast_const();
    }
    let mut out = vec![0f32; M * N];
    let to = out.as_mut_ptr();
    // SAFETY: activations, weights and result have the shape's sizes.
    unsafe { table.quant_matmul(quant)(x, stride, M, w, N, groups, to, N, tiles) }
    out
}

#[repr(align(64))]
#[derive(Clone, Copy)]
struct Line(#[expect(dead_code, reason = "room for a kernel")] [u8; 64]);

/// Products of each type and layout.
fn floats(table: &KernelTable, scratch: &mut Region) -> Vec<f32> {
    let mut random = random();
    let x: Vec<f32> = (0..M * K).map(|_| value(random())).collect();
    let w: Vec<f32> = (0..N * K).map(|_| value(random())).collect();
    let bytes = |narrow: fn(f32) -> [u8; 2]| w.iter().flat_map(|w| narrow(*w)).collect();
    let f32s: Vec<u8> = w.iter().flat_map(|w| w.to_le_bytes()).collect();
    let bf16s: Vec<u8> = bytes(|w| bf16::from_f32(w).to_le_bytes());
    let f16s: Vec<u8> = bytes(|w| f16::from_f32(w).to_le_bytes());
    let kernels = [
        (&f32s, [table.matmul_f32, table.matmul_kn_f32]),
        (&bf16s, [table.matmul_bf16, table.matmul_kn_bf16]),
        (&f16s, [table.matmul_f16, table.matmul_kn_f16]),
    ];
    let mut all = Vec::new();
    for (w, kernels) in kernels {
        for (kernel, columns) in kernels.into_iter().zip([K, N]) {
            let mut out = vec![0f32; M * N];
            let (x, to, scratch) = (x.as_ptr(), out.as_mut_ptr(), scratch.as_mut_ptr());
            let row = w.len() / (N * K) * columns;
            // SAFETY: activations, weights and result have the shape's sizes, and scratch its own.
            unsafe { kernel(x, K, M, w.as_ptr(), row, N, K, to, N, 0, null(), scratch) }
            all.extend(out);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::{Choices, amx_emulated};

    fn emulated() -> Option<KernelTable> {
        amx_emulated(Choices::usual())
    }

    #[test]
    fn emulated_tiles_pass() {
        if let Some(table) = emulated() {
            assert!(agrees(&table));
        }
    }

    #[test]
    fn a_kernel_that_is_wrong_does_not() {
        let Some(table) = emulated() else { return };
        let other = KernelTable {
            matmul_q4m: table.matmul_q4n,
            ..table
        };
        assert!(!agrees(&other));
        let other = KernelTable {
            matmul_bf16: table.matmul_f16,
            ..table
        };
        assert!(!agrees(&other));
        let other = KernelTable {
            matmul_kn_f32: table.matmul_f32,
            ..table
        };
        assert!(!agrees(&other));
        let other = KernelTable {
            arrange_blocks: scalar_table().arrange_blocks,
            ..table
        };
        assert!(!agrees(&other));
    }
}
