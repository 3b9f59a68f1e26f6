//! Two models side by side: their summaries, row by row.

use std::fmt;

use serde::Serialize;

use crate::summary::Summary;

/// Two models side by side.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// The models.
    pub models: [Summary; 2],
    /// Row by row, in the order of the first model; lengths that only the other one has stand among the first's.
    pub rows: Vec<Compared>,
}

/// One thing about two models.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Compared {
    /// What is compared.
    pub name: String,
    /// What each has; nothing where it has no such thing.
    pub values: [Option<String>; 2],
    /// Whether both have the same.
    pub same: bool,
}

/// Sets two models side by side.
pub fn compare(a: Summary, b: Summary) -> Comparison {
    let (left, right) = (a.rows(), b.rows());
    let find = |rows: &[(String, String)], name: &str| {
        rows.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone())
    };
    let mut names: Vec<&str> = left.iter().map(|(name, _)| name.as_str()).collect();
    for (name, _) in right.iter().filter(|(n, _)| find(&left, n).is_none()) {
        names.insert(place(&names, name), name);
    }
    let rows = names.into_iter().map(|name| {
        let values = [find(&left, name), find(&right, name)];
        let same = values[0] == values[1];
        Compared {
            name: name.into(),
            values,
            same,
        }
    });
    Comparison {
        rows: rows.collect(),
        models: [a, b],
    }
}

/// Where a row belongs: `state at 8192` after other states at less, and what has no length at the end.
fn place(names: &[&str], name: &str) -> usize {
    let parts = |name: &str| -> Option<(String, u64)> {
        let (what, length) = name.rsplit_once(' ')?;
        Some((what.into(), length.parse().ok()?))
    };
    let is_before = |other: &&str| {
        let pair = parts(other).zip(parts(name));
        pair.is_some_and(|(other, new)| other.0 == new.0 && other.1 < new.1)
    };
    names
        .iter()
        .rposition(is_before)
        .map_or(names.len(), |i| i + 1)
}

/// Columns of a comparison that is not written for a terminal.
const COLUMNS: usize = 120;
/// Columns that a value has at least.
const LEAST: usize = 24;

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(COLUMNS))
    }
}

impl Comparison {
    /// Both models beside each other, in so many columns.
    pub fn text(&self, columns: usize) -> String {
        let names = self.rows.iter().map(|row| row.name.chars().count());
        let first = names.max().unwrap_or(0);
        let width = (columns.saturating_sub(first + 4) / 2).max(LEAST);
        let mut out = String::new();
        let heading = [0, 1].map(|i| self.models[i].model.as_str());
        beside(&mut out, "", heading, [first, width]);
        for row in &self.rows {
            let value = |i: usize| row.values[i].as_deref().unwrap_or("none");
            let second = if row.same { "same" } else { value(1) };
            beside(&mut out, &row.name, [value(0), second], [first, width]);
        }
        out
    }
}

/// A row of three columns, as many lines as its values need.
fn beside(out: &mut String, name: &str, values: [&str; 2], [first, width]: [usize; 2]) {
    let [left, right] = values.map(|value| wrapped(value, width));
    for i in 0..left.len().max(right.len()) {
        let name = if i == 0 { name } else { "" };
        let line = |of: &[String]| of.get(i).cloned().unwrap_or_default();
        let (left, right) = (line(&left), line(&right));
        let text = format!("{name:<first$}  {left:<width$}  {right}");
        out.push_str(text.trim_end());
        out.push('\n');
    }
}

/// A text in lines of at most so many columns, broken at spaces; a longer word has a line of its own.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.len() - 1;
        let line = &mut lines[last];
        match line.chars().count() + 1 + word.chars().count() {
            _ if line.is_empty() => line.push_str(word),
            n if n <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.into()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_beside_each_other_and_broken_at_spaces() {
        let mut out = String::new();
        beside(&mut out, "positions", ["RoPE, rotate-half", "none"], [9, 8]);
        beside(&mut out, "context", ["512", "same"], [9, 8]);
        assert_eq!(
            out,
            "positions  RoPE,     none\n           rotate-half\ncontext    512       same\n"
        );
    }
}
