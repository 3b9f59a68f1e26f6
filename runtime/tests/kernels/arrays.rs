//! Inputs of tests: random values, weights in each type at any alignment, and memory that ends where the array does.

use std::cell::RefCell;

use graver_runtime::abi::{Arranged, Dtype, KernelTable, MATMUL_SCRATCH};
use half::{bf16, f16};
use rand_pcg::Pcg32;
use rand_pcg::rand_core::RngCore;

/// Random values with a fixed seed.
pub(crate) struct Random(Pcg32);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(Pcg32::new(seed, 0x0a02_bdbf_7bb3_c0a7))
    }

    /// Uniform in −1 .. 1.
    pub(crate) fn value(&mut self) -> f32 {
        (self.0.next_u32() >> 8) as f32 / (1 << 23) as f32 - 1.0
    }

    pub(crate) fn values(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.value()).collect()
    }
}

/// Values as the bytes of a type.
pub(crate) fn encode(values: &[f32], dtype: Dtype) -> Vec<u8> {
    let bytes = |v: &f32| match dtype {
        Dtype::F32 => v.to_le_bytes().to_vec(),
        Dtype::Bf16 => bf16::from_f32(*v).to_le_bytes().to_vec(),
        Dtype::F16 => f16::from_f32(*v).to_le_bytes().to_vec(),
    };
    values.iter().flat_map(bytes).collect()
}

/// Bytes followed by a page that cannot be read, so that a kernel which reads too far ends the test.
pub(crate) struct Guarded {
    map: *mut u8,
    map_bytes: usize,
    first: *mut u8,
}

const PAGE: usize = 4096;

impl Guarded {
    pub(crate) fn new(bytes: &[u8]) -> Guarded {
        let room = bytes.len().next_multiple_of(PAGE);
        let map_bytes = room + PAGE;
        // SAFETY: a new anonymous mapping; the page behind `room` is its last.
        unsafe {
            let map = libc::mmap(
                std::ptr::null_mut(),
                map_bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            assert_ne!(map, libc::MAP_FAILED);
            let map = map.cast::<u8>();
            assert_eq!(
                libc::mprotect(map.add(room).cast(), PAGE, libc::PROT_NONE),
                0
            );
            let first = map.add(room - bytes.len());
            first.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            Guarded {
                map,
                map_bytes,
                first,
            }
        }
    }

    pub(crate) fn of_f32(values: &[f32]) -> Guarded {
        Guarded::new(&encode(values, Dtype::F32))
    }

    pub(crate) fn ptr(&self) -> *const u8 {
        self.first
    }

    pub(crate) fn ptr_mut(&mut self) -> *mut u8 {
        self.first
    }

    pub(crate) fn f32s(&self, n: usize) -> Vec<f32> {
        // SAFETY: the callers' arrays have `n` elements; the address need not be aligned.
        (0..n)
            .map(|i| unsafe { self.first.cast::<f32>().add(i).read_unaligned() })
            .collect()
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own.
        unsafe { libc::munmap(self.map.cast(), self.map_bytes) };
    }
}

/// What a table arranges of `m` rows of `k` activations, as code does: full of what must not be taken for zero beside them.
pub(crate) fn arrange(
    table: &KernelTable,
    of: Arranged,
    x: (*const u8, usize),
    m: usize,
    k: usize,
) -> Guarded {
    let mut out = Guarded::new(&vec![0xff; of.room(m, k)]);
    // SAFETY: the caller gives `m` rows; there is room for as many, which ends where a page does.
    unsafe { table.arrange_all(of, x, m, k, out.ptr_mut()) };
    out
}

/// Calls `f` with scratch of a matmul, aligned as the contract says and full of what must not be taken for zero.
pub(crate) fn with_scratch<R>(f: impl FnOnce(*mut u8) -> R) -> R {
    #[repr(align(64))]
    #[derive(Clone, Copy)]
    struct Line(#[expect(dead_code, reason = "what a kernel finds there")] [f32; 16]);
    thread_local! {
        static SCRATCH: RefCell<Vec<Line>> =
            RefCell::new(vec![Line([f32::NAN; 16]); MATMUL_SCRATCH / size_of::<Line>()]);
    }
    SCRATCH.with_borrow_mut(|lines| f(lines.as_mut_ptr().cast()))
}
