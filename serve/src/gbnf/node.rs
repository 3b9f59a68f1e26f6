//! A grammar as it is read.

use super::class::Class;

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) body: Node,
}

/// What a rule, or a part of one, stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    /// One character.
    Class(Class),
    /// One after the other; nothing at all where there are none.
    Sequence(Vec<Node>),
    /// One of them.
    Choice(Vec<Node>),
    /// At least and at most so many times.
    Repeat(Box<Node>, u32, Option<u32>),
    /// What another rule stands for, by its place in the list.
    Rule(usize),
    /// A part without rules that is one lexeme.
    Lexeme(Box<Node>),
}

impl Node {
    /// Parts one after the other.
    pub(super) fn sequence(mut parts: Vec<Node>) -> Node {
        match parts.len() {
            1 => parts.remove(0),
            _ => Node::Sequence(parts),
        }
    }

    /// One of several.
    pub(super) fn choice(mut parts: Vec<Node>) -> Node {
        match parts.len() {
            1 => parts.remove(0),
            _ => Node::Choice(parts),
        }
    }

    /// A part, so many times: what may be left out is a choice of its own, around what cannot be empty where the part cannot.
    pub(super) fn repeat(part: Node, least: u32, most: Option<u32>) -> Node {
        match (least, most) {
            (_, Some(0)) => Node::Sequence(Vec::new()),
            (1, Some(1)) => part,
            (0, Some(1)) | (1.., _) => Node::Repeat(Box::new(part), least, most),
            (0, _) => {
                let some = Node::Repeat(Box::new(part), 1, most);
                Node::Repeat(Box::new(some), 0, Some(1))
            }
        }
    }

    /// What it is made of.
    pub(super) fn parts(&self) -> &[Node] {
        match self {
            Node::Class(_) | Node::Rule(_) => &[],
            Node::Sequence(parts) | Node::Choice(parts) => parts,
            Node::Repeat(part, ..) | Node::Lexeme(part) => std::slice::from_ref(part),
        }
    }

    /// The same of other parts.
    pub(super) fn map(self, change: &mut dyn FnMut(Node) -> Node) -> Node {
        match self {
            Node::Class(_) | Node::Rule(_) => self,
            Node::Sequence(parts) => Node::Sequence(parts.into_iter().map(change).collect()),
            Node::Choice(parts) => Node::Choice(parts.into_iter().map(change).collect()),
            Node::Repeat(part, least, most) => Node::Repeat(Box::new(change(*part)), least, most),
            Node::Lexeme(part) => Node::Lexeme(Box::new(change(*part))),
        }
    }

    /// How many nodes there are.
    pub(super) fn size(&self) -> usize {
        1 + self.parts().iter().map(Node::size).sum::<usize>()
    }

    /// How deep they are.
    pub(super) fn depth(&self) -> usize {
        1 + self.parts().iter().map(Node::depth).max().unwrap_or(0)
    }

    /// Adds the rules that it names.
    pub(super) fn rules(&self, found: &mut Vec<usize>) {
        if let Node::Rule(rule) = self {
            found.push(*rule);
        }
        self.parts().iter().for_each(|part| part.rules(found));
    }

    /// Whether it can be empty, where that is known of rules.
    pub(super) fn can_be_empty(&self, rules: &[bool]) -> bool {
        let can = |part: &Node| part.can_be_empty(rules);
        match self {
            Node::Class(_) => false,
            Node::Sequence(parts) => parts.iter().all(can),
            Node::Choice(parts) => parts.iter().any(can),
            Node::Repeat(part, least, _) => *least == 0 || can(part),
            Node::Rule(rule) => rules.get(*rule).copied().unwrap_or(false),
            Node::Lexeme(part) => can(part),
        }
    }
}
