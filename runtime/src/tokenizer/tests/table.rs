//! With the table of its vocabulary a tokenizer gives what it gives without.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::{byte_fallback, byte_level, load, message, source};
use crate::tokenizer::{Source, Tokenizer};

/// The same tokenizer with a table, or nothing where there can be none.
fn prepared(tokenizer: &Value) -> Option<Tokenizer> {
    let source = source(tokenizer, None).prepared().unwrap();
    let Source::Bytes { files, .. } = &source else {
        panic!("files in memory stay there");
    };
    files.table.is_some().then(|| {
        let small: Value = serde_json::from_slice(&files.tokenizer).unwrap();
        assert_eq!(small["model"]["vocab"], json!({}));
        assert_eq!(small["model"]["merges"], json!([]));
        assert_eq!(small["added_tokens"], tokenizer["added_tokens"]);
        Tokenizer::load(&source).unwrap()
    })
}

/// The same text of the same ids, and of each id alone the same.
fn assert_same(whole: &Tokenizer, table: &Tokenizer, text: &str) {
    let ids = whole.encode(text).unwrap();
    assert_eq!(table.encode(text).unwrap(), ids, "{text:?}");
    let (decoded, of_table) = (whole.decode(&ids).unwrap(), table.decode(&ids).unwrap());
    assert_eq!(of_table, decoded, "{text:?}");
}

/// A sequence of numbers, always the same.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = self.0.wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

const CHARACTERS: [char; 12] = [
    'a',
    'b',
    'c',
    'd',
    't',
    'h',
    'e',
    ' ',
    '▁',
    'é',
    '漢',
    '\u{1F600}',
];

fn text(numbers: &mut Numbers, length: usize) -> String {
    (0..length).map(|_| numbers.one_of(&CHARACTERS)).collect()
}

#[test]
fn known_tokenizers_give_the_same_tokens() {
    for tokenizer in [byte_fallback(), byte_level()] {
        let (whole, table) = (load(&tokenizer), prepared(&tokenizer).unwrap());
        assert_eq!(table.vocab(), whole.vocab());
        for id in 0..whole.vocab() as u32 + 3 {
            assert_eq!(table.piece(id), whole.piece(id));
            assert_eq!(table.bytes_of(id), whole.bytes_of(id));
        }
        let mut numbers = Numbers(1);
        for text in ["", " ", "and the", "<s>the</s>and", "<|end|>the <0x41>"] {
            assert_same(&whole, &table, text);
        }
        for length in 0..200 {
            assert_same(&whole, &table, &text(&mut numbers, length));
        }
    }
}

/// Whatever there is of tokens, merges and options.
#[test]
fn any_tokenizer_gives_the_same_tokens() {
    let mut tables = 0;
    for seed in 0..300 {
        let mut numbers = Numbers(seed);
        let tokenizer = random(&mut numbers);
        let whole = load(&tokenizer);
        let Some(table) = prepared(&tokenizer) else {
            continue;
        };
        tables += 1;
        for _ in 0..20 {
            let length = numbers.below(30);
            assert_same(&whole, &table, &text(&mut numbers, length));
        }
    }
    assert!(tables >= 200, "only {tables} tables");
}

/// Some characters, some bytes, and merges of what there is so far, some of them twice and in another order than they were made.
fn random(numbers: &mut Numbers) -> Value {
    let mut pieces: Vec<String> = vec!["<unk>".into()];
    let is_there = |numbers: &mut Numbers| numbers.below(4) > 0;
    pieces.extend(CHARACTERS.iter().filter_map(|c| {
        let is_there = is_there(numbers);
        is_there.then(|| c.to_string())
    }));
    if numbers.below(2) == 0 {
        let all = 0..=255;
        let some = all.filter(|byte| byte % 16 > 0 || is_there(numbers));
        pieces.extend(some.map(|byte| format!("<0x{byte:02X}>")));
    }
    let mut merges: Vec<[String; 2]> = vec![];
    let first = pieces.len().min(CHARACTERS.len());
    for _ in 0..numbers.below(40) {
        let piece = |numbers: &mut Numbers| {
            let joined = pieces.len() > 270 && numbers.below(2) == 0;
            let at = if joined { 270..pieces.len() } else { 1..first };
            pieces[at.start + numbers.below(at.len().max(1))].clone()
        };
        let pair = [piece(numbers), piece(numbers)];
        let whole = pair.concat();
        if !pieces.contains(&whole) {
            pieces.push(whole);
        }
        merges.push(pair);
    }
    for _ in 0..merges.len() / 4 {
        let (a, b) = (numbers.below(merges.len()), numbers.below(merges.len()));
        merges.swap(a, b);
        let again = merges[a].clone();
        merges.push(again);
    }
    // Ids in another order than tokens were made, and one left out.
    let turn = numbers.below(pieces.len());
    pieces.rotate_left(turn);
    let vocab: serde_json::Map<String, Value> =
        pieces.into_iter().zip((1..).map(Value::from)).collect();
    let flag = |numbers: &mut Numbers| numbers.below(2) == 0;
    let unknown = flag(numbers).then_some("<unk>");
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": flag(numbers).then(|| json!({"type": "WhitespaceSplit"})),
        "post_processor": null, "decoder": {"type": "Fuse"},
        "model": {"type": "BPE", "dropout": null, "unk_token": unknown, "fuse_unk": flag(numbers),
            "continuing_subword_prefix": null, "end_of_word_suffix": null, "byte_fallback": flag(numbers),
            "ignore_merges": flag(numbers), "vocab": vocab, "merges": merges},
    })
}

/// The same file gives the same bytes.
#[test]
fn tables_are_the_same_each_time() {
    let of = || match source(&byte_level(), None).prepared().unwrap() {
        Source::Bytes { files, .. } => files.table.unwrap(),
        other => panic!("{other:?}"),
    };
    let first = of();
    assert!((0..20).all(|_| of() == first));
}

/// Who encodes much gets the library's own tables in time, and notices nothing.
#[test]
fn much_text_gives_the_same_tokens() {
    let tokenizer = byte_level();
    let (whole, table) = (load(&tokenizer), prepared(&tokenizer).unwrap());
    let mut numbers = Numbers(7);
    for _ in 0..100 {
        assert_same(&whole, &table, &text(&mut numbers, 1000));
    }
}

/// Where parts of a text do not tell which tokens it can meet, or ids are mostly unused, there is no table.
#[test]
fn what_does_not_fit_a_table_stays_as_it_is() {
    let with = |change: &dyn Fn(&mut Value)| {
        let mut tokenizer = byte_fallback();
        change(&mut tokenizer["model"]);
        prepared(&tokenizer).is_some()
    };
    assert!(with(&|_| {}));
    assert!(!with(&|model| model["dropout"] = json!(0.5)));
    assert!(!with(&|model| model["vocab"]["z"] = json!(1)));
    assert!(!with(&|model| model["vocab"]["zz"] = json!(1_000_000)));
    let long = "z".repeat(2000);
    assert!(!with(&|model| model["vocab"][&long] = json!(297)));
    // A merge of a byte, which stands for a part of any character.
    assert!(!with(&|model| {
        model["vocab"]["<0xE6>a"] = json!(297);
        model["merges"] = json!([["<0xE6>", "a"]]);
    }));
    assert!(!with(&|model| {
        model["vocab"]["<unk>a"] = json!(297);
        model["merges"] = json!([["<unk>", "a"]]);
    }));
    // What the library refuses is refused when it is loaded.
    let mut tokenizer = byte_fallback();
    tokenizer["model"]["merges"] = json!([["a", "nothing"]]);
    let source = source(&tokenizer, None).prepared().unwrap();
    let said = message(Tokenizer::load(&source));
    assert!(said.contains("nothing"), "{said}");
}

/// A table that somebody has written into is refused, or gives some tokens.
#[test]
fn damaged_tables_hurt_nobody() {
    let source = source(&byte_level(), None).prepared().unwrap();
    let Source::Bytes { place, files } = source else {
        panic!("files in memory stay there");
    };
    let table = files.table.clone().unwrap();
    let with = |table: Vec<u8>| {
        let mut files = files.clone();
        files.table = Some(Cow::Owned(table));
        let place = place.clone();
        let tokenizer = Tokenizer::load(&Source::Bytes { place, files });
        tokenizer.map(|tokenizer| {
            drop(tokenizer.encode("the \u{1F600} and").map_err(drop));
            drop(tokenizer.decode(&[1, 2, 261]).map_err(drop));
        })
    };
    with(table.to_vec()).unwrap();
    for length in [0, 5, 24, 25, table.len() - 1] {
        let said = message(with(table[..length].to_vec()));
        assert!(said.contains("table"), "{said}");
    }
    let mut refused = 0;
    for at in 0..table.len() {
        for bit in [0, 4, 7] {
            let mut table = table.to_vec();
            table[at] ^= 1 << bit;
            refused += usize::from(with(table).is_err());
        }
    }
    assert!(refused > table.len() / 2, "only {refused} refused");
}

/// A table beside another kind of tokenizer.
#[test]
fn a_table_of_something_else_is_refused() {
    let Source::Bytes { files, .. } = source(&byte_level(), None).prepared().unwrap() else {
        panic!("files in memory stay there");
    };
    let mut other = byte_level();
    other["model"] = json!({"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"});
    let Source::Bytes { place, files: own } = source(&other, None) else {
        panic!("files in memory stay there");
    };
    let files = crate::tokenizer::Files {
        table: files.table,
        ..own
    };
    let said = message(Tokenizer::load(&Source::Bytes { place, files }));
    assert!(said.contains("byte pairs"), "{said}");
}
