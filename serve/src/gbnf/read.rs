//! The text of a grammar to its rules, the first of which is `root`.

use std::collections::BTreeMap;

use super::class::Class;
use super::error::GbnfError;
use super::node::{Node, Rule};
use super::text::{Text, wrong_at};

/// The rule that stands for the whole.
const ROOT: &str = "root";
/// The most rules.
const MOST_RULES: usize = 2048;
/// The most parentheses within each other.
const DEEPEST: usize = 64;
/// The most repetitions that a grammar can ask for.
const MOST_REPEATS: u32 = 10_000;
/// The most marks such as * after one part.
const MOST_MARKS: usize = 4;
/// What a part of a rule can be.
const PART: &str = "a \"text\", a [class], the name of a rule, ( or .";

/// Reads a grammar.
///
/// # Errors
/// Anything that is not GBNF, rules that do not exist or exist twice, a root that has no end.
pub(super) fn read(grammar: &str) -> Result<Vec<Rule>, GbnfError> {
    let mut reader = Reader {
        text: Text::new(grammar),
        names: BTreeMap::new(),
        rules: Vec::new(),
        depth: 0,
    };
    let start = reader.text.place();
    reader.rule_named(ROOT, start);
    reader.rules()?;
    reader.finish()
}

struct Reader<'g> {
    text: Text<'g>,
    /// Rules by name.
    names: BTreeMap<&'g str, usize>,
    rules: Vec<Named<'g>>,
    depth: usize,
}

/// A rule by its name.
struct Named<'g> {
    name: &'g str,
    /// Where it is named first.
    named: (usize, usize),
    /// Where it is defined, and as what.
    defined: Option<((usize, usize), Node)>,
}

impl<'g> Reader<'g> {
    fn rules(&mut self) -> Result<(), GbnfError> {
        loop {
            self.text.blanks(true);
            if self.text.peek().is_none() {
                return Ok(());
            }
            let place = self.text.place();
            let name = self.text.name();
            if name.is_empty() {
                return Err(self.text.expected("the name of a rule"));
            }
            self.text.blanks(false);
            if !self.text.take("::=") {
                return Err(self.text.expected(&format!("::= after the name `{name}`")));
            }
            self.text.blanks(true);
            let body = self.choice()?;
            let rule = self.rule_named(name, place);
            if self.rules.len() > MOST_RULES {
                let message = format!("more than {MOST_RULES} rules, the maximum");
                return Err(wrong_at(place, message));
            }
            if let Some(((line, _), _)) = self.rules[rule].defined {
                let message =
                    format!("`{name}` is defined twice, first on line {line}; rename one");
                return Err(wrong_at(place, message));
            }
            self.rules[rule].defined = Some((place, body));
            self.text.blanks(false);
            if !matches!(self.text.peek(), None | Some('\n')) {
                return Err(self
                    .text
                    .expected(&format!("{PART}, | or the end of the line")));
            }
        }
    }

    fn rule_named(&mut self, name: &'g str, place: (usize, usize)) -> usize {
        *self.names.entry(name).or_insert_with(|| {
            self.rules.push(Named {
                name,
                named: place,
                defined: None,
            });
            self.rules.len() - 1
        })
    }

    /// What stands between `|`.
    fn choice(&mut self) -> Result<Node, GbnfError> {
        let mut parts = vec![self.sequence()?];
        loop {
            let before = self.text.clone();
            // A line that begins with | goes on with the rule.
            self.text.blanks(true);
            if !self.text.take("|") {
                if self.depth == 0 {
                    self.text = before;
                }
                return Ok(Node::choice(parts));
            }
            self.text.blanks(true);
            parts.push(self.sequence()?);
        }
    }

    fn sequence(&mut self) -> Result<Node, GbnfError> {
        let mut parts = Vec::new();
        loop {
            self.text.blanks(self.depth > 0);
            match self.text.peek() {
                None | Some('\n' | '|' | ')') => return Ok(Node::sequence(parts)),
                Some(_) => {
                    let part = self.part()?;
                    parts.push(self.repeated(part)?);
                }
            }
        }
    }

    fn part(&mut self) -> Result<Node, GbnfError> {
        let place = self.text.place();
        match self.text.peek() {
            Some('"') => self.literal(),
            Some('[') => self.class(),
            Some('.') => {
                self.text.next();
                Ok(Node::Class(Class::any()))
            }
            Some('(') => self.group(),
            Some('<' | '!') => {
                let message = "tokens as < > are not read here; write the text that they stand for";
                Err(self.text.wrong(message))
            }
            _other => match self.text.name() {
                "" => Err(self.text.expected(PART)),
                name => Ok(Node::Rule(self.rule_named(name, place))),
            },
        }
    }

    fn group(&mut self) -> Result<Node, GbnfError> {
        if self.depth == DEEPEST {
            let message = format!("more than {DEEPEST} parentheses within each other");
            return Err(self.text.wrong(message));
        }
        self.text.next();
        self.depth += 1;
        let inside = self.choice()?;
        self.text.blanks(true);
        if !self.text.take(")") {
            return Err(self.text.expected("| or )"));
        }
        self.depth -= 1;
        Ok(inside)
    }

    fn literal(&mut self) -> Result<Node, GbnfError> {
        let start = self.text.clone();
        self.text.next();
        let mut characters = Vec::new();
        loop {
            match self.text.peek() {
                Some('"') => break,
                None | Some('\n') => {
                    return Err(start.wrong("an unterminated string; expected \" on the same line"));
                }
                Some(_) => characters.push(Node::Class(Class::of(self.character()?))),
            }
        }
        self.text.next();
        Ok(Node::sequence(characters))
    }

    fn class(&mut self) -> Result<Node, GbnfError> {
        let start = self.text.clone();
        self.text.next();
        let is_negated = self.text.take("^");
        let mut ranges = Vec::new();
        loop {
            match self.text.peek() {
                Some(']') => break,
                None | Some('\n') => {
                    return Err(
                        start.wrong("an unterminated character class; expected ] on the same line")
                    );
                }
                Some(_) => ranges.push(self.range()?),
            }
        }
        self.text.next();
        let class = Class::new(ranges);
        let class = if is_negated { class.negated() } else { class };
        match class.is_empty() {
            true => Err(start.wrong("an empty character class, which matches nothing")),
            false => Ok(Node::Class(class)),
        }
    }

    fn range(&mut self) -> Result<(char, char), GbnfError> {
        let place = self.text.place();
        let low = self.character()?;
        let mut after = self.text.clone();
        // At the end of a class it stands for itself.
        if !after.take("-") || after.peek() == Some(']') {
            return Ok((low, low));
        }
        self.text = after;
        if matches!(self.text.peek(), None | Some('\n')) {
            return Err(self.text.expected("the last character of a range"));
        }
        let high = self.character()?;
        match low <= high {
            true => Ok((low, high)),
            false => {
                let (low, high) = (low.escape_debug(), high.escape_debug());
                let message = format!("the range {low}-{high} is reversed");
                Err(wrong_at(place, message))
            }
        }
    }

    /// A character of a text or a class, which may be escaped.
    fn character(&mut self) -> Result<char, GbnfError> {
        let start = self.text.clone();
        let first = self.text.next();
        let Some('\\') = first else {
            return first.ok_or_else(|| start.expected("a character"));
        };
        match self.text.next() {
            Some('n') => Ok('\n'),
            Some('r') => Ok('\r'),
            Some('t') => Ok('\t'),
            Some('x') => self.number(&start, 2),
            Some('u') => self.number(&start, 4),
            Some('U') => self.number(&start, 8),
            Some(c) if c.is_ascii_punctuation() => Ok(c),
            _other => Err(start.wrong(
                "expected one of \\n, \\r, \\t, \\xHH, \\uHHHH, \\UHHHHHHHH or a punctuation mark after \\",
            )),
        }
    }

    fn number(&mut self, start: &Text<'_>, digits: usize) -> Result<char, GbnfError> {
        let mut value = 0;
        for _ in 0..digits {
            let digit = self.text.peek().and_then(|c| c.to_digit(16));
            let Some(digit) = digit else {
                let what = format!("{digits} hexadecimal digits");
                return Err(self.text.expected(&what));
            };
            value = value << 4 | digit;
            self.text.next();
        }
        let wrong = || start.wrong(format!("U+{value:04X} is not a character"));
        char::from_u32(value).ok_or_else(wrong)
    }

    /// A part with what says how many times.
    fn repeated(&mut self, part: Node) -> Result<Node, GbnfError> {
        let mut part = part;
        for _ in 0..=MOST_MARKS {
            self.text.blanks(self.depth > 0);
            let place = self.text.clone();
            let (least, most) = match self.text.next() {
                Some('*') => (0, None),
                Some('+') => (1, None),
                Some('?') => (0, Some(1)),
                Some('{') => self.bounds(&place)?,
                _other => {
                    self.text = place;
                    return Ok(part);
                }
            };
            part = Node::repeat(part, least, most);
        }
        let message = format!("more than {MOST_MARKS} repetition operators after one item");
        Err(self.text.wrong(message))
    }

    /// `{m}`, `{m,}`, `{,n}` or `{m,n}`.
    fn bounds(&mut self, start: &Text<'_>) -> Result<(u32, Option<u32>), GbnfError> {
        let least = self.count()?;
        let bounds = match (self.text.take(","), least) {
            (true, least) => (least.unwrap_or(0), self.count()?),
            (false, Some(exactly)) => (exactly, Some(exactly)),
            (false, None) => return Err(self.text.expected("a number")),
        };
        if !self.text.take("}") {
            return Err(self.text.expected("}"));
        }
        match bounds {
            (least, Some(most)) if least > most => {
                let message = format!("the repetition {{{least},{most}}} is reversed");
                Err(start.wrong(message))
            }
            bounds => Ok(bounds),
        }
    }

    fn count(&mut self) -> Result<Option<u32>, GbnfError> {
        self.text.blanks(false);
        let place = self.text.place();
        let mut count = None;
        while let Some(digit) = self.text.peek().and_then(|c| c.to_digit(10)) {
            self.text.next();
            let more = count.unwrap_or(0) * 10 + digit;
            if more > MOST_REPEATS {
                let message = format!("more than {MOST_REPEATS} repetitions, the maximum");
                return Err(wrong_at(place, message));
            }
            count = Some(more);
        }
        self.text.blanks(false);
        Ok(count)
    }

    /// All rules, each of which has been defined.
    fn finish(self) -> Result<Vec<Rule>, GbnfError> {
        let mut rules = Vec::new();
        let mut root = (1, 1);
        for (
            index,
            Named {
                name,
                named,
                defined,
            },
        ) in self.rules.into_iter().enumerate()
        {
            let Some((place, body)) = defined else {
                return Err(match index {
                    0 => wrong_at(
                        self.text.place(),
                        format!("no rule named `{ROOT}`, the start of a grammar"),
                    ),
                    _ => wrong_at(
                        named,
                        format!("no rule named `{name}`; define it, or fix the name"),
                    ),
                });
            };
            if index == 0 {
                root = place;
            }
            rules.push(Rule { body });
        }
        match ends(&rules) {
            true => Ok(rules),
            false => Err(wrong_at(
                root,
                format!("`{ROOT}` never terminates: every alternative recurses"),
            )),
        }
    }
}

/// Whether the first rule stands for any text at all.
fn ends(rules: &[Rule]) -> bool {
    let mut ending = vec![false; rules.len()];
    loop {
        let mut is_new = false;
        for (at, rule) in rules.iter().enumerate().rev() {
            if !ending[at] && node_ends(&rule.body, &ending) {
                (ending[at], is_new) = (true, true);
            }
        }
        if ending[0] || !is_new {
            return ending[0];
        }
    }
}

fn node_ends(node: &Node, ending: &[bool]) -> bool {
    match node {
        Node::Class(_) => true,
        Node::Rule(rule) => ending[*rule],
        Node::Repeat(_, 0, _) => true,
        Node::Choice(parts) => parts.iter().any(|part| node_ends(part, ending)),
        Node::Sequence(_) | Node::Repeat(..) | Node::Lexeme(_) => {
            node.parts().iter().all(|part| node_ends(part, ending))
        }
    }
}
