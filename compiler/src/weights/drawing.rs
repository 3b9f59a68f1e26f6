//! Draws random tensors: the numbers of each depend on the seed, its name and their place in it alone, not on how many
//! threads draw them, nor on how much is drawn at once.

use std::collections::BTreeMap;
use std::io::{self, Write};

use graver_runtime::abi::Dtype;
use graver_runtime::fnv;
use half::{bf16, f16};
use rayon::prelude::*;

use super::view::Tensor;
use crate::spec::model::Made;

/// Elements drawn from one generator: the grain of parallel work.
const CHUNK: usize = 1 << 16;

/// How to draw all tensors of a blob.
#[derive(Debug)]
pub(crate) struct Recipe {
    pub(super) seed: u64,
    /// By a tensor's first byte.
    pub(super) draws: BTreeMap<usize, Draw>,
}

impl Recipe {
    /// Draws a tensor of the blob into `out`, some `piece` bytes at once.
    pub(super) fn write(
        &self,
        tensor: &Tensor,
        piece: usize,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let bytes = tensor.bytes;
        let draw = self.draws[&tensor.offset_bytes];
        let seed = name_seed(self.seed, &tensor.name);
        let chunks_at_once = (piece / draw.chunk_bytes()).max(1);
        let mut buffer = vec![0; bytes.min(chunks_at_once * draw.chunk_bytes())];
        let (mut done, mut chunk) = (0, 0);
        while done < bytes {
            let n = buffer.len().min(bytes - done);
            draw.chunks(seed, chunk, &mut buffer[..n])
                .par_bridge()
                .for_each(fill);
            out.write_all(&buffer[..n])?;
            (done, chunk) = (done + n, chunk + chunks_at_once);
        }
        Ok(())
    }
}

/// How to draw a tensor: `mean + deviation · N(0, 1)`, unless its numbers are made of sizes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draw {
    pub(super) dtype: Dtype,
    pub(super) mean: f32,
    pub(super) deviation: f32,
    /// Whole numbers below this, each as likely, in f32.
    pub(super) below: Option<usize>,
    /// What its numbers are, and in which layer.
    pub(super) made: Option<(Made, Option<usize>)>,
}

/// Numbers that come from one generator: a seed, how to draw, and where they go.
pub(super) type Chunk<'a> = (u64, Draw, &'a mut [u8]);

impl Draw {
    fn chunk_bytes(self) -> usize {
        CHUNK * self.dtype.size()
    }

    /// Cuts a tensor, or a part of it that begins at chunk `first`, into chunks.
    pub(super) fn chunks(
        self,
        seed: u64,
        first: usize,
        bytes: &mut [u8],
    ) -> impl Iterator<Item = Chunk<'_>> + Send {
        let pieces = bytes.chunks_mut(self.chunk_bytes()).enumerate();
        pieces.map(move |(i, piece)| (seed ^ mix((first + i) as u64 + 1), self, piece))
    }
}

/// FNV-1a over the name, mixed with the seed.
pub(super) fn name_seed(seed: u64, name: &str) -> u64 {
    let hash = fnv::fnv1a(fnv::NOTHING, name.as_bytes());
    mix(hash ^ mix(seed))
}

/// The finaliser of SplitMix64 (Steele et al. 2014): every bit of the input moves every bit of the output.
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Writes a vector whose numbers are made of sizes: f32, and of one chunk, since heads are not so many.
pub(super) fn write_made(made: Made, layer: Option<usize>, out: &mut [u8]) {
    let numbers = made.numbers(out.len() / 4, layer);
    let places = out.chunks_exact_mut(4);
    places
        .zip(numbers)
        .for_each(|(out, v)| out.copy_from_slice(&v.to_le_bytes()));
}

/// Fills one chunk. The normal distribution is approximated by the sum of two triangular ones, four uniform numbers of 16
/// bits each: no logarithm, and no value beyond 3.5 deviations, which random weights are better without.
pub(super) fn fill((seed, draw, out): Chunk<'_>) {
    if let Some((made, layer)) = draw.made {
        return write_made(made, layer, out);
    }
    if let Some(below) = draw.below {
        return fill_whole(seed, below, out);
    }
    // The sum of four uniform numbers in 0..65536 has mean 131070 and this deviation.
    const DEVIATION: f32 = 37_837.3;
    let mut counter = seed;
    let mut next = || {
        counter = counter.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let bits = mix(counter);
        let sum = (bits & 0xffff) + (bits >> 16 & 0xffff) + (bits >> 32 & 0xffff) + (bits >> 48);
        draw.mean + (sum as f32 - 131_070.0) * (draw.deviation / DEVIATION)
    };
    match draw.dtype {
        Dtype::F32 => out
            .chunks_exact_mut(4)
            .for_each(|out| out.copy_from_slice(&next().to_le_bytes())),
        Dtype::Bf16 => out
            .chunks_exact_mut(2)
            .for_each(|out| out.copy_from_slice(&bf16::from_f32(next()).to_le_bytes())),
        Dtype::F16 => out
            .chunks_exact_mut(2)
            .for_each(|out| out.copy_from_slice(&f16::from_f32(next()).to_le_bytes())),
    }
}

/// Fills a chunk with whole numbers.
fn fill_whole(seed: u64, below: usize, out: &mut [u8]) {
    let numbers = (1u64..).map(|i| mix(seed.wrapping_add(i)) % below as u64);
    let places = out.chunks_exact_mut(4).zip(numbers);
    places.for_each(|(out, v)| out.copy_from_slice(&(v as f32).to_le_bytes()));
}
