//! Which tokens of which sequences a step takes.
//!
//! Everything that decodes has a row in each step; what is left of the step is read of prompts, oldest first, and while something
//! decodes no more than was allowed.

use super::sequence::Sequence;

/// Rows of one sequence in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rows {
    /// Index of the sequence.
    pub(super) index: usize,
    /// Tokens of its prompt; 0 for the one it decodes.
    pub(super) prompt: usize,
}

/// Limits of a step.
#[derive(Clone, Copy, Debug)]
pub(super) struct StepLimits {
    /// Tokens.
    pub(super) tokens: usize,
    /// Tokens of prompts, while something decodes.
    pub(super) prefill: usize,
}

/// What the next step takes. `turn` changes from step to step, so that all have their turn where they are too many for one.
pub(super) fn plan(sequences: &[Sequence<'_>], limits: StepLimits, turn: usize) -> Vec<Rows> {
    let states: Vec<State> = sequences.iter().map(State::of).collect();
    rows(&states, limits, turn)
}

/// What planning looks at in a sequence.
#[derive(Clone, Copy, Debug)]
enum State {
    Decodes,
    /// Has so many tokens to read before its next pause.
    Reads(usize),
}

impl State {
    fn of(sequence: &Sequence<'_>) -> State {
        if sequence.has_read() {
            return State::Decodes;
        }
        let end = sequence.prompt().len();
        let pause = sequence.pauses.iter().find(|&&at| at > sequence.read);
        State::Reads(pause.copied().unwrap_or(end).min(end) - sequence.read)
    }
}

fn rows(states: &[State], limits: StepLimits, turn: usize) -> Vec<Rows> {
    let decoding = |i: &usize| matches!(states[*i], State::Decodes);
    let mut decoded: Vec<usize> = (0..states.len()).filter(decoding).collect();
    // One row is left for reading, so that nothing waits for ever.
    let reads = decoded.len() < states.len();
    let most = limits.tokens - usize::from(reads && limits.tokens > 1);
    if decoded.len() > most {
        let first = turn.wrapping_mul(most) % decoded.len();
        decoded.rotate_left(first);
        decoded.truncate(most);
    }
    let mut left = limits.tokens - decoded.len();
    if !decoded.is_empty() {
        left = left.min(limits.prefill.max(1));
    }
    let mut rows: Vec<Rows> = decoded
        .into_iter()
        .map(|index| Rows { index, prompt: 0 })
        .collect();
    for (index, state) in states.iter().enumerate() {
        let State::Reads(unread) = *state else {
            continue;
        };
        let prompt = unread.min(left);
        if prompt > 0 {
            left -= prompt;
            rows.push(Rows { index, prompt });
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::State::{Decodes, Reads};
    use super::*;

    const LIMITS: StepLimits = StepLimits {
        tokens: 16,
        prefill: 6,
    };

    fn planned(states: &[State], turn: usize) -> Vec<(usize, usize)> {
        rows(states, LIMITS, turn)
            .into_iter()
            .map(|r| (r.index, r.prompt))
            .collect()
    }

    #[test]
    fn prompts_alone_take_whole_steps_and_share_them() {
        assert_eq!(planned(&[Reads(40)], 0), [(0, 16)]);
        assert_eq!(
            planned(&[Reads(10), Reads(10), Reads(3)], 0),
            [(0, 10), (1, 6)]
        );
    }

    #[test]
    fn while_something_decodes_prompts_are_read_in_chunks() {
        let states = [Reads(40), Decodes, Reads(5), Decodes];
        assert_eq!(planned(&states, 0), [(1, 0), (3, 0), (0, 6)]);
        let states = [Reads(2), Decodes, Reads(5)];
        assert_eq!(planned(&states, 0), [(1, 0), (0, 2), (2, 4)]);
    }

    #[test]
    fn those_too_many_for_a_step_take_turns() {
        let states = [Decodes; 20];
        let (first, second) = (planned(&states, 0), planned(&states, 1));
        assert_eq!((first.len(), second.len()), (16, 16));
        let both: std::collections::BTreeSet<_> = first.iter().chain(&second).collect();
        assert_eq!(both.len(), 20);
        let mut states = vec![Decodes; 20];
        states.push(Reads(9));
        assert_eq!(planned(&states, 0).last(), Some(&(20, 1)));
    }
}
