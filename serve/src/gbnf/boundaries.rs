//! Lexemes that end where they may: each that could go on where another reading of the same text needs it to end is taken apart.
//!
//! A *place* is a character of the grammar. Where one place follows another, it goes on with the same lexeme or begins another one. Two
//! places are *open together* if the same text can lead to both. While of two places that are open together one goes on and the other
//! begins, and a text could go either way, lexemes are too large: those that go on are taken apart, until there are none. What follows what
//! is taken from the rules without regard to where they are named, which may find too many such places and never too few.

use std::collections::BTreeSet;

use super::node::{Node, Rule};
use super::regular::with_lexemes;

/// The most places that are looked at; in larger grammars each character is a lexeme.
const MOST_PLACES: usize = 2048;
/// The most steps that are looked at, likewise.
const MOST_STEPS: usize = 20_000_000;

/// Takes lexemes apart until all end where they may.
pub(super) fn settle(rules: &mut [Rule]) {
    let mut left = MOST_STEPS;
    loop {
        let places = Places::of(rules, &mut left);
        let torn = match places.and_then(|places| places.torn(&mut left)) {
            Some(torn) if torn.is_empty() => return,
            Some(torn) => torn,
            None => {
                return rules
                    .iter_mut()
                    .for_each(|rule| rule.body = single(take(rule)));
            }
        };
        let mut place = 0;
        for rule in rules.iter_mut() {
            rule.body = apart(take(rule), &torn, &mut place);
        }
    }
}

fn take(rule: &mut Rule) -> Node {
    std::mem::replace(&mut rule.body, Node::Sequence(Vec::new()))
}

/// Takes those lexemes apart that have one of these places in them.
fn apart(node: Node, torn: &BTreeSet<usize>, place: &mut usize) -> Node {
    match node {
        Node::Lexeme(part) => {
            let first = *place;
            *place += count(&part);
            match torn.range(first..*place).next() {
                Some(_) => part.map(&mut with_lexemes),
                None => Node::Lexeme(part),
            }
        }
        node => node.map(&mut |part| apart(part, torn, place)),
    }
}

/// Makes each character a lexeme.
fn single(node: Node) -> Node {
    match node {
        Node::Class(_) => Node::Lexeme(Box::new(node)),
        Node::Lexeme(part) => single(*part),
        node => node.map(&mut single),
    }
}

fn count(node: &Node) -> usize {
    match node {
        Node::Class(_) => 1,
        node => node.parts().iter().map(count).sum(),
    }
}

/// All places of a grammar, and what follows what.
struct Places {
    /// First bytes of the characters of each.
    bytes: Vec<[u64; 4]>,
    /// For each place those that may follow it, and whether within the same lexeme.
    next: Vec<BTreeSet<(usize, bool)>>,
    /// What rules begin and end with.
    rules: Vec<Edges>,
    /// Steps taken to find that.
    steps: usize,
}

/// What a part begins and ends with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Edges {
    can_be_empty: bool,
    first: BTreeSet<usize>,
    last: BTreeSet<usize>,
}

impl Places {
    /// The places of a grammar that does not have too many, with at most `left` steps.
    fn of(rules: &[Rule], left: &mut usize) -> Option<Places> {
        let total = rules.iter().map(|rule| count(&rule.body)).sum();
        let mut places = Places {
            bytes: Vec::new(),
            next: vec![BTreeSet::new(); total],
            rules: vec![Edges::default(); rules.len()],
            steps: 0,
        };
        if total > MOST_PLACES {
            return None;
        }
        // What rules begin and end with depends on each other: it grows until it does not.
        loop {
            let before = places.rules.clone();
            places.bytes.clear();
            for (at, rule) in rules.iter().enumerate() {
                places.rules[at] = places.look(&rule.body, false);
            }
            let sizes = places
                .rules
                .iter()
                .map(|e| 1 + e.first.len() + e.last.len());
            places.steps += sizes.sum::<usize>();
            if places.steps > *left {
                return None;
            }
            if places.rules == before {
                *left -= places.steps;
                return Some(places);
            }
        }
    }

    /// Notes what follows what within a part.
    fn look(&mut self, node: &Node, in_lexeme: bool) -> Edges {
        match node {
            Node::Class(class) => {
                let place = BTreeSet::from([self.bytes.len()]);
                self.bytes.push(class.first_bytes());
                Edges {
                    can_be_empty: false,
                    first: place.clone(),
                    last: place,
                }
            }
            Node::Rule(rule) => self.rules[*rule].clone(),
            Node::Lexeme(part) => self.look(part, true),
            Node::Repeat(part, least, most) => {
                let mut edges = self.look(part, in_lexeme);
                if *most != Some(1) {
                    self.follow(&edges.last, &edges.first, in_lexeme);
                }
                edges.can_be_empty |= *least == 0;
                edges
            }
            Node::Choice(parts) => {
                let mut all = Edges::default();
                for part in parts {
                    let edges = self.look(part, in_lexeme);
                    all.can_be_empty |= edges.can_be_empty;
                    all.first.extend(edges.first);
                    all.last.extend(edges.last);
                }
                all
            }
            Node::Sequence(parts) => {
                let mut all = Edges {
                    can_be_empty: true,
                    ..Edges::default()
                };
                for part in parts {
                    let edges = self.look(part, in_lexeme);
                    self.follow(&all.last, &edges.first, in_lexeme);
                    if all.can_be_empty {
                        all.first.extend(&edges.first);
                    }
                    if !edges.can_be_empty {
                        all.last.clear();
                    }
                    all.last.extend(edges.last);
                    all.can_be_empty &= edges.can_be_empty;
                }
                all
            }
        }
    }

    fn follow(&mut self, last: &BTreeSet<usize>, first: &BTreeSet<usize>, in_lexeme: bool) {
        // Each is put into a tree.
        self.steps += 16 * last.len() * first.len();
        if self.steps > MOST_STEPS {
            return;
        }
        for &place in last {
            let steps = first.iter().map(|&next| (next, in_lexeme));
            self.next[place].extend(steps);
        }
    }

    fn meet(&self, a: usize, b: usize) -> bool {
        let both = self.bytes[a].iter().zip(&self.bytes[b]);
        both.into_iter().any(|(a, b)| a & b != 0)
    }

    /// Places that go on with a lexeme where another one begins; nothing where that takes too long.
    fn torn(&self, left: &mut usize) -> Option<BTreeSet<usize>> {
        let mut torn = BTreeSet::new();
        let mut is_known = vec![vec![false; self.bytes.len()]; self.bytes.len()];
        let start = &self.rules[0].first;
        let mut open: Vec<(usize, usize)> = Vec::new();
        for &a in start {
            open.extend(start.iter().filter(|&&b| a <= b).map(|&b| (a, b)));
        }
        while let Some((a, b)) = open.pop() {
            if std::mem::replace(&mut is_known[a][b], true) || !self.meet(a, b) {
                continue;
            }
            *left = left.checked_sub(1 + self.next[a].len() * self.next[b].len())?;
            for &(x, goes_on) in &self.next[a] {
                for &(y, too) in &self.next[b] {
                    if goes_on != too && self.meet(x, y) {
                        torn.insert(if goes_on { x } else { y });
                    }
                    let pair = (x.min(y), x.max(y));
                    if !is_known[pair.0][pair.1] {
                        open.push(pair);
                    }
                }
            }
        }
        Some(torn)
    }
}
