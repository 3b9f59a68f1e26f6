//! The tokens of a vocabulary, wherever they come from.

use std::borrow::Cow;
use std::collections::HashMap;

use graver_runtime::tokenizer::Ids;

use super::table::TABLE;

/// Most tokens; the largest vocabularies have a quarter of a million.
pub(super) const MAX_TOKENS: usize = 1 << 20;
/// Bytes of all of them together; real ones have up to four million.
pub(super) const MAX_BYTES: usize = 32 << 20;

/// What a token is, by the numbers that both formats have for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Normal,
    /// Stands for what no other token does.
    Unknown,
    /// Stands for more than text.
    Control,
    /// Text that is always a token of its own.
    UserDefined,
    Unused,
    /// Stands for a byte: `<0x0A>`.
    Byte,
}

impl Type {
    /// The type of that number. Others are none that mean anything.
    pub(super) fn of(number: i128) -> Type {
        match number {
            2 => Type::Unknown,
            3 => Type::Control,
            4 => Type::UserDefined,
            5 => Type::Unused,
            6 => Type::Byte,
            _ => Type::Normal,
        }
    }
}

/// Tokens by id.
#[derive(Debug, Default)]
pub(super) struct Vocabulary<'a> {
    pub(super) tokens: Vec<Cow<'a, str>>,
    /// As many as there are tokens.
    pub(super) types: Vec<Type>,
    /// As many as there are tokens, or none.
    pub(super) scores: Vec<f32>,
    pub(super) bos: Option<u32>,
    pub(super) eos: Option<u32>,
    pub(super) unknown: Option<u32>,
    /// Whether a text begins with BOS, and ends with EOS.
    pub(super) adds_bos: bool,
    pub(super) adds_eos: bool,
    /// Other tokens that the file says end a text.
    pub(super) ends: Vec<u32>,
}

impl<'a> Vocabulary<'a> {
    pub(super) fn token(&self, id: u32) -> &str {
        &self.tokens[id as usize]
    }

    /// Tokens that are found in a text before all others: their ids, and whether they are left out of text.
    pub(super) fn added(&self) -> Vec<(u32, &str, bool)> {
        let ends = self.all_ends();
        let tokens = (0..).zip(self.tokens.iter().zip(&self.types));
        let added = tokens.filter_map(|(id, (token, kind))| match kind {
            _ if token.is_empty() => None,
            Type::Control | Type::Unknown => Some((id, &**token, true)),
            Type::UserDefined => Some((id, &**token, ends.contains(&id))),
            Type::Normal | Type::Unused | Type::Byte if ends.contains(&id) => {
                Some((id, &**token, true))
            }
            Type::Normal | Type::Unused | Type::Byte => None,
        });
        added.collect()
    }

    /// Ids that end a text: those that the file names, and those that are known by what they are called.
    pub(super) fn all_ends(&self) -> Vec<u32> {
        // Of all that there is a few are asked for, and few begin as those do.
        let names = TABLE.names_of_ends();
        let first = |token: &str| token.bytes().next();
        let firsts: Vec<Option<u8>> = names.iter().map(|name| first(name)).collect();
        let may_be = |token: &str| firsts.contains(&first(token));
        let tokens = self.tokens.iter().map(AsRef::as_ref).zip(0..);
        let named = tokens.filter(|(token, _)| may_be(token) && names.contains(token));
        let ids: HashMap<&str, u32> = named.collect();
        let is_control = |id: &u32| self.types[*id as usize] == Type::Control;
        let known = TABLE.ends(
            |token| ids.contains_key(token),
            |token| ids.get(token).is_some_and(is_control),
        );
        let mut ends: Vec<u32> = known.into_iter().map(|token| ids[token]).collect();
        ends.extend(self.eos);
        ends.extend(&self.ends);
        ends.sort_unstable();
        ends.dedup();
        ends
    }

    /// Ids by text; the last where several tokens have the same.
    pub(super) fn ids(&self) -> Ids<'_> {
        let tokens = self.tokens.iter().map(AsRef::as_ref);
        Ids::of(tokens.zip(0..)).expect("places in a list are ids that nothing shares")
    }

    pub(super) fn falls_back_to_bytes(&self) -> bool {
        self.types.contains(&Type::Byte)
    }
}
