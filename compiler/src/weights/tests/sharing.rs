//! Panels are shared by slots that read a tensor in the same way, and by no others.

use std::collections::BTreeSet;

use super::quantize::{packed, ramp, value};
use super::*;
use crate::spec::model::Range;
use crate::weights::QuantChoice;
use graver_runtime::abi::Quant;

/// Rows and columns of the tensor that all read.
const N: usize = 40;

/// A way of reading the tensor: where row and column of the matrix lie in it.
struct Way {
    weight: Weight,
    place: fn(usize, usize) -> (usize, usize),
}

fn ways() -> Vec<Way> {
    let w = |shape: &[usize]| weight("w", "w", shape);
    let heads = |first, of, heads| {
        Some(Range {
            heads,
            ..Range::one(first, of)
        })
    };
    let way = |weight, place| Way { weight, place };
    vec![
        way(w(&[N, N]), |r, c| (r, c)),
        way(
            Weight {
                transposed: true,
                ..w(&[N, N])
            },
            |r, c| (c, r),
        ),
        // The first half of the rows: all as they come, or from each of two and of four heads.
        way(
            Weight {
                part: heads(0, N, 1),
                ..w(&[N / 2, N])
            },
            |r, c| (r, c),
        ),
        way(
            Weight {
                part: heads(0, N / 2, 2),
                ..w(&[N / 2, N])
            },
            |r, c| (r / 10 * 20 + r % 10, c),
        ),
        way(
            Weight {
                part: heads(0, N / 4, 4),
                ..w(&[N / 2, N])
            },
            |r, c| (r / 5 * 10 + r % 5, c),
        ),
        // The same, of the transposed matrix.
        way(
            Weight {
                part: heads(0, N, 1),
                transposed: true,
                ..w(&[N / 2, N])
            },
            |r, c| (c, r),
        ),
        // Squares at the first byte, straight and transposed, and the first rows alone.
        way(
            Weight {
                part: heads(0, N, 1),
                columns: heads(0, N, 1),
                ..w(&[N / 2, N / 2])
            },
            |r, c| (r, c),
        ),
        way(
            Weight {
                part: heads(0, N, 1),
                columns: heads(0, N, 1),
                transposed: true,
                ..w(&[N / 2, N / 2])
            },
            |r, c| (c, r),
        ),
        way(
            Weight {
                columns: heads(0, N, 1),
                ..w(&[N, N / 2])
            },
            |r, c| (r, c),
        ),
        way(
            Weight {
                part: heads(N / 2, N, 1),
                ..w(&[N / 2, N])
            },
            |r, c| (r + N / 2, c),
        ),
    ]
}

#[test]
fn each_way_of_reading_has_its_own_panels() {
    let numbers = ramp(N * N);
    let file = file(&[("w", "F32", &[N, N], f32_bytes(&numbers))]);
    let ways = ways();
    // In the layer in four bits, in the head in eight, and each of them twice.
    let steps = || {
        let twice = ways.iter().chain(&ways);
        twice
            .map(|way| linear(way.weight.clone(), None))
            .collect::<Vec<_>>()
    };
    let model = model(vec![], steps(), 1, steps());
    let choice = QuantChoice {
        layers: Quant::Q4,
        head: Quant::Q8,
    };
    let weights = packed(&model, &file, choice);
    for (views, most) in [(&weights.layers[0], 0.15), (&weights.head, 0.01)] {
        let mut panels = BTreeSet::new();
        for (view, (i, way)) in views.iter().zip(ways.iter().chain(&ways).enumerate()) {
            panels.insert((view.blob, view.offset_bytes));
            let [rows, k] = way.weight.shape[..] else {
                panic!("a matrix")
            };
            for (row, column) in (0..rows).flat_map(|r| (0..k).map(move |c| (r, c))) {
                let (r, c) = (way.place)(row, column);
                let found = value(&weights, view, k, row, column);
                let expected = numbers[r * N + c];
                assert!(
                    (found - expected).abs() < most,
                    "way {i} [{row}, {column}]: {found} for {expected}"
                );
            }
        }
        assert_eq!(panels.len(), ways.len());
    }
}

/// Experts in one tensor, straight and as one long matrix, which begin at the same byte.
#[test]
fn experts_of_a_stack_have_their_own() {
    let numbers = ramp(3 * 8 * 8);
    let file = file(&[("w", "F32", &[3, 8, 8], f32_bytes(&numbers))]);
    let stack = Weight {
        family: Some(3),
        ..weight("w", "w", &[8, 8])
    };
    let turned = Weight {
        transposed: true,
        ..stack.clone()
    };
    let head = vec![linear(stack, None), linear(turned, None)];
    let model = model(vec![], vec![], 0, head);
    let choice = QuantChoice {
        layers: Quant::Q8,
        head: Quant::Q8,
    };
    let weights = packed(&model, &file, choice);
    assert_eq!(weights.head.len(), 6);
    for (i, view) in weights.head.iter().enumerate() {
        for (row, column) in (0..8).flat_map(|r| (0..8).map(move |c| (r, c))) {
            let (r, c) = if i < 3 { (row, column) } else { (column, row) };
            let found = value(&weights, view, 8, row, column);
            let expected = numbers[i % 3 * 64 + r * 8 + c];
            assert!((found - expected).abs() < 0.01, "{i} [{row}, {column}]");
        }
    }
}
