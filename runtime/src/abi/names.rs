//! Names of the fields that generated code reaches by their offsets, for people who read that code.

use std::mem::offset_of;

use super::{KernelTable, Span, StepContext};

/// Lists fields of a structure with their offsets; the compiler complains about one that is left out.
macro_rules! fields {
    ($(#[$about:meta])* $list:ident of $type:ident: $($field:ident),+ $(,)?) => {
        $(#[$about])*
        pub const $list: &[(usize, &str)] = &[$((offset_of!($type, $field), stringify!($field))),+];

        const _: fn($type) = |$type { $($field: _),+ }| ();
    };
}

fields! {
    /// Fields of a [`StepContext`].
    CONTEXT_FIELDS of StepContext:
    n_tokens, n_logit_rows, n_spans, n_tiles, n_threads, context, tokens, positions, slots, logit_rows, spans, tiles, weights,
    slot_base, state_offset, arena, scratch, scratch_stride, logits, kernels, counters, barrier, sync, lengths, stamp,
    timed_barrier, recorder, enter_kernel, check, admit, chunk, checker, collective, ranks, finished, columns,
}

fields! {
    /// Fields of a [`Span`].
    SPAN_FIELDS of Span: slot, start_row, n, position,
}

fields! {
    /// Fields of a [`KernelTable`].
    KERNEL_FIELDS of KernelTable:
    matmul_f32, matmul_bf16, matmul_f16, matmul_kn_f32, matmul_kn_bf16, matmul_kn_f16, silu, gelu, gelu_tanh, sigmoid, tanh, relu,
    relu2, exp, softplus, softmax_block, rope_angles, f32_to_bf16, f32_to_f16, bf16_to_f32, f16_to_f32, ln, quantize, matmul_q8,
    matmul_q4, matmul_q4m, matmul_q8m, matmul_q8h, matmul_q4s, matmul_q4n, row_q8, row_q4, row_q4m, row_q8m, row_q8h, row_q4s, row_q4n,
    delta_rule, f32_to_cache_q8, cache_q8_to_f32, matmul_cache_q8, matmul_kn_cache_q8,
    matmul_bf16_rounded, arrange_rounded, arrange_blocks,
}

/// The field at `offset`.
pub fn field_at(fields: &[(usize, &'static str)], offset: usize) -> Option<&'static str> {
    let found = fields.iter().find(|(at, _)| *at == offset);
    found.map(|(_, name)| *name)
}
