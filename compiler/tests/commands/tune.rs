//! `graver tune`, and programs that take what it wrote.

use std::fs;
use std::path::Path;
use std::process::Command;

use graver_runtime::kernels::{Choices, Isa, Record, TUNED, VARIABLE};
use tempfile::TempDir;

use crate::Run;

const RUN: &str = "run --tokens 1,2 -n 4 --temp 0 -t 1 --quantize q8 --print-tokens -q";

fn tuned_by(file: &Path, isa: &str, args: &str) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_graver"));
    command
        .args(args.split_whitespace())
        .env(TUNED, file)
        .env(VARIABLE, isa)
        .env_remove("RUST_BACKTRACE");
    Run::of(command.output().expect("graver runs"))
}

#[test]
fn what_tune_writes_is_read_and_changes_no_result() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("tuned.json");
    let none = Path::new("");
    for isa in Isa::available() {
        let tune = format!("tune -t 1 -o {}", file.display());
        let said = tuned_by(none, isa.name(), &tune).ok();
        assert!(
            said.contains(isa.name()) && said.contains("GRAVER_TUNED="),
            "{said}"
        );
        let found = |isa| {
            let processor = graver_runtime::cpu::model_name().unwrap();
            Record::read(&file).unwrap().find(&processor, isa)
        };
        assert!(found(isa).is_some(), "{said}");
        let usual = tuned_by(none, isa.name(), RUN).ok();
        for choices in Choices::all() {
            let mut record = Record::read(&file).unwrap();
            let processor = graver_runtime::cpu::model_name().unwrap();
            record.set(&processor, isa, choices);
            fs::write(&file, record.text()).unwrap();
            assert_eq!(tuned_by(&file, isa.name(), RUN).ok(), usual, "{choices:?}");
        }
    }
    let entries = Isa::available().count();
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(text.matches("\"processor\"").count(), entries, "{text}");
}

#[test]
fn a_file_that_tune_did_not_write_is_refused_by_name() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("tuned.json");
    let missing = tuned_by(&file, "", RUN).refused();
    assert!(missing.contains("tuned.json"), "{missing}");
    fs::write(&file, "{\"format\": 7, \"entries\": []}").unwrap();
    for args in [RUN, &format!("tune -t 1 -o {}", file.display())] {
        let message = tuned_by(&file, "", args).refused();
        assert!(
            message.contains("tuned.json: format 7, expected 1"),
            "{message}"
        );
    }
}
