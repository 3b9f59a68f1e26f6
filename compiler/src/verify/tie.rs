//! Likeliest tokens that change places because the two lead by less than differences may be.

use std::fmt;

use serde::Serialize;

/// Two tokens that change places in one row.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tie {
    /// Where: `row 12`, `greedy step 3`.
    pub place: String,
    /// The reference's likeliest token.
    pub expected: u32,
    /// What is likeliest here.
    pub found: u32,
    /// By how much the reference has the one before the other, in standard deviations.
    pub lead: f64,
}

/// Most ties that are listed.
const MOST: usize = 8;

impl Tie {
    /// The tie of a row whose likeliest token is not the reference's; nothing where it is, or where no difference within `tolerance` of
    /// each logit makes the other one likelier.
    pub(super) fn of_row(
        place: impl Fn() -> String,
        (reference, row): (&[f32], &[f32]),
        (deviation, tolerance): (f64, f64),
    ) -> Option<Tie> {
        let (expected, found) = (likeliest(reference)?, likeliest(row)?);
        if expected == found {
            return None;
        }
        let of = |id: usize| f64::from(reference[id]);
        let lead = (of(expected) - of(found)) / deviation;
        (lead <= 2.0 * tolerance).then(|| Tie {
            place: place(),
            expected: expected as u32,
            found: found as u32,
            lead,
        })
    }

    /// Adds ties of places that are not there yet, as long as there is room.
    pub(super) fn collect(all: &mut Vec<Tie>, more: &[Tie]) {
        for tie in more {
            if all.len() < MOST && all.iter().all(|t| t.place != tie.place) {
                all.push(tie.clone());
            }
        }
    }
}

/// Where a row is largest, the first of several.
pub(super) fn likeliest(row: &[f32]) -> Option<usize> {
    let best = |a: usize, b: usize| if row[b] > row[a] { b } else { a };
    (0..row.len()).reduce(best)
}

impl fmt::Display for Tie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tie {
            place,
            expected,
            found,
            lead,
        } = self;
        write!(
            f,
            "near tie             {place}: the reference has token {expected} before {found} by {lead:.1e}, closer than differences may be"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tie(reference: &[f32], row: &[f32]) -> Option<Tie> {
        Tie::of_row(|| "row 0".into(), (reference, row), (2.0, 1e-3))
    }

    #[test]
    fn tokens_that_are_close_may_change_places() {
        let found = tie(&[1.0, 3.0, 2.999], &[1.0, 2.999, 3.0]).unwrap();
        assert_eq!((found.expected, found.found), (1, 2));
        assert!((found.lead - 5e-4).abs() < 1e-6);
        assert_eq!(
            found.to_string(),
            "near tie             row 0: the reference has token 1 before 2 by 5.0e-4, closer than differences may be"
        );
    }

    #[test]
    fn tokens_that_are_apart_and_those_that_agree_are_no_ties() {
        assert_eq!(tie(&[1.0, 3.0, 2.9], &[1.0, 2.9, 3.0]), None);
        assert_eq!(tie(&[1.0, 3.0, 2.999], &[1.0, 3.1, 3.0]), None);
    }

    #[test]
    fn a_place_is_listed_once_and_few_are() {
        let one = tie(&[0.0, 1e-4], &[1e-4, 0.0]).unwrap();
        let mut all = vec![];
        Tie::collect(&mut all, &[one.clone(), one.clone()]);
        assert_eq!(all.len(), 1);
        let place = |i: usize| Tie {
            place: format!("row {i}"),
            ..one.clone()
        };
        Tie::collect(&mut all, &(1..20).map(place).collect::<Vec<_>>());
        assert_eq!(all.len(), MOST);
    }
}
