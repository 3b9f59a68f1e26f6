//! The kernels for AVX2 with FMA and F16C (x86-64-v3).
//!
//! | file        | kernels                                                                   |
//! |-------------|---------------------------------------------------------------------------|
//! | `load`      | weights of each float type as vectors of eight f32                        |
//! | `matmul`    | the six float matmuls: which of the three below runs                      |
//! | `dot`       | `x · w[n, k]ᵀ` for at most eight rows of `x`: dot products along `k`      |
//! | `strip`     | `x · w[k, n]` for at most eight rows of `x`: strips of columns            |
//! | `tile`      | more rows, either layout: tiles of 6 × 16 over panels made in cache       |
//! | `panel`     | those panels                                                              |
//! | `rounded`   | `x` rounded to bf16, with bf16 weights                                    |
//! | `math`      | exp, tanh, erfc and log1p of eight values                                 |
//! | `map`       | activations                                                               |
//! | `softmax`   | one block of an online softmax                                            |
//! | `convert`   | between f32 and the 16-bit types                                          |
//! | `cache`     | keys and values in int8 with a scale for each group                       |
//! | `quantize`  | f32 to int8 in groups                                                     |
//! | `panels`    | products of those with quantised weights                                  |
//! | `recurrent` | the gated delta rule                                                      |
//!
//! Functions of std that call closures (`array::map`, `array::from_fn`) lack these instructions, so that a closure which
//! uses them is not inlined into them: the kernels have loops instead.

use crate::abi::KernelTable;

use super::panels::{Q4, Q4_MIN, Q4_NARROW, Q4_SUPER, Q8, Q8_HALF, Q8_MIN, matmul as matmul_of};
use super::scalar;
use super::{Ahead, Choices};
use load::{Bf16, F16, F32};
use matmul::{Columns, Rows, matmul as matmul_floats};

mod cache;
mod convert;
pub(super) mod dot;
pub(super) mod load;
mod map;
pub(super) mod math;
pub(super) mod matmul;
pub(super) mod panel;
mod panels;
mod quantize;
mod recurrent;
pub(super) mod rounded;
pub(super) mod softmax;
pub(super) mod strip;
pub(super) mod tile;

/// What the processor must have for [`table`].
pub(super) fn usable() -> bool {
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c")
}

/// To be called only where [`usable`] holds.
pub(super) fn table(choices: Choices) -> KernelTable {
    match choices.ahead {
        Ahead::Pages => with::<false>(),
        Ahead::Lines => with::<true>(),
    }
}

/// With weights that are read once asked for in `LINES` or by pages.
const fn with<const LINES: bool>() -> KernelTable {
    KernelTable {
        matmul_f32: matmul_floats::<Rows<F32, LINES>>,
        matmul_bf16: matmul_floats::<Rows<Bf16, LINES>>,
        matmul_f16: matmul_floats::<Rows<F16, LINES>>,
        matmul_kn_f32: matmul_floats::<Columns<F32>>,
        matmul_kn_bf16: matmul_floats::<Columns<Bf16>>,
        matmul_kn_f16: matmul_floats::<Columns<F16>>,
        silu: map::silu,
        gelu: map::gelu,
        gelu_tanh: map::gelu_tanh,
        sigmoid: map::sigmoid,
        tanh: map::tanh,
        relu: map::relu,
        relu2: map::relu2,
        exp: map::exp,
        softplus: map::softplus,
        softmax_block: softmax::softmax_block::<softmax::Narrow>,
        rope_angles: scalar::rope_angles,
        ln: scalar::ln,
        f32_to_bf16: convert::f32_to_bf16,
        f32_to_f16: convert::f32_to_f16,
        bf16_to_f32: convert::to_f32::<Bf16>,
        f16_to_f32: convert::to_f32::<F16>,
        quantize: quantize::quantize,
        matmul_q8: matmul_of::<panels::Bytes<LINES, Q8>>,
        matmul_q4: matmul_of::<panels::Nibbles<LINES, Q4>>,
        matmul_q4m: matmul_of::<panels::Nibbles<LINES, Q4_MIN>>,
        matmul_q8m: matmul_of::<panels::Bytes<LINES, Q8_MIN>>,
        matmul_q8h: matmul_of::<panels::Bytes<LINES, Q8_HALF>>,
        matmul_q4s: matmul_of::<panels::Nibbles<LINES, Q4_SUPER>>,
        matmul_q4n: matmul_of::<panels::Nibbles<LINES, Q4_NARROW>>,
        row_q8: scalar::quant::row::<scalar::quant::Q8>,
        row_q4: scalar::quant::row::<scalar::quant::Q4>,
        row_q4m: scalar::quant::row::<scalar::quant::Q4Min>,
        row_q8m: scalar::quant::row::<scalar::quant::Q8Min>,
        row_q8h: scalar::quant::row::<scalar::quant::Q8Half>,
        row_q4s: scalar::quant::row::<scalar::quant::Q4Super>,
        row_q4n: scalar::quant::row::<scalar::quant::Q4Narrow>,
        delta_rule: recurrent::delta_rule,
        f32_to_cache_q8: cache::narrow,
        cache_q8_to_f32: cache::widen,
        matmul_cache_q8: matmul_floats::<cache::Rows>,
        matmul_kn_cache_q8: matmul_floats::<cache::Columns>,
        matmul_bf16_rounded: matmul_floats::<rounded::Rounded>,
        arrange_rounded: scalar::as_it_lies,
        arrange_blocks: scalar::as_it_lies,
    }
}
