//! Streamed pieces add up to the text of all ids decoded at once, and none ends inside a character.

use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{RngCore, SeedableRng};
use serde_json::json;

use super::{HELD_BYTES, TextStream};
use crate::tokenizer::fixtures::{FIRST_BYTE, byte_fallback, byte_level, load, stories260k};
use crate::tokenizer::{Source, Tokenizer};

/// Pieces in the order they are emitted, the held rest last.
fn pieces(tokenizer: &Tokenizer, ids: &[u32]) -> Vec<String> {
    let mut stream = TextStream::new(tokenizer);
    let mut pieces: Vec<String> = ids.iter().map(|&id| stream.push(id).unwrap()).collect();
    pieces.push(stream.finish().unwrap());
    pieces
}

fn bytes(text: &[u8]) -> Vec<u32> {
    text.iter()
        .map(|&byte| FIRST_BYTE + u32::from(byte))
        .collect()
}

fn assert_same_as_at_once(tokenizer: &Tokenizer, ids: &[u32]) {
    assert_eq!(
        pieces(tokenizer, ids).concat(),
        tokenizer.decode(ids).unwrap(),
        "{ids:?}"
    );
}

/// `n` sequences of ids below `vocab`, of up to 40 ids.
fn random_sequences(vocab: u32, n: usize) -> impl Iterator<Item = Vec<u32>> {
    let mut rng = Pcg64Mcg::seed_from_u64(7);
    (0..n).map(move |_| {
        let length = rng.next_u32() % 40;
        (0..length).map(|_| rng.next_u32() % vocab).collect()
    })
}

#[test]
fn only_the_first_space_is_dropped() {
    let tokenizer = load(&byte_fallback());
    let ids = tokenizer.encode("the and  the").unwrap();
    assert_eq!(pieces(&tokenizer, &ids).concat(), "the and  the");
    assert_eq!(
        pieces(&tokenizer, &[1, 261, 259, 259, 262, 2]),
        ["", ".", " ", " ", "O", "", ""]
    );
}

#[test]
fn an_emoji_of_byte_pieces_comes_whole() {
    let tokenizer = load(&byte_fallback());
    let ids = [&[262], bytes("😀".as_bytes()).as_slice(), &[262]].concat();
    assert_eq!(pieces(&tokenizer, &ids), ["O", "", "", "", "", "😀O", ""]);
    assert_eq!(pieces(&tokenizer, &ids[..5]), ["O", "", "", "", "", "😀"]);
    assert_eq!(pieces(&tokenizer, &ids[..4]), ["O", "", "", "", "���"]);
}

#[test]
fn a_spoilt_run_of_bytes_is_shown_as_the_library_shows_it() {
    let tokenizer = load(&byte_fallback());
    let ids = [bytes(b"A\xFFB"), vec![262], bytes(b"C")].concat();
    assert_eq!(pieces(&tokenizer, &ids), ["", "��", "�", "O", "", "C"]);
    assert_same_as_at_once(&tokenizer, &ids);
}

#[test]
fn a_special_token_does_not_end_a_run_of_bytes() {
    let tokenizer = load(&byte_fallback());
    let euro = bytes("€".as_bytes());
    let ids = [euro[0], 1, euro[1], 2, euro[2]];
    assert_eq!(pieces(&tokenizer, &ids).concat(), "€");
}

#[test]
fn a_long_run_of_bytes_flows() {
    let tokenizer = load(&byte_fallback());
    let text = "漢字かな交じり文を少しずつ見せる。".repeat(3);
    let pieces = pieces(&tokenizer, &bytes(text.as_bytes()));
    assert_eq!(pieces.concat(), text);
    let shown_at = |n: usize| pieces[..n].concat().len();
    assert_eq!(shown_at(HELD_BYTES), 0);
    for n in HELD_BYTES + 2..text.len() {
        assert!(
            n - shown_at(n) <= 3,
            "after {n} bytes {} are shown",
            shown_at(n)
        );
    }
}

#[test]
fn a_long_run_that_is_spoilt_keeps_what_was_shown() {
    let tokenizer = load(&byte_fallback());
    let good = "漢字かな交じり文";
    let ids = [bytes(good.as_bytes()), bytes(b"\xE6\xFF\x41"), vec![262]].concat();
    assert_eq!(pieces(&tokenizer, &ids).concat(), format!("{good}���O"));
    assert_eq!(
        pieces(&tokenizer, &ids[..good.len() + 1]).concat(),
        format!("{good}�")
    );
}

/// The half of a character that a prompt ends with has been shown as `�`, and has left the window when the other half comes.
#[test]
fn a_long_run_goes_on_after_a_prompt_that_ends_inside_a_character() {
    let tokenizer = load(&byte_fallback());
    for before in [0, 1, HELD_BYTES - 1, HELD_BYTES, HELD_BYTES + 3] {
        let prompt = [bytes(&vec![b'a'; before]), bytes("é".as_bytes())].concat();
        let (shown, half) = prompt.split_at(prompt.len() - 1);
        let mut stream = TextStream::after(&tokenizer, shown).unwrap();
        let mut text = stream.push(half[0]).unwrap();
        for id in [bytes(b"bcd").as_slice(), &[262]].concat() {
            text += &stream.push(id).unwrap();
        }
        assert!(text.ends_with('O'), "{before}: {text:?}");
    }
}

#[test]
fn byte_level_characters_come_whole() {
    let tokenizer = load(&byte_level());
    for text in ["a 😀 b", "naïve 你好", "the\n\nthe 🏳️‍🌈.", "  \t"] {
        let ids = tokenizer.encode(text).unwrap();
        let pieces = pieces(&tokenizer, &ids);
        assert_eq!(pieces.concat(), text);
        assert!(
            pieces.iter().all(|piece| !piece.contains('�')),
            "{pieces:?}"
        );
    }
    let ids = tokenizer.encode(" 😀").unwrap();
    assert_eq!(ids.len(), 3, "a space and half the emoji are one token");
    assert_eq!(pieces(&tokenizer, &ids), [" ", "", "😀", ""]);
    assert_eq!(pieces(&tokenizer, &ids[..2]), [" ", "", "�"]);
}

#[test]
fn any_ids_give_the_text_of_all_at_once() {
    for (tokenizer, vocab) in [(load(&byte_fallback()), 300), (load(&byte_level()), 262)] {
        for ids in random_sequences(vocab, 2000) {
            assert_same_as_at_once(&tokenizer, &ids);
        }
    }
}

#[test]
fn other_decoders_give_the_text_of_all_at_once() {
    let decoders = [
        json!(null),
        json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true}),
        json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never", "split": true}),
        json!({"type": "WordPiece", "prefix": "##", "cleanup": true}),
        json!({"type": "BPEDecoder", "suffix": "d"}),
        json!({"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]}),
    ];
    for decoder in decoders {
        let mut tokenizer = byte_fallback();
        tokenizer["decoder"] = decoder;
        let tokenizer = load(&tokenizer);
        for ids in random_sequences(300, 300) {
            assert_same_as_at_once(&tokenizer, &ids);
        }
    }
}

/// What follows a prompt is what decoding both adds to the prompt's text, wherever the prompt ends.
#[test]
fn a_stream_goes_on_after_a_prompt() {
    for tokenizer in [load(&byte_fallback()), load(&byte_level())] {
        let ids = tokenizer.encode("the 😀\n\nand 你好, the\n").unwrap();
        let text = tokenizer.decode(&ids).unwrap();
        for split in 0..=ids.len() {
            let (prompt, rest) = ids.split_at(split);
            let shown = tokenizer.decode(prompt).unwrap();
            if shown.ends_with('�') {
                continue;
            }
            let mut stream = TextStream::after(&tokenizer, prompt).unwrap();
            let mut streamed: String = rest.iter().map(|&id| stream.push(id).unwrap()).collect();
            streamed += &stream.finish().unwrap();
            assert_eq!(shown + &streamed, text, "split at {split}");
        }
    }
}

#[test]
fn a_newline_at_the_end_of_a_prompt_is_not_repeated() {
    let tokenizer = load(&byte_fallback());
    let prompt = tokenizer.encode("the\n").unwrap();
    let after = |ids: &[u32]| {
        let mut stream = TextStream::after(&tokenizer, &prompt).unwrap();
        let streamed: String = ids.iter().map(|&id| stream.push(id).unwrap()).collect();
        streamed + &stream.finish().unwrap()
    };
    assert_eq!(after(&[262]), "O");
    assert_eq!(after(&bytes("😀".as_bytes())), "😀");
    assert_eq!(after(&bytes(b"\xFF")), "�");
    assert_eq!(after(&[]), "");
}

#[test]
fn a_published_tokenizer_streams_as_it_decodes() {
    let Some(folder) = stories260k("a_published_tokenizer_streams_as_it_decodes") else {
        return;
    };
    let tokenizer = Tokenizer::load(&Source::in_folder(&folder)).unwrap();
    let text = "Lily saw a 😀.\n\"Bonjour, ça va?\" 你好!  Two spaces";
    let pieces = pieces(&tokenizer, &tokenizer.encode(text).unwrap());
    assert_eq!(pieces.concat(), text);
    assert!(
        pieces.iter().all(|piece| !piece.contains('�')),
        "{pieces:?}"
    );
    for ids in random_sequences(512, 2000) {
        assert_same_as_at_once(&tokenizer, &ids);
    }
}
