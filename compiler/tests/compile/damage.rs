//! Damaged artifacts: cut short, overwritten, or with single bits flipped, they say so, and never run.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{bible, compile, complaint, fails, folder, output, write_program};

/// A compiled model, and a place for damaged copies of it.
struct Patient {
    whole: Vec<u8>,
    path: PathBuf,
}

impl Patient {
    fn new(folder: &Path) -> Patient {
        let path = folder.join("model");
        compile(&bible(), &path, &[]);
        let whole = fs::read(&path).unwrap();
        Patient { whole, path }
    }

    /// What a run of these bytes complains of.
    fn complaint(&self, bytes: &[u8], arguments: &[&str]) -> String {
        // Another file each time: what is still running cannot be written to.
        fs::remove_file(&self.path).unwrap();
        write_program(&self.path, bytes);
        fails(&self.path, arguments)
    }

    /// Where the appendix's directory begins, as the trailer says.
    fn directory(&self) -> usize {
        let trailer = &self.whole[self.whole.len() - 32..];
        assert_eq!(&trailer[..8], b"GRAVERA1");
        u64::from_le_bytes(trailer[8..16].try_into().unwrap()) as usize
    }

    fn find(&self, text: &str) -> usize {
        let at = self
            .whole
            .windows(text.len())
            .position(|window| window == text.as_bytes());
        at.expect("the text is in the file")
    }
}

const RUN: &[&str] = &["-p", "And", "-n", "1"];

#[test]
fn executables_that_were_cut_short_say_so() {
    let folder = folder();
    let patient = Patient::new(folder.path());
    let (directory, whole) = (patient.directory(), patient.whole.len());
    let weights = directory - 1_000_000;
    for end in [
        whole - 1,
        whole - 31,
        whole - 32,
        whole - 33,
        directory + 1,
        directory,
        weights,
        weights - 4096,
    ] {
        let message = patient.complaint(&patient.whole[..end], RUN);
        let expected = format!(
            "model: its last 32 bytes of {end} are not the compiler's: it was cut short, stripped or changed"
        );
        assert!(message.contains(&expected), "{message}");
    }
}

#[test]
fn trailers_that_were_overwritten_say_so() {
    let folder = folder();
    let patient = Patient::new(folder.path());
    let end = patient.whole.len();
    let mut state = 1u64;
    for round in 0..40 {
        let mut bytes = patient.whole.clone();
        for byte in &mut bytes[end - 24..] {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            // Large numbers and small ones: the bytes of a number are zero as often as not.
            *byte = if state >> 40 & 1 == 0 {
                0
            } else {
                (state >> 56) as u8
            };
        }
        let message = patient.complaint(&bytes, RUN);
        assert!(
            message.contains("model: damaged: "),
            "round {round}: {message}"
        );
    }
}

#[test]
fn flipped_bits_are_found() {
    let folder = folder();
    let patient = Patient::new(folder.path());
    let (directory, end) = (patient.directory(), patient.whole.len());
    // The manifest is part of the code, and the tokenizer lies before the directory.
    let manifest = patient.find("{\"abi\":");
    let places = [
        (manifest + 1, "damaged: the checksum of its code is "),
        (manifest + 90, "damaged: the checksum of its code is "),
        (directory - 10, "damaged: the checksum of its tokenizer"),
        (directory, "damaged: the checksum of its directory is "),
        (directory + 50, "damaged: the checksum of its directory is "),
        (end - 32, "are not the compiler's"),
        (end - 20, "damaged: its directory should be "),
        (end - 12, "damaged: its directory should be "),
        (end - 1, "damaged: the checksum of its directory is "),
    ];
    for (at, expected) in places {
        let mut bytes = patient.whole.clone();
        bytes[at] ^= 0x10;
        let message = patient.complaint(&bytes, RUN);
        let is_manifest = at < directory && message.contains("broken manifest: its checksum is ");
        assert!(
            message.contains(expected) || is_manifest,
            "byte {at}: {message}"
        );
    }
}

#[test]
fn flipped_bits_in_weights_are_found_on_request() {
    let folder = folder();
    let patient = Patient::new(folder.path());
    let mut bytes = patient.whole.clone();
    // Tokenizer and directory are some 60 kB; before them are the weights.
    let at = patient.directory() - 300_000;
    bytes[at] ^= 1;
    let message = patient.complaint(&bytes, &["--check"]);
    assert!(
        message.contains("model: damaged: the checksum of its weights is "),
        "{message}"
    );
}

#[test]
fn an_executable_that_was_stripped_says_so() {
    let folder = folder();
    let patient = Patient::new(folder.path());
    let strip = output(
        Command::new("sh")
            .args(["-c", "strip \"$0\""])
            .arg(&patient.path),
    );
    if !strip.status.success() {
        eprintln!("skipped: there is no strip");
        return;
    }
    let message = fails(&patient.path, RUN);
    assert!(
        message.contains("it was cut short, stripped or changed"),
        "{message}"
    );
}

#[test]
fn files_of_weights_that_are_damaged_say_so() {
    let folder = folder();
    let program = folder.path().join("model");
    let weights = folder.path().join("model.weights");
    compile(&bible(), &program, &["--weights", "external"]);
    let whole = fs::read(&weights).unwrap();
    let complain = |bytes: &[u8], arguments: &[&str]| {
        fs::write(&weights, bytes).unwrap();
        complaint(&output(Command::new(&program).args(arguments)))
    };
    assert!(
        complain(&whole[..whole.len() / 2], RUN).contains("model.weights: its last 32 bytes of ")
    );
    assert!(
        complain(b"", RUN).contains("model.weights: its last 32 bytes of 0 are not the compiler's")
    );
    let mut flipped = whole.clone();
    flipped[whole.len() - 40] ^= 4;
    assert!(
        complain(&flipped, RUN)
            .contains("model.weights: damaged: the checksum of its directory is ")
    );
    let mut flipped = whole.clone();
    flipped[12_345] ^= 4;
    assert!(
        complain(&flipped, &["--check"])
            .contains("model.weights: damaged: the checksum of its weights is ")
    );
}

/// What lies in the place of weights is looked at before it is read: nothing blocks, and nothing without an end is read.
#[test]
fn what_is_no_file_of_weights_says_so_at_once() {
    let folder = folder();
    let program = folder.path().join("model");
    let weights = folder.path().join("model.weights");
    compile(&bible(), &program, &["--weights", "external"]);
    let whole = fs::read(&weights).unwrap();
    let complain = || complaint(&output(Command::new(&program).args(RUN)));

    let grown = [&whole[..], b"more"].concat();
    fs::write(&weights, &grown).unwrap();
    let expected = format!(
        "model.weights: its last 32 bytes of {} are not",
        grown.len()
    );
    assert!(complain().contains(&expected));

    fs::remove_file(&weights).unwrap();
    symlink("/dev/zero", &weights).unwrap();
    assert!(complain().contains("model.weights: found a device, expected a regular file"));

    fs::remove_file(&weights).unwrap();
    symlink("nowhere", &weights).unwrap();
    assert!(complain().contains("model.weights: a broken link to nowhere"));

    fs::remove_file(&weights).unwrap();
    fs::create_dir(&weights).unwrap();
    assert!(complain().contains("model.weights: found a folder, expected a regular file"));

    fs::remove_dir(&weights).unwrap();
    if output(Command::new("mkfifo").arg(&weights))
        .status
        .success()
    {
        assert!(complain().contains("model.weights: found a pipe, expected a regular file"));
        fs::remove_file(&weights).unwrap();
    }

    let other = folder.path().join("other");
    compile(Path::new("llama"), &other, &["--weights", "external"]);
    fs::rename(folder.path().join("other.weights"), &weights).unwrap();
    assert!(complain().contains("model.weights: belongs to another model or compilation"));
    fs::write(&weights, &whole).unwrap();
    assert!(output(Command::new(&program).args(RUN)).status.success());
}
