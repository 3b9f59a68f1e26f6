//! Keys and values in int8 to f32, as [`crate::kernels::avx2`] has it, in vectors of 512 bits.

use std::arch::x86_64::*;

use crate::abi::CACHE_GROUP;
use crate::abi::cache::SCALE_BYTES;
use crate::kernels::avx2::cache::{GROUP_BYTES, ask_for, whole_groups};
use crate::kernels::scalar::cache::widen_row as widen_scalar;

/// Values in a vector.
const LANES: usize = 16;
const _: () = assert!(CACHE_GROUP == 2 * LANES);

/// [`crate::abi::WidenFn`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(super) unsafe extern "C" fn widen(
    x: *const u8,
    row_bytes: usize,
    rows: usize,
    n: usize,
    group: usize,
    out: *mut f32,
) {
    let whole = whole_groups(n, group);
    let done = whole * CACHE_GROUP;
    for row in 0..rows {
        // SAFETY: the rows, their groups and the room for their values are the caller's.
        unsafe {
            let (x, out) = (x.add(row * row_bytes), out.add(row * n));
            ask_for(x.wrapping_add(rows * row_bytes), row_bytes);
            for g in 0..whole {
                let (x, out) = (x.add(g * GROUP_BYTES), out.add(g * CACHE_GROUP));
                let bits = u32::from(x.cast::<u16>().read_unaligned()) << 16;
                let scale = _mm512_set1_ps(f32::from_bits(bits));
                for i in [0, LANES] {
                    let q = _mm_loadu_si128(x.add(SCALE_BYTES + i).cast());
                    let v = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(q));
                    _mm512_storeu_ps(out.add(i), _mm512_mul_ps(v, scale));
                }
            }
            if done < n {
                widen_scalar(x.add(whole * GROUP_BYTES), n - done, group, out.add(done));
            }
        }
    }
}
