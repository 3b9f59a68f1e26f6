//! A function's instructions, line by line, and how they are printed.

use std::fmt::Write;

/// One line of a listing.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Line {
    /// Of its first byte, in the function.
    pub address: usize,
    /// Its bytes, in hexadecimal.
    pub bytes: String,
    /// The instruction.
    pub text: String,
    /// What it reaches.
    pub note: String,
    /// Loops that it is in, the outermost first, as `loops` of the listing numbers them.
    pub loops: Vec<usize>,
}

/// A function's code.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Disassembly {
    /// In order of addresses.
    pub lines: Vec<Line>,
    /// Addresses of the first and the last instruction of each loop.
    pub loops: Vec<(usize, usize)>,
    /// Bytes of constants behind the code.
    pub constant_bytes: usize,
}

/// Columns that loops are marked in.
const GUTTER: usize = 4;
/// Columns of bytes and of instructions.
const BYTES: usize = 30;
const TEXT: usize = 48;

impl Disassembly {
    /// The code as text.
    pub fn text(&self, name: &str) -> String {
        let bytes: usize = self.lines.iter().map(|l| l.bytes.len().div_ceil(3)).sum();
        let mut out = format!(
            "; {name}: {bytes} bytes of code, {}\n",
            loops_text(self.loops.len())
        );
        for line in &self.lines {
            let row = format!(
                "{} {:5x}  {:<BYTES$} {:<TEXT$}{}",
                self.gutter(line),
                line.address,
                line.bytes,
                line.text,
                match line.note.as_str() {
                    "" => String::new(),
                    note => format!("; {note}"),
                }
            );
            let _ = writeln!(out, "{}", row.trim_end());
        }
        if self.constant_bytes > 0 {
            let _ = writeln!(out, "; {} bytes of constants", self.constant_bytes);
        }
        out
    }

    /// Loops that a line is in, innermost last: where one begins, goes on, and ends.
    fn gutter(&self, line: &Line) -> String {
        let mut marks = String::new();
        for l in line.loops.iter().take(GUTTER) {
            let (first, last) = self.loops[*l];
            marks.push(match line.address {
                at if at == first && at == last => '↺',
                at if at == first => '┌',
                at if at == last => '└',
                _ => '│',
            });
        }
        format!("{marks:<GUTTER$}")
    }
}

fn loops_text(n: usize) -> String {
    match n {
        0 => "no loops".into(),
        1 => "1 loop".into(),
        n => format!("{n} loops"),
    }
}
