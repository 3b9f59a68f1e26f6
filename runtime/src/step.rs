//! The lists that describe one step to generated code: rows, spans, attention tiles, rows whose logits are wanted.
//!
//! Built in buffers that are reused, so that decoding allocates nothing. Segments are checked before they get here.

use serde::{Deserialize, Serialize};

use crate::abi::Span;

/// Some tokens that continue one sequence.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// Sequence slot.
    pub slot: usize,
    /// Token ids, at least one.
    pub tokens: &'a [u32],
}

/// Whose logits a step is to compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wanted {
    /// Nobody's: the step only extends the state.
    None,
    /// The last token's of each segment.
    Last,
    /// Every token's.
    All,
}

/// One step, as [`crate::abi::StepContext`] points to it.
#[derive(Debug, Default)]
pub(crate) struct StepLists {
    /// Token ids, `[T]`.
    pub(crate) tokens: Vec<u32>,
    /// Position of each token, `[T]`.
    pub(crate) positions: Vec<u32>,
    /// Slot of each token, `[T]`.
    pub(crate) slots: Vec<u32>,
    /// Length of each token's sequence, `[T]`.
    pub(crate) lengths: Vec<u32>,
    /// Rows whose logits are wanted, `[R]`, ascending.
    pub(crate) logit_rows: Vec<u32>,
    /// The segments.
    pub(crate) spans: Vec<Span>,
    /// The segments cut into tiles.
    pub(crate) tiles: Vec<Span>,
}

impl StepLists {
    /// Room for steps of `max_tokens` tokens.
    pub(crate) fn with_capacity(max_tokens: usize) -> Self {
        StepLists {
            tokens: Vec::with_capacity(max_tokens),
            positions: Vec::with_capacity(max_tokens),
            slots: Vec::with_capacity(max_tokens),
            lengths: Vec::with_capacity(max_tokens),
            logit_rows: Vec::with_capacity(max_tokens),
            spans: Vec::with_capacity(max_tokens),
            tiles: Vec::with_capacity(max_tokens),
        }
    }

    /// Describes a step of `segments`, whose sequences are at the first and are to have at least the second of `at(slot)`, with
    /// tiles of at most `query_tile` queries.
    pub(crate) fn fill(
        &mut self,
        segments: &[Segment<'_>],
        wanted: Wanted,
        query_tile: usize,
        at: impl Fn(usize) -> (usize, usize),
    ) {
        self.clear();
        for segment in segments {
            self.add(segment, wanted, query_tile, at(segment.slot));
        }
    }

    fn clear(&mut self) {
        let StepLists {
            tokens,
            positions,
            slots,
            lengths,
            logit_rows,
            spans,
            tiles,
        } = self;
        tokens.clear();
        positions.clear();
        slots.clear();
        lengths.clear();
        logit_rows.clear();
        spans.clear();
        tiles.clear();
    }

    fn add(
        &mut self,
        segment: &Segment<'_>,
        wanted: Wanted,
        query_tile: usize,
        (position, length): (usize, usize),
    ) {
        // Contexts and steps are limited to 32 bits when a session begins.
        let (slot, position) = (segment.slot as u32, position as u32);
        let (start_row, n) = (self.tokens.len() as u32, segment.tokens.len() as u32);
        let length = u32::try_from(length).unwrap_or(u32::MAX).max(position + n);
        self.tokens.extend_from_slice(segment.tokens);
        self.positions.extend(position..position + n);
        self.slots.extend(std::iter::repeat_n(slot, n as usize));
        self.lengths.extend(std::iter::repeat_n(length, n as usize));
        self.spans.push(Span {
            slot,
            start_row,
            n,
            position,
        });
        let tile = |skip: usize| {
            let skip = skip as u32;
            Span {
                slot,
                start_row: start_row + skip,
                n: (n - skip).min(query_tile as u32),
                position: position + skip,
            }
        };
        self.tiles
            .extend((0..n as usize).step_by(query_tile).map(tile));
        match wanted {
            Wanted::None => {}
            Wanted::Last => self.logit_rows.push(start_row + n - 1),
            Wanted::All => self.logit_rows.extend(start_row..start_row + n),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_become_rows_spans_and_tiles() {
        let mut lists = StepLists::with_capacity(8);
        let segments = [
            Segment {
                slot: 1,
                tokens: &[7, 8, 9],
            },
            Segment {
                slot: 0,
                tokens: &[5, 6],
            },
        ];
        lists.fill(&segments, Wanted::Last, 2, |slot| {
            [(100, 0), (40, 50)][slot]
        });
        assert_eq!(lists.tokens, [7, 8, 9, 5, 6]);
        assert_eq!(lists.positions, [40, 41, 42, 100, 101]);
        assert_eq!(lists.slots, [1, 1, 1, 0, 0]);
        assert_eq!(lists.lengths, [50, 50, 50, 102, 102]);
        assert_eq!(lists.logit_rows, [2, 4]);
        let span = |slot, start_row, n, position| Span {
            slot,
            start_row,
            n,
            position,
        };
        assert_eq!(lists.spans, [span(1, 0, 3, 40), span(0, 3, 2, 100)]);
        assert_eq!(
            lists.tiles,
            [span(1, 0, 2, 40), span(1, 2, 1, 42), span(0, 3, 2, 100)]
        );
    }

    #[test]
    fn wanted_rows() {
        let mut lists = StepLists::with_capacity(8);
        let segments = [
            Segment {
                slot: 0,
                tokens: &[1, 2],
            },
            Segment {
                slot: 1,
                tokens: &[3],
            },
        ];
        lists.fill(&segments, Wanted::All, 1, |_| (0, 0));
        assert_eq!(lists.logit_rows, [0, 1, 2]);
        assert_eq!(lists.tiles.len(), 3);
        lists.fill(&segments, Wanted::None, 64, |_| (0, 0));
        assert!(lists.logit_rows.is_empty());
    }
}
