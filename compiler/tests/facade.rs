//! The crate's own interface: what it computes is what the driver computes, and what goes wrong is said.
#![allow(unsafe_code, reason = "loading a library trusts it")]

use std::path::Path;

use graver::artifact::{self, ArtifactKind, Modes, Placement, WriteOptions};
use graver::driver::{self, CompileOptions, ModelSource, Purpose};
use graver::runtime::abi::{CacheType, Quant};
use graver::runtime::session::{SessionOptions, Wanted};
use graver::runtime::tokenizer::Source;
use graver::{Artifact, Error, GenerateOptions, Model, Options, Session};

const PROMPT: &str = "In the beginning";

fn session(options: Options) -> Session {
    let compiled = Model::built_in().compile(options).unwrap();
    compiled.session(SessionOptions::default()).unwrap()
}

#[test]
fn logits_are_those_of_the_driver() {
    let tokens = [1, 42, 7, 300, 12];
    let loaded = driver::load(&ModelSource::Embedded, Purpose::Run, None, &|_, _, _| {}).unwrap();
    let options = CompileOptions::native().unwrap();
    let mut plain = driver::open(loaded, &options, SessionOptions::default()).unwrap();
    let expected = plain.feed(0, &tokens, Wanted::All).unwrap().to_vec();
    let mut session = session(Options::default());
    assert_eq!(session.logits(&tokens).unwrap().values(), expected);
    // They begin anew each time; what is appended goes on.
    assert_eq!(session.logits(&tokens[..4]).unwrap().n_rows(), 4);
    let last = session.append(&tokens[4..]).unwrap();
    assert_eq!(last, &expected[expected.len() - last.len()..]);
    assert_eq!(session.runtime().position(0).unwrap(), 5);
}

#[test]
fn a_stream_says_piece_by_piece_what_generate_says_at_once() {
    let mut session = session(Options::default());
    for options in [GenerateOptions::greedy(24), GenerateOptions::sampled(24, 7)] {
        let whole = session.generate(PROMPT, &options).unwrap();
        let mut tokens = 0;
        let mut text = String::new();
        for piece in session.stream(PROMPT, &options).unwrap() {
            let piece = piece.unwrap();
            tokens += usize::from(piece.token.is_some());
            text += &piece.text;
        }
        assert_eq!(text, whole);
        assert!(tokens > 0 && tokens <= 24, "{tokens}");
    }
    // Cut in two, a text goes on as if it had not been: the model has read the first half already.
    let ids = session.encode(PROMPT).unwrap();
    let drawn = |stream: graver::Stream<'_>| -> Vec<u32> {
        stream.filter_map(|piece| piece.unwrap().token).collect()
    };
    let all = drawn(
        session
            .stream_tokens(&ids, &GenerateOptions::greedy(12))
            .unwrap(),
    );
    let first = drawn(
        session
            .stream_tokens(&ids, &GenerateOptions::greedy(6))
            .unwrap(),
    );
    assert_eq!(first, all[..6]);
    let last = [first[5]];
    assert_eq!(
        drawn(session.go_on(&last, &GenerateOptions::greedy(6)).unwrap()),
        all[6..]
    );
}

#[test]
fn options_reach_the_compiler() {
    let manifest = |options| session(options).runtime().manifest().clone();
    let all = manifest(Options::default());
    let fewer = manifest(Options::default().without("norm-prologue"));
    assert_eq!(all.passes.len(), fewer.passes.len() + 1);
    assert!(manifest(Options::default().unfused()).passes.is_empty());
    let rounded = manifest(Options::default().quantized(Quant::Q8));
    assert!(
        rounded.weight_types.keys().any(|t| t.contains("q8")),
        "{:?}",
        rounded.weight_types
    );
    assert_eq!((all.cache, rounded.cache), (CacheType::F32, CacheType::F16));
    let kept = manifest(Options::default().with_cache(CacheType::Bf16));
    assert_eq!(kept.cache, CacheType::Bf16);
}

#[test]
fn mistakes_are_errors_with_a_hint() {
    let said = |error: Error| error.to_string();
    let open = |path: &str| said(Model::open(path).unwrap_err());
    assert!(open("qwen33").contains("did you mean `qwen3`?"));
    let passes = Options::default().without("norm-prolog");
    let message = said(Model::built_in().explain(&passes).unwrap_err());
    assert!(
        message.contains("did you mean `norm-prologue`?"),
        "{message}"
    );
    let message = said(Model::built_in().with_preset("tiny").unwrap_err());
    assert!(
        message.contains("the built-in model has sizes of its own"),
        "{message}"
    );
    let rounded = Options::default().quantized(Quant::Q4);
    assert!(matches!(
        Model::built_in().verify(&rounded),
        Err(Error::Rounded)
    ));
    // Specs have no tokenizer; ids do without.
    let compiled = Model::open("llama:tiny")
        .unwrap()
        .compile(Options::default())
        .unwrap();
    let mut session = compiled.session(SessionOptions::default()).unwrap();
    let message = said(
        session
            .generate(PROMPT, &GenerateOptions::greedy(4))
            .unwrap_err(),
    );
    assert!(message.contains("specs have no tokenizer"), "{message}");
    let tokens = session
        .stream_tokens(&[1, 2], &GenerateOptions::greedy(4))
        .unwrap();
    assert_eq!(
        tokens
            .filter(|piece| piece.as_ref().unwrap().token.is_some())
            .count(),
        4
    );
    let message = said(session.logits(&[9999]).map(drop).unwrap_err());
    assert!(message.contains("9999"), "{message}");
}

/// Writes the built-in model as a shared library.
fn library(folder: &Path, weights: Placement) -> std::path::PathBuf {
    let model = Model::built_in();
    let loaded = model
        .load(Purpose::Write, None, false, &|_, _, _| {})
        .unwrap();
    let planned = driver::plan(&loaded, &CompileOptions::native().unwrap());
    let Source::Bytes { files, .. } = model.text().unwrap().tokenizer else {
        panic!("the built-in model has a tokenizer");
    };
    let out = folder.join("model.so");
    let options = WriteOptions {
        out: &out,
        kind: ArtifactKind::SharedLibrary,
        weights,
        tokenizer: Some(&files),
        with: Modes::default(),
        templates: None,
    };
    artifact::write(&planned, &loaded.weights, &options, &mut |_, _| Ok(())).unwrap();
    out
}

#[test]
fn a_compiled_library_gives_the_same_bits_and_the_same_text() {
    let mut here = session(Options::default());
    let tokens = here.encode(PROMPT).unwrap();
    let expected = here.logits(&tokens).unwrap().to_vec();
    let text = here.generate(PROMPT, &GenerateOptions::greedy(12)).unwrap();
    for weights in [Placement::Embedded, Placement::External] {
        let folder = tempfile::tempdir().unwrap();
        let path = library(folder.path(), weights);
        // SAFETY: this process has just written it.
        let artifact = unsafe { Artifact::load(&path) }.unwrap();
        artifact.check().unwrap();
        assert_eq!(artifact.manifest().spec, "llama");
        let mut session = artifact.session(SessionOptions::default()).unwrap();
        assert_eq!(session.encode(PROMPT).unwrap(), tokens);
        assert_eq!(session.logits(&tokens).unwrap().values(), expected);
        assert_eq!(
            session
                .generate(PROMPT, &GenerateOptions::greedy(12))
                .unwrap(),
            text
        );
    }
}

#[test]
fn a_library_that_was_changed_is_not_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let path = library(folder.path(), Placement::Embedded);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[5000] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    // SAFETY: its code is looked at before it is loaded, and refused.
    let message = match unsafe { Artifact::load(&path) } {
        Err(error) => error.to_string(),
        Ok(_) => panic!("it was loaded"),
    };
    assert!(
        message.contains("damaged: the checksum of its code is"),
        "{message}"
    );
}
