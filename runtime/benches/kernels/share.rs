//! Wall time whose throughput is printed as a share of what this machine can do at most.

use std::time::{Duration, Instant};

use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{BenchmarkGroup, Criterion, Throughput};
use graver_runtime::abi::Dtype;
use graver_runtime::ceilings;

/// An array that no cache holds.
const MEMORY_BYTES: usize = 256 << 20;
/// One that the second-level cache holds.
const CACHE_BYTES: usize = 256 << 10;

/// Behind a number of operations, what they are products of: criterion has no unit left for them.
const TAG: u32 = 61;
/// That of products of bf16 with bf16; those of f32 with weights of a type have the type's place in [`WEIGHTS`], counted from 1.
const ROUNDED: u64 = 1 + WEIGHTS.len() as u64;
/// What floats are multiplied with.
const WEIGHTS: [Dtype; 3] = [Dtype::F32, Dtype::Bf16, Dtype::F16];

/// What a kernel cannot be faster than.
#[derive(Clone, Copy)]
pub(crate) enum Limit {
    /// Reading its array from memory.
    Memory,
    /// Reading it from the second-level cache.
    Cache,
    /// Multiplying and adding in f32.
    Arithmetic,
    /// Multiplying f32 with weights of a type and adding, which tiles of AMX do faster.
    Products(Dtype),
    /// Multiplying bf16 with bf16 and adding.
    Rounded,
    /// Multiplying and adding integers of 8 bits.
    Integers,
}

impl Limit {
    /// Bytes that a benchmark goes over before it comes to the first again.
    pub(crate) fn array_bytes(self) -> usize {
        match self {
            Limit::Memory => MEMORY_BYTES,
            Limit::Cache
            | Limit::Arithmetic
            | Limit::Products(_)
            | Limit::Rounded
            | Limit::Integers => CACHE_BYTES,
        }
    }

    /// Work of one call, told apart by criterion's units.
    fn work(self, bytes: usize, flops: usize) -> Throughput {
        let tagged = |tag: u64| Throughput::Elements(flops as u64 | tag << TAG);
        match self {
            Limit::Memory => Throughput::Bytes(bytes as u64),
            Limit::Cache => Throughput::BytesDecimal(bytes as u64),
            Limit::Arithmetic => Throughput::Elements(flops as u64),
            Limit::Products(of) => {
                let place = WEIGHTS.iter().position(|w| *w == of);
                tagged(1 + place.expect("every type has one") as u64)
            }
            Limit::Rounded => tagged(ROUNDED),
            Limit::Integers => Throughput::Bits(flops as u64),
        }
    }

    /// A group of benchmarks whose calls read so many bytes and do so many operations each.
    pub(crate) fn group<'a>(
        self,
        b: &'a mut Criterion<Share>,
        name: &str,
        bytes: usize,
        flops: usize,
    ) -> BenchmarkGroup<'a, Share> {
        let mut group = b.benchmark_group(name);
        group.throughput(self.work(bytes, flops));
        group
    }
}

/// The measurement, with the ceilings of one thread, 10⁹ a second.
pub(crate) struct Share {
    time: WallTime,
    ceilings: Ceilings,
}

struct Ceilings {
    memory: f64,
    cache: f64,
    arithmetic: f64,
    products: [f64; WEIGHTS.len()],
    rounded: f64,
    integers: f64,
}

impl Share {
    pub(crate) fn measured() -> Share {
        Share {
            time: WallTime,
            ceilings: Ceilings {
                memory: ceilings::gbps(1, MEMORY_BYTES),
                cache: ceilings::gbps(1, CACHE_BYTES),
                arithmetic: ceilings::gflops(1),
                products: WEIGHTS.map(|of| ceilings::product_gflops(1, of)),
                rounded: ceilings::rounded_gflops(1),
                integers: ceilings::int8_gops(1),
            },
        }
    }
}

impl Measurement for Share {
    type Intermediate = Instant;
    type Value = Duration;

    fn start(&self) -> Instant {
        self.time.start()
    }

    fn end(&self, begun: Instant) -> Duration {
        self.time.end(begun)
    }

    fn add(&self, a: &Duration, b: &Duration) -> Duration {
        self.time.add(a, b)
    }

    fn zero(&self) -> Duration {
        self.time.zero()
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        self.time.to_f64(value)
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        &self.ceilings
    }
}

impl Ceilings {
    /// The ceiling, its unit, and how much of the work one call does.
    fn of(&self, work: &Throughput) -> (f64, &'static str, f64) {
        match work {
            Throughput::Bytes(n) => (self.memory, "GB/s of memory", *n as f64),
            Throughput::BytesDecimal(n) => (self.cache, "GB/s of cache", *n as f64),
            Throughput::Elements(n) => {
                let flops = (n & ((1 << TAG) - 1)) as f64;
                match n >> TAG {
                    0 => (self.arithmetic, "GFLOP/s", flops),
                    ROUNDED => (self.rounded, "GFLOP/s of bf16", flops),
                    place => (
                        self.products[place as usize - 1],
                        "GFLOP/s of products",
                        flops,
                    ),
                }
            }
            Throughput::Bits(n) => (self.integers, "GOP/s", *n as f64),
        }
    }
}

impl ValueFormatter for Ceilings {
    /// `ns` is one call's time.
    fn format_throughput(&self, work: &Throughput, ns: f64) -> String {
        let (ceiling, unit, n) = self.of(work);
        format!("{:.0} % of {ceiling:.1} {unit}", 100.0 * n / ns / ceiling)
    }

    fn scale_values(&self, typical: f64, values: &mut [f64]) -> &'static str {
        WallTime.formatter().scale_values(typical, values)
    }

    fn scale_throughputs(&self, _: f64, work: &Throughput, values: &mut [f64]) -> &'static str {
        let (ceiling, _, n) = self.of(work);
        values
            .iter_mut()
            .for_each(|ns| *ns = 100.0 * n / *ns / ceiling);
        "% of the ceiling"
    }

    fn scale_for_machines(&self, values: &mut [f64]) -> &'static str {
        WallTime.formatter().scale_for_machines(values)
    }
}
