//! Choosing keys: scores of an index over all positions, and the blocks with the largest, in plain loops.

use super::values::{Rows, Scene};
use crate::graph::{IndexOperands, IndexScores, PickKeys};

/// `[sets, T, keys]`.
pub(super) fn scores(scene: &Scene, i: &IndexScores, o: &IndexOperands<&Rows>) -> Rows {
    let keys = &scene.caches[i.state.0 as usize].keys;
    let product = |q: &[f32], k: &[f32]| -> f64 {
        let terms = q.iter().zip(k);
        terms.map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
    };
    let mut data = vec![];
    for set in 0..i.sets() {
        for (t, q) in o.q.iter().enumerate() {
            let mut heads = q.chunks_exact(i.dim);
            let head = heads.nth(set).unwrap_or_default();
            let score = |key: &Vec<f32>| -> f64 {
                let Some(by) = o.by else {
                    return product(head, key);
                };
                let heads = q.chunks_exact(i.dim).zip(by.row(t));
                let of = |(head, by): (&[f32], &f32)| f64::from(*by) * product(head, key).max(0.0);
                heads.map(of).sum()
            };
            data.extend(keys.iter().map(|key| score(key) as f32));
        }
    }
    Rows::new(data, keys.len())
}

/// `[T, sets · count]`.
pub(super) fn pick(scene: &Scene, p: &PickKeys, scores: &Rows) -> Rows {
    let (l, n) = (p.listing, scene.tokens.len());
    let mut data = vec![];
    for t in 0..n {
        for set in 0..l.sets {
            let seen = &scores.row(set * n + t)[..scene.start + t + 1];
            let picked = largest(p, seen).into_iter().map(|block| block as f32);
            // What is left over is nobody's: who reads it counts block 0 twice, which goldens notice.
            let rest = std::iter::repeat(0.0);
            data.extend(picked.chain(rest).take(l.count));
        }
    }
    Rows::new(data, l.width())
}

/// The blocks with the largest of these scores, ascending.
fn largest(p: &PickKeys, scores: &[f32]) -> Vec<usize> {
    // Both zeros are one score.
    let best = |block: &[f32]| {
        block
            .iter()
            .fold(f32::NEG_INFINITY, |most, s| most.max(s + 0.0))
    };
    let mut worth: Vec<f32> = scores.chunks(p.listing.block).map(best).collect();
    let always = worth.len().saturating_sub(p.near);
    worth[always..].fill(f32::INFINITY);
    let mut blocks: Vec<usize> = (0..worth.len()).collect();
    // Stable: of equal scores the first stays in front.
    blocks.sort_by(|a, b| worth[*b].total_cmp(&worth[*a]));
    blocks.truncate(p.listing.count);
    blocks.sort_unstable();
    blocks
}

#[cfg(test)]
mod tests {
    use super::{PickKeys, pick};
    use crate::graph::{Graph, Program, ProgramKind};
    use crate::interp::values::{Rows, Scene};
    use crate::spec::model::Listing;

    /// What the query after `scores.len() - 1` others picks.
    fn picked(block: usize, count: usize, near: usize, scores: &[f32]) -> Vec<f32> {
        let program = Program {
            kind: ProgramKind::Decode,
            blocks: vec![],
            layers: vec![],
            sources: vec![],
            ropes: vec![],
        };
        let scene = Scene {
            graph: &Graph::default(),
            program: &program,
            tokens: &[0],
            start: scores.len() - 1,
            caches: &mut [],
            memories: &mut [],
        };
        let listing = Listing {
            sets: 1,
            count,
            block,
        };
        let scores = Rows::new(scores.to_vec(), scores.len());
        pick(&scene, &PickKeys { listing, near }, &scores).data
    }

    #[test]
    fn a_last_block_that_is_not_whole_counts_by_the_keys_it_has() {
        let seven = [0.0, 1.0, 2.0, 9.0, 1.0, 1.0, 5.0];
        assert_eq!(picked(3, 1, 0, &seven), [1.0]);
        assert_eq!(picked(3, 2, 0, &seven), [1.0, 2.0]);
        // Scores below 0, so that a key beyond the last would be the best one.
        let below = [-1.0, -1.0, -1.0, -3.0, -3.0, -3.0, -2.0];
        assert_eq!(picked(3, 2, 0, &below), [0.0, 2.0]);
        assert_eq!(picked(3, 1, 0, &below), [0.0]);
        // One key of eight is in the last block, and nothing at all is left of nine.
        assert_eq!(
            picked(7, 1, 0, &[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 2.0]),
            [1.0]
        );
        assert_eq!(
            picked(3, 1, 0, &[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 2.0, 3.0, 4.0]),
            [2.0]
        );
    }

    #[test]
    fn the_nearest_blocks_are_counted_with_one_that_is_not_whole() {
        let seven = [7.0, 0.0, 0.0, 6.0, 0.0, 0.0, -9.0];
        assert_eq!(picked(3, 2, 1, &seven), [0.0, 2.0]);
        assert_eq!(picked(3, 2, 2, &seven), [1.0, 2.0]);
    }

    #[test]
    fn fewer_blocks_than_are_picked_are_all_listed() {
        assert_eq!(picked(3, 4, 1, &[5.0, 1.0, 1.0, 9.0])[..2], [0.0, 1.0]);
        assert_eq!(picked(3, 4, 1, &[5.0])[..1], [0.0]);
        assert_eq!(picked(3, 4, 1, &[5.0]).len(), 4);
    }
}
