//! Outputs of any name: each works, or is refused before anything is written.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

use crate::{GRAVER, compile, complaint, fails, folder, listing, ok, output};

const PROMPT: [&str; 7] = [
    "--tokens",
    "1,2,3",
    "-n",
    "4",
    "--temp",
    "0",
    "--print-tokens",
];

#[test]
fn names_with_quotes_blanks_and_line_breaks_work() {
    let folder = folder();
    let expected = ok(GRAVER, &[&["run", "llama"], &PROMPT[..]].concat());
    for name in [
        "a b", "it's", "a\"b", "a\nb", "$(x)", "a,b;c", "-o", "@x", "größe",
    ] {
        let path = folder.path().join(name);
        compile(Path::new("llama"), &path, &["--weights", "external"]);
        assert_eq!(ok(&path, &PROMPT), expected, "{name:?}");
        ok(&path, &["--check"]);
    }
}

/// Names that files have while an artifact is made, or that lie beside it.
#[test]
fn names_of_files_that_outputs_are_made_of_are_free() {
    let folder = folder();
    let expected = ok(GRAVER, &[&["run", "llama"], &PROMPT[..]].concat());
    for name in [
        "graver.o",
        "symbols.txt",
        "exports.map",
        "libgraver_runtime.a",
        "new",
        "parts",
    ] {
        let path = folder.path().join(name);
        compile(Path::new("llama"), &path, &[]);
        assert_eq!(ok(&path, &PROMPT), expected, "{name}");
    }
    let out = folder.path().join("libgraver_runtime.a");
    let before = fs::read(&out).unwrap();
    let arguments = [
        "compile",
        "llama",
        "--emit",
        "obj",
        "-o",
        out.to_str().unwrap(),
    ];
    let message = fails(GRAVER, &arguments);
    assert!(
        message.contains("is also the name of a file written beside the output"),
        "{message}"
    );
    assert!(fs::read(&out).unwrap() == before);
}

/// A library's name is the name of its header too, and what programs look for.
#[test]
fn a_library_of_an_unusual_name_is_found_under_it() {
    for name in ["it's mine", "$(x)", "a\"b"] {
        let folder = folder();
        let out = folder.path().join(format!("{name}.so"));
        let said = compile(Path::new("llama"), &out, &["--emit", "so"]);
        let quoted = format!("'{}'", out.to_str().unwrap().replace('\'', "'\\''"));
        assert!(
            said.contains(&format!("link with: cc main.c {quoted} -Wl")),
            "{said}"
        );
        fs::copy(
            folder.path().join(format!("{name}.h")),
            folder.path().join("plain.h"),
        )
        .unwrap();
        fs::write(
            folder.path().join("main.c"),
            "#include \"plain.h\"\n#include <stdio.h>\n\
             int main(void) { graver *m = graver_open(0); puts(m ? \"opened\" : graver_error()); return 0; }\n",
        )
        .unwrap();
        // As a shell takes the line that was printed.
        let link = format!("cc main.c {quoted} -Wl,-rpath,'$ORIGIN' -o main && ./main");
        let done = output(
            Command::new("sh")
                .current_dir(folder.path())
                .args(["-c", &link]),
        );
        let err = String::from_utf8_lossy(&done.stderr);
        assert_eq!(String::from_utf8_lossy(&done.stdout), "opened\n", "{err}");
    }
}

/// The manifest says in UTF-8 where weights are; a folder may have any name.
#[test]
fn names_that_are_not_utf8_are_refused_and_folders_of_that_kind_are_not() {
    let folder = folder();
    let place = folder.path().join(OsStr::from_bytes(b"caf\xE9"));
    fs::create_dir(&place).unwrap();
    for kind in ["exe", "so", "obj"] {
        let mut command = Command::new(GRAVER);
        command
            .args(["compile", "llama", "--emit", kind, "-o"])
            .arg(place.join(OsStr::from_bytes(b"na\xEFve")));
        let message = complaint(&output(&mut command));
        let expected = "expected an output name in UTF-8; choose another with -o";
        assert!(message.contains(expected), "{message}");
        assert!(message.contains("na\\xEFve"), "{message}");
        assert_eq!(fs::read_dir(&place).unwrap().count(), 0);
    }
    let program = place.join("llama");
    compile(Path::new("llama"), &program, &["--weights", "external"]);
    assert_eq!(listing(&place), ["llama", "llama.weights"]);
}
