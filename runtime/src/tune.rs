//! Measures the kernels that [`Choices`] are between, in turn, and says which are faster here.
//!
//! Each choice is measured where it matters, on every thread at once: weights that are read once come from an array that no cache holds, others
//! lie in the second-level cache. What differs by less than `DOUBT` stays as is usual.

use std::hint::black_box;
use std::ptr::null;
use std::sync::Barrier;
use std::time::Instant;

use crate::abi::quant::{Block, GROUP, block_row_bytes};
use crate::abi::{KernelTable, MATMUL_SCRATCH, Quant};
use crate::cpu::Affinity;
use crate::kernels::{Ahead, Choices, Isa, Width, table_for};
use crate::memory::Region;
use crate::threads::nth_cpu;

/// Bytes that no cache holds, all threads together.
const MEMORY_BYTES: usize = 384 << 20;
/// Bytes that the second-level cache holds beside activations.
const CACHE_BYTES: usize = 192 << 10;
/// Terms of a product.
const K: usize = 2048;
/// Rows of weights of a call with few rows of activations: enough that streams are long where several are read side by side.
const LONG: usize = 512;
/// Those of a call with many: two panels of floats, which are a wide tile's columns.
const SHORT: usize = 32;
/// Rows of activations where there are many.
const MANY: usize = 96;
/// A call's weights of the largest type are there, and so is room for what any of them gives.
const _: () = assert!(CACHE_BYTES >= SHORT * K * 2 && OUT >= LONG);
/// Results of a call at most.
const OUT: usize = MANY * SHORT;
/// Times that each is measured.
const ROUNDS: usize = 7;
/// Differences that say nothing.
const DOUBT: f64 = 1.03;
/// Bytes that a call goes over at least before the clock is asked.
const PASS_BYTES: usize = 16 << 20;

/// One choice.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What is chosen, for people.
    pub what: &'static str,
    /// What is usual, what is not, and how much faster the second was: the medians of 10⁹ bytes of weights a second.
    pub usual: (&'static str, f64),
    /// The other one.
    pub other: (&'static str, f64),
    /// Whether the other one is taken.
    pub changed: bool,
}

/// What is faster here, for the kernels of an instruction set that the processor has, and why.
///
/// # Errors
/// There is no memory to measure on.
pub fn measure(isa: Isa, threads: usize) -> Result<(Choices, Vec<Finding>), crate::Error> {
    measure_on(isa, threads, MEMORY_BYTES)
}

fn measure_on(
    isa: Isa,
    threads: usize,
    memory_bytes: usize,
) -> Result<(Choices, Vec<Finding>), crate::Error> {
    let mut best = Choices::usual();
    let mut findings = vec![];
    for axis in axes(isa) {
        let others = axis.other(Choices::usual());
        let candidates = [Choices::usual(), others];
        let tables = candidates.map(|c| table_for(isa, c).expect("the caller has it"));
        let [usual, other] = medians(*axis, &tables, threads, memory_bytes)?;
        let changed = other > usual * DOUBT;
        if changed {
            best = axis.other(best);
        }
        findings.push(Finding {
            what: axis.what(),
            usual: (axis.name(candidates[0]), usual),
            other: (axis.name(candidates[1]), other),
            changed,
        });
    }
    Ok((best, findings))
}

/// A field of [`Choices`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Axis {
    Ahead,
    Floats,
}

/// What an instruction set has kernels to choose among for.
fn axes(isa: Isa) -> &'static [Axis] {
    match isa {
        Isa::Scalar => &[],
        // Many rows are multiplied by tiles of AMX.
        Isa::Avx2 | Isa::AvxVnni | Isa::Amx => &[Axis::Ahead],
        Isa::Avx512 | Isa::Avx512Vnni => &[Axis::Ahead, Axis::Floats],
    }
}

impl Axis {
    fn what(self) -> &'static str {
        match self {
            Axis::Ahead => "weights that are read once, asked for by",
            Axis::Floats => "many rows of floats, in vectors that are",
        }
    }

    fn name(self, choices: Choices) -> &'static str {
        match self {
            Axis::Ahead => choices.ahead.name(),
            Axis::Floats => choices.floats.name(),
        }
    }

    /// The same but for this field.
    fn other(self, choices: Choices) -> Choices {
        match self {
            Axis::Ahead => Choices {
                ahead: match choices.ahead {
                    Ahead::Pages => Ahead::Lines,
                    Ahead::Lines => Ahead::Pages,
                },
                ..choices
            },
            Axis::Floats => Choices {
                floats: match choices.floats {
                    Width::Narrow => Width::Wide,
                    Width::Wide => Width::Narrow,
                },
                ..choices
            },
        }
    }

    /// Bytes of weights that a thread goes over, of so many that no cache holds.
    fn bytes(self, memory_bytes: usize) -> usize {
        match self {
            Axis::Ahead => memory_bytes,
            Axis::Floats => CACHE_BYTES,
        }
    }
}

/// What one thread needs to call kernels.
struct Place {
    weights: Region,
    blocks: Vec<Block>,
    x: Vec<f32>,
    out: Vec<f32>,
    scratch: Region,
}

impl Place {
    fn new(bytes: usize) -> Result<Place, crate::Error> {
        let mut weights = Region::reserve("weights to measure on", bytes)?.large_pages();
        // As numbers of any type of a usual size; memory that was never written to is one page of zeros.
        weights.slice_mut(0, bytes).fill(0x3c);
        let block = Block {
            q: [3; GROUP],
            scale: 0.01,
            offset: 0.0,
            bias: -128 * 3 * GROUP as i32,
            half_bias: 0,
        };
        Ok(Place {
            weights,
            blocks: vec![block; K / GROUP],
            x: vec![0.5; MANY * K],
            out: vec![0.0; OUT],
            scratch: Region::reserve("scratch", MATMUL_SCRATCH)?,
        })
    }

    /// Goes over the weights once with every type that the axis is about; the bytes that were read.
    fn pass(&mut self, axis: Axis, table: &KernelTable) -> usize {
        match axis {
            Axis::Ahead => {
                self.integers(table, Quant::Q8)
                    + self.integers(table, Quant::Q4Super)
                    + self.floats(table, 1, LONG)
            }
            Axis::Floats => self.floats(table, MANY, SHORT),
        }
    }

    fn integers(&mut self, table: &KernelTable, quant: Quant) -> usize {
        let kernel = table.quant_matmul(quant);
        self.calls(quant.matrix_bytes(LONG, K), |place, w| {
            let (x, out) = (place.blocks.as_ptr().cast(), place.out.as_mut_ptr());
            // SAFETY: a row of `K` activations, as many weights at `w` as the shape has, and room for the result.
            unsafe {
                kernel(
                    x,
                    block_row_bytes(K),
                    1,
                    w,
                    LONG,
                    K / GROUP,
                    out,
                    LONG,
                    null(),
                )
            }
        })
    }

    fn floats(&mut self, table: &KernelTable, m: usize, rows: usize) -> usize {
        self.calls(rows * K * 2, |place, w| {
            let (x, out) = (place.x.as_ptr(), place.out.as_mut_ptr());
            let scratch = place.scratch.as_mut_ptr();
            // SAFETY: `m` rows of activations, as many weights at `w` as the shape has, room for the result, and scratch.
            unsafe {
                (table.matmul_bf16)(x, K, m, w, K * 2, rows, K, out, rows, 0, null(), scratch)
            }
        })
    }

    /// Calls with one part of the weights, `each` bytes, after the other.
    fn calls(&mut self, each: usize, mut call: impl FnMut(&mut Place, *const u8)) -> usize {
        let parts = self.weights.len() / each;
        let first = self.weights.as_mut_ptr();
        for part in 0..parts {
            call(self, black_box(first.wrapping_add(part * each)));
        }
        parts * each
    }
}

/// The median speed of each table's kernels, 10⁹ bytes of weights a second of all threads together; they take turns.
fn medians(
    axis: Axis,
    tables: &[KernelTable; 2],
    threads: usize,
    memory_bytes: usize,
) -> Result<[f64; 2], crate::Error> {
    let start = Barrier::new(threads);
    let work = |thread: usize| {
        // Without a processor of its own a thread is merely slower.
        let _ = Affinity::one(nth_cpu(thread)).and_then(|one| one.apply());
        let place = Place::new(axis.bytes(memory_bytes / threads));
        // All of them come here, whether they have memory or not.
        start.wait();
        let mut place = place?;
        let mut run = |table: &KernelTable| {
            let (begun, mut bytes) = (Instant::now(), 0);
            while bytes < PASS_BYTES {
                bytes += place.pass(axis, table);
            }
            bytes as f64 / begun.elapsed().as_secs_f64() / 1e9
        };
        for table in tables {
            run(table);
        }
        let round = |_| [run(&tables[0]), run(&tables[1])];
        Ok((0..ROUNDS).map(round).collect::<Vec<_>>())
    };
    let all: Result<Vec<Vec<[f64; 2]>>, crate::Error> = std::thread::scope(|scope| {
        let work = &work;
        let spawned: Vec<_> = (0..threads).map(|t| scope.spawn(move || work(t))).collect();
        let joined = spawned.into_iter().map(|t| t.join());
        joined.map(|t| t.expect("kernels do not panic")).collect()
    });
    let all = all?;
    Ok([0, 1].map(|table| {
        let of = |round: usize| all.iter().map(|thread| thread[round][table]).sum::<f64>();
        let mut speeds: Vec<f64> = (0..ROUNDS).map(of).collect();
        speeds.sort_by(f64::total_cmp);
        speeds[ROUNDS / 2]
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_of_this_processor_is_measured_on_what_it_has() {
        for isa in Isa::available() {
            let (choices, findings) = measure_on(isa, 2, 8 << 20).unwrap();
            assert_eq!(findings.len(), axes(isa).len());
            let changed = findings.iter().filter(|f| f.changed).count();
            assert_eq!(changed == 0, choices == Choices::usual());
            for f in &findings {
                assert!(
                    f.usual.1 > 0.0 && f.other.1 > 0.0 && f.usual.0 != f.other.0,
                    "{f:?}"
                );
                assert_eq!(f.changed, f.other.1 > f.usual.1 * DOUBT);
            }
        }
    }

    #[test]
    fn the_other_of_the_other_is_the_first() {
        for axis in [Axis::Ahead, Axis::Floats] {
            for choices in Choices::all() {
                let other = axis.other(choices);
                assert!(axis.name(other) != axis.name(choices));
                assert_eq!(axis.other(other), choices);
            }
        }
    }
}
