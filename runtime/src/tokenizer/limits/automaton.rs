//! What it takes to make the automaton that searches for added tokens.
//!
//! The library's automaton (`aho-corasick`, the longest match that begins first) has a state for each beginning of a token. It moves
//! states that end a token to the front, one by one, and then follows, for every state, all moves in the cycle that it is in: for
//! `t0`, `t1`, …, that is one cycle of them all, and its square takes minutes. The same moves are made here, and counted.

use std::collections::HashMap;

/// What each token that a state ends costs: memory as well as time.
const MATCH: u64 = 16;
/// No state to go on from.
const DEAD: u32 = u32::MAX;
/// The state in which nothing was found.
const ROOT: u32 = 0;

/// Steps to make the automaton of some texts, which have at most 4 GB together.
pub(super) fn steps(texts: &[String]) -> u64 {
    let mut states = States::default();
    let mut steps = 0_u64;
    for text in texts.iter().filter(|text| !text.is_empty()) {
        let end = text.bytes().fold(ROOT, |from, byte| states.add(from, byte));
        let found = &mut states.found[end as usize];
        steps += *found;
        *found += 1;
    }
    steps = steps.saturating_add(states.fall_back());
    steps.saturating_add(states.moves())
}

struct States {
    next: HashMap<(u32, u8), u32>,
    /// State and byte that lead here, by state.
    before: Vec<(u32, u8)>,
    depth: Vec<u32>,
    /// Tokens that end here.
    found: Vec<u64>,
}

impl Default for States {
    fn default() -> States {
        States {
            next: HashMap::new(),
            before: vec![(ROOT, 0)],
            depth: vec![0],
            found: vec![0],
        }
    }
}

impl States {
    fn add(&mut self, from: u32, byte: u8) -> u32 {
        let new = self.before.len() as u32;
        let next = *self.next.entry((from, byte)).or_insert(new);
        if next == new {
            self.before.push((from, byte));
            self.depth.push(self.depth[from as usize] + 1);
            self.found.push(0);
        }
        next
    }

    /// Finds where each state goes on when nothing follows, and gives it the tokens that end there; returns what they cost.
    fn fall_back(&mut self) -> u64 {
        let mut order: Vec<u32> = (1..self.before.len() as u32).collect();
        order.sort_by_key(|state| self.depth[*state as usize]);
        let mut back = vec![ROOT; self.before.len()];
        let mut steps = 0_u64;
        for state in order {
            let (before, byte) = self.before[state as usize];
            let at = state as usize;
            if self.found[at] > 0 {
                back[at] = DEAD;
                continue;
            }
            if before == ROOT {
                continue;
            }
            let mut from = back[before as usize];
            let to = loop {
                if from == DEAD {
                    break DEAD;
                }
                match self.next.get(&(from, byte)) {
                    Some(next) => break *next,
                    None if from == ROOT => break ROOT,
                    None => from = back[from as usize],
                }
            };
            back[at] = to;
            if to != DEAD {
                self.found[at] = self.found[to as usize];
                steps = steps.saturating_add(self.found[at].saturating_mul(MATCH));
            }
        }
        steps
    }

    /// Moves states that end a token to the front; returns the steps that are made to follow the moves.
    fn moves(&self) -> u64 {
        let found = &self.found[1..];
        let mut moved: Vec<u32> = (0..found.len() as u32).collect();
        let ends = (0..found.len()).filter(|at| found[*at] > 0);
        for (front, at) in ends.enumerate() {
            moved.swap(at, front);
        }
        let mut steps = 0_u64;
        for start in 0..moved.len() {
            let (mut length, mut at) = (0_u64, start);
            // A state that was seen stays where it is.
            while moved[at] as usize != at {
                let next = moved[at] as usize;
                moved[at] = at as u32;
                at = next;
                length += 1;
            }
            steps = steps.saturating_add(length * length);
        }
        steps
    }
}

#[cfg(test)]
mod tests {
    use super::{MATCH, steps};

    fn of(texts: impl Iterator<Item = String>) -> u64 {
        steps(&texts.collect::<Vec<_>>())
    }

    #[test]
    fn one_cycle_takes_its_square() {
        let n = 3000;
        let slow = of((0..n).map(|i| format!("t{i}")));
        assert!((n * n..n * n + 100 * n).contains(&slow), "{slow}");
        assert!(of((0..n).map(|i| format!("<t{i:05}>"))) < 100 * n);
    }

    /// `ya` ends a token, that which is `a`, and moves to the front as well.
    #[test]
    fn tokens_within_others_count() {
        let of = |texts: [&str; 2]| of(texts.map(String::from).into_iter());
        assert_eq!(of(["a", "yaz"]), MATCH + 3 * 3);
        assert_eq!(of(["a", "ybz"]), 2 * 2);
    }

    #[test]
    fn the_same_text_again_takes_a_walk_along_all() {
        let slow = of((0..3000).map(|_| "a".into()));
        assert_eq!(slow, 3000 * 2999 / 2);
    }
}
