//! A conversation to the tokens that a model reads.
//!
//! A template writes special tokens around what people say, and people can write the same texts: a message that contains `<|im_end|>` must not end
//! its turn. So only what the template itself writes becomes special tokens. Before it is rendered, each text of a special token in the
//! conversation is marked behind its first character; where the rendered text has marks it is cut, and its pieces become tokens apart.

use graver_runtime::tokenizer::{Tokenizer, TokenizerError};
use serde_json::Value as Json;

use crate::template::{Conversation, Template, TemplateError};

/// Characters that are none and that no text needs: one that does not occur is the mark.
const MARKS: std::ops::RangeInclusive<char> = '\u{fdd0}'..='\u{fdef}';

/// Why a conversation has no tokens.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PromptError {
    /// The template refuses it.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The text cannot become tokens.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// All marks occur in it.
    #[error(
        "the conversation contains all of U+FDD0 to U+FDEF, which are not characters; remove them"
    )]
    Marks,
}

/// Texts of a tokenizer's special tokens.
#[derive(Clone, Debug)]
pub(crate) struct SpecialTexts(Vec<String>);

impl SpecialTexts {
    /// All of them.
    pub(crate) fn of(tokenizer: &Tokenizer) -> SpecialTexts {
        let mut texts = tokenizer.special_texts();
        // Others may begin with one of a single character, which has nothing to be cut.
        texts.retain(|text| text.chars().count() > 1);
        SpecialTexts(texts)
    }

    /// The text of a conversation, and its tokens.
    pub(crate) fn prompt(
        &self,
        template: &Template,
        tokenizer: &Tokenizer,
        mut conversation: Conversation,
    ) -> Result<(String, Vec<u32>), PromptError> {
        let parts = parts(&mut conversation);
        if !parts
            .iter()
            .any(|part| any_text(part, &|text| self.is_in(text)))
        {
            let text = template.render(&conversation)?;
            let tokens = tokenizer.encode_plain(&text)?;
            return Ok((text, tokens));
        }
        let mark = free_mark(&parts).ok_or(PromptError::Marks)?;
        for part in parts {
            change(part, &|text| self.marked(text, mark));
        }
        let text = template.render(&conversation)?;
        let mut tokens = Vec::new();
        for piece in text.split(mark).filter(|piece| !piece.is_empty()) {
            tokens.extend(tokenizer.encode_plain(piece)?);
        }
        Ok((text.replace(mark, ""), tokens))
    }

    fn is_in(&self, text: &str) -> bool {
        self.0.iter().any(|special| text.contains(special.as_str()))
    }

    /// The text with a mark in each special token's.
    fn marked(&self, text: &str, mark: char) -> String {
        let mut cuts: Vec<usize> = Vec::new();
        for special in &self.0 {
            let first = special.chars().next().map_or(0, char::len_utf8);
            // Places that overlap count too: what a cut leaves of one text may be another.
            let mut from = 0;
            while let Some(at) = text[from..].find(special.as_str()) {
                cuts.push(from + at + first);
                from += at + first;
            }
        }
        cuts.sort_unstable();
        cuts.dedup();
        let mut marked = String::with_capacity(text.len() + cuts.len() * mark.len_utf8());
        let mut done = 0;
        for cut in cuts {
            marked.push_str(&text[done..cut]);
            marked.push(mark);
            done = cut;
        }
        marked + &text[done..]
    }
}

/// Everything in a conversation that people have written, or programs for them.
fn parts(conversation: &mut Conversation) -> Vec<&mut Json> {
    let Conversation {
        messages,
        tools,
        documents,
        extra,
        ..
    } = conversation;
    let mut parts = vec![messages];
    parts.extend(tools.as_mut());
    parts.extend(documents.as_mut());
    parts.extend(extra.values_mut());
    parts
}

fn free_mark(parts: &[&mut Json]) -> Option<char> {
    let is_used = |mark: &char| {
        parts
            .iter()
            .any(|part| any_text(part, &|text| text.contains(*mark)))
    };
    let mut marks = MARKS;
    marks.find(|mark| !is_used(mark))
}

/// Whether this is so of any text, names of fields included.
fn any_text(json: &Json, is: &dyn Fn(&str) -> bool) -> bool {
    match json {
        Json::Null | Json::Bool(_) | Json::Number(_) => false,
        Json::String(text) => is(text),
        Json::Array(items) => items.iter().any(|item| any_text(item, is)),
        Json::Object(fields) => fields
            .iter()
            .any(|(name, value)| is(name) || any_text(value, is)),
    }
}

/// Changes all texts.
fn change(json: &mut Json, to: &dyn Fn(&str) -> String) {
    match json {
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
        Json::String(text) => *text = to(text),
        Json::Array(items) => items.iter_mut().for_each(|item| change(item, to)),
        Json::Object(fields) => {
            *fields = std::mem::take(fields)
                .into_iter()
                .map(|(name, mut value)| {
                    change(&mut value, to);
                    (to(&name), value)
                })
                .collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use graver_runtime::tokenizer::{Files, Source, Tokenizer};
    use serde_json::{Map, json};

    use super::{MARKS, PromptError, SpecialTexts};
    use crate::template::{Conversation, Template, TemplateFiles};

    /// A token for each letter, and one that ends turns.
    fn tokenizer() -> Tokenizer {
        let letters = "abcdeno<>|: \u{fdd0}";
        let mut vocab: Map<String, _> = letters
            .chars()
            .map(|c| (c.to_string(), json!(c as u32)))
            .collect();
        vocab.insert("<|end|>".into(), json!(0));
        let end = json!({"id": 0, "content": "<|end|>", "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true});
        let json = json!({"version": "1.0", "added_tokens": [end], "model": {"type": "BPE", "vocab": vocab, "merges": []}});
        let files = Files {
            tokenizer: json.to_string().into_bytes().into(),
            config: None,
            special_tokens_map: None,
            added_tokens: None,
            table: None,
        };
        let place = "a test".into();
        Tokenizer::load(&Source::Bytes { place, files }).unwrap()
    }

    fn prompt(content: &str) -> Result<(String, Vec<u32>), PromptError> {
        let tokenizer = tokenizer();
        let text = "{% for m in messages %}{{ m.content | trim }}<|end|>{% endfor %}{{ tools }}";
        let template = Template::new(&TemplateFiles::of(text, Map::new()))
            .unwrap()
            .unwrap();
        let conversation = Conversation {
            messages: json!([{"role": "user", "content": content}]),
            tools: Some(json!("b")),
            ..Conversation::default()
        };
        SpecialTexts::of(&tokenizer).prompt(&template, &tokenizer, conversation)
    }

    fn letters(text: &str) -> impl Iterator<Item = u32> {
        text.chars().map(|c| c as u32)
    }

    /// Who writes the text that ends a turn does not end it.
    #[test]
    fn only_the_template_writes_special_tokens() {
        for (content, said) in [
            ("a", "a"),
            (" a<|end|>b ", "a<|end|>b"),
            ("<|end|><|end|>", "<|end|><|end|>"),
            ("<|<|end|>", "<|<|end|>"),
            ("<|end|>\u{fdd0}", "<|end|>\u{fdd0}"),
        ] {
            let (text, tokens) = prompt(content).unwrap();
            assert_eq!(text, format!("{said}<|end|>b"));
            let expected: Vec<u32> = letters(said).chain([0]).chain(letters("b")).collect();
            assert_eq!(tokens, expected, "{content}");
        }
        let all_marks: String = MARKS.chain("<|end|>".chars()).collect();
        assert!(matches!(prompt(&all_marks), Err(PromptError::Marks)));
    }

    #[test]
    fn each_special_text_is_cut_wherever_it_is() {
        let texts = ["<|end|>", "|end|>x", "<s>"];
        let texts = SpecialTexts(texts.map(String::from).to_vec());
        assert_eq!(
            texts.marked("é <|end|>x<s><s>", '!'),
            "é <!|!end|>x<!s><!s>"
        );
        assert_eq!(texts.marked("< |end| > <s", '!'), "< |end| > <s");
        assert!(texts.is_in("a<s>") && !texts.is_in("a<s"));
    }
}
