//! Safetensors files that are broken in every way we could think of, and in random ways.

use super::*;
use crate::weights::{SafetensorsFile, parse_header};

fn message(bytes: &[u8]) -> String {
    parse_header(bytes).unwrap_err().to_string()
}

/// The message for a header with these entries over `data_bytes` zero bytes.
fn entries(entries: &str, data_bytes: usize) -> String {
    message(&raw_file(entries, &vec![0; data_bytes]))
}

#[test]
fn too_short() {
    assert_eq!(
        message(&[1, 2, 3]),
        "3 bytes is too short for a safetensors file; expected at least 8, the length of its header; is it truncated?"
    );
    assert!(message(&[]).starts_with("0 bytes is too short"));
}

#[test]
fn header_length_that_lies() {
    let mut bytes = raw_file("{}", &[]);
    bytes[0] = 200;
    assert_eq!(
        message(&bytes),
        "the header says it is 200 bytes long; expected at most 2, what is left of the file; is the file truncated, or not safetensors?"
    );
    bytes[..8].fill(255);
    assert!(message(&bytes).starts_with("the header says it is 18446744073709551615 bytes long"));
}

#[test]
fn header_that_is_no_text() {
    assert_eq!(
        message(&[3, 0, 0, 0, 0, 0, 0, 0, b'{', 0xff, b'}']),
        "the header is not UTF-8 at byte 9; is it a safetensors file?"
    );
}

#[test]
fn header_that_is_no_object_of_tensors() {
    assert_eq!(
        entries("[1]", 0),
        "the header does not parse: invalid type: sequence, expected an object of tensors at line 1 column 0"
    );
    assert!(entries(r#"{"a": "#, 0).starts_with("the header does not parse: tensor \"a\": EOF"));
    assert_eq!(
        entries(
            r#"{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}"#,
            4
        ),
        "the header does not parse: tensor \"a\": invalid value: integer `-1`, expected usize at line 1 column 35"
    );
    assert_eq!(
        entries(r#"{"a": {"dtype": "F32", "shape": [1]}}"#, 4),
        "the header does not parse: tensor \"a\": missing field `data_offsets` at line 1 column 36"
    );
    let nested = "[".repeat(100_000);
    assert!(entries(&nested, 0).starts_with("the header does not parse"));
    assert!(
        entries(&format!(r#"{{"__metadata__": {nested}"#), 0)
            .starts_with("the header does not parse")
    );
}

#[test]
fn duplicate_name() {
    let entry = r#""a": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}"#;
    assert_eq!(
        entries(&format!("{{{entry}, {entry}}}"), 0),
        "tensor \"a\" is listed twice"
    );
}

#[test]
fn unknown_type() {
    assert_eq!(
        entries(
            r#"{"a": {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}}"#,
            4
        ),
        "tensor \"a\": unknown type \"F99\"; expected one of F32, F16, BF16, F64, I8 to I64, U8 to U64, BOOL, F8_*, F6_*, F4, C64"
    );
}

#[test]
fn overflowing_shape() {
    let shape = "[4294967296, 4294967296]";
    let header =
        format!(r#"{{"a": {{"dtype": "F32", "shape": {shape}, "data_offsets": [0, 4]}}}}"#);
    assert_eq!(
        entries(&header, 4),
        format!("tensor \"a\": shape {shape} of F32 overflows the size of memory")
    );
}

/// Whatever the other dimensions are; the data has nothing of such a tensor.
#[test]
fn dimensions_of_zero() {
    let of = |shape: &str| {
        let entry =
            format!(r#"{{"a": {{"dtype": "F32", "shape": {shape}, "data_offsets": [0, 0]}}}}"#);
        parse_header(&raw_file(&entry, &[]))
    };
    for shape in ["[0]", "[0, 18446744073709551615]", "[3, 0, 5]"] {
        assert_eq!(of(shape).unwrap()[0].bytes, 0, "{shape}");
    }
    let overflow = of("[4294967296, 4294967296, 0]").unwrap_err().to_string();
    assert!(
        overflow.contains("overflows the size of memory"),
        "{overflow}"
    );
    let long = of(&format!("[{}0]", "1, ".repeat(100_000))).unwrap();
    assert_eq!(long[0].shape.len(), 100_001);
}

/// More tensors than any checkpoint has are read in a moment, and the one that is wrong is found among them.
#[test]
fn half_a_million_tensors() {
    let entry = |i: usize, size: usize| {
        format!(
            r#""t{i}":{{"dtype":"U8","shape":[1],"data_offsets":[{i},{}]}}"#,
            i + size
        )
    };
    let many: Vec<String> = (0..500_000).map(|i| entry(i, 1)).collect();
    let header = format!("{{{}}}", many.join(","));
    assert_eq!(
        parse_header(&raw_file(&header, &vec![0; 500_000]))
            .unwrap()
            .len(),
        500_000
    );
    let header = format!("{{{},{}}}", many.join(","), entry(0, 1));
    assert_eq!(entries(&header, 500_000), "tensor \"t0\" is listed twice");
    let header = format!("{{{}}}", many[1..].join(","));
    assert!(entries(&header, 500_000).starts_with("bytes 0 to 1 of the data belong to no tensor"));
}

#[test]
fn offsets_that_do_not_fit_the_shape() {
    assert_eq!(
        entries(
            r#"{"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 4]}}"#,
            4
        ),
        "tensor \"a\": found 4 bytes (data_offsets [0, 4]), expected 12 for shape [3] of F32"
    );
    assert_eq!(
        entries(
            r#"{"a": {"dtype": "F32", "shape": [1], "data_offsets": [8, 4]}}"#,
            8
        ),
        "tensor \"a\": found -4 bytes (data_offsets [8, 4]), expected 4 for shape [1] of F32"
    );
}

#[test]
fn truncated_data() {
    assert_eq!(
        entries(
            r#"{"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]}}"#,
            11
        ),
        "tensor \"a\" ends at byte 12 of the data, but the file has only 11; is it truncated?"
    );
    let end = u64::MAX;
    let header = format!(
        r#"{{"a": {{"dtype": "F32", "shape": [1], "data_offsets": [{}, {end}]}}}}"#,
        end - 4
    );
    assert!(entries(&header, 4).starts_with("tensor \"a\" ends at byte 18446744073709551615"));
}

#[test]
fn overlapping_tensors() {
    let header = r#"{"a": {"dtype": "U8", "shape": [3], "data_offsets": [0, 3]},
                     "b": {"dtype": "U8", "shape": [3], "data_offsets": [2, 5]}}"#;
    assert_eq!(
        entries(header, 5),
        "tensors \"a\" and \"b\" overlap: the first ends at byte 3 of the data, the second begins at 2"
    );
}

#[test]
fn bytes_of_no_tensor() {
    let header = r#"{"a": {"dtype": "U8", "shape": [2], "data_offsets": [1, 3]}}"#;
    let end = "belong to no tensor; the file is damaged or was joined from several";
    assert_eq!(
        entries(header, 3),
        format!("bytes 0 to 1 of the data {end}")
    );
    let header = r#"{"a": {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]}}"#;
    assert_eq!(
        entries(header, 9),
        format!("bytes 2 to 9 of the data {end}")
    );
}

#[test]
fn absurd_names_are_cut() {
    let name = "n".repeat(100_000);
    let header =
        format!(r#"{{"{name}": {{"dtype": "F0", "shape": [1], "data_offsets": [0, 4]}}}}"#);
    let message = entries(&header, 4);
    assert!(
        message.len() < 500 && message.contains("(100000 bytes)"),
        "{message}"
    );
    let escaped = entries(
        r#"{"\u001b[31m": {"dtype": "F0", "shape": [], "data_offsets": [0, 4]}}"#,
        4,
    );
    assert!(
        escaped.starts_with("tensor \"\\u{1b}[31m\": unknown type"),
        "{escaped}"
    );
}

#[test]
fn messages_name_the_file() {
    let folder = Folder::with(&[("x.safetensors", b"short")]);
    let error = SafetensorsFile::open(&folder.0.join("x.safetensors")).unwrap_err();
    assert!(
        folder
            .message(&error)
            .starts_with("DIR/x.safetensors: 5 bytes is too short")
    );
}

/// A file with tensors of many types, scalars and empty ones.
fn valid() -> Vec<u8> {
    file(&[
        ("a.weight", "F32", &[2, 3], vec![1; 24]),
        ("b", "BF16", &[5], vec![2; 10]),
        ("empty", "F16", &[0, 7], vec![]),
        ("scalar", "I64", &[], vec![3; 8]),
        ("nibbles", "F4", &[4], vec![4; 2]),
    ])
}

#[test]
fn valid_files_parse() {
    let bytes = valid();
    let tensors = parse_header(&bytes).unwrap();
    let names: Vec<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(names.len(), 5);
    for (name, byte, length) in [
        ("a.weight", 1, 24),
        ("b", 2, 10),
        ("scalar", 3, 8),
        ("nibbles", 4, 2),
    ] {
        let tensor = tensors.iter().find(|tensor| tensor.name == name).unwrap();
        let held = &bytes[tensor.offset_bytes..tensor.offset_bytes + tensor.bytes];
        assert_eq!(held, vec![byte; length], "{name}");
    }
}

/// Flips, overwrites and truncates a valid file at random: whatever comes out of the parser lies inside the file.
#[test]
fn mutated_files_never_panic_or_reach_outside() {
    let original = valid();
    let header = u64::from_le_bytes(original[..8].try_into().unwrap()) as usize + 8;
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |n: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % n as u64) as usize
    };
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..20_000 {
        let mut bytes = original.clone();
        for _ in 0..=random(3) {
            let at = random(header);
            bytes[at] = match random(3) {
                0 => bytes[at] ^ (1 << random(8)),
                1 => b"0123456789[]{},:\"-.e"[random(20)],
                _ => random(256) as u8,
            };
        }
        if random(4) == 0 {
            bytes.truncate(random(original.len()));
        }
        match parse_header(&bytes) {
            Ok(tensors) => {
                accepted += 1;
                for tensor in tensors {
                    assert!(
                        tensor.offset_bytes + tensor.bytes <= bytes.len(),
                        "{tensor:?}"
                    );
                }
            }
            Err(error) => {
                refused += 1;
                assert!(!error.to_string().is_empty());
            }
        }
    }
    // Changed names parse; most other changes do not.
    assert!(
        accepted > 100 && refused > 10_000,
        "{accepted} accepted, {refused} refused"
    );
}
