//! Headers of safetensors files, and the index of a checkpoint in several files.
//!
//! The first byte says which. What is accepted lies inside the file and covers it once, and says what the reference crate
//! reads from the same bytes, if that takes them.

use std::fs;
use std::path::Path;

use graver::weights::{Checkpoint, HeaderTensor, parse_header};
use safetensors::SafeTensors;
use serde_json::{Value, json};

/// First byte of an input that is an index rather than a weight file.
const INDEX: u8 = b'i';

/// See the module.
pub fn check(data: &[u8]) {
    match data.split_first() {
        Some((&INDEX, index)) => check_index(index),
        Some((_, file)) => check_header(file),
        None => {}
    }
}

fn check_header(file: &[u8]) {
    let tensors = match parse_header(file) {
        Ok(tensors) => tensors,
        Err(message) => return drop(message.to_string()),
    };
    let header = u64::from_le_bytes(file[..8].try_into().expect("eight bytes"));
    let mut end = 8 + header as usize;
    for t in &tensors {
        assert_eq!(t.offset_bytes, end, "{t:?}");
        end += t.bytes;
    }
    assert_eq!(end, file.len());
    // The reference takes less in some places: a header that begins with a space.
    if let Ok(reference) = SafeTensors::deserialize(file) {
        assert_eq!(reference.len(), tensors.len());
        tensors
            .iter()
            .for_each(|t| check_tensor(&reference, t, file));
    }
}

fn check_tensor(reference: &SafeTensors<'_>, t: &HeaderTensor, file: &[u8]) {
    let other = reference.tensor(&t.name).expect("the same names");
    assert_eq!(other.shape(), t.shape);
    assert_eq!(other.dtype(), t.dtype);
    assert_eq!(
        other.data(),
        &file[t.offset_bytes..t.offset_bytes + t.bytes]
    );
}

fn check_index(index: &[u8]) {
    let dir = tempfile::tempdir().expect("a folder");
    write_shards(dir.path());
    fs::write(dir.path().join("model.safetensors.index.json"), index).expect("an index");
    let checkpoint = match Checkpoint::open(dir.path()) {
        Ok(checkpoint) => checkpoint,
        Err(message) => return drop(message.to_string()),
    };
    for (name, t) in &checkpoint.tensors {
        let file = &checkpoint.files[t.file];
        assert!(t.header.offset_bytes + t.header.bytes <= file.bytes.len());
        assert_eq!(file.tensors[name], t.header);
        assert_eq!(file.path.parent(), Some(dir.path()), "{name}");
    }
}

/// Two files of a tensor each, one that is in both, and one that is no weight file.
fn write_shards(dir: &Path) {
    let write = |name: &str, bytes: &[u8]| fs::write(dir.join(name), bytes).expect("a file");
    write("config.json", b"{}");
    write("a.safetensors", &file(&tensor("a", "F32", &[1], 0, 4), 4));
    write("b.safetensors", &file(&tensor("b", "BF16", &[2], 0, 4), 4));
    write("both.safetensors", &file(&tensor("a", "U8", &[3], 0, 3), 3));
    write("broken.safetensors", b"\x02\0\0\0\0\0\0\0[]");
}

/// A weight file with this header and zeros.
fn file(header: &Value, data_bytes: usize) -> Vec<u8> {
    let text = header.to_string();
    let length = (text.len() as u64).to_le_bytes();
    [&length, text.as_bytes(), &vec![0; data_bytes]].concat()
}

fn tensor(name: &str, dtype: &str, shape: &[usize], begin: usize, end: usize) -> Value {
    json!({name: {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}})
}

/// Small files of every type, and an index of each kind.
pub fn seeds() -> Vec<Vec<u8>> {
    let types = [
        ("F32", 4),
        ("F16", 2),
        ("BF16", 2),
        ("F64", 8),
        ("U8", 1),
        ("I8", 1),
        ("I64", 8),
        ("BOOL", 1),
        ("F8_E4M3", 1),
        ("F8_E8M0", 1),
        ("U16", 2),
    ];
    let mut headers: Vec<(Value, usize)> = types
        .map(|(dtype, size)| (tensor("x", dtype, &[2, 3], 0, 6 * size), 6 * size))
        .into();
    headers.push((json!({"__metadata__": {"format": "pt"}}), 0));
    headers.push((
        json!({
            "a": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]},
            "b": {"dtype": "BF16", "shape": [], "data_offsets": [0, 2]},
            "c": {"dtype": "U8", "shape": [2, 1], "data_offsets": [2, 4]},
            "empty": {"dtype": "F16", "shape": [0, 7], "data_offsets": [12, 12]},
            "nibbles": {"dtype": "F4", "shape": [3], "data_offsets": [12, 14]},
        }),
        14,
    ));
    let files = headers
        .into_iter()
        .map(|(header, data)| [b"f".as_slice(), &file(&header, data)].concat());
    let index = |map: Value| {
        let index = json!({"metadata": {"total_size": 8}, "weight_map": map});
        [&[INDEX], index.to_string().as_bytes()].concat()
    };
    let maps = [
        json!({"a": "a.safetensors", "b": "b.safetensors"}),
        json!({"a": "a.safetensors", "c": "b.safetensors"}),
        json!({"a": "both.safetensors", "b": "b.safetensors"}),
        json!({"a": "../a.safetensors"}),
        json!({"a": "broken.safetensors"}),
        json!({"a": "none.safetensors", "b": 3}),
    ];
    files.chain(maps.map(index)).collect()
}
