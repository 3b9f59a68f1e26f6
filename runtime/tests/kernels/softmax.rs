//! Blocks of an online softmax against their scalar twin.

use graver_runtime::abi::KernelTable;
use graver_runtime::kernels::scalar_table;

use crate::arrays::{Guarded, Random};
use crate::sets;

/// What a block leaves behind: weights, state, factor.
fn block(table: &KernelTable, x: &[f32], scale: f32, state: [f32; 2]) -> (Vec<f32>, [f32; 2], f32) {
    let (mut scores, mut state) = (Guarded::of_f32(x), state);
    // SAFETY: there are as many scores, and a state of two values.
    let factor = unsafe {
        (table.softmax_block)(scores.ptr_mut().cast(), x.len(), scale, state.as_mut_ptr())
    };
    (scores.f32s(x.len()), state, factor)
}

/// Relative to one: no weight exceeds it.
const TOLERANCE: f32 = 4e-7;

fn agree(x: &[f32], scale: f32, state: [f32; 2]) {
    let (weights, [m, l], factor) = block(scalar_table(), x, scale, state);
    for (isa, table) in sets() {
        let (found, [found_m, found_l], found_factor) = block(table, x, scale, state);
        let place = format!("{} n {} scale {scale} state {state:?}", isa.name(), x.len());
        assert_eq!(found_m, m, "{place}");
        assert!((found_factor - factor).abs() <= TOLERANCE, "{place}");
        assert!(
            (found_l - l).abs() <= TOLERANCE * (1.0 + l),
            "{place}: {found_l} {l}"
        );
        for (i, (f, w)) in found.iter().zip(&weights).enumerate() {
            assert!(
                (f - w).abs() <= TOLERANCE * w + 1e-37,
                "{place}: weight {i} is {f}, expected {w}"
            );
        }
    }
}

#[test]
fn blocks_of_every_length() {
    let scores: Vec<f32> = Random::new(9)
        .values(300)
        .iter()
        .map(|v| 30.0 * v)
        .collect();
    for n in (0..40).chain([63, 64, 65, 255, 256, 300]) {
        for scale in [1.0, 0.125, -1.0] {
            agree(&scores[..n], scale, [f32::NEG_INFINITY, 0.0]);
            agree(&scores[..n], scale, [1.5, 7.0]);
            agree(&scores[..n], scale, [1000.0, 3.0]);
        }
    }
}

#[test]
fn masked_scores() {
    let mut scores = vec![f32::NEG_INFINITY; 21];
    agree(&scores, 0.5, [f32::NEG_INFINITY, 0.0]);
    agree(&scores, 0.5, [2.0, 3.0]);
    scores[17] = 3.0;
    agree(&scores, 0.5, [f32::NEG_INFINITY, 0.0]);
    agree(&scores, 0.5, [2.0, 3.0]);
}

#[test]
fn weights_far_below_the_largest_vanish() {
    for (_, table) in sets() {
        let (weights, [m, l], _) =
            block(table, &[0.0, -200.0, -1e30], 1.0, [f32::NEG_INFINITY, 0.0]);
        assert_eq!((weights, m, l), (vec![1.0, 0.0, 0.0], 0.0, 1.0));
    }
}
