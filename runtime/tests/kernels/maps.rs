//! Activations against their scalar twins, which compute in f64.

use graver_runtime::abi::{KernelTable, MapFn};
use graver_runtime::kernels::scalar_table;

use crate::arrays::Guarded;
use crate::sets;

type Choose = fn(&KernelTable) -> MapFn;

fn apply(f: MapFn, x: &[f32]) -> Vec<f32> {
    let mut array = Guarded::of_f32(x);
    // SAFETY: the array has as many elements.
    unsafe { f(array.ptr_mut().cast(), x.len()) };
    array.f32s(x.len())
}

/// Arguments of all magnitudes and signs, a dense grid where functions bend, and the exceptional ones.
fn arguments() -> Vec<f32> {
    let all_bits = (0..1u32 << 18).map(|i| f32::from_bits(i << 14 | 0x1555));
    let grid = (-800_000..=800_000).map(|i| i as f32 * 1.37e-4);
    let special = [
        0.0,
        -0.0,
        f32::MIN_POSITIVE,
        f32::MAX,
        f32::MIN,
        20.0,
        20.000_002,
    ];
    all_bits
        .filter(|x| x.is_finite())
        .chain(grid)
        .chain(special)
        .collect()
}

/// Magnitudes below this are measured with its unit in the last place: next to the smallest normal numbers, factors of the
/// result lose bits.
const SMALL: f32 = 1e-36;

/// Distance in units in the last place of `expected`.
fn ulps(found: f32, expected: f32) -> f64 {
    let unit = expected.abs().max(SMALL);
    let unit = f64::from(f32::from_bits(unit.to_bits() & 0x7f80_0000)) * f64::from(f32::EPSILON);
    (f64::from(found) - f64::from(expected)).abs() / unit
}

/// Asserts that the largest distance is at most `allowed(x)` units in the last place.
fn within(name: &str, choose: Choose, allowed: impl Fn(f32) -> f64) {
    let x = arguments();
    let expected = apply(choose(scalar_table()), &x);
    for (isa, table) in sets() {
        let found = apply(choose(table), &x);
        let (mut worst, mut at) = (0.0, 0);
        for i in 0..x.len() {
            let same = found[i] == expected[i] || found[i].is_nan() && expected[i].is_nan();
            let distance = if same {
                0.0
            } else {
                ulps(found[i], expected[i])
            };
            assert!(
                distance <= allowed(x[i]),
                "{name}({:e}) is {:e}, expected {:e}: {distance} ulp",
                x[i],
                found[i],
                expected[i]
            );
            if distance > worst {
                (worst, at) = (distance, i);
            }
        }
        println!("{name} ({}): {worst:.2} ulp at {:e}", isa.name(), x[at]);
    }
}

#[test]
fn exp() {
    within("exp", |t| t.exp, |_| 2.0);
}

#[test]
fn sigmoid() {
    within("sigmoid", |t| t.sigmoid, |_| 3.0);
}

#[test]
fn silu() {
    within("silu", |t| t.silu, |_| 4.0);
}

#[test]
fn tanh() {
    within("tanh", |t| t.tanh, |_| 3.0);
}

#[test]
fn gelu() {
    within("gelu", |t| t.gelu, |_| 5.0);
}

#[test]
fn gelu_tanh() {
    // The exponent of the sigmoid is rounded to f32; for negative x, where it is large, its rounding shows in the result.
    let exponent = |x: f64| 1.6 * x + 0.072 * x.powi(3);
    let allowed = |x: f32| 4.0 + 3.0 * exponent(f64::from(-x).max(0.0));
    within("gelu_tanh", |t| t.gelu_tanh, allowed);
}

#[test]
fn softplus() {
    within("softplus", |t| t.softplus, |_| 4.0);
}

#[test]
fn ln() {
    within("ln", |t| t.ln, |_| 1.0);
}

#[test]
fn angles() {
    let freqs: Vec<f32> = (0..21).map(|i| 0.7f32.powi(i)).collect();
    let of = |table: &KernelTable, position: u32, n: usize| {
        let (mut cos, mut sin) = (vec![7f32; n], vec![7f32; n]);
        // SAFETY: there are `n` frequencies, and room for as many angles.
        unsafe {
            let (cos, sin) = (cos.as_mut_ptr(), sin.as_mut_ptr());
            (table.rope_angles)(position, freqs.as_ptr(), n, 1.25, cos, sin);
        }
        [cos, sin].concat()
    };
    for (isa, table) in sets() {
        for (position, n) in [(0, 21), (1, 16), (131_071, 21), (500, 3), (9, 0)] {
            let (found, expected) = (of(table, position, n), of(scalar_table(), position, n));
            for (i, (f, e)) in found.iter().zip(&expected).enumerate() {
                let place = format!("{} position {position} value {i}", isa.name());
                assert!((f - e).abs() <= 2e-7, "{place}: {f}, expected {e}");
            }
        }
    }
}

#[test]
fn angles_take_the_place_of_their_frequencies() {
    let freqs: Vec<f32> = (0..21).map(|i| 0.7f32.powi(i)).collect();
    for (isa, table) in sets() {
        let angles = table.rope_angles;
        let (mut cos, mut sin) = (freqs.clone(), freqs.clone());
        let (mut other_cos, mut other_sin) = (freqs.clone(), freqs.clone());
        // SAFETY: there are 21 frequencies, and room for as many angles; frequencies may lie where angles go.
        unsafe {
            let (cos, sin) = (cos.as_mut_ptr(), sin.as_mut_ptr());
            angles(1000, cos, 21, 1.0, cos, other_sin.as_mut_ptr());
            angles(1000, sin, 21, 1.0, other_cos.as_mut_ptr(), sin);
        }
        assert_eq!(cos, other_cos, "{}", isa.name());
        assert_eq!(sin, other_sin, "{}", isa.name());
    }
}

#[test]
fn relu_is_exact() {
    within("relu", |t| t.relu, |_| 0.0);
    within("relu2", |t| t.relu2, |_| 1.0);
}

#[test]
fn what_is_not_a_number_stays_so() {
    let choose: [Choose; 9] = [
        |t| t.exp,
        |t| t.sigmoid,
        |t| t.silu,
        |t| t.tanh,
        |t| t.gelu,
        |t| t.gelu_tanh,
        |t| t.softplus,
        |t| t.relu,
        |t| t.relu2,
    ];
    for (i, (choose, (isa, table))) in choose
        .iter()
        .flat_map(|c| sets().iter().map(move |s| (c, s)))
        .enumerate()
    {
        let y = apply(choose(table), &[f32::NAN; 9]);
        assert!(
            y.iter().all(|y| y.is_nan()),
            "function {i} of {}: {y:?}",
            isa.name()
        );
    }
}

#[test]
fn infinities() {
    for (_, table) in sets() {
        let x = [f32::INFINITY, f32::NEG_INFINITY];
        assert_eq!(apply(table.exp, &x), [f32::INFINITY, 0.0]);
        assert_eq!(apply(table.sigmoid, &x), [1.0, 0.0]);
        assert_eq!(apply(table.tanh, &x), [1.0, -1.0]);
        assert_eq!(apply(table.softplus, &x), [f32::INFINITY, 0.0]);
        assert_eq!(apply(table.relu, &x), [f32::INFINITY, 0.0]);
    }
}

#[test]
fn every_length() {
    let x: Vec<f32> = (0..40).map(|i| i as f32 * 0.3 - 5.0).collect();
    for (_, table) in sets() {
        let whole = apply(table.gelu, &x);
        for n in 0..x.len() {
            assert_eq!(apply(table.gelu, &x[..n]), whole[..n]);
        }
    }
}
