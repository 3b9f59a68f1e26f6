//! Answers that are messages, each with a header that says on which channel it is and whom it is for.

use serde_json::Value;

use super::calls::Call;
use super::delta::Delta;
use super::marks::begun;
use super::table::ChannelFormat;

/// An answer of messages that is being taken apart.
#[derive(Debug)]
pub(crate) struct Channels {
    format: &'static ChannelFormat,
    has_tools: bool,
    mode: Mode,
    held: String,
    /// Thoughts and texts that have been said: the next ones of their kind begin on a line of their own.
    has_thought: bool,
    has_said: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Mode {
    Header,
    Thoughts,
    Says,
    /// The function's name.
    Calls(String),
}

impl Channels {
    /// For an answer that begins with a header. Calls are looked for where there are tools.
    pub(crate) fn new(format: &'static ChannelFormat, has_tools: bool) -> Channels {
        Channels {
            format,
            has_tools,
            mode: Mode::Header,
            held: String::new(),
            has_thought: false,
            has_said: false,
        }
    }

    /// What a piece of text makes certain.
    pub(crate) fn push(&mut self, text: &str) -> Vec<Delta> {
        self.held.push_str(text);
        let mut deltas = Vec::new();
        while self.advance(&mut deltas) {}
        deltas
    }

    /// The rest. A header without a message is nothing.
    pub(crate) fn finish(mut self) -> Vec<Delta> {
        let mut deltas = Vec::new();
        let rest = std::mem::take(&mut self.held);
        self.end(rest, &mut deltas);
        deltas
    }

    /// Goes on to the next header or message, if there is one.
    fn advance(&mut self, deltas: &mut Vec<Delta>) -> bool {
        match self.mode {
            Mode::Header => self.advance_header(),
            Mode::Thoughts | Mode::Says | Mode::Calls(_) => self.advance_message(deltas),
        }
    }

    fn advance_header(&mut self) -> bool {
        let message = self.format.message.as_str();
        if let Some(place) = self.held.find(message) {
            let header: String = self.held.drain(..place + message.len()).collect();
            self.mode = self.mode_after(&header);
            return true;
        }
        // A text that begins with nothing of a header is an answer without one.
        let begun = self.held.trim_start();
        let recipient = self.format.recipient.as_str();
        let mut marks = self.format.headers().chain([recipient, message]);
        if marks.any(|mark| begun.starts_with(mark) || mark.starts_with(begun)) {
            return false;
        }
        self.mode = Mode::Says;
        true
    }

    fn mode_after(&self, header: &str) -> Mode {
        let word_after = |mark: &str| {
            let (_, rest) = header.split_once(mark)?;
            let end = rest.find(|c: char| c.is_whitespace() || c == '<');
            Some(&rest[..end.unwrap_or(rest.len())])
        };
        let recipient = word_after(&self.format.recipient).filter(|_| self.has_tools);
        let functions = self.format.functions.as_str();
        match (recipient, word_after(&self.format.channel)) {
            (Some(name), _) => Mode::Calls(name.strip_prefix(functions).unwrap_or(name).into()),
            (None, Some(channel)) if channel == self.format.thoughts => Mode::Thoughts,
            (None, _) => Mode::Says,
        }
    }

    fn advance_message(&mut self, deltas: &mut Vec<Delta>) -> bool {
        let ends = self.format.ends();
        let places = ends
            .clone()
            .filter_map(|end| Some((self.held.find(end)?, end.len())));
        if let Some((place, length)) = places.min() {
            let text = self.held[..place].to_owned();
            self.held.drain(..place + length);
            self.end(text, deltas);
            return true;
        }
        if matches!(self.mode, Mode::Calls(_)) {
            return false;
        }
        let kept = ends.map(|end| begun(&self.held, end)).max();
        let rest = self.held.split_off(self.held.len() - kept.unwrap_or(0));
        let text = std::mem::replace(&mut self.held, rest);
        self.say(text, deltas);
        false
    }

    /// The end of a message, or of a header that has none.
    fn end(&mut self, text: String, deltas: &mut Vec<Delta>) {
        match std::mem::replace(&mut self.mode, Mode::Header) {
            Mode::Header => {}
            Mode::Calls(name) => {
                let arguments = text.trim();
                match serde_json::from_str::<Value>(arguments) {
                    Ok(Value::Object(_)) => deltas.push(Delta::Call(Call {
                        name,
                        arguments: arguments.into(),
                    })),
                    // What was taken for a call, as the model wrote it.
                    Ok(_) | Err(_) => {
                        self.mode = Mode::Says;
                        self.say(text, deltas);
                    }
                }
            }
            mode @ (Mode::Thoughts | Mode::Says) => {
                self.mode = mode;
                self.say(text, deltas);
            }
        }
        let thinks = self.mode == Mode::Thoughts;
        self.has_thought |= thinks;
        self.has_said |= self.mode == Mode::Says;
        self.mode = Mode::Header;
    }

    fn say(&mut self, text: String, deltas: &mut Vec<Delta>) {
        if text.is_empty() {
            return;
        }
        let (kind, is_next): (fn(String) -> Delta, _) = match self.mode {
            Mode::Thoughts => (Delta::Reasoning, &mut self.has_thought),
            Mode::Header | Mode::Says | Mode::Calls(_) => (Delta::Content, &mut self.has_said),
        };
        let text = match std::mem::take(is_next) {
            true => format!("\n{text}"),
            false => text,
        };
        deltas.push(kind(text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::table::TABLE;

    /// The text cut in two at every place, and in pieces of every size up to 9.
    fn all_ways(text: &str, has_tools: bool, expected: &[Delta]) {
        let cuts: Vec<usize> = (0..=text.len())
            .filter(|&at| text.is_char_boundary(at))
            .collect();
        let mut ways: Vec<Vec<&str>> = cuts
            .iter()
            .map(|&at| vec![&text[..at], &text[at..]])
            .collect();
        for size in 1..10 {
            let pieces = cuts
                .windows(size + 1)
                .step_by(size)
                .map(|w| &text[w[0]..w[size]]);
            let mut way: Vec<&str> = pieces.collect();
            let done: usize = way.iter().map(|piece| piece.len()).sum();
            way.push(&text[done..]);
            ways.push(way);
        }
        for way in ways {
            let mut channels = Channels::new(&TABLE.channels[0], has_tools);
            let mut all: Vec<Delta> = way.iter().flat_map(|piece| channels.push(piece)).collect();
            all.extend(channels.finish());
            assert_eq!(Delta::joined(all), expected, "{way:?}");
        }
    }

    fn content(text: &str) -> Delta {
        Delta::Content(text.into())
    }

    fn reasoning(text: &str) -> Delta {
        Delta::Reasoning(text.into())
    }

    fn call(name: &str, arguments: &str) -> Delta {
        Delta::Call(Call {
            name: name.into(),
            arguments: arguments.into(),
        })
    }

    #[test]
    fn thoughts_and_answers_are_on_channels_of_their_own() {
        let text = "<|channel|>analysis<|message|>2 < 3, é <|e<|end|><|start|>assistant<|channel|>final<|message|>Yes.\n<|return|>";
        all_ways(text, true, &[reasoning("2 < 3, é <|e"), content("Yes.\n")]);
        // Cut off within a thought, and within a header.
        let thought = [reasoning("2 < 3, ")];
        all_ways(&text[..text.find('é').unwrap()], false, &thought);
        let short = &text[..text.find("final").unwrap()];
        all_ways(short, false, &[reasoning("2 < 3, é <|e")]);
    }

    #[test]
    fn calls_are_messages_to_functions() {
        let text = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary<|message|>Let me see.<|end|>\
            <|start|>assistant<|channel|>commentary to=functions.weather <|constrain|>json<|message|>{\"city\": \"<|Paris\"}<|call|>\
            <|start|>assistant to=functions.time<|channel|>commentary json<|message|>{}";
        let expected = [
            reasoning("Hm."),
            content("Let me see."),
            call("weather", "{\"city\": \"<|Paris\"}"),
            call("time", "{}"),
        ];
        all_ways(text, true, &expected);
        let texts = [
            reasoning("Hm."),
            content("Let me see.\n{\"city\": \"<|Paris\"}\n{}"),
        ];
        all_ways(text, false, &texts);
        let broken = "<|channel|>commentary to=functions.f<|message|>{\"city\": <|call|>";
        all_ways(broken, true, &[content("{\"city\": ")]);
    }

    #[test]
    fn an_answer_without_headers_is_an_answer() {
        all_ways(" Hello <there>", true, &[content(" Hello <there>")]);
        all_ways("", true, &[]);
    }
}
