//! How units are dealt out to ranks: heads with the key heads that they share, or columns.
//!
//! Ranks get runs of units that follow each other, as even as they come; the first ranks take one more where they do not divide.

use std::ops::Range;

/// Which of two counts of the same units a value is laid out by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Query heads, heads of a state, or columns.
    Many,
    /// Key heads, each of which several of the others may share.
    Few,
}

/// The units of each rank, by either count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Deal {
    many: Vec<Range<usize>>,
    few: Vec<Range<usize>>,
    /// What the units are, for people.
    pub(super) what: &'static str,
}

/// Columns that stay together, where there are enough of them for all ranks: a group of integers, a panel of rows, or none.
const GRAINS: [usize; 3] = [32, 8, 1];

impl Deal {
    /// Heads, each with its key head. Where there are fewer key heads than ranks, some ranks have the same one, and its heads are
    /// dealt out among them.
    ///
    /// # Errors
    /// Fewer heads than ranks.
    pub(super) fn heads(heads: usize, key_heads: usize, ranks: usize) -> Result<Deal, String> {
        let group = heads / key_heads;
        let (many, few) = match even(key_heads, ranks) {
            Some(few) => {
                let many = few.iter().map(|r| r.start * group..r.end * group);
                (many.collect(), few)
            }
            None => {
                let sharers = even(ranks, key_heads).unwrap_or_default();
                let mut dealt = (vec![], vec![]);
                for (key, sharers) in sharers.iter().enumerate() {
                    let own = even(group, sharers.len()).ok_or_else(|| {
                        let heads = "heads of a key head are fewer than the";
                        format!("{group} {heads} {} ranks that share it", sharers.len())
                    })?;
                    let first = key * group;
                    dealt
                        .0
                        .extend(own.iter().map(|r| first + r.start..first + r.end));
                    dealt.1.extend(own.iter().map(|_| key..key + 1));
                }
                dealt
            }
        };
        let what = "heads";
        Ok(Deal { many, few, what })
    }

    /// Columns, of which some stay together; the last of these may be fewer.
    ///
    /// # Errors
    /// Fewer columns than ranks.
    pub(super) fn columns(width: usize, ranks: usize) -> Result<Deal, String> {
        let dealt = |grain: usize| {
            let runs = even(width.div_ceil(grain), ranks)?;
            let columns = |r: Range<usize>| r.start * grain..(r.end * grain).min(width);
            Some(runs.into_iter().map(columns).collect::<Vec<_>>())
        };
        let fewer = || format!("{width} columns are fewer than {ranks} ranks");
        let many = GRAINS.into_iter().find_map(dealt).ok_or_else(fewer)?;
        let few = many.clone();
        let what = "columns";
        Ok(Deal { many, few, what })
    }

    /// Experts, each whole.
    ///
    /// # Errors
    /// Fewer experts than ranks.
    pub(super) fn experts(experts: usize, ranks: usize) -> Result<Deal, String> {
        let fewer = || format!("{experts} experts are fewer than {ranks} ranks");
        let many = even(experts, ranks).ok_or_else(fewer)?;
        let few = many.clone();
        let what = "experts";
        Ok(Deal { many, few, what })
    }

    /// Ranks.
    pub(super) fn ranks(&self) -> usize {
        self.many.len()
    }

    /// Units of all ranks together, what several have counted once.
    pub(super) fn units(&self, side: Side) -> usize {
        self.side(side).last().map_or(0, |r| r.end)
    }

    /// The units of a rank.
    pub(super) fn of(&self, side: Side, rank: usize) -> Range<usize> {
        self.side(side)[rank].clone()
    }

    fn side(&self, side: Side) -> &[Range<usize>] {
        match side {
            Side::Many => &self.many,
            Side::Few => &self.few,
        }
    }
}

/// Runs of `n` units for each of `ranks`, or nothing where some would have none.
fn even(n: usize, ranks: usize) -> Option<Vec<Range<usize>>> {
    let (each, more) = (n.checked_div(ranks)?, n.checked_rem(ranks)?);
    let first = |rank: usize| rank * each + rank.min(more);
    let run = |rank: usize| first(rank)..first(rank + 1);
    (each > 0).then(|| (0..ranks).map(run).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heads(heads: usize, key_heads: usize, ranks: usize) -> Vec<(Range<usize>, Range<usize>)> {
        let deal = Deal::heads(heads, key_heads, ranks).unwrap();
        let of = |rank| (deal.of(Side::Many, rank), deal.of(Side::Few, rank));
        (0..ranks).map(of).collect()
    }

    #[test]
    fn key_heads_are_dealt_out_with_their_queries_the_first_ranks_taking_one_more() {
        assert_eq!(heads(8, 4, 2), [(0..4, 0..2), (4..8, 2..4)]);
        assert_eq!(heads(10, 5, 3), [(0..4, 0..2), (4..8, 2..4), (8..10, 4..5)]);
    }

    #[test]
    fn a_key_head_is_had_by_all_ranks_that_have_queries_of_it() {
        assert_eq!(heads(6, 1, 2), [(0..3, 0..1), (3..6, 0..1)]);
        assert_eq!(heads(8, 2, 3), [(0..2, 0..1), (2..4, 0..1), (4..8, 1..2)]);
        assert!(Deal::heads(4, 2, 5).unwrap_err().contains("2 heads"));
        assert!(Deal::heads(3, 3, 4).is_err());
    }

    #[test]
    fn columns_stay_together_where_there_are_enough() {
        let columns = |width, ranks| {
            let deal = Deal::columns(width, ranks).unwrap();
            let starts = (0..ranks).map(|r| deal.of(Side::Many, r).start);
            (starts.collect::<Vec<_>>(), deal.units(Side::Many))
        };
        assert_eq!(columns(160, 3), (vec![0, 64, 128], 160));
        assert_eq!(columns(50, 4), (vec![0, 16, 32, 48], 50));
        assert_eq!(columns(5, 4), (vec![0, 2, 3, 4], 5));
        assert!(Deal::columns(3, 4).is_err());
    }

    /// However units divide, every one is somebody's and nobody has none.
    #[test]
    fn every_head_is_computed_once() {
        for key_heads in 1..7 {
            for group in 1..6 {
                for ranks in 1..9 {
                    let n = key_heads * group;
                    let Ok(deal) = Deal::heads(n, key_heads, ranks) else {
                        assert!(
                            ranks > n / key_heads.max(1) || ranks > key_heads,
                            "{n} {ranks}"
                        );
                        continue;
                    };
                    let all = (0..ranks).flat_map(|r| deal.of(Side::Many, r));
                    assert!(all.eq(0..n), "{key_heads} × {group} for {ranks}");
                    for rank in 0..ranks {
                        let (many, few) = (deal.of(Side::Many, rank), deal.of(Side::Few, rank));
                        assert!(!many.is_empty() && many.len().is_multiple_of(few.len()));
                        assert_eq!(many.start / group, few.start);
                        assert_eq!((many.end - 1) / group, few.end - 1);
                    }
                }
            }
        }
    }
}
