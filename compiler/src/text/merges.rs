//! The order in which pieces with scores are joined.
//!
//! Of all neighbours those are joined whose whole has the highest score. As a list: every way to cut a piece into two others, by
//! the score of the whole, the longer left side first where several ways give one piece.

use std::cmp::Reverse;

use graver_runtime::tokenizer::Ids;

use super::vocabulary::Vocabulary;

/// Most characters before a cut: real pieces have some dozens.
const LONGEST: usize = 128;

/// Pairs of pieces, in the order in which they are joined.
pub(super) fn of_scores<'a>(
    vocabulary: &'a Vocabulary<'_>,
    ids: &Ids<'_>,
) -> Vec<(&'a str, &'a str)> {
    let mut all = vec![];
    for (token, score) in vocabulary.tokens.iter().zip(&vocabulary.scores) {
        let first = all.len();
        let cuts = token.char_indices().skip(1).take(LONGEST);
        for (before, (at, _)) in cuts.enumerate() {
            let (left, right) = token.split_at(at);
            if let Some(r) = ids.get(right)
                && let Some(l) = ids.get(left)
            {
                all.push((*score, before, (l, r), (left, right)));
            }
        }
        all[first..].sort_by_key(|(.., ids, _)| *ids);
    }
    all.sort_by(|a, b| b.0.total_cmp(&a.0).then(Reverse(a.1).cmp(&Reverse(b.1))));
    all.into_iter().map(|(.., pair)| pair).collect()
}
