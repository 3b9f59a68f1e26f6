//! What single tokens stand for, in bytes, for what looks at tokens rather than texts: probabilities that are shown, and grammars.
//!
//! In: an id. Out: its bytes in the midst of a text. They may be half a character, and a text's first token can lose a leading
//! space: whoever wants a text takes [`Tokenizer::decode`].

use tokenizers::DecoderWrapper;

use super::Tokenizer;

/// What the vocabulary writes for a blank, in tokenizers that are not byte-level.
const BLANK: char = '▁';

impl Tokenizer {
    /// One more than the largest id.
    pub fn vocab(&self) -> usize {
        let added = self.library.get_added_vocabulary();
        let added = added.get_added_tokens_decoder().keys().max();
        let ids = self.library.get_model().ids();
        ids.max(added.map_or(0, |id| *id as usize + 1))
    }

    /// Whether a token is one of those that texts do not show: `<|end|>`.
    pub fn is_special(&self, id: u32) -> bool {
        self.special.contains(&id)
    }

    /// Texts of all special tokens.
    pub fn special_texts(&self) -> Vec<String> {
        let ids = self.special.iter();
        ids.filter_map(|&id| self.library.id_to_token(id)).collect()
    }

    /// The token as the vocabulary writes it.
    pub fn piece(&self, id: u32) -> Option<String> {
        self.library.id_to_token(id)
    }

    /// The id of a token as the vocabulary writes it.
    pub fn id_of(&self, piece: &str) -> Option<u32> {
        self.library.token_to_id(piece)
    }

    /// The bytes that a token stands for in the midst of a text, special ones as they are written.
    pub fn bytes_of(&self, id: u32) -> Option<Vec<u8>> {
        let piece = self.library.id_to_token(id)?;
        let added = self.library.get_added_vocabulary();
        if added.get_added_tokens_decoder().contains_key(&id) {
            return Some(piece.into_bytes());
        }
        if let Some(byte) = self.byte_of(id) {
            return Some(vec![byte]);
        }
        if self.byte_level {
            let bytes: Option<Vec<u8>> = piece.chars().map(byte_of_character).collect();
            return Some(bytes.unwrap_or_else(|| piece.into_bytes()));
        }
        Some(piece.replace(BLANK, " ").into_bytes())
    }
}

/// Whether a decoder, or one of those that it runs in turn, is of a kind.
pub(super) fn any_decoder(decoder: &DecoderWrapper, is: fn(&DecoderWrapper) -> bool) -> bool {
    match decoder {
        DecoderWrapper::Sequence(all) => all.get_decoders().iter().any(|d| any_decoder(d, is)),
        one => is(one),
    }
}

/// The byte that a character of the byte-level alphabet stands for. Printable bytes of Latin-1 stand for themselves; all others, in
/// their order, are the characters from 256.
fn byte_of_character(character: char) -> Option<u8> {
    match u32::from(character) {
        code @ (0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF) => u8::try_from(code).ok(),
        code @ 0x100..=0x120 => u8::try_from(code - 0x100).ok(),
        code @ 0x121..=0x142 => u8::try_from(code - 0x121 + 0x7F).ok(),
        0x143 => Some(0xAD),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::fixtures::{FIRST_BYTE, byte_fallback, byte_level, load};
    use super::byte_of_character;

    #[test]
    fn the_byte_level_alphabet_has_every_byte_once() {
        let alphabet = tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet();
        assert_eq!(alphabet.len(), 256);
        let bytes: BTreeSet<u8> = alphabet
            .into_iter()
            .map(|c| byte_of_character(c).unwrap())
            .collect();
        assert_eq!(bytes.len(), 256);
        assert_eq!(byte_of_character('Ġ'), Some(b' '));
        assert_eq!(byte_of_character('Ċ'), Some(b'\n'));
        assert_eq!(byte_of_character('▁'), None);
    }

    /// The pieces of a text, one after the other, are the text.
    #[test]
    fn bytes_of_tokens_make_the_bytes_of_the_text() {
        let text = "the hand, and é😀 on";
        for (fixture, blank) in [(byte_level(), ""), (byte_fallback(), " ")] {
            let tokenizer = load(&fixture);
            let ids = tokenizer.encode_plain(text).unwrap();
            let bytes: Vec<u8> = ids
                .iter()
                .flat_map(|&id| tokenizer.bytes_of(id).unwrap())
                .collect();
            assert_eq!(String::from_utf8(bytes).unwrap(), format!("{blank}{text}"));
        }
    }

    #[test]
    fn special_tokens_and_bytes_are_told_from_text() {
        let tokenizer = load(&byte_fallback());
        assert_eq!(tokenizer.bytes_of(2).unwrap(), b"</s>");
        assert!(tokenizer.is_special(2) && !tokenizer.is_special(FIRST_BYTE));
        assert_eq!(tokenizer.bytes_of(FIRST_BYTE + 0xF0).unwrap(), [0xF0]);
        assert_eq!(tokenizer.bytes_of(100_000), None);
        assert_eq!(tokenizer.id_of("</s>"), Some(2));
        assert_eq!(tokenizer.piece(2).as_deref(), Some("</s>"));
        let last = tokenizer.vocab() as u32 - 1;
        assert!(tokenizer.piece(last).is_some() && tokenizer.piece(last + 1).is_none());
    }
}
