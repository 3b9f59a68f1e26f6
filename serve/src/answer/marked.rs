//! The text of an answer taken apart by the marks in it: what the model thinks, what it says, which tools it calls.
//!
//! Marks may lie across pieces: what could be the beginning of one is held back until that is decided.

use super::calls;
use super::delta::Delta;
use super::format::ChatFormat;
use super::marks::{Marks, begun};
use super::table::CallFormat;

/// An answer with marks.
#[derive(Debug)]
pub(crate) struct Marked {
    reasoning: Option<Marks>,
    calls: Option<&'static CallFormat>,
    mode: Mode,
    held: String,
    /// A mark has just ended: blanks that follow it are nobody's.
    after_mark: bool,
    /// Nothing but blanks has come so far.
    at_start: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Content,
    Reasoning,
    /// Up to a mark, or to the end.
    Calls(Option<Marks>),
}

impl Marked {
    /// For an answer whose prompt ends with `prompt`. Calls are looked for where there are tools.
    pub(super) fn new(format: &ChatFormat, prompt: &str, has_tools: bool) -> Marked {
        let thinks = |marks: &Marks| prompt.trim_end().ends_with(marks.open);
        let mode = match format.reasoning.as_ref().is_some_and(thinks) {
            true => Mode::Reasoning,
            false => Mode::Content,
        };
        Marked {
            reasoning: format.reasoning,
            calls: format.calls.filter(|_| has_tools),
            mode,
            held: String::new(),
            after_mark: mode == Mode::Reasoning,
            at_start: true,
        }
    }

    /// What a piece of text makes certain.
    pub(super) fn push(&mut self, text: &str) -> Vec<Delta> {
        self.held.push_str(text);
        let mut deltas = Vec::new();
        while self.advance(&mut deltas) {}
        deltas
    }

    /// The rest.
    pub(super) fn finish(mut self) -> Vec<Delta> {
        let mut deltas = Vec::new();
        let rest = std::mem::take(&mut self.held);
        match self.mode {
            Mode::Calls(marks) => called(&rest, marks, &mut deltas),
            Mode::Reasoning => say(Delta::Reasoning, rest.trim_end(), &mut deltas),
            Mode::Content => say(Delta::Content, &rest, &mut deltas),
        }
        deltas
    }

    /// Goes on to the next mark, if there is one.
    fn advance(&mut self, deltas: &mut Vec<Delta>) -> bool {
        if self.after_mark {
            let blanks = self.held.len() - self.held.trim_start().len();
            self.held.drain(..blanks);
            self.after_mark = self.held.is_empty();
        }
        match self.mode {
            Mode::Content => self.advance_content(deltas),
            Mode::Reasoning => self.advance_reasoning(deltas),
            Mode::Calls(marks) => self.advance_calls(marks, deltas),
        }
    }

    fn advance_content(&mut self, deltas: &mut Vec<Delta>) -> bool {
        let is_bare = self.calls.is_some_and(|format| format.open().is_none());
        if self.at_start && is_bare {
            let begun = self.held.trim_start();
            if begun.is_empty() {
                return false;
            }
            if begun.starts_with('{') {
                self.mode = Mode::Calls(None);
                return false;
            }
        }
        let thinks = self.reasoning.map(|marks| (marks.open, Mode::Reasoning));
        let calls = self
            .calls
            .and_then(|format| Some((format.open()?, format.marks())));
        let calls = calls.map(|(open, marks)| (open, Mode::Calls(marks)));
        // What is around calls is no part of an answer.
        let around = self.calls.into_iter().flat_map(CallFormat::around);
        let around = around.map(|mark| (mark, Mode::Content));
        let marks = thinks.into_iter().chain(calls).chain(around);
        let places = marks.clone().filter_map(|(mark, mode)| {
            let place = self.held.find(mark)?;
            Some((place, mark, mode))
        });
        if let Some((place, mark, mode)) = places.min_by_key(|(place, ..)| *place) {
            say(Delta::Content, &self.held[..place], deltas);
            self.enter(mode, place + mark.len());
            return true;
        }
        let kept = marks.map(|(mark, _)| begun(&self.held, mark)).max();
        self.emit(Delta::Content, kept.unwrap_or(0), deltas);
        false
    }

    fn advance_reasoning(&mut self, deltas: &mut Vec<Delta>) -> bool {
        let close = self.reasoning.map_or("", |marks| marks.close);
        if let Some(place) = self.held.find(close) {
            let thought = self.held[..place].trim_end().to_owned();
            say(Delta::Reasoning, &thought, deltas);
            self.enter(Mode::Content, place + close.len());
            return true;
        }
        // Blanks before the mark are nobody's either.
        let kept = begun(&self.held, close);
        let before = &self.held[..self.held.len() - kept];
        let kept = self.held.len() - before.trim_end().len();
        self.emit(Delta::Reasoning, kept, deltas);
        false
    }

    fn advance_calls(&mut self, marks: Option<Marks>, deltas: &mut Vec<Delta>) -> bool {
        let Some(Marks { close, .. }) = marks else {
            return false;
        };
        let Some(place) = self.held.find(close) else {
            return false;
        };
        called(&self.held[..place], marks, deltas);
        self.enter(Mode::Content, place + close.len());
        true
    }

    /// Goes on in another mode after `bytes`, which end with a mark.
    fn enter(&mut self, mode: Mode, bytes: usize) {
        self.held.drain(..bytes);
        (self.mode, self.after_mark, self.at_start) = (mode, true, false);
    }

    /// Says everything but the last `kept` bytes.
    fn emit(&mut self, kind: fn(String) -> Delta, kept: usize, deltas: &mut Vec<Delta>) {
        let rest = self.held.split_off(self.held.len() - kept);
        let text = std::mem::replace(&mut self.held, rest);
        self.at_start &= text.trim().is_empty();
        say(kind, &text, deltas);
    }
}

fn say(kind: fn(String) -> Delta, text: &str, deltas: &mut Vec<Delta>) {
    if !text.is_empty() {
        deltas.push(kind(text.to_owned()));
    }
}

/// Calls, or what was taken for them as the model wrote it.
fn called(text: &str, marks: Option<Marks>, deltas: &mut Vec<Delta>) {
    match (calls::parse(text), marks) {
        (Some(calls), _) => deltas.extend(calls.into_iter().map(Delta::Call)),
        (None, Some(Marks { open, close })) => {
            say(Delta::Content, &format!("{open}{text}{close}"), deltas);
        }
        (None, None) => say(Delta::Content, text, deltas),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;
    use crate::answer::calls::Call;
    use crate::answer::splitter::Splitter;
    use crate::template::TemplateFiles;

    /// A format that thinks, and calls as a template says that has this in it.
    fn format(calls: &str) -> ChatFormat {
        let template = format!("<think></think> {calls}");
        ChatFormat::of(&TemplateFiles::of(&template, Map::new()))
    }

    const TAGS: &str = "<tool_call>";

    /// The text in pieces of `n` characters; deltas of a kind that follow each other are one.
    fn split(format: &ChatFormat, prompt: &str, text: &str, n: usize) -> Vec<Delta> {
        let mut splitter = Splitter::new(format, prompt, true);
        let characters: Vec<char> = text.chars().collect();
        let pieces = characters.chunks(n).map(|c| c.iter().collect::<String>());
        let mut all: Vec<Delta> = pieces.flat_map(|piece| splitter.push(&piece)).collect();
        all.extend(splitter.finish());
        Delta::joined(all)
    }

    /// In pieces of one size after the other, and cut in two at every place.
    fn all_ways(format: &ChatFormat, prompt: &str, text: &str, expected: &[Delta]) {
        for n in [1, 2, 3, 7, 1000] {
            assert_eq!(split(format, prompt, text, n), expected, "{n}");
        }
        for at in (0..text.len()).filter(|&at| text.is_char_boundary(at)) {
            let mut splitter = Splitter::new(format, prompt, true);
            let mut all = splitter.push(&text[..at]);
            all.extend(splitter.push(&text[at..]));
            all.extend(splitter.finish());
            assert_eq!(Delta::joined(all), expected, "{:?}", text.split_at(at));
        }
    }

    fn content(text: &str) -> Delta {
        Delta::Content(text.into())
    }

    fn reasoning(text: &str) -> Delta {
        Delta::Reasoning(text.into())
    }

    fn call(name: &str) -> Delta {
        Delta::Call(Call {
            name: name.into(),
            arguments: "{}".into(),
        })
    }

    #[test]
    fn however_it_comes_it_is_taken_apart_alike() {
        let tags = format(TAGS);
        let text = "<think>\nI see. <b>\n</think>\n\nWell, é <tool\n<tool_call>\n{\"name\": \"f\"}\n</tool_call>\n<tool_call>{\"name\": \"g\"}</tool_call>";
        let expected = [
            reasoning("I see. <b>"),
            content("Well, é <tool\n"),
            call("f"),
            call("g"),
        ];
        all_ways(&tags, "user", text, &expected);
    }

    /// Calls with a mark between a name and its arguments, in marks of their own, all of them in others.
    #[test]
    fn calls_in_two_pairs_of_marks() {
        let arguments = "{\"city\":\"Paris\"}";
        let weather = Delta::Call(Call {
            name: "weather".into(),
            arguments: arguments.into(),
        });
        let expected = [reasoning("Hm."), content("Let me see."), weather, call("f")];
        let around = |a: &str, b: &str| {
            format!(
                "Hm.</think>\n\nLet me see.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>{a}<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>{b}<｜tool▁call▁end｜><｜tool▁calls▁end｜>"
            )
        };
        let newer = around(
            &format!("weather<｜tool▁sep｜>{arguments}"),
            "f<｜tool▁sep｜>{}",
        );
        all_ways(&format("<｜tool▁sep｜>"), "<think>", &newer, &expected);
        let older = |name: &str, arguments: &str| {
            format!("function<｜tool▁sep｜>{name}\n```json\n{arguments}\n```")
        };
        let older = around(&older("weather", arguments), &older("f", "{}"));
        all_ways(
            &format("<｜tool▁sep｜> ```json"),
            "<think>",
            &older,
            &expected,
        );
        // Without tools it is a text.
        let mut splitter = Splitter::new(&format("<｜tool▁sep｜>"), "", false);
        let mut all = splitter.push("<｜tool▁calls▁begin｜>");
        all.extend(splitter.finish());
        assert_eq!(all, [content("<｜tool▁calls▁begin｜>")]);
    }

    #[test]
    fn a_prompt_can_end_within_reasoning() {
        let tags = format("");
        let found = split(&tags, "assistant\n<think>\n", "hm </think> yes", 2);
        assert_eq!(found, [reasoning("hm"), content("yes")]);
        let found = split(&tags, "<think>\n", "cut off ", 3);
        assert_eq!(found, [reasoning("cut off")]);
    }

    #[test]
    fn plain_text_stays_as_it_is() {
        let tags = format(TAGS);
        let found = split(&tags, "", " \n text <", 1);
        assert_eq!(found, [content(" \n text <")]);
        let broken = "<tool_call>not json</tool_call>";
        assert_eq!(split(&tags, "", broken, 4), [content(broken)]);
    }

    #[test]
    fn calls_after_a_mark_and_bare_ones() {
        let after = format("[TOOL_CALLS]");
        let text = "Let me see.[TOOL_CALLS][{\"name\": \"f\", \"arguments\": {}}]";
        assert_eq!(
            split(&after, "", text, 3),
            [content("Let me see."), call("f")]
        );
        let bare = format("\"parameters\": ");
        let text = "\n{\"name\": \"f\", \"parameters\": {}}";
        assert_eq!(split(&bare, "", text, 3), [call("f")]);
        assert_eq!(split(&bare, "", "{\"a\": 1}", 3), [content("{\"a\": 1}")]);
        assert_eq!(split(&bare, "", "a {", 3), [content("a {")]);
    }

    #[test]
    fn without_tools_marks_of_calls_are_text() {
        let text = "<tool_call>{\"name\": \"f\"}</tool_call>";
        let mut splitter = Splitter::new(&format(TAGS), "", false);
        let mut all = splitter.push(text);
        all.extend(splitter.finish());
        assert_eq!(all, [content(text)]);
    }
}
