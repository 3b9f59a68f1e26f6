//! The text of an answer taken apart as it comes, in whichever way its model writes.

use super::channels::Channels;
use super::delta::Delta;
use super::format::ChatFormat;
use super::marked::Marked;

/// An answer that is being taken apart.
#[derive(Debug)]
pub(crate) enum Splitter {
    /// By marks in it.
    Marks(Marked),
    /// By the headers of its messages.
    Channels(Channels),
}

impl Splitter {
    /// For an answer whose prompt ends with `prompt`. Calls are looked for where there are tools.
    pub(crate) fn new(format: &ChatFormat, prompt: &str, has_tools: bool) -> Splitter {
        match format.channels {
            Some(channels) => Splitter::Channels(Channels::new(channels, has_tools)),
            None => Splitter::Marks(Marked::new(format, prompt, has_tools)),
        }
    }

    /// What a piece of text makes certain.
    pub(crate) fn push(&mut self, text: &str) -> Vec<Delta> {
        match self {
            Splitter::Marks(marked) => marked.push(text),
            Splitter::Channels(channels) => channels.push(text),
        }
    }

    /// The rest.
    pub(crate) fn finish(self) -> Vec<Delta> {
        match self {
            Splitter::Marks(marked) => marked.finish(),
            Splitter::Channels(channels) => channels.finish(),
        }
    }
}
