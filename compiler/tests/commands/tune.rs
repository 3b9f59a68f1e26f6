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
        let found = |isa: Isa| {
            let processor = graver_runtime::cpu::model_name().unwrap();
            Record::read(&file).unwrap().find(&processor, isa.name())
        };
        assert!(found(isa).is_some(), "{said}");
        let usual = tuned_by(none, isa.name(), RUN).ok();
        for choices in Choices::all() {
            let mut record = Record::read(&file).unwrap();
            let processor = graver_runtime::cpu::model_name().unwrap();
            record.set(&processor, isa.name(), choices);
            fs::write(&file, record.text()).unwrap();
            assert_eq!(tuned_by(&file, isa.name(), RUN).ok(), usual, "{choices:?}");
        }
    }
    let entries = Isa::available().count();
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(text.matches("\"processor\"").count(), entries, "{text}");
}

/// What a model was compiled with holds where no file is named, and so do results.
#[test]
fn an_executable_carries_what_it_was_compiled_with() {
    let folder = TempDir::new().unwrap();
    let (file, none) = (folder.path().join("tuned.json"), Path::new(""));
    let isa = Isa::chosen().unwrap();
    let processor = graver_runtime::cpu::model_name().unwrap();
    let exe = |name: &str| folder.path().join(name).display().to_string();
    let run = |name: &str, args: &str| {
        let mut command = Command::new(exe(name));
        command.args(args.split_whitespace()).env_remove(TUNED);
        Run::of(command.output().expect("the executable runs")).ok()
    };
    let compile = |name: &str, how: &str| {
        let args = format!("compile --quantize q8 -o {} {how}", exe(name));
        tuned_by(none, "", &args).ok()
    };
    compile("plain", "-q");
    assert!(!run("plain", "--info").contains("tuned"));
    let generate = "--tokens 1,2 -n 4 --temp 0 -t 1 --print-tokens";
    let usual = run("plain", generate);
    for (i, choices) in Choices::all().enumerate() {
        let mut record = Record::default();
        record.set(&processor, isa.name(), choices);
        record.set("another", "avx2", choices);
        fs::write(&file, record.text()).unwrap();
        let name = format!("exe{i}");
        compile(&name, &format!("-q --tuned {}", file.display()));
        let info = run(&name, "--info");
        let line = format!("tuned         {processor} with {}: {choices}\n", isa.name());
        assert!(info.contains(&line), "{info}");
        assert!(
            info.contains(&format!("another with avx2: {choices}\n")),
            "{info}"
        );
        assert_eq!(run(&name, generate), usual, "{choices}");
    }
    let said = compile("measured", "--tune");
    assert!(
        said.contains(&format!("{processor}, {} kernels", isa.name())),
        "{said}"
    );
    assert!(run("measured", "--info").contains(&processor));
    let message = tuned_by(none, "", "compile --tuned /there/is/none").refused();
    assert!(message.contains("/there/is/none"), "{message}");
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
            message.contains("tuned.json: format 7, expected 2"),
            "{message}"
        );
    }
}
