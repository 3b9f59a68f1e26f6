//! Shared libraries and objects, used from C.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::share;
use crate::{
    GRAVER, bible, comma, compile, continuations, fails, folder, listing, ok, output, root,
};

/// Greedy decoding through the C interface, and what happens to those who do not keep to it.
const GREEDY: &str = include_str!("greedy.c");

/// A text that crosses the length at which rotations change, in every way there is.
const LENGTHS: &str = include_str!("lengths.c");

/// Text, and what happens to those who do not keep to the interface.
const TEXT: &str = include_str!("text.c");

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
    assert_eq!(listing(folder.path()), ["model.h", "model.pc", "model.so"]);
    compile_c(folder.path(), &["./model.so", "-Wl,-rpath,$ORIGIN"]);
    check_continuations(folder.path());
}

/// What `pkg-config` says of a package in a folder, as arguments.
fn pkg_config(folder: &Path, package: &str) -> Vec<String> {
    let mut command = Command::new("pkg-config");
    command.env("PKG_CONFIG_PATH", folder);
    let said = output(command.args(["--cflags", "--libs", package]));
    assert!(
        said.status.success(),
        "{}",
        String::from_utf8_lossy(&said.stderr)
    );
    let said = String::from_utf8(said.stdout).unwrap();
    said.split_whitespace().map(String::from).collect()
}

/// Text in and out, in a library and, with the tokenizer in its file of weights, an object, as `pkg-config` has them linked.
#[test]
fn texts_go_on_from_c() {
    let prompt = "In the beginning";
    let arguments = ["run", "-p", prompt, "-n", "24", "--temp", "0", "-q"];
    let run = ok(GRAVER, &arguments);
    let expected = run.strip_prefix(prompt).unwrap();
    for (emit, main) in [("so", "model.so"), ("obj", "model.o")] {
        let folder = folder();
        compile(&bible(), &folder.path().join(main), &["--emit", emit]);
        let arguments = pkg_config(folder.path(), "model");
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        compile_source(folder.path(), TEXT, &arguments);
        let text = ok(folder.path().join("greedy"), &[prompt]);
        assert_eq!(text, expected.trim_end_matches('\n'), "{emit}");
    }
}

/// The page's own C program, linked as the page says.
#[test]
fn the_program_of_the_documentation_works() {
    let page = fs::read_to_string(root().join("docs/embedding.md")).unwrap();
    let (_, program) = page.split_once("```c\n").unwrap();
    let (program, _) = program.split_once("```").unwrap();
    let folder = folder();
    compile(&bible(), &folder.path().join("model.so"), &["--emit", "so"]);
    let arguments = pkg_config(folder.path(), "model");
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    compile_source(folder.path(), program, &arguments);
    let none: [&str; 0] = [];
    assert!(ok(folder.path().join("greedy"), &none).len() > 20);
}

/// Without a tokenizer there are ids, and an error that says why there is no text.
#[test]
fn a_library_without_a_tokenizer_has_no_text() {
    let folder = folder();
    let out = folder.path().join("model.so");
    compile(Path::new("llama"), &out, &["--emit", "so"]);
    let main = r#"
        #include "model.h"
        #include <stdio.h>
        static int hear(void *data, uint32_t token, const char *text, size_t n) {
            (void)text;
            *(size_t *)data += token != GRAVER_NO_TOKEN;
            return n != 0;
        }
        int main(void) {
            graver *model = graver_open(NULL);
            uint32_t tokens[2] = {1, 2};
            size_t heard = 0;
            graver_sampling sampling = {0};
            sampling.max_tokens = 3;
            sampling.ignore_eos = 1;
            if (graver_tokenize(model, "a", tokens, 2) != GRAVER_FAILED) return 1;
            puts(graver_error());
            if (graver_generate(model, 0, tokens, 2, &sampling, hear, &heard) || heard != 3) return 2;
            graver_close(model);
            return 0;
        }
    "#;
    compile_source(folder.path(), main, &["./model.so", "-Wl,-rpath,$ORIGIN"]);
    let none: [&str; 0] = [];
    let said = ok(folder.path().join("greedy"), &none);
    assert!(said.contains("compiled without a tokenizer"), "{said}");
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
        "graver_tokenize",
        "graver_detokenize",
        "graver_generate",
    ] {
        assert!(names.contains(&name), "{name} is not in {names:?}");
    }
    // The runtime asks libraries for their model.
    for name in names {
        assert!(
            name == "graver_model" || header.contains(&format!("{name}(")),
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
    for spec in specs.into_iter().filter(|spec| share::has(spec)) {
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
        [
            "libgraver_runtime.a",
            "model.h",
            "model.o",
            "model.pc",
            "model.weights"
        ]
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
    assert!(
        said.starts_with("/nope: not used: the weights are in "),
        "{said}"
    );
    assert!(said.contains("model.so; drop --weights"), "{said}");
}
