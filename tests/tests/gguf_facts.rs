//! What a GGUF file says of its model: keys that are followed, and those that are refused because nothing would show that they
//! were not.

use std::fs;

use graver::spec::{for_gguf, model::Model};
use graver::weights::GgufModel;
use graver_tests::gguf::{Writer, kind, text};

const FREQ_BASE: &str = "llama.rope.freq_base";

/// A model of one layer with heads of 16.
fn file() -> Writer {
    Writer::default()
        .text("general.architecture", "llama")
        .whole("llama.block_count", 1)
        .whole("llama.context_length", 64)
        .whole("llama.embedding_length", 64)
        .whole("llama.feed_forward_length", 64)
        .whole("llama.attention.head_count", 4)
        .single("llama.attention.layer_norm_rms_epsilon", 1e-5)
        .zeros("token_embd.weight", "F32", &[32, 64])
}

/// The model, or what is said of the file.
fn bound(file: &Writer) -> Result<Model, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.gguf");
    fs::write(&path, file.bytes()).unwrap();
    let facts = GgufModel::open(&path).unwrap().facts();
    let facts = facts.map_err(|e| {
        e.to_string()
            .replace(&dir.path().display().to_string(), "DIR")
    })?;
    let (spec, config) = for_gguf(&facts).map_err(|e| e.to_string())?;
    spec.bind(&config).map_err(|e| e.to_string())
}

fn list(element: u32, elements: &[Vec<u8>]) -> Vec<u8> {
    let count = elements.len() as u64;
    [
        &element.to_le_bytes()[..],
        &count.to_le_bytes(),
        &elements.concat(),
    ]
    .concat()
}

fn freqs(file: &Writer) -> Vec<f32> {
    bound(file).unwrap().ropes[0].freqs.clone()
}

/// Files of before there were types have the factor alone, under either of two names.
#[test]
fn a_factor_without_a_type_is_a_linear_one() {
    let (factor, old) = ("llama.rope.scaling.factor", "llama.rope.scale_linear");
    let plain = freqs(&file());
    let slower: Vec<f32> = plain.iter().map(|f| f / 4.0).collect();
    let typed = |name: &str| file().text("llama.rope.scaling.type", name);
    for file in [
        file().single(factor, 4.0),
        file().single(old, 4.0),
        file().single(factor, 4.0).single(old, 2.0),
        typed("linear").single(factor, 4.0),
        typed("linear").single(old, 4.0),
    ] {
        assert_eq!(freqs(&file), slower, "{:?}", file.keys);
    }
    for file in [
        file().single(factor, 0.0),
        file().single(old, 0.0),
        file().single(factor, 0.0).single(old, 4.0),
        typed("linear"),
        typed("none").single(factor, 4.0),
    ] {
        assert_eq!(freqs(&file), plain, "{:?}", file.keys);
    }
    let said = bound(&file().single(factor, -4.0)).unwrap_err();
    assert!(
        said.contains("found -4.0, expected a number above 0"),
        "{said}"
    );
}

#[test]
fn a_rotated_part_that_the_model_has_not_is_refused() {
    let rotated = |n: u32| file().whole("llama.rope.dimension_count", n);
    assert_eq!(freqs(&rotated(16)), freqs(&file()));
    for n in [0, 7, 8, 32] {
        let said = bound(&rotated(n)).unwrap_err();
        assert!(said.contains("partial_rotary_factor"), "{said}");
    }
}

#[test]
fn numbers_that_are_none_are_refused() {
    for (found, said) in [
        (f32::NAN, "NaN"),
        (f32::INFINITY, "inf"),
        (-f32::INFINITY, "-inf"),
    ] {
        let message = bound(&file().single(FREQ_BASE, found)).unwrap_err();
        let expected =
            format!("DIR/x.gguf: key \"{FREQ_BASE}\": found {said}, expected a finite number");
        assert_eq!(message, expected);
        let double = 12;
        let wide = file().raw("llama.unknown", double, &f64::from(found).to_le_bytes());
        let message = bound(&wide).unwrap_err();
        assert!(
            message.contains("key \"llama.unknown\": found"),
            "{message}"
        );
        // Other keys are no part of the model.
        bound(&file().single("general.score", found)).unwrap();
    }
    let floats = |last: f32| {
        let all = [1f32, last].map(|x| x.to_le_bytes().to_vec());
        file().raw("llama.limits", kind::LIST, &list(kind::F32, &all))
    };
    bound(&floats(f32::NEG_INFINITY)).unwrap();
    let message = bound(&floats(f32::NAN)).unwrap_err();
    assert!(
        message.contains("key \"llama.limits\": found NaN, expected a list of numbers"),
        "{message}"
    );
}

/// Each would otherwise be as if it were not there.
#[test]
fn values_that_no_expression_sees_are_refused() {
    let bytes = [&1u64.to_le_bytes()[..], b"\xFF"].concat();
    let texts = list(kind::TEXT, &[text(b"\xFF")]);
    let long = list(kind::U8, &vec![vec![0]; 4097]);
    for (key, kind, value, expected) in [
        (
            "llama.rope.scaling.type",
            kind::TEXT,
            &bytes,
            "found bytes that are not UTF-8, expected UTF-8",
        ),
        (
            "llama.texts",
            kind::LIST,
            &texts,
            "found bytes that are not UTF-8, expected texts in UTF-8",
        ),
        (
            "llama.attention.head_count_kv",
            kind::LIST,
            &long,
            "found a list of 4097 elements, expected a list of at most 4096",
        ),
    ] {
        let message = bound(&file().raw(key, kind, value)).unwrap_err();
        assert!(
            message.contains(&format!("key {key:?}: {expected}")),
            "{message}"
        );
    }
    let message = bound(&file().single("llama.rope", 1.0).single(FREQ_BASE, 5e5)).unwrap_err();
    assert!(
        message.contains(
            "key \"llama.rope.freq_base\": found a value under the beginning of its name as well"
        ),
        "{message}"
    );
    // Templates of several names have that form.
    let templates = file()
        .text("tokenizer.chat_template", "a")
        .text("tokenizer.chat_template.tool", "b");
    bound(&templates).unwrap();
}

/// The model would have other frequencies.
#[test]
fn factors_of_frequencies_are_read_or_refused() {
    let name = "rope_freqs.weight";
    let twos: Vec<u8> = [2f32; 8].iter().flat_map(|x| x.to_le_bytes()).collect();
    let halves: Vec<f32> = freqs(&file()).iter().map(|f| f / 2.0).collect();
    assert_eq!(freqs(&file().tensor(name, "F32", &[8], twos)), halves);
    let message = bound(&file().zeros(name, "F16", &[8])).unwrap_err();
    let expected = "DIR/x.gguf: tensor \"rope_freqs.weight\": found F16 [8], expected F32, and at most 4096 values";
    assert_eq!(message, expected);
    let message = bound(&file().zeros(name, "F32", &[4097])).unwrap_err();
    assert!(
        message.contains("found F32 [4097], expected F32"),
        "{message}"
    );
}

/// Lists, and names of tensors with many parts: small in a file, and large in memory.
#[test]
fn what_expressions_see_has_a_limit() {
    let zeros = list(kind::U8, &vec![vec![0]; 4096]);
    let lists = |n: usize| {
        let all = (0..n).map(|i| format!("other.k{i:04}"));
        all.fold(file(), |file, key| file.raw(&key, kind::LIST, &zeros))
    };
    bound(&lists(31)).unwrap();
    let message = bound(&lists(1500)).unwrap_err();
    assert!(
        message.contains("values up to key \"other.k0031\", expected at most 131072"),
        "{message}"
    );
    let names = (0..18000).map(|i| format!("a{i}.b.c.d.e.f.g.h"));
    let message =
        bound(&names.fold(file(), |file, name| file.zeros(&name, "F32", &[1]))).unwrap_err();
    assert!(message.contains("values up to tensor \"a"), "{message}");
}
