//! Tells what a model thinks from what it answers, as text comes piece by piece.

use crate::answer::channels::Channels;
use crate::answer::delta::Delta;
use crate::answer::format::ChatFormat;
use crate::answer::marks::begun;
use crate::answer::table::TABLE;

/// Takes pieces of text apart.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    /// What tells them apart where answers are messages with headers.
    channels: Option<Channels>,
    /// The mark that ends what is thought, while something is.
    inside: Option<&'static str>,
    /// Text that may be the beginning of a mark.
    held: String,
    /// Something other than white space has been said, after which nothing is thought any more.
    has_answered: bool,
    /// What was thought, if anything.
    pub(super) thinking: Option<String>,
    /// What was answered.
    pub(super) answer: String,
}

/// A piece of text and what it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    Thought(String),
    Answer(String),
}

impl Splitter {
    /// A splitter after a prompt, which may have begun to think already.
    pub(super) fn after(format: &ChatFormat, prompt: &str) -> Splitter {
        if let Some(format) = format.channels {
            return Splitter {
                channels: Some(Channels::new(format, false)),
                ..Splitter::default()
            };
        }
        let prompt = prompt.trim_end();
        let inside = TABLE.reasoning().find(|marks| prompt.ends_with(marks.open));
        Splitter {
            inside: inside.map(|marks| marks.close),
            thinking: inside.map(|_| String::new()),
            ..Splitter::default()
        }
    }

    /// Takes the next text.
    pub(super) fn push(&mut self, text: &str) -> Vec<Part> {
        if let Some(channels) = &mut self.channels {
            let deltas = channels.push(text);
            return self.parts(deltas);
        }
        self.held.push_str(text);
        let mut parts = Vec::new();
        while let Some((at, mark)) = self.next_mark() {
            let before: String = self.held.drain(..at).collect();
            self.part(before, &mut parts);
            self.held.drain(..mark.len());
            self.cross(mark);
        }
        let kept = self.marks().map(|mark| begun(&self.held, mark)).max();
        let kept = kept.unwrap_or(0);
        let settled = self.held.len() - kept;
        let settled: String = self.held.drain(..settled).collect();
        self.part(settled, &mut parts);
        parts
    }

    /// Ends the text: what was held is what it looked like.
    pub(super) fn finish(&mut self) -> Vec<Part> {
        if let Some(channels) = self.channels.take() {
            return self.parts(channels.finish());
        }
        let rest = std::mem::take(&mut self.held);
        let mut parts = Vec::new();
        self.part(rest, &mut parts);
        parts
    }

    fn parts(&mut self, deltas: Vec<Delta>) -> Vec<Part> {
        let part = |delta| match delta {
            Delta::Reasoning(text) => {
                self.thinking.get_or_insert_default().push_str(&text);
                Part::Thought(text)
            }
            Delta::Content(text) => {
                self.answer.push_str(&text);
                Part::Answer(text)
            }
            // Without tools there are none.
            Delta::Call(call) => Part::Answer(call.arguments),
        };
        deltas.into_iter().map(part).collect()
    }

    /// Marks that matter where the text is.
    fn marks(&self) -> impl Iterator<Item = &'static str> {
        let inside = self.inside;
        let begins = TABLE.reasoning().map(|marks| marks.open);
        let begins = begins.filter(move |_| inside.is_none());
        begins.filter(|_| !self.has_answered).chain(inside)
    }

    fn next_mark(&self) -> Option<(usize, &'static str)> {
        let places = self
            .marks()
            .filter_map(|mark| Some((self.held.find(mark)?, mark)));
        let (at, mark) = places.min()?;
        let is_first = self.inside.is_some() || self.held[..at].trim().is_empty();
        is_first.then_some((at, mark))
    }

    fn cross(&mut self, mark: &'static str) {
        self.inside = match self.inside {
            Some(_) => None,
            None => {
                let begun = TABLE.reasoning().find(|marks| marks.open == mark);
                begun.map(|marks| marks.close)
            }
        };
        if self.inside.is_some() {
            self.thinking.get_or_insert_default();
        }
    }

    fn part(&mut self, text: String, parts: &mut Vec<Part>) {
        if text.is_empty() {
            return;
        }
        if self.inside.is_some() {
            self.thinking.get_or_insert_default().push_str(&text);
            parts.push(Part::Thought(text));
            return;
        }
        // The line breaks between thoughts and answer belong to neither.
        let is_first = self.answer.is_empty() && self.thinking.is_some();
        let text = match is_first {
            true => text.trim_start_matches('\n').to_owned(),
            false => text,
        };
        self.has_answered |= !text.trim().is_empty();
        self.answer.push_str(&text);
        if !text.is_empty() {
            parts.push(Part::Answer(text));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::{ChatFormat, Part, Splitter};
    use crate::template::TemplateFiles;

    fn split(prompt: &str, pieces: &[&str]) -> (Option<String>, String, String) {
        let mut splitter = Splitter::after(&ChatFormat::default(), prompt);
        let mut parts = Vec::new();
        for piece in pieces {
            parts.extend(splitter.push(piece));
        }
        parts.extend(splitter.finish());
        let thought: String = parts
            .iter()
            .filter_map(|part| match part {
                Part::Thought(text) => Some(text.as_str()),
                Part::Answer(_) => None,
            })
            .collect();
        (splitter.thinking, splitter.answer, thought)
    }

    /// However a text is cut into pieces, it is taken apart alike.
    #[test]
    fn thoughts_and_answers_are_told_apart() {
        let text = "<think>\nHm, a < b.\n</think>\n\nFour, not <think>.";
        let expected = "\nHm, a < b.\n";
        for size in 1..text.len() {
            let pieces: Vec<&str> = (0..text.len())
                .step_by(size)
                .map(|at| &text[at..text.len().min(at + size)])
                .collect();
            let (thinking, answer, thought) = split("x", &pieces);
            assert_eq!(thinking.as_deref(), Some(expected));
            assert_eq!(thought, expected);
            assert_eq!(answer, "Four, not <think>.");
        }
    }

    #[test]
    fn a_prompt_can_begin_to_think() {
        let (thinking, answer, _) = split("assistant\n<think>\n", &["Hm.", "</thi", "nk>\nYes"]);
        assert_eq!((thinking.as_deref(), &*answer), (Some("Hm."), "Yes"));
    }

    #[test]
    fn text_without_marks_stays_as_it_is() {
        let (thinking, answer, _) = split("x", &["\n a <", "b> <th"]);
        assert_eq!((thinking, &*answer), (None, "\n a <b> <th"));
    }

    #[test]
    fn messages_on_channels_are_told_apart() {
        let files = TemplateFiles::of("<|channel|> <|message|>", Map::new());
        let mut splitter = Splitter::after(&ChatFormat::of(&files), "<|start|>assistant");
        let text = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Yes.";
        let parts: Vec<Part> = text
            .split_inclusive('s')
            .flat_map(|piece| splitter.push(piece))
            .collect();
        let rest = splitter.finish();
        assert_eq!(
            (splitter.thinking.as_deref(), &*splitter.answer),
            (Some("Hm."), "Yes.")
        );
        assert!(parts.contains(&Part::Thought("Hm.".into())) && rest.is_empty());
    }
}
