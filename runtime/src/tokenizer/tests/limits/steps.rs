//! What is made of a text has its limit, wherever a file says so, and the steps of published files are below it.

use serde_json::{Value, json};

use super::super::super::{Tokenizer, TokenizerError};
use super::super::{byte_fallback, load, message, source};
use super::{starts, with};

fn sequence(part: &str, steps: &[Value]) -> Result<Tokenizer, TokenizerError> {
    let list = match part {
        "pre_tokenizer" => "pretokenizers".to_string(),
        part => format!("{part}s").replace("post_", ""),
    };
    with(part, json!({"type": "Sequence", list: steps}))
}

/// Forty replacements of a letter by two of them would make a terabyte of it.
#[test]
fn replacements_that_multiply_are_refused() {
    let double = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"});
    let steps = |n| vec![double.clone(); n];
    for (place, list) in [("normalizer", "normalizers"), ("decoder", "decoders")] {
        let with = |n| {
            let mut tokenizer = byte_fallback();
            tokenizer[place] = json!({"type": "Sequence", list: steps(n)});
            Tokenizer::load(&source(&tokenizer, None))
        };
        let text = message(with(40));
        let start = format!(
            "tokenizer.json of memory: {place}: its steps make text up to 1099511627776 times as long, expected at most 4096"
        );
        assert!(text.starts_with(&start), "{text}");
        assert!(message(with(120)).contains("18446744073709551615 times"));
        with(10).unwrap();
    }
}

/// Each of these steps makes a text longer, and many of them make more of it than there is memory.
#[test]
fn steps_that_multiply_are_refused() {
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": false});
    let meta = json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": false});
    let many = |part: &str, step: &Value, n| sequence(part, &vec![step.clone(); n]);
    let words = "normalizer and pre_tokenizer";
    for (part, place, step) in [
        ("normalizer", "normalizer", json!({"type": "ByteLevel"})),
        ("normalizer", "normalizer", json!({"type": "NFKD"})),
        ("normalizer", "normalizer", json!({"type": "NFC"})),
        ("normalizer", "normalizer", json!({"type": "Lowercase"})),
        (
            "normalizer",
            "normalizer",
            json!({"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                "strip_accents": null, "lowercase": true}),
        ),
        (
            "normalizer",
            "normalizer",
            json!({"type": "Prepend", "prepend": "x".repeat(200)}),
        ),
        (
            "normalizer",
            "normalizer",
            json!({"prepend": "x".repeat(200)}),
        ),
        (
            "normalizer",
            "normalizer",
            json!({"type": "Replace", "pattern": {"Regex": ""}, "content": "a"}),
        ),
        ("pre_tokenizer", words, byte_level),
        ("pre_tokenizer", words, meta),
        (
            "decoder",
            "decoder",
            json!({"type": "BPEDecoder", "suffix": ""}),
        ),
        (
            "decoder",
            "decoder",
            json!({"type": "CTC", "pad_token": "", "word_delimiter_token": "", "cleanup": true}),
        ),
    ] {
        let text = message(many(part, &step, 40));
        starts(&text, &format!("{place}: its steps make text up to "));
        assert!(
            text.contains("times as long, expected at most 4096"),
            "{text}"
        );
        many(part, &step, 1).unwrap();
    }
}

/// What is little in each place is much in all of them.
#[test]
fn steps_of_several_places_count_together() {
    let mut tokenizer = byte_fallback();
    tokenizer["normalizer"] =
        json!({"type": "Sequence", "normalizers": vec![json!({"type": "NFKD"}); 3]});
    load(&tokenizer);
    let step = json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"});
    tokenizer["pre_tokenizer"] = step;
    let text = message(Tokenizer::load(&source(&tokenizer, None)));
    starts(
        &text,
        "normalizer and pre_tokenizer: its steps make text up to 5324 times as long, expected at most 4096",
    );
}

#[test]
fn a_prompt_that_stands_many_times_is_refused() {
    let piece = json!({"Sequence": {"id": "A", "type_id": 0}});
    let bos = json!({"SpecialToken": {"id": "<s>", "type_id": 0}});
    let template = |single: &[Value], ids: usize| {
        json!({"type": "TemplateProcessing", "single": single,
            "pair": [piece, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": vec![1; ids], "tokens": vec!["<s>"; ids]}}})
    };
    let copies = template(&vec![piece.clone(); 200_000], 1);
    let times = "post_processor: its steps make text up to ";
    starts(
        &message(with("post_processor", copies)),
        &format!("{times}200000 times"),
    );
    let two = template(&[piece.clone(), piece.clone()], 1);
    starts(
        &message(sequence("post_processor", &vec![two.clone(); 5])),
        &format!("{times}32 times"),
    );
    with("post_processor", two).unwrap();
    let around = template(&[bos.clone(), piece.clone(), bos.clone()], 3000);
    let text = message(with("post_processor", around));
    starts(
        &text,
        "post_processor: found 6000 special tokens around a prompt, expected at most 4096; fix",
    );
    let tokenizer = with(
        "post_processor",
        template(&[bos.clone(), piece.clone(), bos], 2),
    )
    .unwrap();
    // One of them is a second BOS.
    assert_eq!(tokenizer.encode("").unwrap(), [1; 3]);
    for (piece, text) in [
        (
            json!({"Sequence": {"id": "B", "type_id": 0}}),
            "found \"B\", expected the sequence A alone",
        ),
        (
            json!({"SpecialToken": {"id": "X", "type_id": 0}}),
            "found \"X\", expected one of its special_tokens",
        ),
    ] {
        let said = message(with("post_processor", template(&[piece], 1)));
        starts(&said, &format!("post_processor: single: {text}"));
    }
}

/// A map of characters as files have it, in which each node of the trie has a block of its own.
fn charsmap(keys: &[(&str, &str)]) -> Value {
    let (mut units, mut texts) = (vec![0_u32; 512], String::new());
    units[0] = 256 << 10;
    for (key, text) in keys {
        let mut node = 256;
        let mut last = 0;
        for byte in key.bytes() {
            last = node ^ usize::from(byte);
            if units[last] == 0 {
                let next = units.len();
                units[last] = u32::from(byte) | ((last ^ next) as u32) << 10;
                units.resize(next + 256, 0);
            }
            node = last ^ (units[last] >> 10) as usize;
        }
        units[last] |= 1 << 8;
        units[node] = 1 << 31 | texts.len() as u32;
        texts.push_str(text);
        texts.push('\0');
    }
    let mut bytes = (units.len() as u32 * 4).to_le_bytes().to_vec();
    bytes.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
    bytes.extend(texts.bytes());
    base64(&bytes)
}

fn base64(bytes: &[u8]) -> Value {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for three in bytes.chunks(3) {
        let bits = (0..3).fold(0, |n, i| n << 8 | u32::from(*three.get(i).unwrap_or(&0)));
        let digits = (0..=three.len()).map(|i| DIGITS[(bits >> (18 - 6 * i)) as usize & 63]);
        out.extend(digits.map(char::from));
        out.push_str(&"==="[three.len()..]);
    }
    out.into()
}

fn precompiled(map: &Value) -> Value {
    json!({"type": "Precompiled", "precompiled_charsmap": map})
}

/// The library reserves what the first word says, and takes the first of the words behind it.
#[test]
fn malformed_maps_of_characters_are_refused() {
    let texts = "expected bytes as a text in base64";
    for (map, text) in [
        (
            json!("/////w=="),
            "found a trie of 4294967292 bytes, and 0 bytes for it, expected a trie of at least 4",
        ),
        (
            base64(&[0; 8]),
            "found a trie of 0 bytes, and 4 bytes for it, expected a trie of at least 4",
        ),
        (
            json!(""),
            "found 0 bytes, expected a length of 4 bytes, a trie and texts",
        ),
        (
            base64(&[8, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]),
            "found a trie of 8 bytes whose first word leads out of it, expected a trie with room for each",
        ),
        (
            base64(&[4, 0, 0, 0, 0, 0, 0, 0, 0xFF]),
            "found invalid utf-8 sequence",
        ),
        (json!("AAA"), &format!("found \"AAA\", {texts}")),
        (json!("AA?="), &format!("found \"AA?=\", {texts}")),
        (json!("A==="), &format!("found \"A===\", {texts}")),
        (json!(5), &format!("found 5, {texts}")),
        (Value::Null, &format!("found null, {texts}")),
    ] {
        let start = format!("normalizer: precompiled_charsmap: {text}");
        starts(&message(with("normalizer", precompiled(&map))), &start);
        starts(
            &message(sequence("normalizer", &[precompiled(&map)])),
            &start,
        );
    }
}

#[test]
fn maps_of_characters_count_by_their_longest_texts() {
    let load = |keys: &[(&str, &str)], n| {
        let mut steps = vec![precompiled(&charsmap(keys)); n];
        steps.push(json!({"type": "Prepend", "prepend": "▁"}));
        sequence("normalizer", &steps)
    };
    let (q, the) = (
        load(&[("q", "the"), ("qu", "x")], 1).unwrap(),
        load(&[], 1).unwrap(),
    );
    assert_eq!(q.encode("q").unwrap(), the.encode("the").unwrap());
    assert_ne!(q.encode("q").unwrap(), the.encode("q").unwrap());
    // Times of one byte, of two and of three, and a blank of three bytes.
    let twelve = "x".repeat(12);
    for (key, times) in [("q", 12), ("é", 6), ("▁", 4), ("😀", 4)] {
        for n in 1..10 {
            let loaded = load(&[(key, &twelve)], n);
            let most = usize::pow(times, n as u32) + 3;
            assert_eq!(loaded.is_ok(), most <= 4096, "{key} {n} {most}");
        }
    }
    let text = message(load(&[("q", &"x".repeat(20_000))], 1));
    starts(
        &text,
        "normalizer: its steps make text up to 6670 times as long",
    );
}

/// What published tokenizers do, in parts, among them the longest.
#[test]
fn published_steps_are_fine() {
    let regex = |pattern: &str, content: &str| json!({"type": "Replace", "pattern": {"Regex": pattern}, "content": content});
    let text = |pattern: &str, content: &str| json!({"type": "Replace", "pattern": {"String": pattern}, "content": content});
    let kind = |name: &str| json!({"type": name});
    let map = precompiled(&charsmap(&[
        ("ﷺ", "صلى الله عليه وسلم"),
        ("\t", " "),
        ("½", "1⁄2"),
    ]));
    let meta =
        json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true});
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true});
    let bert = json!({"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
        "strip_accents": null, "lowercase": true});
    let strip = json!({"type": "Strip", "strip_left": true, "strip_right": true});
    let prepend = json!({"type": "Prepend", "prepend": "▁"});
    let split = |pattern: &str| json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
    let list = |key: &str, steps: Vec<Value>| json!({"type": "Sequence", key: steps});
    let normal = |steps| list("normalizers", steps);
    let words = |steps| list("pretokenizers", steps);
    for (normalizer, pre_tokenizer) in [
        // ALBERT, with the most there is.
        (
            normal(vec![
                text("``", "\""),
                text("''", "\""),
                kind("NFKD"),
                kind("StripAccents"),
                kind("Lowercase"),
                map.clone(),
                regex(" {2,}", " "),
            ]),
            words(vec![kind("WhitespaceSplit"), meta.clone()]),
        ),
        (
            normal(vec![map.clone(), strip.clone(), regex(" {2,}", "▁")]),
            meta.clone(),
        ),
        (
            map.clone(),
            words(vec![kind("WhitespaceSplit"), meta.clone()]),
        ),
        (
            normal(vec![
                map,
                strip,
                regex(" {2,}", " "),
                prepend.clone(),
                text(" ", "▁"),
            ]),
            Value::Null,
        ),
        (normal(vec![prepend, text(" ", "▁")]), Value::Null),
        (
            normal(vec![kind("NFC"), regex("\\s+", " "), kind("Lowercase")]),
            words(vec![
                split("'s|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+"),
                byte_level.clone(),
            ]),
        ),
        (bert, kind("BertPreTokenizer")),
        (
            kind("NFKC"),
            words(vec![
                kind("WhitespaceSplit"),
                kind("Punctuation"),
                byte_level,
            ]),
        ),
        (
            kind("Nmt"),
            json!({"type": "Digits", "individual_digits": true}),
        ),
    ] {
        let mut tokenizer = byte_fallback();
        tokenizer["normalizer"] = normalizer;
        tokenizer["pre_tokenizer"] = pre_tokenizer;
        load(&tokenizer).encode("a the ﷺ ½").unwrap();
    }
    for post_processor in [
        json!({"type": "BertProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1]}),
        json!({"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1], "trim_offsets": true,
            "add_prefix_space": true}),
    ] {
        let tokenizer = with("post_processor", post_processor).unwrap();
        assert_eq!(tokenizer.encode("").unwrap(), [1, 2]);
    }
    for decoder in [
        json!({"type": "CTC", "pad_token": "<pad>", "word_delimiter_token": "|", "cleanup": true}),
        json!({"type": "WordPiece", "prefix": "##", "cleanup": true}),
        json!({"type": "BPEDecoder", "suffix": "</w>"}),
        json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true}),
    ] {
        assert!(
            with("decoder", decoder)
                .unwrap()
                .decode(&[262])
                .unwrap()
                .contains('O')
        );
    }
}
