//! What this machine can do at most: bytes read a second, and floating-point operations a second, measured.
//!
//! Simple loops on every thread at once, the best of some runs: what kernels are compared with. Bandwidth depends on where data
//! lies, so that it is measured on as many bytes as the work in question reads.

use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// Least and most bytes that bandwidth is measured on.
const BYTES: std::ops::RangeInclusive<usize> = (256 << 10)..=(512 << 20);
/// How long one run lasts at least.
const RUN: Duration = Duration::from_millis(30);
/// Runs, of which the best counts.
const RUNS: usize = 5;
/// Accumulators of the arithmetic loop: enough to hide the latency of a fused multiply-add on two ports.
const CHAINS: usize = 12;

/// 10⁹ bytes that `threads` threads read a second, over and over, from `bytes` bytes that they share out.
pub fn gbps(threads: usize, bytes: usize) -> f64 {
    let each = bytes.clamp(*BYTES.start(), *BYTES.end()) / threads.max(1);
    let words = vec![1u64; (each / 8).max(1024)];
    let pass = |words: &Vec<u64>| {
        black_box(sum(black_box(words)));
        8.0 * words.len() as f64
    };
    together(threads, || words.clone(), pass)
}

/// 10⁹ floating-point operations that `threads` threads do a second, in registers.
pub fn gflops(threads: usize) -> f64 {
    const ROUNDS: usize = 20_000;
    let pass = |_: &()| {
        black_box(multiply_add(black_box(0.999), ROUNDS)) as f64 * 0.0 + operations(ROUNDS)
    };
    together(threads, || (), pass)
}

fn operations(rounds: usize) -> f64 {
    (2 * CHAINS * lanes() * rounds) as f64
}

/// Runs `pass` on every thread at once, again and again; 10⁹ of what it counts a second, all threads together.
fn together<T>(
    threads: usize,
    data: impl Fn() -> T + Sync,
    pass: impl Fn(&T) -> f64 + Sync,
) -> f64 {
    let start = Barrier::new(threads);
    let work = || {
        let data = data();
        pass(&data);
        let run = || {
            start.wait();
            let (begun, mut done) = (Instant::now(), 0.0);
            while begun.elapsed() < RUN {
                done += pass(&data);
            }
            done / begun.elapsed().as_secs_f64() / 1e9
        };
        (0..RUNS).map(|_| run()).collect::<Vec<f64>>()
    };
    let all: Vec<Vec<f64>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let joined = threads.into_iter().map(|t| t.join());
        joined.map(|t| t.expect("the loops do not panic")).collect()
    });
    let run = |i: usize| all.iter().map(|t| t[i]).sum::<f64>();
    (0..RUNS).map(run).fold(0.0, f64::max)
}

/// Lanes of a vector that the arithmetic loop works on.
fn lanes() -> usize {
    match vectors() {
        Vectors::Bits512 => 16,
        Vectors::Bits256 => 8,
        Vectors::Plain => 4,
    }
}

#[derive(Clone, Copy)]
enum Vectors {
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "x86-64 only"))]
    Bits512,
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "x86-64 only"))]
    Bits256,
    Plain,
}

#[cfg(target_arch = "x86_64")]
fn vectors() -> Vectors {
    if is_x86_feature_detected!("avx512f") {
        Vectors::Bits512
    } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        Vectors::Bits256
    } else {
        Vectors::Plain
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn vectors() -> Vectors {
    Vectors::Plain
}

/// Sum of all words, several at once.
fn sum(words: &[u64]) -> u64 {
    match vectors() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `vectors` found AVX2, which processors with AVX-512 have as well.
        Vectors::Bits512 | Vectors::Bits256 => unsafe { sum_wide(words) },
        #[cfg(not(target_arch = "x86_64"))]
        Vectors::Bits512 | Vectors::Bits256 => sum_lanes(words),
        Vectors::Plain => sum_lanes(words),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn sum_wide(words: &[u64]) -> u64 {
    sum_lanes(words)
}

#[inline(always)]
fn sum_lanes(words: &[u64]) -> u64 {
    let mut sums = [0u64; 32];
    for chunk in words.chunks_exact(32) {
        for (sum, word) in sums.iter_mut().zip(chunk) {
            *sum = sum.wrapping_add(*word);
        }
    }
    sums.iter().fold(0, |a, b| a.wrapping_add(*b))
}

/// `CHAINS` vectors, each `x = x · factor + factor`, `rounds` times.
fn multiply_add(factor: f32, rounds: usize) -> f32 {
    match vectors() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `vectors` found AVX-512.
        Vectors::Bits512 => unsafe { chains_512(factor, rounds) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `vectors` found AVX2 and FMA.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ceilings_are_of_a_plausible_size() {
        let (memory, arithmetic) = (gbps(1, 64 << 20), gflops(1));
        assert!((0.2..2000.0).contains(&memory), "{memory} GB/s");
        assert!((4.0..5000.0).contains(&arithmetic), "{arithmetic} GFLOP/s");
    }
}
