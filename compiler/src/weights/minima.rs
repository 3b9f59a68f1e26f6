//! Rounds a row's super-block to [`Quant::Q4Super`]: for each group a step and a minimum,
//! both in units that the super-block has for all of its groups.
//!
//! For each group candidates put its ends a little inside or outside of the 16 steps. With the integers that one gives, the best
//! step and minimum follow by least squares; the candidate with the smallest squared error wins, and is improved twice in the same
//! way. Then steps are rounded to their unit, minima are chosen again for the steps that are left, and integers at last. An error
//! counts by what its column is worth; that large weights' errors count more has been tried, and trained models lost as much or more.

use std::ops::Range;

use graver_runtime::abi::Quant;
use graver_runtime::abi::quant::{GROUP, SUPER_GROUPS};
use half::f16;

/// A super-block of one row.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rounded {
    /// Units of steps and of minima.
    pub(super) units: [f16; 2],
    /// For each group how many of them.
    pub(super) factors: [[u8; 2]; SUPER_GROUPS],
    pub(super) q: [[i8; GROUP]; SUPER_GROUPS],
}

impl Rounded {
    /// Writes groups `groups` of row `lane` into a panel.
    pub(super) fn put(&self, panel: &mut [u8], groups: Range<usize>, lane: usize) {
        let quant = Quant::Q4Super;
        Quant::put_halves(&mut panel[quant.head_at(groups.start)..], lane, self.units);
        for ((g, factors), q) in groups.zip(self.factors).zip(&self.q) {
            Quant::put_bytes(&mut panel[quant.group_at(g)..], lane, factors);
            quant.put_group(panel, lane, g, q);
        }
    }
}

/// By how much more than a group's 15 steps a candidate spreads it.
const SPREADS: [f32; 11] = [-1.0, -0.8, -0.6, -0.4, -0.2, 0.0, 0.2, 0.4, 0.6, 0.8, 1.0];
/// How often the best one is improved.
const AGAIN: usize = 2;
/// The largest integer.
const LAST: f32 = 15.0;
/// The largest factor.
const MOST: f32 = 255.0;
/// The largest unit: the largest finite f16.
const LARGEST_UNIT: f32 = 65504.0;

/// The largest magnitude that every super-block can have, whatever else is in it.
pub(super) const LARGEST: f32 = LARGEST_UNIT * MOST;

/// Values of a group, or what errors of its columns count.
type Group = [f32; GROUP];

/// What is `step · q − minimum`.
#[derive(Clone, Copy, Debug, Default)]
struct Line {
    step: f32,
    minimum: f32,
}

/// Rounds up to [`SUPER_GROUPS`] groups of a row, whose values are [`LARGEST`] at most; columns that are worth nothing, such as those
/// beyond the matrix' edge, have no say.
pub(super) fn round(x: &[Group], worth: &[Group]) -> Rounded {
    let mut lines = [Line::default(); SUPER_GROUPS];
    for (line, (x, worth)) in lines.iter_mut().zip(x.iter().zip(worth)) {
        *line = search(x, worth);
    }
    let most = |of: fn(&Line) -> f32| lines.iter().map(of).fold(0.0, f32::max);
    let units = [most(|l| l.step), most(|l| l.minimum)].map(|most| unit(most / MOST));
    let mut out = Rounded {
        units,
        factors: [[0; 2]; SUPER_GROUPS],
        q: [[0; GROUP]; SUPER_GROUPS],
    };
    for (g, (x, worth)) in x.iter().zip(worth).enumerate() {
        let steps = count(lines[g].step, units[0]);
        let mut line = Line {
            step: f32::from(steps) * units[0].to_f32(),
            ..lines[g]
        };
        line.minimum = line.best_minimum(x, worth);
        let minima = count(line.minimum, units[1]);
        line.minimum = f32::from(minima) * units[1].to_f32();
        out.factors[g] = [steps, minima];
        out.q[g] = line.integers(x).map(|q| q as i8);
    }
    out
}

/// The smallest f16 that is no less: what is counted in it is a byte then.
fn unit(least: f32) -> f16 {
    let near = f16::from_f32(least);
    match near.to_f32() < least {
        true => f16::from_bits(near.to_bits() + 1).min(f16::MAX),
        false => near,
    }
}

/// How many units are nearest.
fn count(value: f32, unit: f16) -> u8 {
    match unit.to_f32() {
        0.0 => 0,
        unit => (value / unit).round_ties_even().min(MOST) as u8,
    }
}

/// The best line of a group that any candidate leads to.
fn search(x: &Group, weights: &Group) -> Line {
    let low = x.iter().copied().fold(0.0, f32::min);
    let range = x.iter().copied().fold(low, f32::max) - low;
    let mut best = Line {
        step: range / LAST,
        minimum: -low,
    };
    if range == 0.0 {
        return best;
    }
    let (fixed, mut least) = (Sums::of(x, weights), f32::INFINITY);
    let mut take = |best: &mut Line, candidate: Line| {
        let (line, error) = fixed.best_line(x, weights, &candidate.integers(x));
        if error < least {
            (*best, least) = (line, error);
        }
    };
    for spread in SPREADS {
        let step = range / (LAST + spread);
        take(
            &mut best,
            Line {
                step,
                minimum: -low,
            },
        );
    }
    for _ in 0..AGAIN {
        let line = best;
        take(&mut best, line);
    }
    best
}

/// Sums over a group that no integers change: of weights, and of weighed values and squares.
struct Sums {
    w: f32,
    wx: f32,
    wxx: f32,
}

impl Sums {
    fn of(x: &Group, weights: &Group) -> Sums {
        let [w, wx, wxx] = sums(|i| [weights[i], weights[i] * x[i], weights[i] * x[i] * x[i]]);
        Sums { w, wx, wxx }
    }

    /// The line for integers whose squared error is the smallest, and that error: infinite where integers are all the same.
    fn best_line(&self, x: &Group, weights: &Group, q: &Group) -> (Line, f32) {
        let [wq, wqq, wxq] = sums(|i| {
            let wq = weights[i] * q[i];
            [wq, wq * q[i], wq * x[i]]
        });
        let spread = self.w * wqq - wq * wq;
        let mut line = Line {
            step: (self.w * wxq - self.wx * wq) / spread,
            minimum: (wq * wxq - wqq * self.wx) / spread,
        };
        if line.minimum < 0.0 {
            line = Line {
                step: wxq / wqq,
                minimum: 0.0,
            };
        }
        let Line { step, minimum } = line;
        let products = step * (step * wqq - 2.0 * (wxq + minimum * wq));
        let error = self.wxx + minimum * (2.0 * self.wx + minimum * self.w) + products;
        match spread > 0.0 && step > 0.0 {
            true => (line, error),
            false => (line, f32::INFINITY),
        }
    }
}

/// Sums of three numbers of each value, in lanes that a wide register has.
fn sums(of: impl Fn(usize) -> [f32; 3]) -> [f32; 3] {
    const LANES: usize = 8;
    let mut lanes = [[0.0f32; LANES]; 3];
    for i in 0..GROUP {
        let [a, b, c] = of(i);
        lanes[0][i % LANES] += a;
        lanes[1][i % LANES] += b;
        lanes[2][i % LANES] += c;
    }
    lanes.map(|lanes| lanes.iter().sum())
}

impl Line {
    /// The nearest integers, as floats; zeros where there is no step.
    fn integers(self, x: &Group) -> Group {
        // Adding and taking away 1.5 · 2²³ rounds to the nearest integer, ties to even, in two additions.
        const ROUND: f32 = 12_582_912.0;
        let inverse = if self.step > 0.0 {
            1.0 / self.step
        } else {
            0.0
        };
        x.map(|x| {
            let q = ((x + self.minimum) * inverse).clamp(0.0, LAST);
            (q + ROUND) - ROUND
        })
    }

    /// The best minimum for this step, with the integers of the one that it has.
    fn best_minimum(self, x: &Group, weights: &Group) -> f32 {
        let q = self.integers(x);
        let [w, above, _] = sums(|i| [weights[i], weights[i] * (self.step * q[i] - x[i]), 0.0]);
        match w > 0.0 {
            true => (above / w).max(0.0),
            false => self.minimum,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORTH: [Group; SUPER_GROUPS] = [[1.0; GROUP]; SUPER_GROUPS];

    /// Values with heavy tails: the third power of something like a normal distribution.
    fn heavy(seed: u32) -> [Group; SUPER_GROUPS] {
        let mut state = seed;
        std::array::from_fn(|_| {
            std::array::from_fn(|_| {
                let mut sum = 0.0;
                for _ in 0..4 {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    sum += (state >> 8) as f32 / (1 << 24) as f32 - 0.5;
                }
                sum * sum * sum * 0.1
            })
        })
    }

    /// The values that panels hold.
    fn held(rounded: &Rounded, groups: usize) -> Vec<f32> {
        let mut panel = vec![0; Quant::Q4Super.panel_bytes(groups * GROUP)];
        rounded.put(&mut panel, 0..groups, 3);
        let value = |column| Quant::Q4Super.value(&panel, 3, column);
        (0..groups * GROUP).map(value).collect()
    }

    fn error(x: &[Group], worth: &[Group]) -> f64 {
        let held = held(&round(x, worth), x.len());
        let each = x.as_flattened().iter().zip(&held).zip(worth.as_flattened());
        each.map(|((x, held), worth)| f64::from(worth * (x - held).powi(2)))
            .sum()
    }

    #[test]
    fn columns_that_are_worth_more_lose_less() {
        let mut worth = WORTH;
        worth
            .as_flattened_mut()
            .iter_mut()
            .step_by(9)
            .for_each(|w| *w = 100.0);
        let (mut aware, mut unaware) = (0.0, 0.0);
        for seed in 0..20 {
            let x = heavy(seed);
            aware += error(&x, &worth);
            let held = held(&round(&x, &WORTH), SUPER_GROUPS);
            let each = x.as_flattened().iter().zip(&held).zip(worth.as_flattened());
            unaware += each
                .map(|((x, held), worth)| f64::from(worth * (x - held).powi(2)))
                .sum::<f64>();
        }
        assert!(aware < 0.7 * unaware, "{aware} against {unaware}");
    }

    #[test]
    fn what_has_sixteen_steps_is_kept() {
        let mut x = [[0.0; GROUP]; SUPER_GROUPS];
        for (g, x) in x.iter_mut().enumerate() {
            let step = (g + 1) as f32 * 0.125;
            for (i, x) in x.iter_mut().enumerate() {
                *x = (i % 16) as f32 * step - g as f32;
            }
        }
        // A step is rounded to 255 of the largest, and so is a minimum.
        let largest = 8.0 * 0.125 / 255.0 * 15.0 + 7.0 / 255.0;
        let held = held(&round(&x, &WORTH), SUPER_GROUPS);
        for (x, held) in x.as_flattened().iter().zip(&held) {
            assert!((x - held).abs() <= 0.51 * largest, "{held} for {x}");
        }
    }

    #[test]
    fn groups_of_one_value_zeros_and_the_largest() {
        let zeros = round(&[[0.0; GROUP]; 3], &WORTH[..3]);
        assert_eq!(held(&zeros, 3), vec![0.0; 3 * GROUP]);
        for value in [-3.0f32, 0.5, LARGEST, -LARGEST, 1e-2] {
            for held in held(&round(&[[value; GROUP]; 2], &WORTH[..2]), 2) {
                let close = (held - value).abs() <= 1e-3 * value.abs();
                assert!(close, "{held} for {value}");
            }
        }
        let mut mixed = heavy(5);
        (mixed[0][0], mixed[0][1]) = (LARGEST, -LARGEST);
        let held = held(&round(&mixed, &WORTH), SUPER_GROUPS);
        assert!(held.iter().all(|v| v.is_finite()), "{held:?}");
        let [most, least] = [held[0] / LARGEST, -held[1] / LARGEST];
        assert!(
            (0.9..1.1).contains(&most) && (0.9..1.1).contains(&least),
            "{most} {least}"
        );
    }

    /// What is too small for any unit is zero, and nothing is no number.
    #[test]
    fn values_below_every_unit() {
        for value in [1e-9f32, 1e-20, 1e-38, 1e-45] {
            let x = [[value, -value, 0.0, value / 2.0]
                .repeat(8)
                .try_into()
                .unwrap()];
            for held in held(&round(&x, &WORTH[..1]), 1) {
                assert!(held.abs() <= 1e-6, "{held} for {value}");
            }
        }
    }

    #[test]
    fn columns_beyond_the_edge_have_no_say() {
        let mut x = [heavy(1)[0]; 1];
        let mut worth = [[0.0; GROUP]; 1];
        worth[0][..5].fill(1.0);
        let own = round(&x, &worth);
        x[0][5..].fill(0.0);
        let kept = round(&x, &worth);
        let [a, b] = [own, kept].map(|r| held(&r, 1));
        let error = |held: &[f32]| {
            (0..5)
                .map(|i| (held[i] - x[0][i]).abs())
                .fold(0.0, f32::max)
        };
        let range = (0..5).map(|i| x[0][i].abs()).fold(0.0, f32::max);
        assert!(
            error(&b) <= range / 10.0 && error(&a).is_finite(),
            "{a:?} {b:?} {x:?}"
        );
        let one = [[[0.7; 1].to_vec(), vec![0.0; GROUP - 1]]
            .concat()
            .try_into()
            .unwrap()];
        let mut worth = [[0.0; GROUP]; 1];
        worth[0][0] = 1.0;
        assert!((held(&round(&one, &worth), 1)[0] - 0.7).abs() < 0.01);
    }
}
