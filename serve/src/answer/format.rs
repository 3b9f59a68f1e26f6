//! How a model marks, in its text, what it thinks and which tools it calls; read off its chat template.

use std::collections::BTreeMap;

use graver_runtime::tokenizer::Tokenizer;

use super::marks::Marks;
use super::table::{CallFormat, ChannelFormat, TABLE};
use crate::template::TemplateFiles;

/// The marks of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChatFormat {
    /// Around what it thinks.
    pub(crate) reasoning: Option<Marks>,
    /// Of calls.
    pub(crate) calls: Option<&'static CallFormat>,
    /// Of messages, where its answers consist of such; then it has no others.
    pub(crate) channels: Option<&'static ChannelFormat>,
}

impl ChatFormat {
    /// The marks that templates name.
    pub fn of(files: &TemplateFiles) -> ChatFormat {
        let texts: Vec<&str> = files
            .templates
            .iter()
            .map(|t| t.template.as_str())
            .collect();
        let named = |mark: &str| texts.iter().any(|text| text.contains(mark));
        if let Some(channels) = TABLE.channels_of(&texts) {
            return ChatFormat {
                channels: Some(channels),
                ..ChatFormat::default()
            };
        }
        ChatFormat {
            reasoning: TABLE.reasoning().find(|marks| named(marks.close)),
            calls: TABLE.calls_of(&texts),
            channels: None,
        }
    }

    /// An answer of one call as this model writes it, with holes.
    pub(crate) fn written(&self) -> Option<&'static str> {
        let channels = self.channels.map(|format| format.written.as_str());
        channels.or(self.calls.map(|format| format.written.as_str()))
    }

    /// All marks.
    fn marks(&self) -> Vec<&'static str> {
        let mut all = Vec::new();
        if let Some(Marks { open, close }) = self.reasoning {
            all.extend([open, close]);
        }
        all.extend(self.calls.into_iter().flat_map(CallFormat::all));
        all.extend(self.channels.into_iter().flat_map(ChannelFormat::all));
        all
    }
}

/// Marks that are special tokens, which texts do not show.
#[derive(Clone, Debug, Default)]
pub(crate) struct SpecialMarks(BTreeMap<u32, &'static str>);

impl SpecialMarks {
    /// Those of a model.
    pub(crate) fn of(format: &ChatFormat, tokenizer: &Tokenizer) -> SpecialMarks {
        let marks = format.marks().into_iter();
        let ids = marks.filter_map(|mark| Some((tokenizer.id_of(mark)?, mark)));
        SpecialMarks(ids.filter(|(id, _)| tokenizer.is_special(*id)).collect())
    }

    #[cfg(test)]
    pub(crate) fn for_tests(marks: &[(u32, &'static str)]) -> SpecialMarks {
        SpecialMarks(marks.iter().copied().collect())
    }

    /// A piece of text with the mark that its token stands for.
    pub(crate) fn shown(&self, text: String, token: u32) -> String {
        match self.0.get(&token) {
            Some(mark) => text + mark,
            None => text,
        }
    }

    /// The first mark in a text, where it is, and its token.
    pub(crate) fn first_in<'t>(&self, text: &'t str) -> Option<(&'t str, u32, &'t str)> {
        let places = self
            .0
            .iter()
            .filter_map(|(&id, mark)| Some((text.find(mark)?, id, mark.len())));
        let (at, id, length) = places.min()?;
        Some((&text[..at], id, &text[at + length..]))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::{CallFormat, ChatFormat};
    use crate::template::TemplateFiles;

    #[test]
    fn formats_are_read_off_templates() {
        let format = |text: &str| ChatFormat::of(&TemplateFiles::of(text, Map::new()));
        let plain = format("{{ messages }}");
        assert_eq!(plain, ChatFormat::default());
        let tags = format("<think></think> <tool_call>");
        assert_eq!(tags.reasoning.map(|marks| marks.open), Some("<think>"));
        let marks = tags.calls.and_then(CallFormat::marks);
        assert_eq!(marks.map(|marks| marks.close), Some("</tool_call>"));
        // Of two that fit, the one that says more.
        let (older, newer) = (format("<｜tool▁sep｜> ```json"), format("<｜tool▁sep｜>"));
        assert!(older.written().unwrap().contains("```json"));
        assert!(!newer.written().unwrap().contains("```json"));
        let channels = format("<|channel|>analysis<|message|> <tool_call>");
        assert!(channels.channels.is_some() && channels.calls.is_none());
    }
}
