//! What artifacts carry: the appendix behind the code, and the manifest.
//!
//! The first byte says which: a whole file; contents and a directory with a trailer and checksum that are right; or a
//! manifest. Whatever an appendix gives out lies inside the file and is as it was written, and a manifest ends in a session
//! that is never stepped, or in a message.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use graver_runtime::abi::{ABI_VERSION, CompiledModel, Manifest, StepContext};
use graver_runtime::appendix::{
    Appendix, AppendixError, Checksum, Directory, FilePart, TRAILER_BYTES, trailer,
};
use graver_runtime::artifact::{Artifact, pack_manifest};
use graver_runtime::session::SessionOptions;
use serde_json::{Value, json};

use super::Choices;

/// First byte of inputs that are contents and a directory.
const DIRECTORY: u8 = b'd';
/// First byte of inputs that are a manifest.
const MANIFEST: u8 = b'm';
/// Most bytes of contents before a directory.
const MAX_CONTENTS: usize = 255;
/// Bytes of the weights that manifests are given.
const WEIGHT_BYTES: usize = 4096;

/// See the module.
pub fn check(data: &[u8]) {
    let result = match data.split_first() {
        Some((&DIRECTORY, rest)) => look_at(&with_directory(rest)),
        Some((&MANIFEST, manifest)) => return check_manifest(manifest),
        Some((_, file)) => look_at(file),
        None => return,
    };
    drop(result.map_err(|e| e.to_string()));
}

/// A file of the first bytes and a directory of the others, and where to find it.
fn with_directory(data: &[u8]) -> Vec<u8> {
    let mut choices = Choices::new(data);
    let n = choices.below(MAX_CONTENTS + 1);
    let contents = choices.bytes(n);
    let text = choices.rest();
    let at = part("directory", contents.len(), text);
    [contents, text, &trailer(&at)].concat()
}

fn part(name: &str, offset: usize, contents: &[u8]) -> FilePart {
    FilePart {
        name: name.into(),
        offset: offset as u64,
        bytes: contents.len() as u64,
        checksum: Checksum::of(contents),
    }
}

/// Everything that is done with a file.
fn look_at(bytes: &[u8]) -> Result<(), AppendixError> {
    let appendix = Appendix::open(file_of(bytes), Path::new("model"))?;
    let Directory {
        manifest,
        code,
        weights,
        files,
    } = appendix.directory().clone();
    let end = (bytes.len() - TRAILER_BYTES) as u64;
    for part in [&code, &weights].into_iter().chain(&files) {
        assert!(
            part.offset
                .checked_add(part.bytes)
                .is_some_and(|e| e <= end)
        );
        let held = &bytes[part.offset as usize..][..part.bytes as usize];
        let right = Checksum::of(held) == part.checksum;
        assert_eq!(appendix.check(part).is_ok(), right);
        let file = appendix.file(&part.name);
        if let (true, Ok(Some(file))) = (
            files.iter().filter(|f| f.name == part.name).count() == 1,
            file,
        ) {
            let listed = files.iter().find(|f| f.name == part.name).expect("listed");
            assert_eq!(file.as_slice().len() as u64, listed.bytes);
        }
    }
    appendix.check_manifest(manifest)?;
    for (offset, len) in [
        (0, weights.bytes),
        (1, weights.bytes),
        (weights.bytes, 0),
        (u64::MAX, 1),
        (3, u64::MAX),
    ] {
        let blob = appendix.weights(offset, len as usize);
        let inside = offset.checked_add(len).is_some_and(|e| e <= weights.bytes);
        assert_eq!(blob.is_ok(), inside, "{offset} {len}");
        if let Ok(blob) = blob {
            let from = (weights.offset + offset) as usize;
            assert_eq!(blob.as_slice(), &bytes[from..][..len as usize]);
        }
    }
    Ok(())
}

fn file_of(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(bytes).expect("a file");
    file
}

extern "C" fn nothing(_: *const StepContext, _: usize) {}

fn check_manifest(text: &[u8]) {
    let Ok(manifest) = serde_json::from_slice::<Manifest>(text) else {
        return;
    };
    let packed: &'static [u8] = pack_manifest(&manifest).leak();
    let checksum = Checksum::of(packed);
    // Objects live as long as the process; a few hundred bytes for each input are let go of.
    let model = Box::leak(Box::new(CompiledModel {
        abi: u64::from(ABI_VERSION),
        decode: nothing,
        prefill: nothing,
        manifest: packed.as_ptr(),
        manifest_bytes: packed.len(),
        manifest_checksum: checksum,
        has_appendix: 0,
    }));
    // SAFETY: no object made this model, but what it points to is there, and none of its functions is called.
    let artifact = unsafe { Artifact::open(model) }.expect("a manifest that reads back");
    assert_eq!(**artifact.manifest(), manifest);
    let weights = weights_file(checksum);
    let options = SessionOptions {
        threads: Some(1),
        profile: !manifest.decode.kernels.is_empty(),
        ..SessionOptions::default()
    };
    match artifact.session(Some(weights.path()), options) {
        Ok(session) => assert!(session.context() <= manifest.context),
        Err(message) => drop(message.to_string()),
    }
    drop(
        artifact
            .check(Some(weights.path()))
            .map_err(|e| e.to_string()),
    );
}

/// A `.weights` file that belongs to a manifest.
fn weights_file(manifest: u64) -> tempfile::NamedTempFile {
    let contents = vec![1; WEIGHT_BYTES];
    let directory = Directory {
        manifest,
        code: part("code", 0, &[]),
        weights: part("weights", 0, &contents),
        files: vec![],
    };
    let text = serde_json::to_vec(&directory).expect("plain data");
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    let all = [
        &contents,
        &text,
        trailer(&part("directory", contents.len(), &text)).as_slice(),
    ]
    .concat();
    file.write_all(&all).expect("a file");
    file
}

/// A file, its contents with a directory, and manifests.
pub fn seeds() -> Vec<Vec<u8>> {
    let contents = b"codeweights{}";
    let directory = Directory {
        manifest: 77,
        code: part("code", 0, b"code"),
        weights: part("weights", 4, b"weights"),
        files: vec![
            part("tokenizer.json", 11, b"{}"),
            part("tokenizer_config.json", 13, b""),
        ],
    };
    let text = serde_json::to_vec(&directory).expect("plain data");
    let behind = [&[contents.len() as u8], contents.as_slice(), &text].concat();
    let whole = with_directory(&behind);
    let manifests = [manifest(), manifest_of_nothing()]
        .map(|m| [&[MANIFEST], m.to_string().as_bytes()].concat());
    let mut out = vec![
        [b"f".as_slice(), &whole].concat(),
        [&[DIRECTORY], behind.as_slice()].concat(),
    ];
    out.extend(manifests);
    out
}

fn program(max_tokens: usize) -> Value {
    json!({"max_tokens": max_tokens, "arena_bytes": 640, "arena_bytes_per_position": 8, "scratch_bytes": 64, "query_tile": 4,
        "kernels": [{"at": "layers.dense.attention.q", "op": "matmul"}]})
}

fn manifest() -> Value {
    json!({
        "abi": ABI_VERSION, "compiler": "0", "spec": "s", "target": "native", "features": [], "passes": [],
        "vocab": 11, "hidden": 4, "layers": 1, "context": 300, "cache": "f32", "weight_types": {"f32": 48},
        "eos": [1], "bos": null, "decode": program(8), "prefill": program(16), "length_switches": [20],
        "states": [
            {"name": "kv", "bytes_per_position": 16, "fixed_bytes": 0, "ring": null},
            {"name": "window", "bytes_per_position": 16, "fixed_bytes": 0, "ring": 8},
            {"name": "past", "bytes_per_position": 0, "fixed_bytes": 48, "ring": null}],
        "weights": [{"name": "table", "blob": 0, "offset": 4, "bytes": 44}],
        "blobs": [{"file": "m.weights", "offset": 0, "bytes": 48}],
    })
}

fn manifest_of_nothing() -> Value {
    let mut manifest = manifest();
    for list in ["weights", "blobs", "states", "length_switches"] {
        manifest[list] = json!([]);
    }
    manifest
}
