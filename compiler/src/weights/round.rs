//! Rounds a group of weights to integers and one 16-bit scale.
//!
//! Eight bits lose little whatever the scale: the largest magnitude becomes 127. With four, the scale decides: each
//! candidate puts the largest magnitude at another place between 6 and 9, with either sign, as −8 … 7 is not symmetric;
//! for its integers the best scale follows by least squares, and the candidate with the smallest squared error wins.
//! A group that no finite scale says (one with a NaN, an infinity, or too large a magnitude) is not rounded at all.

use graver_runtime::abi::Quant;
use graver_runtime::abi::quant::GROUP;
use half::f16;

use super::minima;

/// A group of one row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rounded {
    pub(super) scale: f16,
    pub(super) q: [i8; GROUP],
}

/// Where a candidate puts the largest magnitude: with the sign that makes it negative, and with the other.
const EXTREMES: [f32; 14] = [
    -8.4, -8.0, -7.6, -7.2, -6.8, -6.4, -6.0, 7.4, 7.2, 7.0, 6.8, 6.6, 6.4, 6.0,
];

/// Largest scale: the largest finite f16.
const LARGEST_SCALE: f32 = 65504.0;

/// The largest magnitude that a group can have.
pub(super) fn largest_magnitude(quant: Quant) -> f32 {
    let (low, high) = quant.range();
    match quant {
        Quant::Q4Super => minima::LARGEST,
        Quant::Q8 | Quant::Q4 | Quant::Q4Min | Quant::Q8Min | Quant::Q8Half | Quant::Q4Narrow => {
            LARGEST_SCALE * low.abs().max(high) as f32
        }
    }
}

/// Rounds a group to [`Quant::Q8`] or [`Quant::Q4`]; none where [`fits`] does not hold for all of it.
pub(super) fn round(quant: Quant, x: &[f32; GROUP]) -> Option<Rounded> {
    let most = x.iter().fold(0, |most, v| magnitude(*v).max(most));
    if most > magnitude(largest_magnitude(quant)) {
        return None;
    }
    Some(match quant {
        Quant::Q8 => with_scale(quant, x, f32::from_bits(most as u32) / 127.0),
        Quant::Q4 => {
            let largest = x.iter().find(|v| most > 0 && magnitude(**v) == most);
            search(x, largest.copied().unwrap_or(0.0))
        }
        Quant::Q4Min | Quant::Q8Min | Quant::Q8Half | Quant::Q4Super | Quant::Q4Narrow => {
            panic!("{quant}: not a type of groups that are rounded by themselves")
        }
    })
}

/// Whether a value is finite, and not too large for a group's scale.
pub(super) fn fits(quant: Quant, v: f32) -> bool {
    magnitude(v) <= magnitude(largest_magnitude(quant))
}

/// The bits of a magnitude, in the order of magnitudes: those of infinities and NaN are above all others. Integers, of which
/// the largest is found in wide registers.
fn magnitude(v: f32) -> i32 {
    (v.to_bits() & 0x7fff_ffff) as i32
}

fn search(x: &[f32; GROUP], largest: f32) -> Rounded {
    let (mut scale, mut most) = (largest / -8.0, 0.0);
    for extreme in EXTREMES {
        let (xq, qq) = products(x, &integers(Quant::Q4, x, extreme / largest));
        // With the best scale Σxq / Σq² the squared error is Σx² − (Σxq)² / Σq². An empty group has no such.
        let explained = xq * xq / qq;
        if explained > most {
            (scale, most) = (xq / qq, explained);
        }
    }
    // Near the largest magnitude, only the first scale is sure to be one that 16 bits can say.
    if scale.abs() > LARGEST_SCALE {
        scale = largest / -8.0;
    }
    with_scale(Quant::Q4, x, scale)
}

/// `(Σ x q, Σ q²)`.
fn products(x: &[f32; GROUP], q: &[f32; GROUP]) -> (f32, f32) {
    let sum = |a: &[f32; GROUP], b: &[f32; GROUP]| {
        let mut lanes = [0.0f32; 8];
        for i in 0..GROUP {
            lanes[i % 8] += a[i] * b[i];
        }
        lanes.iter().sum()
    };
    (sum(x, q), sum(q, q))
}

/// The integers, as floats, of `x · inverse`.
fn integers(quant: Quant, x: &[f32; GROUP], inverse: f32) -> [f32; GROUP] {
    // Adding and taking away 1.5 · 2²³ rounds to the nearest integer, ties to even, in two additions.
    const ROUND: f32 = 12_582_912.0;
    let (low, high) = quant.range();
    x.map(|v| ((v * inverse + ROUND) - ROUND).clamp(low as f32, high as f32))
}

/// Rounds to the nearest multiples of `scale`, at most [`LARGEST_SCALE`], once that is itself rounded to 16 bits.
fn with_scale(quant: Quant, x: &[f32; GROUP], scale: f32) -> Rounded {
    let scale = f16::from_f32(scale);
    let unit = scale.to_f32();
    let inverse = if unit == 0.0 { 0.0 } else { 1.0 / unit };
    Rounded {
        scale,
        q: integers(quant, x, inverse).map(|q| q as i8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(seed: u32) -> [f32; GROUP] {
        let mut state = seed;
        std::array::from_fn(|_| {
            let mut sum = 0.0;
            for _ in 0..4 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                sum += (state >> 8) as f32 / (1 << 24) as f32 - 0.5;
            }
            sum
        })
    }

    fn error(x: &[f32; GROUP], r: &Rounded) -> f32 {
        let unit = r.scale.to_f32();
        x.iter()
            .zip(r.q)
            .map(|(x, q)| (x - unit * f32::from(q)).powi(2))
            .sum()
    }

    #[test]
    fn eight_bits_are_half_a_step_away_at_most() {
        for seed in 0..100 {
            let x = group(seed);
            let r = round(Quant::Q8, &x).unwrap();
            let unit = r.scale.to_f32();
            // The scale is rounded to 11 bits, which moves 127 steps by up to 127 / 2048.
            let most = unit * (0.5 + 127.0 / 2048.0);
            assert!(
                x.iter()
                    .zip(r.q)
                    .all(|(x, q)| (x - unit * f32::from(q)).abs() <= most)
            );
        }
    }

    #[test]
    fn four_bits_beat_the_scale_of_the_largest() {
        let (mut searched, mut plain) = (0.0, 0.0);
        for seed in 0..200 {
            let x = group(seed);
            let largest = x.iter().fold(0.0f32, |m, v| m.max(v.abs()));
            searched += error(&x, &round(Quant::Q4, &x).unwrap());
            plain += error(&x, &with_scale(Quant::Q4, &x, largest / 7.0));
        }
        assert!(searched < 0.75 * plain, "{searched} against {plain}");
    }

    #[test]
    fn zeros_and_exact_values_are_kept() {
        for quant in [Quant::Q8, Quant::Q4] {
            assert_eq!(round(quant, &[0.0; GROUP]).unwrap().q, [0; GROUP]);
            let (low, high) = quant.range();
            let x: [f32; GROUP] =
                std::array::from_fn(|i| (low + i as i32 % (high - low + 1)) as f32 * 0.25);
            assert_eq!(error(&x, &round(quant, &x).unwrap()), 0.0, "{quant}");
        }
    }

    #[test]
    fn the_largest_that_a_scale_says_is_kept_and_no_more() {
        for (quant, sign) in [
            (Quant::Q8, 1.0),
            (Quant::Q8, -1.0),
            (Quant::Q4, 1.0),
            (Quant::Q4, -1.0),
        ] {
            let most = sign * largest_magnitude(quant);
            let mut x = [1.0; GROUP];
            x[7] = most;
            let r = round(quant, &x).unwrap();
            let back = r.scale.to_f32() * f32::from(r.q[7]);
            assert_eq!(back, most, "{quant}: {r:?}");
            assert!(fits(quant, most));
            x[7] = f32::from_bits(most.to_bits() + 1);
            assert!(round(quant, &x).is_none() && !fits(quant, x[7]), "{quant}");
        }
    }

    #[test]
    fn what_is_not_finite_is_not_rounded() {
        for quant in [Quant::Q8, Quant::Q4] {
            for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                for at in 0..GROUP {
                    let mut x = group(1);
                    x[at] = bad;
                    assert!(round(quant, &x).is_none() && !fits(quant, bad), "{quant}");
                }
            }
        }
    }
}
