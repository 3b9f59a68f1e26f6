//! Shared libraries and objects, used from C.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::{
    GRAVER, bible, comma, compile, continuations, fails, folder, listing, ok, output, root,
};

/// Greedy decoding through the C interface, and what happens to those who do not keep to it.
const GREEDY: &str = include_str!("greedy.c");

/// A text that crosses the length at which rotations change, in every way there is.
const LENGTHS: &str = include_str!("lengths.c");

/// Compiles `greedy.c` in a folder, with further arguments for the C compiler.
fn compile_c(folder: &Path, arguments: &[&str]) {
    compile_source(folder, GREEDY, arguments);
}

/// Compiles a C program as `greedy`.
pub(crate) fn compile_source(folder: &Path, source: &str, arguments: &[&str]) {
    fs::write(folder.join("greedy.c"), source).unwrap();
    let mut cc = Command::new("cc");
    cc.current_dir(folder).args([
        "-Wall",
        "-Wextra",
        "-Werror",
        "-std=c99",
        "-pedantic",
        "-o",
        "greedy",
    ]);
    let output = output(cc.arg("greedy.c").args(arguments));
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The reference's continuations, through the C program in `folder`.
fn check_continuations(folder: &Path) {
    for case in continuations() {
        let n = case.greedy_ids.len().to_string();
        for threads in ["1", "2"] {
            let printed = ok(
                folder.join("greedy"),
                &["decode", threads, &n, &comma(&case.ids)],
            );
            assert_eq!(
                printed.trim_end(),
                comma(&case.greedy_ids),
                "{threads} threads"
            );
        }
    }
    assert_eq!(ok(folder.join("greedy"), &["misuse"]), "done\n");
    assert_eq!(ok(folder.join("greedy"), &["sequences"]), "done\n");
}

#[test]
fn a_shared_library_works_from_c() {
    let folder = folder();
    let said = compile(&bible(), &folder.path().join("model.so"), &["--emit", "so"]);
    assert!(said.contains("link with: cc main.c "), "{said}");
    assert_eq!(listing(folder.path()), ["model.h", "model.so"]);
    compile_c(folder.path(), &["./model.so", "-Wl,-rpath,$ORIGIN"]);
    check_continuations(folder.path());
}

#[test]
fn lengths_at_which_rotations_change_are_crossed_from_c() {
    let folder = folder();
    let model = root().join("tests/fixtures/phi3-longrope-outgrown-f32");
    compile(&model, &folder.path().join("model.so"), &["--emit", "so"]);
    let arguments = ["./model.so", "-Wl,-rpath,$ORIGIN", "-lm"];
    compile_source(folder.path(), LENGTHS, &arguments);
    let none: [&str; 0] = [];
    assert_eq!(ok(folder.path().join("greedy"), &none), "done\n");
}

/// What profilers and debuggers show: a kernel by its place in the spec, and what it waits in by its name in the runtime.
#[test]
fn executables_and_libraries_name_their_kernels() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name).display().to_string();
    compile(Path::new("llama"), path("model").as_ref(), &[]);
    compile(
        Path::new("llama"),
        path("model.so").as_ref(),
        &["--emit", "so"],
    );
    for file in ["model", "model.so"] {
        let symbols = ok("nm", &["--defined-only", "--demangle", &path(file)]);
        for name in [
            "decode.dense.0.attention.q_k_v.matmul",
            "prefill.dense.1.attention.q_k_v.matmul",
            "decode.dense",
            "graver_decode",
            "graver_runtime::threads::barrier",
        ] {
            let is_named = |line: &str| line.splitn(3, ' ').nth(2) == Some(name);
            assert!(symbols.lines().any(is_named), "{file}: no {name}");
        }
    }
}

#[test]
fn a_shared_library_shows_the_interface_and_nothing_else() {
    let folder = folder();
    compile(&bible(), &folder.path().join("model.so"), &["--emit", "so"]);
    let symbols = ok(
        "nm",
        &[
            "-D",
            "--defined-only",
            &folder.path().join("model.so").display().to_string(),
        ],
    );
    let names: Vec<&str> = symbols
        .lines()
        .filter_map(|line| line.split(' ').next_back())
        .collect();
    let header = fs::read_to_string(folder.path().join("model.h")).unwrap();
    for name in [
        "graver_open",
        "graver_feed",
        "graver_step",
        "graver_logits",
        "graver_close",
        "graver_error",
    ] {
        assert!(names.contains(&name), "{name} is not in {names:?}");
    }
    let internal = [
        "graver_model",
        "graver_decode",
        "graver_prefill",
        "graver_main",
    ];
    for name in names {
        assert!(
            header.contains(&format!("{name}(")) || internal.contains(&name),
            "{name}"
        );
    }
}

/// Generated code reaches everything through its context, so that nothing outside can be put in its place.
#[test]
fn objects_of_all_specs_refer_to_nothing_outside() {
    let folder = folder();
    let listed = ok(GRAVER, &["specs"]);
    let specs: Vec<&str> = listed.lines().filter(|line| is_spec(line)).collect();
    assert!(specs.len() >= 27, "{listed}");
    for spec in specs {
        let object = folder.path().join("model.o");
        compile(Path::new(spec), &object, &["--emit", "obj", "-q"]);
        let object = object.display().to_string();
        assert_eq!(ok("nm", &["--undefined-only", &object]), "", "{spec}");
        let defined = ok("nm", &["--defined-only", "--extern-only", &object]);
        let mut names: Vec<&str> = defined
            .lines()
            .filter_map(|l| l.split(' ').nth(2))
            .collect();
        names.sort_unstable();
        assert_eq!(
            names,
            ["graver_decode", "graver_model", "graver_prefill"],
            "{spec}"
        );
    }
}

fn is_spec(name: &str) -> bool {
    root()
        .join("specs")
        .join(name)
        .with_extension("json")
        .exists()
}

#[test]
fn an_object_links_with_the_archive_beside_it() {
    let folder = folder();
    let said = compile(&bible(), &folder.path().join("model.o"), &["--emit", "obj"]);
    assert_eq!(
        listing(folder.path()),
        ["libgraver_runtime.a", "model.h", "model.o", "model.weights"]
    );
    let line = said
        .lines()
        .find_map(|line| line.strip_prefix("link with: cc main.c "))
        .unwrap();
    // The line names the object by its path, and the archive that lies beside it.
    let (_, after) = line.split_once("model.o ").unwrap();
    let arguments: Vec<&str> = ["model.o"].into_iter().chain(after.split(' ')).collect();
    compile_c(folder.path(), &arguments);
    check_continuations(folder.path());

    fs::rename(
        folder.path().join("model.weights"),
        folder.path().join("other"),
    )
    .unwrap();
    let message = fails(folder.path().join("greedy"), &["decode", "1", "1", "1"]);
    let expected = "model.weights: cannot open: No such file";
    assert!(message.contains(expected), "{message}");
}

#[test]
fn a_library_that_was_cut_short_is_an_error_for_c() {
    let folder = folder();
    let library = folder.path().join("model.so");
    compile(&bible(), &library, &["--emit", "so"]);
    compile_c(folder.path(), &["./model.so", "-Wl,-rpath,$ORIGIN"]);
    let bytes = fs::read(&library).unwrap();
    fs::write(&library, &bytes[..bytes.len() - 1]).unwrap();
    let message = fails(folder.path().join("greedy"), &["decode", "1", "1", "1"]);
    assert!(
        message.contains("model.so: its last 32 bytes of "),
        "{message}"
    );
}

/// A file that nothing would be read from is refused, as on the command line.
#[test]
fn a_library_with_weights_takes_no_file_of_them() {
    let folder = folder();
    compile(
        Path::new("llama"),
        &folder.path().join("model.so"),
        &["--emit", "so"],
    );
    let main = r#"
        #include "model.h"
        #include <stdio.h>
        int main(int count, char **words) {
            graver_options options = {0};
            options.weights = count > 1 ? words[1] : 0;
            graver *model = graver_open(&options);
            puts(model ? "opened" : graver_error());
            graver_close(model);
            return 0;
        }
    "#;
    fs::write(folder.path().join("main.c"), main).unwrap();
    let mut cc = Command::new("cc");
    cc.current_dir(folder.path()).args([
        "-o",
        "main",
        "main.c",
        "./model.so",
        "-Wl,-rpath,$ORIGIN",
    ]);
    assert!(output(&mut cc).status.success());
    let main = folder.path().join("main");
    assert_eq!(ok(&main, &[""; 0]), "opened\n");
    let said = ok(&main, &["/nope"]);
    assert!(said.starts_with("/nope: not read, since "), "{said}");
    assert!(said.contains("model.so has its weights inside"), "{said}");
}
