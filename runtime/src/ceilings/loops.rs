//! The loops that ceilings are measured with: those of arithmetic for the widest vectors that the kernels use which run in this process.

use crate::kernels::Isa;

/// Accumulators of the arithmetic loops: enough to hide the latency of an instruction on two ports.
pub(super) const CHAINS: usize = 12;

/// Lanes of a vector that the arithmetic loop works on.
pub(super) fn lanes() -> usize {
    match vectors() {
        Vectors::Bits512 => 16,
        Vectors::Bits256 => 8,
        Vectors::Plain => 4,
    }
}

#[derive(Clone, Copy)]
enum Vectors {
    Bits512,
    Bits256,
    Plain,
}

fn vectors() -> Vectors {
    match Isa::chosen() {
        Ok(Isa::Avx512 | Isa::Avx512Vnni | Isa::Amx) => Vectors::Bits512,
        Ok(Isa::Avx2 | Isa::AvxVnni) => Vectors::Bits256,
        Ok(Isa::Scalar) | Err(_) => Vectors::Plain,
    }
}

/// Sum of all words, several at once, read from `streams` places on.
pub(super) fn sum(words: &[u64], streams: usize) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: AVX2 was found.
        return unsafe { sum_wide(words, streams) };
    }
    sum_lanes(words, streams)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn sum_wide(words: &[u64], streams: usize) -> u64 {
    sum_lanes(words, streams)
}

#[inline(always)]
fn sum_lanes(words: &[u64], streams: usize) -> u64 {
    const LANES: usize = 32;
    let mut sums = [0u64; LANES];
    let each = words.len() / streams;
    for start in (0..each - each % LANES).step_by(LANES) {
        for stream in 0..streams {
            let chunk = &words[stream * each + start..][..LANES];
            for (sum, word) in sums.iter_mut().zip(chunk) {
                *sum = sum.wrapping_add(*word);
            }
        }
    }
    sums.iter().fold(0, |a, b| a.wrapping_add(*b))
}

/// `CHAINS` vectors, each `x = x · factor + factor`, `rounds` times.
pub(super) fn multiply_add(factor: f32, rounds: usize) -> f32 {
    match vectors() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the processor has what the chosen kernels use: AVX-512.
        Vectors::Bits512 => unsafe { chains_512(factor, rounds) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: likewise, AVX2 and FMA.
        Vectors::Bits256 => unsafe { chains_256(factor, rounds) },
        #[cfg(not(target_arch = "x86_64"))]
        Vectors::Bits512 | Vectors::Bits256 => chains_plain(factor, rounds),
        Vectors::Plain => chains_plain(factor, rounds),
    }
}

// Loops, not closures: only what stands in the function itself is sure to be compiled for its features.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn chains_512(factor: f32, rounds: usize) -> f32 {
    use std::arch::x86_64::{_mm512_add_ps, _mm512_fmadd_ps, _mm512_reduce_add_ps, _mm512_set1_ps};
    let f = _mm512_set1_ps(factor);
    let mut x = [f; CHAINS];
    for _ in 0..rounds {
        for chain in &mut x {
            *chain = _mm512_fmadd_ps(*chain, f, f);
        }
    }
    let mut sum = f;
    for chain in x {
        sum = _mm512_add_ps(sum, chain);
    }
    _mm512_reduce_add_ps(sum)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn chains_256(factor: f32, rounds: usize) -> f32 {
    use std::arch::x86_64::{_mm256_add_ps, _mm256_cvtss_f32, _mm256_fmadd_ps, _mm256_set1_ps};
    let f = _mm256_set1_ps(factor);
    let mut x = [f; CHAINS];
    for _ in 0..rounds {
        for chain in &mut x {
            *chain = _mm256_fmadd_ps(*chain, f, f);
        }
    }
    let mut sum = f;
    for chain in x {
        sum = _mm256_add_ps(sum, chain);
    }
    _mm256_cvtss_f32(sum)
}

fn chains_plain(factor: f32, rounds: usize) -> f32 {
    let mut x = [[factor; 4]; CHAINS];
    for _ in 0..rounds {
        x = x.map(|lanes| lanes.map(|x| x * factor + factor));
    }
    x.iter().flatten().sum()
}

/// Whether products of bf16 run in vectors.
#[cfg(target_arch = "x86_64")]
fn has_bf16() -> bool {
    matches!(vectors(), Vectors::Bits512) && is_x86_feature_detected!("avx512bf16")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_bf16() -> bool {
    false
}

/// Numbers that the loop on bf16 multiplies at once, which are f32 where there is no other way.
pub(super) fn bf16_lanes() -> usize {
    if has_bf16() { 32 } else { lanes() }
}

/// `CHAINS` vectors, to each of which pairs of products are added, `rounds` times.
pub(super) fn multiply_add_bf16(factor: f32, rounds: usize) -> f32 {
    #[cfg(target_arch = "x86_64")]
    if has_bf16() {
        // SAFETY: AVX512_BF16 was found.
        return unsafe { bf16_chains_512(factor, rounds) };
    }
    multiply_add(factor, rounds)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bf16")]
fn bf16_chains_512(factor: f32, rounds: usize) -> f32 {
    use std::arch::x86_64::{
        _mm512_add_ps, _mm512_cvtne2ps_pbh, _mm512_dpbf16_ps, _mm512_reduce_add_ps, _mm512_set1_ps,
    };
    let start = _mm512_set1_ps(factor);
    let f = _mm512_cvtne2ps_pbh(start, start);
    let mut x = [start; CHAINS];
    for _ in 0..rounds {
        for chain in &mut x {
            *chain = _mm512_dpbf16_ps(*chain, f, f);
        }
    }
    let mut sum = start;
    for chain in x {
        sum = _mm512_add_ps(sum, chain);
    }
    _mm512_reduce_add_ps(sum)
}

/// Bytes that the loop on integers multiplies at once.
pub(super) fn int8_lanes() -> usize {
    match integers() {
        Integers::Vnni512 => 64,
        Integers::Vnni256 | Integers::Pairs => 32,
        Integers::Plain => 1,
    }
}

#[derive(Clone, Copy)]
enum Integers {
    Vnni512,
    Vnni256,
    Pairs,
    Plain,
}

fn integers() -> Integers {
    match Isa::chosen() {
        Ok(Isa::Avx512Vnni | Isa::Amx) => Integers::Vnni512,
        Ok(Isa::AvxVnni) => Integers::Vnni256,
        Ok(Isa::Avx2 | Isa::Avx512) => Integers::Pairs,
        Ok(Isa::Scalar) | Err(_) => Integers::Plain,
    }
}

/// `CHAINS` vectors of products of bytes, `rounds` times, each waiting for the last.
pub(super) fn multiply_add_int8(factor: i8, rounds: usize) -> i32 {
    match integers() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the processor has what the chosen kernels use: AVX-512 and VNNI.
        Integers::Vnni512 => unsafe { int8_chains_512(factor, rounds) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: likewise, AVX2 and AVX-VNNI.
        Integers::Vnni256 => unsafe { int8_chains_vnni_256(factor, rounds) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: likewise, AVX2.
        Integers::Pairs => unsafe { int8_chains_256(factor, rounds) },
        #[cfg(not(target_arch = "x86_64"))]
        Integers::Vnni512 | Integers::Vnni256 | Integers::Pairs => {
            int8_chains_plain(factor, rounds)
        }
        Integers::Plain => int8_chains_plain(factor, rounds),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vnni")]
fn int8_chains_512(factor: i8, rounds: usize) -> i32 {
    use std::arch::x86_64::{
        _mm512_add_epi32, _mm512_dpbusd_epi32, _mm512_reduce_add_epi32, _mm512_set1_epi8,
    };
    let f = _mm512_set1_epi8(factor);
    let mut x = [f; CHAINS];
    for _ in 0..rounds {
        for chain in &mut x {
            *chain = _mm512_dpbusd_epi32(*chain, f, f);
        }
    }
    let mut sum = f;
    for chain in x {
        sum = _mm512_add_epi32(sum, chain);
    }
    _mm512_reduce_add_epi32(sum)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,avxvnni")]
fn int8_chains_vnni_256(factor: i8, rounds: usize) -> i32 {
    use std::arch::x86_64::{
        _mm256_add_epi32, _mm256_cvtsi256_si32, _mm256_dpbusd_avx_epi32, _mm256_set1_epi8,
    };
    let f = _mm256_set1_epi8(factor);
    let mut x = [f; CHAINS];
    for _ in 0..rounds {
        for chain in &mut x {
            *chain = _mm256_dpbusd_avx_epi32(*chain, f, f);
        }
    }
    let mut sum = f;
    for chain in x {
        sum = _mm256_add_epi32(sum, chain);
    }
    _mm256_cvtsi256_si32(sum)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn int8_chains_256(factor: i8, rounds: usize) -> i32 {
    use std::arch::x86_64::{
        _mm256_add_epi32, _mm256_cvtsi256_si32, _mm256_maddubs_epi16, _mm256_set1_epi8,
    };
    let f = _mm256_set1_epi8(factor);
    let mut x = [f; CHAINS];
    for _ in 0..rounds {
        for chain in &mut x {
            *chain = _mm256_maddubs_epi16(*chain, f);
        }
    }
    let mut sum = f;
    for chain in x {
        sum = _mm256_add_epi32(sum, chain);
    }
    _mm256_cvtsi256_si32(sum)
}

fn int8_chains_plain(factor: i8, rounds: usize) -> i32 {
    let mut x = [i32::from(factor); CHAINS];
    for _ in 0..rounds {
        x = x.map(|x| x.wrapping_mul(i32::from(factor)).wrapping_add(1));
    }
    x.iter().fold(0, |a, b| a.wrapping_add(*b))
}
