//! Executables whose weights lie in a file of their own: found beside them or named, and never taken for those of another.

use std::fs;

use crate::{bible, compile, continuations, fails, folder, listing, ok};

#[test]
fn weights_in_a_file_of_their_own_are_found_beside_the_executable() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    compile(&bible(), &path("bible-1.5m"), &["--weights", "external"]);
    assert_eq!(listing(folder.path()), ["bible-1.5m", "bible-1.5m.weights"]);
    let case = &continuations()[0];
    let n = case.greedy_ids.len().to_string();
    let arguments = ["-p", &case.prompt, "-n", &n, "--temp", "0"];
    assert_eq!(ok(path("bible-1.5m"), &arguments), case.text.clone() + "\n");
    ok(path("bible-1.5m"), &["--check"]);

    fs::rename(path("bible-1.5m.weights"), path("elsewhere")).unwrap();
    let message = fails(path("bible-1.5m"), &arguments);
    assert!(
        message.contains("bible-1.5m.weights: cannot open: No such file"),
        "{message}"
    );
    let elsewhere = path("elsewhere").display().to_string();
    let given = [&arguments[..], &["--weights", &elsewhere]].concat();
    assert_eq!(ok(path("bible-1.5m"), &given), case.text.clone() + "\n");

    compile(
        &bible(),
        &path("plain"),
        &["--weights", "external", "--no-fuse"],
    );
    let other = path("plain.weights").display().to_string();
    let message = fails(path("bible-1.5m"), &["-p", "x", "--weights", &other]);
    assert!(
        message.contains("plain.weights: belongs to another model or compilation"),
        "{message}"
    );
}

/// What is not read is not taken without a word.
#[test]
fn a_file_of_weights_beside_weights_inside_is_refused() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    compile(&bible(), &path("bible"), &[]);
    compile(&bible(), &path("other"), &["--weights", "external"]);
    let other = path("other.weights").display().to_string();
    for file in ["/nope", &other] {
        for verb in [&["-p", "And", "-n", "1"][..], &["--check"]] {
            let message = fails(path("bible"), &[verb, &["--weights", file]].concat());
            assert_eq!(
                message,
                format!(
                    "error: {file}: not used: the weights are in {}; drop --weights, or compile with --weights external\n",
                    path("bible").display()
                )
            );
        }
    }
}

#[test]
fn an_executable_without_weights_is_small_and_names_its_kernels() {
    let folder = folder();
    let program = folder.path().join("bible");
    compile(&bible(), &program, &["--weights", "external"]);
    let bytes = fs::read(&program).unwrap();
    assert!(bytes.len() < 8_000_000, "{} bytes", bytes.len());
    let names: Vec<&[u8]> = bytes.split(|byte| *byte == 0).collect();
    for start in [
        "decode.dense.0.",
        "prefill.dense.0.",
        "graver_decode",
        "_ZN14graver_runtime7kernels",
    ] {
        assert!(
            names.iter().any(|name| name.starts_with(start.as_bytes())),
            "{start}"
        );
    }
}
