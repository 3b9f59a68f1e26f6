//! What this machine can do at most: bytes read a second, and operations a second by what the kernels use that run in this process, measured.
//!
//! Simple loops on every thread at once, the best of some runs: what kernels are compared with. Bandwidth depends on where data
//! lies, so that it is measured on as many bytes as the work in question reads, in large pages where the system has them. It
//! depends on the order as well: memory reads from one place on and from four places at once, and the faster counts.

use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use crate::abi::Dtype;
use crate::cpu::Affinity;
use crate::kernels;
use crate::memory::Region;
use crate::threads::nth_cpu;

mod loops;

use loops::{
    CHAINS, bf16_lanes, int8_lanes, lanes, multiply_add, multiply_add_bf16, multiply_add_int8, sum,
};

/// Least and most bytes that bandwidth is measured on.
const BYTES: std::ops::RangeInclusive<usize> = (256 << 10)..=(512 << 20);
/// How long one run lasts at least.
const RUN: Duration = Duration::from_millis(30);
/// Rounds of an arithmetic loop.
const ROUNDS: usize = 20_000;
/// Rounds of a loop of products of tiles.
const TILE_ROUNDS: usize = 200;
/// Runs, of which the best counts.
const RUNS: usize = 5;

/// 10⁹ bytes that `threads` threads read a second, over and over, from `bytes` bytes that they share out.
pub fn gbps(threads: usize, bytes: usize) -> f64 {
    let each = bytes.clamp(*BYTES.start(), *BYTES.end()) / threads.max(1);
    let with = |streams: usize| {
        let pass = |memory: &Region| {
            let words = words(memory);
            black_box(sum(black_box(words), streams));
            8.0 * words.len() as f64
        };
        together(threads, || touched(each.max(8192)), pass)
    };
    with(1).max(with(4))
}

/// Memory that is there: what was never written to is one page of zeros.
fn touched(bytes: usize) -> Region {
    let memory = Region::reserve("what bandwidth is measured on", bytes);
    let mut memory = memory
        .expect("less memory than a model needs")
        .large_pages();
    memory.slice_mut(0, bytes).fill(1);
    memory
}

fn words(memory: &Region) -> &[u64] {
    // SAFETY: nothing writes to the memory after it was made, and any bits are an integer.
    unsafe { memory.slice(0, memory.len()).align_to().1 }
}

/// 10⁹ floating-point operations that `threads` threads do a second, in registers.
pub fn gflops(threads: usize) -> f64 {
    in_registers(threads, lanes(), || {
        black_box(multiply_add(black_box(0.999), ROUNDS));
    })
}

/// 10⁹ floating-point operations a second of products of f32 with weights of a type: those of f32, or what tiles give where the kernels that run use them.
pub fn product_gflops(threads: usize, weights: Dtype) -> f64 {
    match kernels::tile_loops() {
        Some(tiles) => rounded_gflops(threads) / (tiles.products)(weights) as f64,
        None => gflops(threads),
    }
}

/// 10⁹ floating-point operations a second of products of bf16 with bf16: those of f32 where neither the processor nor the kernels that run have others.
pub fn rounded_gflops(threads: usize) -> f64 {
    match kernels::tile_loops() {
        Some(tiles) => together(threads, || (), |_| (tiles.bf16)(TILE_ROUNDS) as f64),
        None => in_registers(threads, bf16_lanes(), || {
            black_box(multiply_add_bf16(black_box(0.999), ROUNDS));
        }),
    }
}

/// 10⁹ operations a second, a product and a sum being two, that `threads` threads do on integers of 8 bits, in registers.
pub fn int8_gops(threads: usize) -> f64 {
    if let Some(tiles) = kernels::tile_loops() {
        return together(threads, || (), |_| (tiles.int8)(TILE_ROUNDS) as f64);
    }
    in_registers(threads, int8_lanes(), || {
        black_box(multiply_add_int8(black_box(3), ROUNDS));
    })
}

/// 10⁹ operations a second of a loop of [`ROUNDS`] over `lanes` at once in every chain.
fn in_registers(threads: usize, lanes: usize, run: impl Fn() + Sync) -> f64 {
    let pass = |_: &()| {
        run();
        (2 * CHAINS * lanes * ROUNDS) as f64
    };
    together(threads, || (), pass)
}

/// Runs `pass` on every thread at once, again and again; 10⁹ of what it counts a second, all threads together.
fn together<T>(
    threads: usize,
    data: impl Fn() -> T + Sync,
    pass: impl Fn(&T) -> f64 + Sync,
) -> f64 {
    let start = Barrier::new(threads);
    let work = |thread: usize| {
        // A caller that is pinned would have all of them share its processor. Without a pin they are merely slower.
        let _ = Affinity::one(nth_cpu(thread)).and_then(|one| one.apply());
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
        let work = &work;
        let spawn = |thread| scope.spawn(move || work(thread));
        let threads: Vec<_> = (0..threads).map(spawn).collect();
        let joined = threads.into_iter().map(|t| t.join());
        joined.map(|t| t.expect("the loops do not panic")).collect()
    });
    let run = |i: usize| all.iter().map(|t| t[i]).sum::<f64>();
    (0..RUNS).map(run).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As between the runs of a benchmark, whose caller is pinned.
    #[test]
    fn threads_of_a_pinned_caller_have_processors_of_their_own() {
        let cpus = crate::cpu::allowed_cpus().len();
        if cpus < 2 || !cfg!(target_os = "linux") {
            return;
        }
        std::thread::spawn(|| {
            Affinity::one(nth_cpu(0))
                .and_then(|one| one.apply())
                .unwrap();
            let seen = std::sync::Mutex::new(std::collections::BTreeSet::new());
            let note = |_: &()| {
                let own = Affinity::of_this_thread().unwrap().cpus();
                seen.lock().unwrap().extend(own);
                1.0
            };
            together(2, || (), note);
            assert_eq!(seen.into_inner().unwrap().len(), 2);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn ceilings_are_of_a_plausible_size() {
        let (memory, arithmetic, integers) = (gbps(1, 64 << 20), gflops(1), int8_gops(1));
        assert!((0.2..2000.0).contains(&memory), "{memory} GB/s");
        assert!((4.0..5000.0).contains(&arithmetic), "{arithmetic} GFLOP/s");
        assert!((0.5..50_000.0).contains(&integers), "{integers} GOP/s");
    }
}
