//! Files of SentencePiece, made in memory.

use std::fs;

use graver_runtime::tokenizer::{Source, Tokenizer};

use super::folder_text;

/// A field of a message.
fn field(number: u8, value: &[u8]) -> Vec<u8> {
    assert!(value.len() < 1 << 14 && number < 16);
    let length = [(value.len() & 127) as u8 | 128, (value.len() >> 7) as u8];
    [&[number << 3 | 2][..], &length, value].concat()
}

fn piece(text: &str, score: f32, kind: u8) -> Vec<u8> {
    let score = [&[2 << 3 | 5][..], &score.to_le_bytes()].concat();
    field(
        1,
        &[field(1, text.as_bytes()), score, vec![3 << 3, kind]].concat(),
    )
}

/// Letters and what is joined of them, with bytes where `falls_back`.
fn pieces(falls_back: bool) -> Vec<u8> {
    let mut out = [
        piece("<unk>", 0., 2),
        piece("<s>", 0., 3),
        piece("</s>", 0., 3),
    ]
    .concat();
    let words = ["▁the", "th", "he", "▁t", "▁", "t", "h", "e", "a"];
    for (i, word) in words.into_iter().enumerate() {
        out.extend(piece(word, -1. - i as f32, 1));
    }
    out.extend(piece("▁▁", 0., 4));
    for byte in 0..if falls_back { 256 } else { 0 } {
        out.extend(piece(&format!("<0x{byte:02X}>"), 0., 6));
    }
    out
}

/// A trained model of pairs (2) or likeliest pieces (1), and whether blanks are put before and squeezed.
fn model(kind: u8, prefix: u8, squeeze: u8) -> Vec<u8> {
    let rules = [3 << 3, prefix, 4 << 3, squeeze];
    [pieces(true), field(2, &[3 << 3, kind]), field(3, &rules)].concat()
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn of(model: &[u8]) -> Folder {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("tokenizer.model"), model).unwrap();
        Folder(folder)
    }

    fn with(self, name: &str, text: &str) -> Folder {
        fs::write(self.0.path().join(name), text).unwrap();
        self
    }

    fn ids(&self, text: &str) -> Vec<u32> {
        let found = folder_text(self.0.path()).unwrap();
        let tokenizer = Tokenizer::load(&found.tokenizer).unwrap();
        let ids = tokenizer.encode(text).unwrap();
        assert_eq!(tokenizer.decode(&ids).unwrap(), text);
        ids
    }
}

#[test]
fn pairs_are_joined_by_score() {
    let folder = Folder::of(&model(2, 1, 0));
    // `th` and `he` have the higher scores, so that no blank is joined to `t`: [<s>, ▁, th, e].
    assert_eq!(folder.ids("the"), [1, 7, 4, 10]);
    // Blanks that the text begins with are joined before one is put there, and other characters become bytes.
    assert_eq!(folder.ids("  a\n"), [1, 12, 7, 11, 13 + 10]);
    assert_eq!(Folder::of(&model(2, 0, 0)).ids("the"), [1, 4, 10]);
}

#[test]
fn the_likeliest_pieces_are_taken() {
    let folder = Folder::of(&model(1, 1, 1));
    assert_eq!(folder.ids("the a"), [3, 7, 11, 2]);
    let found = folder_text(Folder::of(&model(1, 1, 1)).0.path()).unwrap();
    let tokenizer = Tokenizer::load(&found.tokenizer).unwrap();
    let spread = tokenizer.encode("  the   a ").unwrap();
    assert_eq!(spread, [12, 3, 12, 7, 11, 2]);
}

#[test]
fn the_configuration_beside_it_counts() {
    let config = r#"{"add_bos_token": false, "add_eos_token": true}"#;
    let folder = Folder::of(&model(2, 0, 0)).with("tokenizer_config.json", config);
    assert_eq!(folder.ids("a"), [11, 2]);
    let other = r#"{"version":"1.0","added_tokens":[],"normalizer":null,"pre_tokenizer":null,"post_processor":null,
        "decoder":null,"model":{"type":"BPE","vocab":{"a":0},"merges":[]}}"#;
    assert_eq!(folder.with("tokenizer.json", other).ids("a"), [0]);
}

#[test]
fn a_file_that_is_no_model_is_named() {
    let message = |bytes: &[u8]| {
        let folder = Folder::of(bytes);
        let message = match folder_text(folder.0.path()) {
            Ok(found) => panic!("{found:?}"),
            Err(error) => error.to_string(),
        };
        message.replace(&folder.0.path().display().to_string(), "DIR")
    };
    let whole = model(2, 1, 0);
    let expected = "DIR/tokenizer.model: found a file that is damaged, or no such model, expected a SentencePiece model; \
                    download the file again, or put a tokenizer.json beside it";
    assert_eq!(message(&whole[..whole.len() - 1]), expected);
    assert_eq!(message(b"<html>"), expected);
    assert!(message(&[]).contains("found no pieces, "));
    assert!(message(&model(4, 1, 0)).contains("found a model of words or characters, "));
    let suffix = [&whole[..], &field(2, &[0xC0, 1, 1])].concat();
    assert!(message(&suffix).contains("found blanks that belong to the words before them, "));
    let bad = field(1, &field(1, b"\xFF"));
    assert!(message(&bad).contains("found a piece that is not UTF-8, "));
}

#[test]
fn a_folder_with_neither_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let found = folder_text(folder.path()).unwrap();
    assert!(matches!(found.tokenizer, Source::Missing(_)));
}
