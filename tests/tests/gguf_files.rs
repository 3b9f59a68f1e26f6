//! GGUF files as they are read, whole, split and damaged.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use graver::weights::{GgufModel, Item, Scalar, parse_gguf};
use graver_tests::gguf::{Writer, kind, text};

fn message(file: &Writer) -> String {
    message_of(&file.bytes())
}

fn message_of(bytes: &[u8]) -> String {
    parse_gguf(bytes).unwrap_err().to_string()
}

fn sample() -> Writer {
    Writer::default()
        .text("general.architecture", "llama")
        .whole("llama.block_count", 3)
        .single("llama.rope.freq_base", 5e5)
        .flag("tokenizer.ggml.add_bos_token", true)
        .list(
            "tokenizer.ggml.tokens",
            kind::TEXT,
            &[text(b"a"), text(b"bc")],
        )
        .list(
            "signed",
            kind::I32,
            &[(-7i32).to_le_bytes().into(), 8i32.to_le_bytes().into()],
        )
        .tensor("one", "F32", &[2], vec![0, 0, 128, 63, 0, 0, 0, 64])
        .zeros("two", "Q4_K", &[3, 512])
}

#[test]
fn metadata_and_tensors_are_read() {
    for version in [2, 3] {
        let file = Writer {
            version,
            ..sample()
        };
        let bytes = file.bytes();
        let header = parse_gguf(&bytes).unwrap();
        assert_eq!((header.version, header.alignment), (version, 32));
        let m = &header.metadata;
        let architecture = m.text(&bytes, "general.architecture");
        assert_eq!(architecture.unwrap(), Some("llama"));
        assert_eq!(m.whole(&bytes, "llama.block_count").unwrap(), Some(3));
        assert_eq!(m.whole(&bytes, "none").unwrap(), None);
        let flag = m.flag(&bytes, "tokenizer.ggml.add_bos_token");
        assert_eq!(flag.unwrap(), Some(true));
        let base = m.get(&bytes, "llama.rope.freq_base");
        assert_eq!(base, Some(Item::Scalar(Scalar::Single(5e5))));
        let list = |key| m.list(&bytes, key).unwrap().unwrap();
        let tokens: Vec<_> = list("tokenizer.ggml.tokens").items().collect();
        assert_eq!(tokens, [Item::Text(b"a"), Item::Text(b"bc")]);
        let signed: Vec<_> = list("signed").items().collect();
        let whole = |n| Item::Scalar(Scalar::Whole(n));
        assert_eq!(signed, [whole(-7), whole(8)]);
        let tensors: Vec<_> = header
            .tensors
            .iter()
            .map(|t| (&*t.name, &*t.shape))
            .collect();
        assert_eq!(tensors, [("one", &[2][..]), ("two", &[3, 512])]);
        let one = &header.tensors[0];
        assert_eq!(
            bytes[one.offset_bytes..][..one.bytes][4..],
            2f32.to_le_bytes()
        );
        assert_eq!(header.tensors[1].bytes, 3 * 2 * 144);
    }
}

#[test]
fn any_alignment_is_kept() {
    for alignment in [1, 8, 24, 4096] {
        let bytes = Writer {
            alignment,
            ..sample()
        }
        .bytes();
        let header = parse_gguf(&bytes).unwrap();
        assert_eq!(header.alignment, u64::from(alignment));
        let one = &header.tensors[0];
        assert_eq!(bytes[one.offset_bytes..][..4], 1f32.to_le_bytes());
    }
    let none = Writer::default().whole("general.alignment", 0);
    assert_eq!(
        message(&none),
        "key \"general.alignment\": found 0, expected 1 to 1073741824"
    );
}

#[test]
fn what_is_no_gguf_file_is_named() {
    assert_eq!(
        message_of(b"PK\x03\x04 and so on"),
        "found a zip archive, as of pickled weights, expected a GGUF file, which begins with `GGUF`"
    );
    assert_eq!(
        message_of(&[1, 2]),
        "found bytes [01, 02], expected a GGUF file, which begins with `GGUF`"
    );
    let versions = [
        (1, "GGUF version 1, expected 2 or 3"),
        (4, "GGUF version 4, expected 2 or 3"),
        (3u32.swap_bytes(), "a big-endian GGUF file"),
    ];
    for (version, expected) in versions {
        let found = message(&Writer {
            version,
            ..sample()
        });
        assert!(found.starts_with(expected), "{found}");
    }
}

/// Wherever a file is cut off, it is refused, since its last tensor has bytes up to its end.
#[test]
fn a_file_that_ends_too_soon_is_refused_wherever_it_ends() {
    let bytes = sample().bytes();
    for end in 0..bytes.len() {
        let found = message_of(&bytes[..end]);
        let is_told = ["truncated", "GGUF file"].iter().any(|w| found.contains(w));
        assert!(is_told, "cut at {end}: {found}");
    }
    parse_gguf(&bytes).unwrap();
}

/// Every byte before the data, changed to several values: a header or a message, soon.
#[test]
fn damaged_bytes_are_read_or_refused() {
    let bytes = sample().bytes();
    let before_data = parse_gguf(&bytes).unwrap().tensors[0].offset_bytes;
    let started = Instant::now();
    for at in 0..before_data {
        for value in [0, 1, 127, 128, 255, bytes[at] ^ 1, bytes[at] ^ 64] {
            let mut damaged = bytes.clone();
            damaged[at] = value;
            graver_tests::fuzz::gguf_header::check(&damaged);
        }
    }
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn counts_and_lengths_beyond_reason_are_refused() {
    let many = |tensor_count, key_count| {
        message(&Writer {
            tensor_count,
            key_count,
            ..Writer::default()
        })
    };
    assert_eq!(
        many(Some(u64::MAX), None),
        "found 18446744073709551615 tensors, expected at most 131072; the file is damaged, download it again"
    );
    assert_eq!(
        many(None, Some(1 << 40)),
        "found 1099511627776 keys, expected at most 16384; the file is damaged, download it again"
    );
    assert_eq!(
        many(Some(2), None),
        "tensor \"\": found 0 bytes after byte 32, expected 4; the file is truncated or damaged, download it again"
    );
    let list = |element: u32, count: u64| {
        let value = [&element.to_le_bytes()[..], &count.to_le_bytes()].concat();
        message(&Writer::default().raw("l", kind::LIST, &value))
    };
    assert_eq!(
        list(kind::U64, u64::MAX / 4),
        "found 4611686018427387903 elements of key \"l\", expected at most 4194304; the file is damaged, download it again"
    );
    assert!(
        list(kind::U64, 1000).starts_with("key \"l\": found 15 bytes after byte 49, expected 8000")
    );
    // A text that says that it is longer than the file, alone and in a list.
    let bomb = (u64::MAX - 3).to_le_bytes();
    let alone = message(&Writer::default().raw("t", kind::TEXT, &bomb));
    assert!(alone.contains("expected 18446744073709551612"), "{alone}");
    let listed = message(&Writer::default().list("t", kind::TEXT, &[text(b"a"), bomb.into()]));
    assert!(listed.contains("expected 18446744073709551612"), "{listed}");
    let long = message(&Writer::default().whole(&"k".repeat(1025), 1));
    assert_eq!(long, "key 0: a name of 1025 bytes, expected at most 1024");
}

#[test]
fn metadata_that_is_not_as_the_format_says_is_refused() {
    let plain = Writer::default;
    let nested = [
        kind::LIST.to_le_bytes().to_vec(),
        vec![1, 0, 0, 0, 0, 0, 0, 0],
    ]
    .concat();
    let cases = [
        (
            plain().raw("deep", kind::LIST, &nested),
            "key \"deep\": a list of lists, expected a list of values",
        ),
        (
            plain().whole("a", 1).whole("b", 2).whole("a", 1),
            "key \"a\" occurs twice",
        ),
        (
            plain().raw("odd", 13, &[]),
            "key \"odd\": unknown type 13 of a value, expected 0 to 12",
        ),
        (
            plain().raw("odd", kind::LIST, &99u32.to_le_bytes()),
            "key \"odd\": unknown type 99 of a value, expected 0 to 12",
        ),
        (
            plain().raw("yes", kind::FLAG, &[2]),
            "key \"yes\": found 2 for a flag, expected 0 or 1",
        ),
        (
            plain().list("all", kind::FLAG, &[vec![0], vec![7]]),
            "key \"all\": found 7 for a flag, expected 0 or 1",
        ),
        (
            plain().text("general.alignment", "x"),
            "key \"general.alignment\": found \"x\", expected a whole number of at least 0",
        ),
    ];
    for (file, expected) in cases {
        assert_eq!(message(&file), expected);
    }
}

#[test]
fn values_of_another_type_are_named() {
    let bytes = sample().bytes();
    let m = parse_gguf(&bytes).unwrap().metadata;
    let text = m.text(&bytes, "llama.block_count").unwrap_err();
    assert_eq!(
        text.to_string(),
        "key \"llama.block_count\": found 3, expected a text"
    );
    let whole = m.whole(&bytes, "tokenizer.ggml.tokens").unwrap_err();
    assert_eq!(
        whole.to_string(),
        "key \"tokenizer.ggml.tokens\": found a list of 2 elements, expected a whole number of at least 0"
    );
    let list = m.list(&bytes, "general.architecture").unwrap_err();
    assert_eq!(
        list.to_string(),
        "key \"general.architecture\": found \"llama\", expected a list"
    );
}

#[test]
fn tensors_that_cannot_be_are_refused() {
    type Change = fn(&mut Writer);
    let cases: [(Change, &str); 10] = [
        (
            |w| w.tensors[1].name = "one".into(),
            "tensor \"one\" is listed twice",
        ),
        (
            |w| w.tensors[1].dtype = 99,
            "tensor \"two\": unknown type 99; the file is damaged, or the type is newer than this program",
        ),
        (
            |w| w.tensors[1].dimensions = vec![1; 5],
            "tensor \"two\": 5 dimensions, expected 1 to 4",
        ),
        (
            |w| w.tensors[1].dimensions = vec![],
            "tensor \"two\": 0 dimensions, expected 1 to 4",
        ),
        (
            |w| w.tensors[1].dimensions = vec![512, 0],
            "tensor \"two\": dimensions [512, 0] of Q4_K have no size",
        ),
        (
            |w| w.tensors[1].dimensions = vec![1 << 40, 1 << 40],
            "tensor \"two\": dimensions [1099511627776, 1099511627776] of Q4_K have no size",
        ),
        (
            |w| w.tensors[1].dimensions = vec![300, 3],
            "tensor \"two\": rows of 300 values, expected a multiple of 256, a block of Q4_K",
        ),
        (
            |w| w.tensors[1].offset = Some(33),
            "tensor \"two\": at byte 33 of the data, expected a multiple of 32",
        ),
        (
            |w| w.tensors[1].offset = Some(u64::MAX - 31),
            "tensor \"two\" of 864 bytes at byte 18446744073709551584 of the data, which has only 896; the file is truncated, download it again",
        ),
        (
            |w| w.tensors[1].offset = Some(0),
            "tensors \"one\" and \"two\" overlap: the first ends at byte 8 of the data, the second begins at 0",
        ),
    ];
    for (change, expected) in cases {
        let mut file = sample();
        change(&mut file);
        assert_eq!(message(&file), expected);
    }
}

fn part(number: u16, count: u16, tensors: i32) -> Writer {
    let u16 = |n: u16| n.to_le_bytes();
    Writer::default()
        .raw("split.no", 2, &u16(number))
        .raw("split.count", 2, &u16(count))
        .raw("split.tensors.count", kind::I32, &tensors.to_le_bytes())
}

fn write(dir: &Path, name: &str, file: &Writer) {
    fs::write(dir.join(name), file.bytes()).unwrap();
}

#[test]
fn a_split_model_is_one_whichever_part_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    write(
        dir,
        "m-00001-of-00002.gguf",
        &part(0, 2, 3).text("general.name", "m"),
    );
    let second = part(1, 2, 3)
        .zeros("a", "F32", &[1])
        .zeros("b", "F32", &[1]);
    write(
        dir,
        "m-00002-of-00002.gguf",
        &second.clone().zeros("c", "F32", &[1]),
    );
    for name in ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"] {
        let model = GgufModel::open(&dir.join(name)).unwrap();
        let tensors: Vec<_> = model.tensors().map(|(file, t)| (file, &*t.name)).collect();
        assert_eq!(tensors, [(1, "a"), (1, "b"), (1, "c")]);
        let first = &model.files[0];
        let name = first.header.metadata.text(&first.bytes, "general.name");
        assert_eq!(name.unwrap(), Some("m"));
    }
    let told = |expected: &str| {
        let error = GgufModel::open(&dir.join("m-00001-of-00002.gguf")).unwrap_err();
        let found = error.to_string();
        assert!(found.ends_with(expected), "{found}");
    };
    write(dir, "m-00002-of-00002.gguf", &second);
    told(
        "m-00001-of-00002.gguf: the parts have 2 tensors, but the first part says 3; download them again",
    );
    write(dir, "m-00002-of-00002.gguf", &part(2, 3, 3));
    told(
        "m-00002-of-00002.gguf: found part 3 of 3, expected part 2 of 2; download this part again",
    );
    write(
        dir,
        "m-00001-of-00002.gguf",
        &part(0, 2, 3).zeros("a", "F32", &[1]),
    );
    write(dir, "m-00002-of-00002.gguf", &second);
    told("m-00002-of-00002.gguf: tensor \"a\" is in an earlier part as well");
    fs::remove_file(dir.join("m-00002-of-00002.gguf")).unwrap();
    told("cannot open: No such file or directory (os error 2)");
    write(dir, "m-00001-of-00002.gguf", &part(0, 60000, 3));
    told("a model of 60000 parts, expected 1 to 1000");
    write(dir, "m.gguf", &part(0, 2, 3));
    let error = GgufModel::open(&dir.join("m.gguf"))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("part 1 of 2, but the name does not end in -00001-of-00002.gguf"),
        "{error}"
    );
}

/// As much as a header can make one do: a file of a gigabyte that is nearly all hole, with lists, texts and tensors without end.
#[test]
fn the_worst_headers_take_little_time_and_memory() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    let before = resident();
    let list =
        |element: u32, count: u64| [&element.to_le_bytes()[..], &count.to_le_bytes()].concat();
    // Empty texts: each is eight zeros, which a hole has.
    let texts = Writer::default().raw("l", kind::LIST, &list(kind::TEXT, 4 << 20));
    // Tensors of zeros have names of no bytes and no dimensions.
    let tensors = Writer {
        tensor_count: Some(1 << 17),
        ..Writer::default()
    };
    // Keys without a name stand twice; lists of numbers follow each other up to the limit.
    let mut numbers = Writer::default();
    for i in 0..100 {
        numbers = numbers.raw(&i.to_string(), kind::LIST, &list(kind::U64, 4 << 20));
        numbers.key_count = Some(100);
    }
    for file in [texts, tensors, numbers] {
        let mut out = File::create(&path).unwrap();
        out.write_all(&file.bytes()).unwrap();
        out.seek(SeekFrom::Start(1 << 30)).unwrap();
        out.write_all(&[0]).unwrap();
        drop(out);
        let started = Instant::now();
        drop(GgufModel::open(&path).map(|m| m.files.len()));
        assert!(started.elapsed() < Duration::from_secs(1));
    }
    assert!(resident() - before < 200 << 20);
}

/// The most memory of its own that this process has had.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("RssAnon:"));
    let kilobytes = line.unwrap().trim().trim_end_matches(" kB");
    kilobytes.parse::<usize>().unwrap() << 10
}
