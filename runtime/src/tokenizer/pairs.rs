//! Byte pairs as `tokenizer.json` has them.

use tokenizers::models::bpe::{BpeBuilder, Vocab};

use super::table::{self, Ids};

/// How words are made into tokens, apart from tokens and merges.
#[derive(Clone, Debug, Default)]
pub struct PairOptions {
    /// Probability that a merge is left out, in training.
    pub dropout: Option<f32>,
    /// The token of characters that there is none for.
    pub unk_token: Option<String>,
    /// What tokens inside a word begin with.
    pub continuing_subword_prefix: Option<String>,
    /// What the last token of a word ends with.
    pub end_of_word_suffix: Option<String>,
    /// Whether several unknown characters are one token.
    pub fuse_unk: bool,
    /// Whether characters that there is no token for are made of tokens of their bytes, `<0x0A>`.
    pub byte_fallback: bool,
    /// Whether a word that is a token is that token, whatever merges would make of it.
    pub ignore_merges: bool,
}

/// A vocabulary, and what makes tokens of words.
pub(super) struct Pairs {
    pub(super) options: PairOptions,
    pub(super) vocab: Vocab,
    /// The first first.
    pub(super) merges: Vec<(String, String)>,
}

impl PairOptions {
    /// The library's builder with all but the vocabulary.
    pub(super) fn builder(&self) -> BpeBuilder {
        let mut builder = BpeBuilder::new()
            .fuse_unk(self.fuse_unk)
            .byte_fallback(self.byte_fallback)
            .ignore_merges(self.ignore_merges);
        if let Some(dropout) = self.dropout {
            builder = builder.dropout(dropout);
        }
        if let Some(token) = &self.unk_token {
            builder = builder.unk_token(token.clone());
        }
        if let Some(prefix) = &self.continuing_subword_prefix {
            builder = builder.continuing_subword_prefix(prefix.clone());
        }
        if let Some(suffix) = &self.end_of_word_suffix {
            builder = builder.end_of_word_suffix(suffix.clone());
        }
        builder
    }

    /// Tokens that may stand for a character that there is none for.
    pub(super) fn standing_in_for(&self, character: &str) -> impl Iterator<Item = String> {
        let bytes = character.bytes().filter(|_| self.byte_fallback);
        bytes.map(byte_token).chain(self.unk_token.clone())
    }

    /// Whether anything stands for a character that there is no token for.
    pub(super) fn stands_for(&self, character: &str, has: impl Fn(&str) -> bool) -> bool {
        let mut bytes = character.bytes();
        self.unk_token.is_some() || self.byte_fallback && bytes.all(|byte| has(&byte_token(byte)))
    }

    /// Whether a token may stand for something else than its text.
    fn stands_in(&self, token: &str) -> bool {
        let is_byte = || byte_of(token).is_some_and(|byte| byte_token(byte) == token);
        self.unk_token.as_deref() == Some(token) || self.byte_fallback && is_byte()
    }

    /// The table of a vocabulary with these options; nothing where it would not give what the library gives.
    pub fn table<'a>(
        &self,
        ids: &Ids<'_>,
        merges: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Option<Vec<u8>> {
        let has = |affix: &Option<String>| affix.as_ref().is_some_and(|text| !text.is_empty());
        if has(&self.continuing_subword_prefix) || has(&self.end_of_word_suffix) {
            return None;
        }
        if self.dropout.is_some_and(|dropout| dropout != 0.0) {
            return None;
        }
        table::write(ids, merges, |token| self.stands_in(token))
    }
}

impl Pairs {
    pub(super) fn table(&self) -> Option<Vec<u8>> {
        let mut tokens: Vec<(&str, u32)> = self
            .vocab
            .iter()
            .map(|(text, id)| (text.as_str(), *id))
            .collect();
        // The library has them in another order each time, and slots would follow it.
        tokens.sort_unstable_by_key(|(text, id)| (*id, *text));
        let merges = self.merges.iter().map(|(l, r)| (l.as_str(), r.as_str()));
        self.options.table(&Ids::of(tokens.into_iter())?, merges)
    }
}

/// The byte that a token is called by: `<0x0A>`, or `<0x0a>`.
pub(super) fn byte_of(token: &str) -> Option<u8> {
    let hex = token.strip_prefix("<0x")?.strip_suffix('>')?;
    if hex.len() == 2 {
        u8::from_str_radix(hex, 16).ok()
    } else {
        None
    }
}

/// The token of a byte, as the library asks for it.
fn byte_token(byte: u8) -> String {
    format!("<0x{byte:02X}>")
}
