//! Rules to Lark: lexemes as regular expressions, and a rule for each part that would need parentheses.

use std::fmt::Write;

use super::error::GbnfError;
use super::node::{Node, Rule};

/// The most rules that are written: the library follows names from rule to rule, each of which takes some of the stack.
const MOST_RULES: usize = 8192;

/// The whole grammar, which begins with the first rule.
///
/// # Errors
/// One that would have too many rules.
pub(super) fn lark(rules: &[Rule]) -> Result<String, GbnfError> {
    let mut writer = Writer {
        text: "start: r0\n".into(),
        groups: 0,
    };
    for (at, rule) in rules.iter().enumerate() {
        writer.rule(&format!("r{at}"), &rule.body);
    }
    let written = rules.len() + writer.groups;
    match written > MOST_RULES {
        true => Err(GbnfError {
            line: 1,
            column: 1,
            message: format!(
                "{written} rules and parentheses, expected at most {MOST_RULES}; write a smaller grammar"
            ),
        }),
        false => Ok(writer.text),
    }
}

struct Writer {
    text: String,
    groups: usize,
}

impl Writer {
    fn rule(&mut self, name: &str, body: &Node) {
        let alternatives: Vec<String> = match body {
            Node::Choice(parts) => parts.iter().map(|part| self.sequence(part)).collect(),
            node => vec![self.sequence(node)],
        };
        // Writing to a text does not fail.
        let _ = writeln!(self.text, "{name}: {}", alternatives.join(" | "));
    }

    fn sequence(&mut self, node: &Node) -> String {
        match node {
            Node::Sequence(parts) if parts.is_empty() => "\"\"".into(),
            Node::Sequence(parts) => {
                let parts: Vec<String> = parts.iter().map(|part| self.part(part)).collect();
                parts.join(" ")
            }
            node => self.part(node),
        }
    }

    fn part(&mut self, node: &Node) -> String {
        match node {
            Node::Class(_) => format!("/{}/", regex(node)),
            Node::Lexeme(inside) => format!("/{}/", regex(inside)),
            Node::Rule(rule) => format!("r{rule}"),
            Node::Repeat(inside, least, most) => match (&**inside, least, most) {
                // What may be left out around what comes at least once.
                (Node::Repeat(inside, 1, most), 0, Some(1)) => {
                    format!("{}{}", self.single(inside), times(0, *most))
                }
                (inside, ..) => format!("{}{}", self.single(inside), times(*least, *most)),
            },
            Node::Sequence(_) | Node::Choice(_) => self.group(node),
        }
    }

    /// Something that can be repeated.
    fn single(&mut self, node: &Node) -> String {
        match node {
            Node::Repeat(..) => self.group(node),
            node => self.part(node),
        }
    }

    fn group(&mut self, node: &Node) -> String {
        let name = format!("g{}", self.groups);
        self.groups += 1;
        self.rule(&name, node);
        name
    }
}

/// How often, after what is repeated.
fn times(least: u32, most: Option<u32>) -> String {
    match (least, most) {
        (0, None) => "*".into(),
        (1, None) => "+".into(),
        (0, Some(1)) => "?".into(),
        (least, None) => format!("{{{least},}}"),
        (least, Some(most)) => format!("{{{least},{most}}}"),
    }
}

fn regex(node: &Node) -> String {
    let mut text = String::new();
    add_regex(node, &mut text);
    text
}

fn add_regex(node: &Node, out: &mut String) {
    let mut group = |parts: &[Node], between: &str, after: &str| {
        out.push_str("(?:");
        for (at, part) in parts.iter().enumerate() {
            if at > 0 {
                out.push_str(between);
            }
            add_regex(part, out);
        }
        out.push(')');
        out.push_str(after);
    };
    match node {
        Node::Class(class) => class.regex(out),
        Node::Sequence(parts) => parts.iter().for_each(|part| add_regex(part, out)),
        Node::Choice(parts) => group(parts, "|", ""),
        Node::Repeat(part, least, most) => {
            group(std::slice::from_ref(part), "", &times(*least, *most));
        }
        Node::Lexeme(part) => add_regex(part, out),
        // Lexemes have no rules in them.
        Node::Rule(_) => {}
    }
}
