//! What generated code and the runtime agree on: the layout of a step, the table of micro-kernels, and the manifest ([`manifest`]).
//!
//! Generated code reaches everything through one [`StepContext`] pointer, so that an object needs no relocations to the
//! outside. Field order is the contract: the compiler asks for offsets with `offset_of!`, and an artifact carries
//! [`ABI_VERSION`], which the runtime checks before the first call.

use half::{bf16, f16};
use serde::{Deserialize, Serialize};

pub mod arranged;
pub mod cache;
pub mod manifest;
pub mod names;
pub mod quant;
pub mod tuned;

pub use arranged::{ARRANGED_ROWS, ArrangeFn, Arranged};
pub use cache::{CACHE_GROUP, CacheType, NarrowFn, WidenFn};
pub use manifest::{
    BlobInfo, CollectiveInfo, CollectiveKind, KernelInfo, Manifest, ProgramInfo, RankInfo,
    StateInfo, WeightInfo,
};
pub use quant::{Encoding, Quant, QuantMatmulFn, QuantRowFn, QuantizeFn};

/// Raised whenever a `repr(C)` layout or the meaning of a field in this file changes.
pub const ABI_VERSION: u32 = 21;

/// Steps of at most this many tokens run the decode program; longer ones run prefill.
pub const DECODE_TOKENS: usize = 8;
/// The most tokens of one prefill step; longer prompts are cut into steps of this size.
pub const PREFILL_TOKENS: usize = 512;
/// Queries of one attention tile of the prefill program (the decode program's tiles are single tokens).
pub const QUERY_TILE: usize = 64;
/// Keys of one attention block; also the grain at which decode splits keys over threads.
pub const KEY_BLOCK: usize = 256;
/// Counters from which threads claim chunks between two barriers.
pub const CLAIM_COUNTERS: usize = 16;

/// `entry(ctx, thread)`: called once by each of `ctx.n_threads` threads for one step.
pub type Entry = unsafe extern "C" fn(*const StepContext, usize);

/// Some tokens of one sequence: rows `start_row..start_row + n` of the step, at positions `position..position + n`.
///
/// Used for whole segments and for attention tiles, which are segments cut to [`QUERY_TILE`] queries.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Sequence slot whose state is read and written.
    pub slot: u32,
    /// First row of the step that belongs to this span.
    pub start_row: u32,
    /// Tokens in the span.
    pub n: u32,
    /// Position of the first token in its sequence.
    pub position: u32,
}

/// Everything a step needs, filled by the runtime, read by generated code.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct StepContext {
    /// Tokens in the step, `T`.
    pub n_tokens: usize,
    /// Rows whose logits are wanted, `R`.
    pub n_logit_rows: usize,
    /// Entries of `spans`.
    pub n_spans: usize,
    /// Entries of `tiles`.
    pub n_tiles: usize,
    /// Threads that entered.
    pub n_threads: usize,
    /// Positions each slot has room for: the row count of every full KV cache.
    pub context: usize,
    /// Token ids, `[T]`.
    pub tokens: *const u32,
    /// Position of each token in its sequence, `[T]`.
    pub positions: *const u32,
    /// Slot of each token, `[T]`.
    pub slots: *const u32,
    /// Rows of the step whose logits are wanted, `[R]`, ascending.
    pub logit_rows: *const u32,
    /// The step's segments.
    pub spans: *const Span,
    /// The segments cut into attention tiles.
    pub tiles: *const Span,
    /// Address of every weight slot: layer after layer, in the order of the manifest.
    pub weights: *const *const u8,
    /// Base address of each slot's state.
    pub slot_base: *const *mut u8,
    /// Byte offset of each state buffer inside a slot, in the order of the manifest.
    pub state_offset: *const usize,
    /// Activations shared by all threads, of the size the manifest states.
    pub arena: *mut u8,
    /// Per-thread scratch: thread `i` owns `scratch_stride` bytes from `scratch + i * scratch_stride`.
    pub scratch: *mut u8,
    /// Bytes between two threads' scratch areas.
    pub scratch_stride: usize,
    /// Where logits go, `[R, vocab]`.
    pub logits: *mut f32,
    /// Micro-kernels for this processor.
    pub kernels: *const KernelTable,
    /// `[CLAIM_COUNTERS]` counters; zeroed by the last thread to arrive at a barrier.
    pub counters: *mut u64,
    /// Waits until all threads have called it with the same context.
    pub barrier: unsafe extern "C" fn(*const StepContext, usize),
    /// The runtime's own data for `barrier` and profiling.
    pub sync: *const core::ffi::c_void,
    /// For each token, `[T]`: positions of its sequence once all is fed that is fed with it, or that are expected.
    pub lengths: *const u32,
    /// `stamp(ctx, thread, s)` says that [`stretch`] `s` of the thread's time begins, which ends the one before. Called, as
    /// `timed_barrier`, only by code that was compiled with time stamps.
    pub stamp: unsafe extern "C" fn(*const StepContext, usize, usize),
    /// Does what `barrier` does and then what `stamp` does; until all threads have come, the thread waits for `s`.
    pub timed_barrier: unsafe extern "C" fn(*const StepContext, usize, usize),
    /// The runtime's own data for `stamp` and `timed_barrier`.
    pub recorder: *const core::ffi::c_void,
    /// `enter_kernel(ctx, thread, weights, states, kernel, tile)`: kernel `kernel` of the program begins, for the block whose first
    /// weight pointer and state offset are there. This and the next three are called only by code that was compiled with
    /// checks.
    pub enter_kernel: unsafe extern "C" fn(*const StepContext, usize, usize, usize, usize, usize),
    /// `check(ctx, thread, at, bytes)` before a load of `bytes` bytes, or a store where [`CHECK_WRITE`] is set: returns where to
    /// make it.
    pub check: unsafe extern "C" fn(*const StepContext, usize, usize, usize) -> usize,
    /// `admit(ctx, thread, at, bytes)`: the kernel reads constants that lie beside its code.
    pub admit: unsafe extern "C" fn(*const StepContext, usize, usize, usize),
    /// `chunk(ctx, thread, index, from, to)` before each chunk of a run: returns the chunk to compute now.
    pub chunk: unsafe extern "C" fn(*const StepContext, usize, usize, usize, usize) -> usize,
    /// The runtime's own data for checks.
    pub checker: *const core::ffi::c_void,
    /// `collective(ctx, index, from, stride, to, rows)`: hands rows of this rank, `stride` floats apart, to collective `index` of
    /// the program, and returns once what all ranks' rows become is at `to`. Called by thread 0 alone, between two barriers, by
    /// code of models that several ranks share.
    pub collective: CollectiveFn,
    /// The runtime's own data for `collective`.
    pub ranks: *const core::ffi::c_void,
    /// `finished(ctx, thread, index, first, n, from, stride, to, rows)`: columns `first..first + n` of what collective `index` sums up are
    /// there. The other arguments are those that `collective` gets later. Called in prefill by whichever thread has computed them; thread 0
    /// may hand over what is there while the others go on.
    pub finished: FinishedFn,
    /// The runtime's own data for `finished`.
    pub columns: *const core::ffi::c_void,
}

/// See [`StepContext::collective`].
pub type CollectiveFn =
    unsafe extern "C" fn(*const StepContext, usize, *const f32, usize, *mut f32, usize);

/// See [`StepContext::finished`].
pub type FinishedFn = unsafe extern "C" fn(
    *const StepContext,
    usize,
    usize,
    usize,
    usize,
    *const f32,
    usize,
    *mut f32,
    usize,
);

/// Added to the number of bytes of a checked access that writes.
pub const CHECK_WRITE: usize = 1 << 63;

/// The number of a stretch of a thread's time in which it runs kernel `kernel` of the program, counted over all blocks: from
/// the kernel's beginning, or on from a barrier inside it. Behind the last kernel of a program nothing is left to do.
pub const fn stretch(kernel: usize, inside: bool) -> usize {
    STRETCHES * kernel + 2 * inside as usize
}

/// Stretches of one kernel.
pub(crate) const STRETCHES: usize = 4;

/// Added to a [`stretch`], the one in which the thread waits for it.
pub(crate) const WAITING: usize = 1;

/// `out[m, n] (+)= x[m, k] · w[n, k]ᵀ`, or `· w[k, n]` for the `_kn` kernels.
///
/// `x` and `out` are f32 with row strides in elements; `w` is a byte pointer of any alignment with a row stride in bytes.
/// With `accumulate` the product is added to `out`. `arranged` is null, or for `matmul_bf16_rounded` what the table's
/// `arrange_rounded` has made of all rows of `x`, [`ARRANGED_ROWS`] after the other; the result is the same. `m`, `n` and `k`
/// may be any size, zero included. The result of an element depends only on its row, its column and `k`, never on `m`, `n` or on where the call cuts the matrix, except
/// that `m <= 8` and `m > 8` may use different summation orders.
pub type MatmulFn = unsafe extern "C" fn(
    x: *const f32,
    x_stride: usize,
    m: usize,
    w: *const u8,
    w_stride_bytes: usize,
    n: usize,
    k: usize,
    out: *mut f32,
    out_stride: usize,
    accumulate: usize,
    arranged: *const u8,
    scratch: *mut u8,
);

/// `x[i] = f(x[i])` for `n` elements.
pub type MapFn = unsafe extern "C" fn(x: *mut f32, n: usize);

/// Steps of the gated delta rule (Yang, Kautz & Hatamizadeh 2025) on the state of one head, `S [rows, columns]`, token after token:
/// `S ← diag(decay) S`, `S ← S + k · β (v − Sᵀ k)ᵀ`, `out = scale · Sᵀ q`; without correction `β v` is added alone. Strides are in
/// elements.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct DeltaRun {
    /// `[rows, columns]`, dense.
    pub state: *mut f32,
    /// Width of a key.
    pub rows: usize,
    /// Width of a value.
    pub columns: usize,
    /// Tokens.
    pub tokens: usize,
    /// Queries, `[tokens, rows]`.
    pub q: *const f32,
    /// Between two tokens' queries.
    pub q_stride: usize,
    /// Keys, `[tokens, rows]`.
    pub k: *const f32,
    /// Between two tokens' keys.
    pub k_stride: usize,
    /// Values, `[tokens, columns]`.
    pub v: *const f32,
    /// Between two tokens' values.
    pub v_stride: usize,
    /// `[tokens, decays]`.
    pub decay: *const f32,
    /// Between two tokens' decays.
    pub decay_stride: usize,
    /// 1, or one for each row.
    pub decays: usize,
    /// `[tokens]`.
    pub beta: *const f32,
    /// Between two tokens' betas.
    pub beta_stride: usize,
    /// `[tokens, columns]`; overlaps with nothing else.
    pub out: *mut f32,
    /// Between two tokens' results.
    pub out_stride: usize,
    /// Multiplies the results.
    pub scale: f32,
    /// Whether what the state gives for a key is taken off the value: 0 or 1.
    pub corrects: u32,
}

/// Takes the steps of a [`DeltaRun`]. A column's result depends on no other column, and not on where a run of tokens is cut.
pub type DeltaRuleFn = unsafe extern "C" fn(run: *const DeltaRun);

/// Scratch bytes that every [`MatmulFn`] may use, 64-byte aligned. Most use a part of them.
pub const MATMUL_SCRATCH: usize = 768 * 1024;

/// Micro-kernels that generated code calls. Each has a scalar twin that defines it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct KernelTable {
    /// Weights `[n, k]` in f32.
    pub matmul_f32: MatmulFn,
    /// Weights `[n, k]` in bf16.
    pub matmul_bf16: MatmulFn,
    /// Weights `[n, k]` in f16.
    pub matmul_f16: MatmulFn,
    /// Weights `[k, n]` in f32.
    pub matmul_kn_f32: MatmulFn,
    /// Weights `[k, n]` in bf16.
    pub matmul_kn_bf16: MatmulFn,
    /// Weights `[k, n]` in f16.
    pub matmul_kn_f16: MatmulFn,
    /// `x · sigmoid(x)`.
    pub silu: MapFn,
    /// `0.5 x (1 + erf(x / √2))`.
    pub gelu: MapFn,
    /// `0.5 x (1 + tanh(√(2/π) (x + 0.044715 x³)))`.
    pub gelu_tanh: MapFn,
    /// `1 / (1 + exp(−x))`.
    pub sigmoid: MapFn,
    /// `tanh(x)`.
    pub tanh: MapFn,
    /// `max(x, 0)`.
    pub relu: MapFn,
    /// `max(x, 0)²`.
    pub relu2: MapFn,
    /// `exp(x)`.
    pub exp: MapFn,
    /// `ln(1 + exp(x))`, and `x` above 20.
    pub softplus: MapFn,
    /// One block of an online softmax over `n` scores, in place: `x[i] = exp(scale·x[i] − m)`.
    ///
    /// `state` is `[m, l]`: the running maximum of the scaled scores and the sum of the exponentials so far. Returns the
    /// factor `exp(m_old − m_new)` by which earlier sums have to be scaled; `m` starts at −∞, for which it is 0.
    pub softmax_block:
        unsafe extern "C" fn(x: *mut f32, n: usize, scale: f32, state: *mut f32) -> f32,
    /// RoPE's angles for one position: `cos[i] = s·cos(p·f[i])`, `sin[i] = s·sin(p·f[i])`, the product taken in f32. Frequencies may lie
    /// where `cos` or `sin` goes.
    pub rope_angles: unsafe extern "C" fn(
        position: u32,
        freqs: *const f32,
        n: usize,
        s: f32,
        cos: *mut f32,
        sin: *mut f32,
    ),
    /// `n` f32 values to bf16, ties to even.
    pub f32_to_bf16: unsafe extern "C" fn(x: *const f32, n: usize, out: *mut u8),
    /// `n` f32 values to f16, ties to even.
    pub f32_to_f16: unsafe extern "C" fn(x: *const f32, n: usize, out: *mut u8),
    /// `n` bf16 values to f32.
    pub bf16_to_f32: unsafe extern "C" fn(x: *const u8, n: usize, out: *mut f32),
    /// `n` f16 values to f32.
    pub f16_to_f32: unsafe extern "C" fn(x: *const u8, n: usize, out: *mut f32),
    /// `ln(x)`, of positive numbers.
    pub ln: MapFn,
    /// Activations to int8 in groups.
    pub quantize: QuantizeFn,
    /// Weights in panels of [`Quant::Q8`].
    pub matmul_q8: QuantMatmulFn,
    /// Weights in panels of [`Quant::Q4`].
    pub matmul_q4: QuantMatmulFn,
    /// Weights in panels of [`Quant::Q4Min`].
    pub matmul_q4m: QuantMatmulFn,
    /// Weights in panels of [`Quant::Q8Min`].
    pub matmul_q8m: QuantMatmulFn,
    /// Weights in panels of [`Quant::Q8Half`].
    pub matmul_q8h: QuantMatmulFn,
    /// Weights in panels of [`Quant::Q4Super`].
    pub matmul_q4s: QuantMatmulFn,
    /// Weights in panels of [`Quant::Q4Narrow`].
    pub matmul_q4n: QuantMatmulFn,
    /// A row of [`Quant::Q8`].
    pub row_q8: QuantRowFn,
    /// A row of [`Quant::Q4`].
    pub row_q4: QuantRowFn,
    /// A row of [`Quant::Q4Min`].
    pub row_q4m: QuantRowFn,
    /// A row of [`Quant::Q8Min`].
    pub row_q8m: QuantRowFn,
    /// A row of [`Quant::Q8Half`].
    pub row_q8h: QuantRowFn,
    /// A row of [`Quant::Q4Super`].
    pub row_q4s: QuantRowFn,
    /// A row of [`Quant::Q4Narrow`].
    pub row_q4n: QuantRowFn,
    /// Steps of the gated delta rule.
    pub delta_rule: DeltaRuleFn,
    /// f32 values to a row of [`CacheType::Q8`].
    pub f32_to_cache_q8: NarrowFn,
    /// Rows of [`CacheType::Q8`] to f32.
    pub cache_q8_to_f32: WidenFn,
    /// Rows of [`CacheType::Q8`] `[n, k]`, for which [`cache::are_multiplied`] holds.
    pub matmul_cache_q8: MatmulFn,
    /// Rows of [`CacheType::Q8`] `[k, n]`, likewise.
    pub matmul_kn_cache_q8: MatmulFn,
    /// Weights `[n, k]` in bf16; `x` is rounded to bf16, ties to even, before it is multiplied.
    pub matmul_bf16_rounded: MatmulFn,
    /// [`Arranged::Rounded`], for `matmul_bf16_rounded`.
    pub arrange_rounded: ArrangeFn,
    /// [`Arranged::Blocks`], for products with weights in panels.
    pub arrange_blocks: ArrangeFn,
}

impl KernelTable {
    /// The product with weights in panels of a type.
    pub fn quant_matmul(&self, quant: Quant) -> QuantMatmulFn {
        match quant {
            Quant::Q8 => self.matmul_q8,
            Quant::Q4 => self.matmul_q4,
            Quant::Q4Min => self.matmul_q4m,
            Quant::Q8Min => self.matmul_q8m,
            Quant::Q8Half => self.matmul_q8h,
            Quant::Q4Super => self.matmul_q4s,
            Quant::Q4Narrow => self.matmul_q4n,
        }
    }

    /// A row of panels of a type.
    pub fn quant_row(&self, quant: Quant) -> QuantRowFn {
        match quant {
            Quant::Q8 => self.row_q8,
            Quant::Q4 => self.row_q4,
            Quant::Q4Min => self.row_q4m,
            Quant::Q8Min => self.row_q8m,
            Quant::Q8Half => self.row_q8h,
            Quant::Q4Super => self.row_q4s,
            Quant::Q4Narrow => self.row_q4n,
        }
    }
}

/// Name under which a compiled object exports its [`CompiledModel`].
pub const MODEL_SYMBOL: &str = "graver_model";

/// What a compiled object exports: how the runtime that is linked with it finds everything else.
#[repr(C)]
#[derive(Debug)]
pub struct CompiledModel {
    /// [`ABI_VERSION`] of the compiler; stays the first field in every version.
    pub abi: u64,
    /// Steps of up to [`DECODE_TOKENS`] tokens.
    pub decode: Entry,
    /// Longer steps.
    pub prefill: Entry,
    /// The [`Manifest`] as JSON, packed by [`artifact::pack_manifest`](crate::artifact::pack_manifest).
    pub manifest: *const u8,
    /// Length of the packed manifest.
    pub manifest_bytes: usize,
    /// [`Checksum`](crate::appendix::Checksum) of the packed manifest.
    pub manifest_checksum: u64,
    /// 1 where the file that this ends up in has an [`Appendix`](crate::appendix::Appendix); 0 for objects that somebody
    /// else links.
    pub has_appendix: u64,
}

// SAFETY: it lies in read-only data of an object, and so does what it points to.
unsafe impl Sync for CompiledModel {}

/// Element types of tensors that generated code reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// IEEE single.
    F32,
    /// bfloat16.
    Bf16,
    /// IEEE half.
    F16,
}

impl Dtype {
    /// Bytes per element.
    pub fn size(self) -> usize {
        match self {
            Dtype::F32 => 4,
            Dtype::Bf16 | Dtype::F16 => 2,
        }
    }

    /// The value of the type that is nearest to `v`, ties to even.
    pub fn round(self, v: f32) -> f32 {
        match self {
            Dtype::F32 => v,
            Dtype::Bf16 => bf16::from_f32(v).to_f32(),
            Dtype::F16 => f16::from_f32(v).to_f32(),
        }
    }

    /// The element that `bytes` begin with, little-endian, as they are stored everywhere.
    ///
    /// # Panics
    /// Where there are fewer than [`Self::size`] of them.
    #[inline]
    pub fn read(self, bytes: &[u8]) -> f32 {
        match self {
            Dtype::F32 => f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]),
            Dtype::Bf16 => bf16::from_le_bytes([bytes[0], bytes[1]]).to_f32(),
            Dtype::F16 => f16::from_le_bytes([bytes[0], bytes[1]]).to_f32(),
        }
    }
}

impl std::fmt::Display for Dtype {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Dtype::F32 => "f32",
            Dtype::Bf16 => "bf16",
            Dtype::F16 => "f16",
        })
    }
}
