//! Rules to rules whose regular parts are lexemes: rules without rules in them are put where they are named, and what names no rule
//! and cannot be empty becomes a lexeme, as large as it can be.

use super::node::{Node, Rule};

/// Nodes of the largest rule that is put where it is named.
const LARGEST: usize = 1024;
/// Nodes that a grammar may grow by for it.
const MOST_GROWTH: usize = 200_000;
/// Levels of the deepest lexeme.
const DEEPEST: usize = 100;

/// Does this for all rules.
pub(super) fn prepare(rules: &mut Vec<Rule>) {
    put_in_place(rules);
    keep_named(rules);
    for rule in rules {
        rule.body = with_lexemes(take(&mut rule.body));
    }
}

/// A part with lexemes in it, or one itself.
pub(super) fn with_lexemes(node: Node) -> Node {
    if can_be_lexeme(&node) {
        return Node::Lexeme(Box::new(node));
    }
    match node {
        Node::Sequence(parts) => Node::Sequence(with_runs(parts)),
        node => node.map(&mut with_lexemes),
    }
}

/// Parts of a sequence, of which those that follow each other without rules between them are one lexeme.
fn with_runs(parts: Vec<Node>) -> Vec<Node> {
    let mut all = Vec::new();
    let mut run = Vec::new();
    for part in parts {
        if named(&part).is_empty() {
            run.push(part);
        } else {
            end_run(&mut run, &mut all);
            all.push(with_lexemes(part));
        }
    }
    end_run(&mut run, &mut all);
    all
}

fn end_run(run: &mut Vec<Node>, all: &mut Vec<Node>) {
    let whole = Node::Sequence(std::mem::take(run));
    match (can_be_lexeme(&whole), whole) {
        (true, whole) => all.push(Node::Lexeme(Box::new(whole))),
        (false, Node::Sequence(parts)) => all.extend(parts.into_iter().map(with_lexemes)),
        (false, other) => all.push(other),
    }
}

fn can_be_lexeme(node: &Node) -> bool {
    let mut rules = Vec::new();
    node.rules(&mut rules);
    rules.is_empty() && !node.can_be_empty(&[]) && node.depth() <= DEEPEST
}

/// Puts what rules without rules in them stand for where they are named, so far as they and the whole stay small.
fn put_in_place(rules: &mut [Rule]) {
    let used: Vec<Vec<usize>> = rules.iter().map(|rule| named(&rule.body)).collect();
    let mut users: Vec<Vec<usize>> = vec![Vec::new(); rules.len()];
    for (user, used) in used.iter().enumerate() {
        used.iter().for_each(|&rule| users[rule].push(user));
    }
    let mut left: Vec<usize> = used.iter().map(Vec::len).collect();
    let mut room = MOST_GROWTH;
    let mut plain: Vec<Option<Node>> = vec![None; rules.len()];
    let mut ready: Vec<usize> = (0..rules.len()).filter(|&at| left[at] == 0).collect();
    while let Some(at) = ready.pop() {
        fill(&mut rules[at].body, &plain, &mut room);
        let body = &rules[at].body;
        if !named(body).is_empty() || body.size() > LARGEST {
            continue;
        }
        plain[at] = Some(body.clone());
        for &user in &users[at] {
            left[user] -= 1;
            if left[user] == 0 {
                ready.push(user);
            }
        }
    }
    // What also names rules that stay.
    for at in (0..rules.len()).filter(|&at| left[at] > 0) {
        fill(&mut rules[at].body, &plain, &mut room);
    }
}

/// Puts rules in place in a body, unless it would grow by more than there is room for.
fn fill(body: &mut Node, plain: &[Option<Node>], room: &mut usize) {
    let mut named = Vec::new();
    body.rules(&mut named);
    let sizes = named.iter().filter_map(|&rule| plain[rule].as_ref());
    let growth: usize = sizes.map(Node::size).sum();
    if growth <= *room {
        *room -= growth;
        *body = replaced(take(body), plain);
    }
}

/// Rules that are named, each once.
fn named(node: &Node) -> Vec<usize> {
    let mut found = Vec::new();
    node.rules(&mut found);
    found.sort_unstable();
    found.dedup();
    found
}

fn replaced(node: Node, plain: &[Option<Node>]) -> Node {
    match node {
        Node::Rule(rule) => plain[rule].clone().unwrap_or(Node::Rule(rule)),
        node => node.map(&mut |part| replaced(part, plain)),
    }
}

/// Leaves out rules that nothing names any more.
fn keep_named(rules: &mut Vec<Rule>) {
    let mut is_kept = vec![false; rules.len()];
    let mut open = vec![0];
    while let Some(rule) = open.pop() {
        if !std::mem::replace(&mut is_kept[rule], true) {
            open.extend(named(&rules[rule].body));
        }
    }
    let mut places = Vec::new();
    let mut kept = 0;
    for &is in &is_kept {
        places.push(kept);
        kept += usize::from(is);
    }
    let mut kept = is_kept.iter();
    rules.retain(|_| kept.next() == Some(&true));
    for rule in rules {
        rule.body = renumbered(take(&mut rule.body), &places);
    }
}

fn renumbered(node: Node, places: &[usize]) -> Node {
    match node {
        Node::Rule(rule) => Node::Rule(places[rule]),
        node => node.map(&mut |part| renumbered(part, places)),
    }
}

fn take(body: &mut Node) -> Node {
    std::mem::replace(body, Node::Sequence(Vec::new()))
}
