//! Tokenizers that are not in a `tokenizer.json`: the metadata of GGUF files and SentencePiece's `tokenizer.model` in, a
//! `tokenizer.json` out, which the runtime reads and artifacts keep.
//!
//! Three kinds are known: byte pairs, which a pre-tokenizer cuts the text for, whose name stands for expressions (`table.json`);
//! pieces with scores that are joined pair by pair, of which the order of merges is made; and pieces with scores of which the
//! likeliest sequence is taken. A file with another kind has no tokenizer, which is an error only where text is asked for.

mod base64;
mod gguf;
mod merges;
mod protobuf;
mod sentencepiece;
mod table;
mod vocabulary;
mod write;

pub use gguf::{gguf_text, gguf_tokenizer};
pub use sentencepiece::{SentencePieceError, folder_text};

#[cfg(test)]
mod tests;
