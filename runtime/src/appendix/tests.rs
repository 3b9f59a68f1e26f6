use std::io::Write;

use super::*;

/// What an artifact with a kilobyte of code looks like, in small.
struct Sample {
    bytes: Vec<u8>,
    directory: Directory,
    text: Vec<u8>,
}

impl Sample {
    fn new() -> Sample {
        let mut bytes = Vec::new();
        let mut part = |name: &str, contents: &[u8]| {
            let offset = bytes.len() as u64;
            bytes.extend_from_slice(contents);
            FilePart {
                name: name.into(),
                offset,
                bytes: contents.len() as u64,
                checksum: Checksum::of(contents),
            }
        };
        let code = part("code", b"machine code");
        let weights = part("weights", b"0123456789abcdef weights");
        let files = vec![
            part("tokenizer.json", b"{}"),
            part("tokenizer_config.json", b""),
        ];
        let directory = Directory {
            manifest: 77,
            code,
            weights,
            files,
        };
        let text = serde_json::to_vec(&directory).unwrap();
        Sample {
            bytes,
            directory,
            text,
        }
    }

    /// The file with this text for a directory and a trailer that `change` may lie about.
    fn file(&self, text: &[u8], change: impl FnOnce(&mut FilePart)) -> Vec<u8> {
        let mut part = FilePart {
            name: "directory".into(),
            offset: self.bytes.len() as u64,
            bytes: text.len() as u64,
            checksum: Checksum::of(text),
        };
        change(&mut part);
        [&self.bytes, text, &trailer(&part)].concat()
    }

    fn whole(&self) -> Vec<u8> {
        self.file(&self.text, |_| {})
    }
}

fn open(bytes: &[u8]) -> Result<Appendix, AppendixError> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    Appendix::open(file, Path::new("model"))
}

/// Everything an artifact looks at.
fn check(bytes: &[u8]) -> Result<(), AppendixError> {
    let appendix = open(bytes)?;
    let Directory {
        code,
        weights,
        files,
        ..
    } = appendix.directory().clone();
    for part in [&code, &weights].into_iter().chain(&files) {
        appendix.check(part)?;
    }
    Ok(())
}

fn message<T>(result: Result<T, AppendixError>) -> String {
    result.err().expect("an error").to_string()
}

#[test]
fn what_was_written_is_found() {
    let sample = Sample::new();
    check(&sample.whole()).unwrap();
    let appendix = open(&sample.whole()).unwrap();
    assert_eq!(appendix.directory(), &sample.directory);
    let file = |name| {
        appendix
            .file(name)
            .unwrap()
            .map(|blob| blob.as_slice().to_vec())
    };
    assert_eq!(file("tokenizer.json"), Some(b"{}".to_vec()));
    assert_eq!(file("tokenizer_config.json"), Some(vec![]));
    assert_eq!(file("other"), None);
    let weights = appendix.weights(17, 7).unwrap();
    assert_eq!(weights.as_slice(), b"weights");
    appendix.check_manifest(77).unwrap();
}

#[test]
fn every_truncation_is_noticed() {
    let whole = Sample::new().whole();
    for end in 0..whole.len() {
        let message = message(check(&whole[..end]));
        let expected =
            format!("model: its last 32 bytes of {end} are not the compiler's: it was cut short");
        assert!(message.starts_with(&expected), "{message}");
    }
}

#[test]
fn every_flipped_bit_is_noticed() {
    let whole = Sample::new().whole();
    for byte in 0..whole.len() {
        for bit in 0..8 {
            let mut bytes = whole.clone();
            bytes[byte] ^= 1 << bit;
            assert!(check(&bytes).is_err(), "bit {bit} of byte {byte}");
        }
    }
}

#[test]
fn two_flipped_bits_are_noticed() {
    let bytes = vec![0u8; 64];
    let whole = Checksum::of(&bytes);
    for first in 0..512 {
        for second in 0..first {
            let mut bytes = bytes.clone();
            bytes[first / 8] ^= 1 << (first % 8);
            bytes[second / 8] ^= 1 << (second % 8);
            assert_ne!(Checksum::of(&bytes), whole, "bits {first} and {second}");
        }
    }
}

#[test]
fn a_file_with_more_behind_it_is_noticed() {
    let mut longer = Sample::new().whole();
    longer.push(0);
    assert!(message(open(&longer)).contains("are not the compiler's"));
}

#[test]
fn a_directory_outside_the_file_is_refused() {
    let sample = Sample::new();
    let far = sample.file(&sample.text, |part| part.offset = u64::MAX - 3);
    assert!(
        message(open(&far)).contains("damaged: its directory should be"),
        "{}",
        message(open(&far))
    );
    let long = sample.file(&sample.text, |part| part.bytes += 1);
    let (offset, bytes) = (sample.bytes.len(), sample.text.len());
    assert_eq!(
        message(open(&long)),
        format!(
            "model: damaged: its directory should be {} bytes from byte {offset}, but what can hold it ends at {}; copy it again or compile the model again",
            bytes + 1,
            offset + bytes,
        )
    );
}

#[test]
fn a_directory_that_is_too_long_is_not_read() {
    let sample = Sample::new();
    let text = vec![b' '; (MAX_DIRECTORY + 1) as usize];
    let long = sample.file(&text, |_| {});
    assert!(message(open(&long)).contains("its directory should be 1048577 bytes"));
}

#[test]
fn a_directory_that_does_not_parse_is_refused() {
    let sample = Sample::new();
    let garbage = sample.file(b"{\"manifest\": tru", |_| {});
    let message = message(open(&garbage));
    assert!(
        message.starts_with("model: damaged: its directory does not parse: "),
        "{message}"
    );
}

#[test]
fn parts_outside_the_file_are_refused() {
    let sample = Sample::new();
    let lie = |change: fn(&mut Directory)| {
        let mut directory = sample.directory.clone();
        change(&mut directory);
        let text = serde_json::to_vec(&directory).unwrap();
        message(open(&sample.file(&text, |_| {})))
    };
    assert!(
        lie(|d| d.weights.bytes = 1 << 60)
            .contains("its weights should be 1152921504606846976 bytes")
    );
    assert!(
        lie(|d| d.weights.offset = u64::MAX)
            .contains("its weights should be 24 bytes from byte 18446744073709551615")
    );
    assert!(lie(|d| d.code.bytes = 9999).contains("its code should be 9999 bytes"));
    assert!(
        lie(|d| d.files[0].offset = 9999)
            .contains("its tokenizer.json should be 2 bytes from byte 9999")
    );
}

#[test]
fn weights_are_mapped_from_inside_their_part_only() {
    let appendix = open(&Sample::new().whole()).unwrap();
    assert!(appendix.weights(0, 24).is_ok());
    assert!(
        message(appendix.weights(0, 25).map(drop))
            .contains("its weights should be 25 bytes from byte 12")
    );
    assert!(appendix.weights(u64::MAX, 2).is_err());
    assert!(appendix.weights(24, 1).is_err());
}

#[test]
fn weights_of_another_model_are_named() {
    let appendix = open(&Sample::new().whole()).unwrap();
    assert_eq!(
        message(appendix.check_manifest(0xabc)),
        "model: belongs to another model or compilation (manifest 000000000000004d, this code has 0000000000000abc); use what was written together"
    );
}

#[test]
fn checksums_do_not_depend_on_where_the_input_is_cut() {
    let bytes: Vec<u8> = (0..100u8).collect();
    let whole = Checksum::of(&bytes);
    for cut in 0..bytes.len() {
        for second in [cut, (cut + 3).min(100), (cut + 9).min(100)] {
            let mut checksum = Checksum::default();
            checksum.update(&bytes[..cut]);
            checksum.update(&bytes[cut..second]);
            checksum.update(&bytes[second..]);
            assert_eq!(checksum.finish(), whole, "{cut} {second}");
        }
    }
    assert_ne!(Checksum::of(b"a"), Checksum::of(b"a\0"));
    assert_ne!(Checksum::of(b""), Checksum::of(b"\0"));
}
