//! The text of a continuation as it becomes certain, and where it has to stop.
//!
//! A text to stop at can lie across tokens: what could be its beginning is held back until that is decided.

use graver_runtime::stream::TextStream;
use graver_runtime::tokenizer::{Tokenizer, TokenizerError};

use crate::answer::marks::begun;

/// Ids at the end of a prompt that decide how the first token of its continuation reads.
const NEIGHBOURS: usize = 8;

/// The text of one continuation.
pub(super) struct Text<'t> {
    stream: Option<TextStream<&'t Tokenizer>>,
    stops: Stops,
}

impl<'t> Text<'t> {
    /// After `prompt`; of no use where there is no tokenizer.
    pub(super) fn after(
        tokenizer: Option<&'t Tokenizer>,
        prompt: &[u32],
        stops: Vec<String>,
    ) -> Result<Text<'t>, TokenizerError> {
        let near = &prompt[prompt.len().saturating_sub(NEIGHBOURS)..];
        let stream = tokenizer.map(|tokenizer| TextStream::after(tokenizer, near));
        Ok(Text {
            stream: stream.transpose()?,
            stops: Stops::new(stops),
        })
    }

    /// The text that a token makes certain, and whether it ends there.
    pub(super) fn push(&mut self, id: u32) -> Result<(String, bool), TokenizerError> {
        match &mut self.stream {
            Some(stream) => Ok(self.stops.push(&stream.push(id)?)),
            None => Ok((String::new(), false)),
        }
    }

    /// The rest of the text, and whether a text to stop at came with it.
    pub(super) fn finish(self) -> Result<(String, bool), TokenizerError> {
        let Text { stream, mut stops } = self;
        let rest = stream.map(TextStream::finish).transpose()?;
        let (mut text, stopped) = stops.push(&rest.unwrap_or_default());
        if !stopped {
            text.push_str(&stops.held);
        }
        Ok((text, stopped))
    }
}

/// Texts to stop at, and what could be the beginning of one.
struct Stops {
    stops: Vec<String>,
    held: String,
}

impl Stops {
    fn new(mut stops: Vec<String>) -> Stops {
        stops.retain(|stop| !stop.is_empty());
        let held = String::new();
        Stops { stops, held }
    }

    /// What is certain now, and whether it ends there.
    fn push(&mut self, text: &str) -> (String, bool) {
        self.held.push_str(text);
        let found = self.stops.iter().filter_map(|stop| self.held.find(stop));
        if let Some(end) = found.min() {
            self.held.truncate(end);
            return (std::mem::take(&mut self.held), true);
        }
        let begun = self.stops.iter().map(|stop| begun(&self.held, stop));
        let kept = begun.max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - kept);
        (std::mem::replace(&mut self.held, rest), false)
    }
}

#[cfg(test)]
mod tests {
    use super::Stops;

    fn run(stops: &[&str], pieces: &[&str]) -> (Vec<String>, bool, String) {
        let mut stops = Stops::new(stops.iter().map(ToString::to_string).collect());
        let mut shown = Vec::new();
        for piece in pieces {
            let (text, stopped) = stops.push(piece);
            shown.push(text);
            if stopped {
                return (shown, true, stops.held);
            }
        }
        (shown, false, stops.held)
    }

    #[test]
    fn nothing_is_held_without_a_beginning() {
        let (shown, stopped, held) = run(&["\n\n", "END"], &["one", " two", "\nthree"]);
        assert_eq!(shown, ["one", " two", "\nthree"]);
        assert!(!stopped && held.is_empty());
        let (shown, ..) = run(&[], &["a", "b"]);
        assert_eq!(shown, ["a", "b"]);
        let (shown, ..) = run(&[""], &["a"]);
        assert_eq!(shown, ["a"]);
    }

    #[test]
    fn a_stop_across_tokens_is_never_shown() {
        let (shown, stopped, _) = run(&["END"], &["text E", "N", "Dmore"]);
        assert_eq!(shown, ["text ", "", ""]);
        assert!(stopped);
    }

    #[test]
    fn what_only_looked_like_a_stop_comes_later() {
        let (shown, stopped, held) = run(&["aab"], &["xa", "a", "a", "c", "aa"]);
        assert_eq!(shown, ["x", "", "a", "aac", ""]);
        assert!(!stopped);
        assert_eq!(held, "aa");
    }

    #[test]
    fn the_first_of_several_stops_wins() {
        let (shown, stopped, _) = run(&["later", "two"], &["one two later"]);
        assert_eq!(shown, ["one "]);
        assert!(stopped);
    }

    #[test]
    fn characters_of_several_bytes_are_not_cut() {
        let (shown, stopped, held) = run(&["é!"], &["caf", "è", "é", "?"]);
        assert_eq!(shown, ["caf", "è", "", "é?"]);
        assert!(!stopped && held.is_empty());
    }
}
