//! Vectors that no checkpoint holds: their numbers follow from the number of heads and a layer's place.

use serde::Serialize;

/// Numbers that follow from others.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Made {
    /// What scores fall by with each position of distance (Press et al. 2022, ALiBi): `2^(−most (h + 1) / heads)`. Where the number
    /// of heads is no power of two, the first heads are those of the next lower power, and the others every second one of the next
    /// higher.
    Slopes {
        /// The steepest exponent.
        most: f32,
    },
    /// What is left of a state after a token (Qin et al. 2024, lightning attention): `exp(−2^(−most (h + 1) / heads) · factor)`, where
    /// the factor is `first + layer · per_layer`.
    Decays {
        /// The steepest exponent.
        most: f32,
        /// The factor of layer 0.
        first: f32,
        /// How much it grows with each layer.
        per_layer: f32,
    },
    /// 1.
    Ones,
}

impl Made {
    /// The numbers of `n` heads in a layer.
    pub(crate) fn numbers(self, n: usize, layer: Option<usize>) -> Vec<f32> {
        let heads = 0..n;
        match self {
            Made::Slopes { most } => heads.map(|h| slope(most, h, n) as f32).collect(),
            Made::Decays {
                most,
                first,
                per_layer,
            } => {
                let layer = layer.unwrap_or(0) as f64;
                let factor = f64::from(first) + layer * f64::from(per_layer);
                let one = |h| (-power(most, h + 1, n) * factor).exp() as f32;
                heads.map(one).collect()
            }
            Made::Ones => vec![1.0; n],
        }
    }
}

fn slope(most: f32, head: usize, heads: usize) -> f64 {
    let whole = match heads.is_power_of_two() {
        true => heads,
        false => heads.next_power_of_two() / 2,
    };
    match head.checked_sub(whole) {
        None => power(most, head + 1, whole),
        Some(rest) => power(most, 2 * rest + 1, 2 * whole),
    }
}

/// `2^(−most · i / n)`.
fn power(most: f32, i: usize, n: usize) -> f64 {
    (-f64::from(most) * i as f64 / n as f64).exp2()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slopes_halve_from_head_to_head_and_fill_gaps_where_heads_are_no_power_of_two() {
        let slopes = Made::Slopes { most: 8.0 };
        let eight = [
            0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625, 0.0078125, 0.00390625,
        ];
        assert_eq!(slopes.numbers(8, None), eight);
        let more = [0.5f32.sqrt(), 0.5 * 0.5f32.sqrt()];
        assert_eq!(slopes.numbers(10, None), [&eight[..], &more].concat());
    }

    #[test]
    fn decays_change_with_the_layer() {
        let decays = Made::Decays {
            most: 8.0,
            first: 1.0,
            per_layer: -0.25,
        };
        let of = |slope: f64, factor: f64| (-slope * factor).exp() as f32;
        assert_eq!(
            decays.numbers(2, Some(0)),
            [of(0.0625, 1.0), of(0.00390625, 1.0)]
        );
        assert_eq!(
            decays.numbers(2, Some(2)),
            [of(0.0625, 0.5), of(0.00390625, 0.5)]
        );
    }
}
