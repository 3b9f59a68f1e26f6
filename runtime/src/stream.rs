//! Text of a growing sequence of ids, piece by piece, without ever showing half a character.
//!
//! In: ids, one at a time. Out: text whose concatenation is what [`Tokenizer::decode`] gives for all of them at once. What a
//! token reads as depends on its neighbours (a leading space is dropped only at the start, characters are spread over
//! tokens), so a window of ids is decoded and the part of its text that nothing coming later can change is emitted.
//!
//! Byte-fallback pieces (`<0xF0>`) need more care: a run of them is either valid UTF-8 as a whole or shown as one `�` for
//! each byte, so that a later byte may spoil what was fine. A run is therefore held until it ends or is spoilt. In the rare
//! run of more than [`HELD_BYTES`] (a script that the vocabulary does not cover, never garbage) characters are shown as they
//! are completed; if such a run is spoilt later, what was shown stays and only the rest becomes `�`.

use std::ops::Deref;

use crate::tokenizer::{Tokenizer, TokenizerError};

/// The longest run of byte pieces that is held back. Bytes drawn at random stay valid UTF-8 that long once in 10⁵ runs.
pub const HELD_BYTES: usize = 16;

const REPLACEMENT: char = '\u{FFFD}';

/// Turns ids into text as they come. The tokenizer is borrowed, or shared (`Arc`).
#[derive(Debug)]
pub struct TextStream<T> {
    tokenizer: T,
    /// The last ids: some whose text has been emitted, for their neighbours' sake, then those that are held.
    window: Vec<u32>,
    /// How many ids of the window have been emitted completely.
    emitted_ids: usize,
    /// The text of the window that has been emitted.
    emitted: String,
    run: ByteRun,
}

/// The run of byte pieces at the end of the window.
#[derive(Debug, Default)]
struct ByteRun {
    /// Its bytes, but for those cut off the window.
    bytes: Vec<u8>,
    /// Pieces in the whole run.
    length: usize,
    /// It is not UTF-8 and never will be.
    spoilt: bool,
}

impl<T: Deref<Target = Tokenizer>> TextStream<T> {
    /// A stream at the start of a text.
    pub fn new(tokenizer: T) -> TextStream<T> {
        let (window, emitted, run) = (Vec::new(), String::new(), ByteRun::default());
        TextStream {
            tokenizer,
            window,
            emitted_ids: 0,
            emitted,
            run,
        }
    }

    /// A stream that goes on where a prompt, whose text has been shown already, ends.
    pub fn after(tokenizer: T, prompt: &[u32]) -> Result<TextStream<T>, TokenizerError> {
        let mut stream = TextStream::new(tokenizer);
        let tokenizer = &stream.tokenizer;
        let shown = prompt.iter().copied();
        stream.window = shown.filter(|&id| !tokenizer.is_silent(id)).collect();
        let bytes = stream
            .window
            .iter()
            .rev()
            .map_while(|&id| tokenizer.byte_of(id));
        stream.run.bytes = bytes.collect();
        stream.run.bytes.reverse();
        stream.run.length = stream.run.bytes.len();
        stream.run.spoilt = is_spoilt(&stream.run.bytes);
        stream.mark_emitted()?;
        Ok(stream)
    }

    /// Takes the next id and returns the text that is settled by it, often the id's own, sometimes nothing.
    pub fn push(&mut self, id: u32) -> Result<String, TokenizerError> {
        if self.tokenizer.is_silent(id) {
            return Ok(String::new());
        }
        self.window.push(id);
        match self.tokenizer.byte_of(id) {
            Some(byte) => self.push_byte(byte),
            None => self.push_text(),
        }
    }

    /// Ends the text: returns whatever was held, half characters as `�`.
    pub fn finish(mut self) -> Result<String, TokenizerError> {
        let text = self.decode_window()?;
        Ok(self.unseen(&text).to_owned())
    }

    fn push_text(&mut self) -> Result<String, TokenizerError> {
        self.run = ByteRun::default();
        let text = self.decode_window()?;
        // Half a character at the end reads as one replacement character, whatever its length.
        let settled = text.strip_suffix(REPLACEMENT).unwrap_or(&text);
        let piece = self.unseen(settled).to_owned();
        if settled.len() == text.len() {
            self.cut_window(1)?;
        } else {
            self.emitted.push_str(&piece);
        }
        Ok(piece)
    }

    fn push_byte(&mut self, byte: u8) -> Result<String, TokenizerError> {
        self.run.length += 1;
        if self.run.spoilt {
            self.cut_window(1)?;
            return Ok(REPLACEMENT.to_string());
        }
        self.run.bytes.push(byte);
        self.run.spoilt = is_spoilt(&self.run.bytes);
        let whole = std::str::from_utf8(&self.run.bytes).ok();
        let last_char = whole
            .and_then(|text| text.chars().next_back())
            .map(char::len_utf8);
        match last_char {
            Some(length) if self.run.length > HELD_BYTES => {
                let piece = self.emit_window()?;
                self.cut_window(length)?;
                self.run.bytes.drain(..self.run.bytes.len() - length);
                Ok(piece)
            }
            None if self.run.spoilt => {
                let piece = self.emit_window()?;
                self.cut_window(1)?;
                Ok(piece)
            }
            Some(_) | None => Ok(String::new()),
        }
    }

    fn emit_window(&mut self) -> Result<String, TokenizerError> {
        let text = self.decode_window()?;
        Ok(self.unseen(&text).to_owned())
    }

    /// Keeps the last `n` ids of a window that has been emitted completely; those of them that a spoilt run has taken off
    /// already (see [`Self::decode_window`]) are missed.
    fn cut_window(&mut self, n: usize) -> Result<(), TokenizerError> {
        self.window.drain(..self.window.len().saturating_sub(n));
        self.mark_emitted()
    }

    fn mark_emitted(&mut self) -> Result<(), TokenizerError> {
        self.emitted_ids = self.window.len();
        self.emitted = self.tokenizer.decode(&self.window)?;
        Ok(())
    }

    /// The window's text. It starts with what has been emitted, unless a run was spoilt after a part of it was shown: then
    /// the ids already shown leave the window.
    fn decode_window(&mut self) -> Result<String, TokenizerError> {
        let text = self.tokenizer.decode(&self.window)?;
        if text.starts_with(&self.emitted) {
            return Ok(text);
        }
        self.window.drain(..self.emitted_ids);
        self.emitted_ids = 0;
        self.emitted.clear();
        self.tokenizer.decode(&self.window)
    }

    /// The part of the window's text that has not been emitted.
    fn unseen<'a>(&self, text: &'a str) -> &'a str {
        text.strip_prefix(self.emitted.as_str()).unwrap_or("")
    }
}

/// Whether bytes are not UTF-8 whatever follows them.
fn is_spoilt(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_some())
}

#[cfg(test)]
mod tests;
