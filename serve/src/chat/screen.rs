//! What is shown: answers as they come, thoughts dimmed, notes.

use std::io::{self, Write};

use super::thinking::Part;

const DIM: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";

/// Where text is shown.
pub(super) struct Screen<'o> {
    out: &'o mut dyn Write,
    /// Whether there is somebody who sees colours.
    is_terminal: bool,
    hides_thinking: bool,
    is_dim: bool,
    /// A thought has been shown, and no answer after it.
    has_thought: bool,
}

impl<'o> Screen<'o> {
    pub(super) fn new(out: &'o mut dyn Write, is_terminal: bool, hides_thinking: bool) -> Self {
        Screen {
            out,
            is_terminal,
            hides_thinking,
            is_dim: false,
            has_thought: false,
        }
    }

    /// Shows a piece of an answer at once.
    pub(super) fn part(&mut self, part: &Part) -> io::Result<()> {
        match part {
            Part::Thought(_) if self.hides_thinking => return Ok(()),
            Part::Thought(text) => {
                self.dim(true)?;
                self.has_thought = true;
                self.write(text)?;
            }
            Part::Answer(text) => {
                self.dim(false)?;
                if std::mem::take(&mut self.has_thought) {
                    self.write("\n")?;
                }
                self.write(text)?;
            }
        }
        self.out.flush()
    }

    /// Ends an answer.
    pub(super) fn end_answer(&mut self) -> io::Result<()> {
        self.dim(false)?;
        self.has_thought = false;
        self.write("\n")?;
        self.out.flush()
    }

    /// Shows lines of the program itself.
    pub(super) fn note(&mut self, text: &str) -> io::Result<()> {
        self.dim(true)?;
        self.write(text)?;
        self.dim(false)?;
        self.write("\n")?;
        self.out.flush()
    }

    fn dim(&mut self, dim: bool) -> io::Result<()> {
        if self.is_terminal && self.is_dim != dim {
            self.out
                .write_all(if dim { DIM } else { PLAIN }.as_bytes())?;
        }
        self.is_dim = dim;
        Ok(())
    }

    /// A terminal does what control characters say, and a model may write any.
    fn write(&mut self, text: &str) -> io::Result<()> {
        let is_harmful = |c: char| c.is_control() && c != '\n' && c != '\t';
        if !self.is_terminal || !text.contains(is_harmful) {
            return self.out.write_all(text.as_bytes());
        }
        let harmless: String = text.chars().filter(|c| !is_harmful(*c)).collect();
        self.out.write_all(harmless.as_bytes())
    }
}
