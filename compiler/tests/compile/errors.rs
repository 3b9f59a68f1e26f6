//! What goes wrong while compiling: each mistake has its words, and nothing half-written stays behind.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::{
    GRAVER, bible, compile, complaint, fails, folder, listing, output, start, write_program,
};

/// A compilation of the committed model that has not begun.
fn compilation(out: &Path) -> Command {
    let mut command = Command::new(GRAVER);
    command.arg("compile").arg(bible()).arg("-o").arg(out);
    command
}

fn fail(out: &Path) -> String {
    complaint(&output(&mut compilation(out)))
}

#[test]
fn without_a_c_compiler_it_says_what_to_install() {
    let folder = folder();
    let mut command = compilation(&folder.path().join("model"));
    let message = complaint(&output(command.env("PATH", folder.path()).env_remove("CC")));
    assert_eq!(
        message,
        "error: cannot run `cc`, which links the output: No such file or directory (os error 2); install a C compiler (gcc or clang), or set CC\n"
    );
    let message = complaint(&output(command.env("CC", "no-such-compiler")));
    assert!(
        message.contains("cannot run `no-such-compiler`"),
        "{message}"
    );
    assert_eq!(listing(folder.path()), [""; 0]);
}

#[test]
fn what_a_failing_c_compiler_says_is_shown() {
    let (folder, tools) = (folder(), folder());
    let cc = tools.path().join("cc");
    write_program(&cc, b"#!/bin/sh\necho 'cc: no linker today' >&2\nexit 3\n");
    let mut command = compilation(&folder.path().join("model"));
    let message = complaint(&output(command.env("CC", &cc)));
    let expected = format!(
        "error: `{}` could not link the output (exit status: 3):\ncc: no linker today\n",
        cc.display()
    );
    assert_eq!(message, expected);
    assert_eq!(listing(folder.path()), [""; 0]);
}

#[test]
fn an_output_that_is_a_folder_is_left_alone() {
    let folder = folder();
    fs::create_dir(folder.path().join("model")).unwrap();
    let message = fail(&folder.path().join("model"));
    assert!(
        message.ends_with("model: is a folder; choose an output file with -o FILE\n"),
        "{message}"
    );
    // So is the place of a file that would lie beside the output.
    fs::create_dir(folder.path().join("other.weights")).unwrap();
    let mut command = compilation(&folder.path().join("other"));
    let message = complaint(&output(command.args(["--weights", "external"])));
    assert!(message.contains("other.weights: is a folder"), "{message}");
    assert_eq!(listing(folder.path()), ["model", "other.weights"]);
}

#[test]
fn an_output_that_is_a_device_is_left_alone() {
    let message = fail(Path::new("/dev/full"));
    assert_eq!(
        message,
        "error: /dev/full: is not a regular file; choose another output with -o FILE\n"
    );
    assert!(!fs::metadata("/dev/full").unwrap().is_file());
}

#[test]
fn a_folder_that_is_missing_or_not_writable_is_named() {
    let folder = folder();
    let missing = folder.path().join("missing");
    let message = fail(&missing.join("model"));
    let expected = format!(
        "error: {}: cannot create a file in this folder: No such file or directory",
        missing.display()
    );
    assert!(message.starts_with(&expected), "{message}");
    assert!(
        message.ends_with("; choose another output with -o FILE\n"),
        "{message}"
    );

    fs::write(folder.path().join("file"), "").unwrap();
    let message = fail(&folder.path().join("file/model"));
    assert!(
        message.contains("file: cannot create a file in this folder: "),
        "{message}"
    );

    let closed = folder.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).unwrap();
    if fs::write(closed.join("probe"), "").is_ok() {
        eprintln!("skipped: this user may write to folders that are closed to writing");
        return;
    }
    let message = fail(&closed.join("model"));
    assert!(
        message.contains("closed: cannot create a file in this folder: Permission denied"),
        "{message}"
    );
}

#[test]
fn names_that_cannot_be_files_are_refused() {
    let message = fail(Path::new("/"));
    assert!(message.starts_with("error: /: "), "{message}");
    let message = fail(Path::new("somewhere/.."));
    assert!(
        message.contains("expected an output name in UTF-8"),
        "{message}"
    );
}

/// A limit on the size of files stands for a disk that fills up: the system's reason is another, the place in the code the
/// same.
#[test]
fn a_file_that_cannot_grow_leaves_nothing_behind() {
    let folder = folder();
    let spec = large_spec(folder.path());
    fs::write(folder.path().join("model"), "what was there before").unwrap();
    // Blocks of 512 bytes: none for the object, too few for the archive, enough for all but the weights.
    for (blocks, kind) in [
        (1, "exe"),
        (1, "obj"),
        (2_000, "exe"),
        (120_000, "exe"),
        (120_000, "so"),
        (120_000, "obj"),
    ] {
        let script = format!(
            "trap '' XFSZ; ulimit -f {blocks}; exec '{GRAVER}' compile '{}' -o '{}' --emit {kind}",
            spec.display(),
            folder.path().join("model").display(),
        );
        let output = output(Command::new("sh").args(["-c", &script]));
        let message = complaint(&output);
        let expected = "cannot write it: File too large (os error 27); no output is left\n";
        assert!(message.ends_with(expected), "{blocks}: {message}");
        assert_eq!(listing(folder.path()), ["large.json", "model"], "{blocks}");
    }
    let before = fs::read_to_string(folder.path().join("model")).unwrap();
    assert_eq!(before, "what was there before");
}

#[test]
fn a_full_disk_leaves_nothing_behind() {
    let folder = folder();
    let spec = large_spec(folder.path());
    let disk = folder.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let small_disk = |command: &str| {
        let script = format!(
            "mount -t tmpfs -o size=80m none '{}' && {command}",
            disk.display()
        );
        let unshare = "exec unshare --map-root-user --mount sh -c \"$0\"";
        output(Command::new("sh").args(["-c", unshare, &script]))
    };
    if !small_disk("true").status.success() {
        eprintln!("skipped: a small disk cannot be mounted here");
        return;
    }
    let compile = format!(
        "! '{GRAVER}' compile '{}' -o '{}' && ls -A '{}'",
        spec.display(),
        disk.join("model").display(),
        disk.display(),
    );
    let output = small_disk(&compile);
    assert!(output.status.success());
    let message = String::from_utf8(output.stderr).unwrap();
    let expected =
        "model: cannot write it: No space left on device (os error 28); no output is left\n";
    assert!(message.ends_with(expected), "{message}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "");
}

/// A place that cannot be renamed over (here a file with something mounted on it) is found out last, when the other files are in
/// place already.
#[test]
fn an_output_that_cannot_be_replaced_leaves_what_was_there() {
    for older in [None, Some("old weights")] {
        let folder = folder();
        let out = folder.path().join("model");
        fs::write(&out, "old").unwrap();
        if let Some(text) = older {
            fs::write(folder.path().join("model.weights"), text).unwrap();
        }
        let mounted = |command: &str| {
            let out = out.display();
            let script = format!("mount --bind '{out}' '{out}' && {command}");
            let unshare = "exec unshare --map-root-user --mount sh -c \"$0\"";
            output(Command::new("sh").args(["-c", unshare, &script]))
        };
        if !mounted("true").status.success() {
            eprintln!("skipped: nothing can be mounted here");
            return;
        }
        let compile = format!(
            "'{GRAVER}' compile llama --weights external -o '{}'",
            out.display()
        );
        let message = complaint(&mounted(&compile));
        let end =
            "model: cannot write it: Device or resource busy (os error 16); no output is left\n";
        assert!(message.ends_with(end), "{message}");
        assert_eq!(fs::read_to_string(&out).unwrap(), "old");
        let weights = fs::read_to_string(folder.path().join("model.weights"));
        assert_eq!(weights.ok().as_deref(), older);
        let expected = ["model", "model.weights"];
        let expected = &expected[..1 + usize::from(older.is_some())];
        assert_eq!(listing(folder.path()), expected);
    }
}

#[test]
fn a_failed_compilation_leaves_the_old_output() {
    let folder = folder();
    let out = folder.path().join("model");
    compile(&bible(), &out, &["--quiet"]);
    let before = fs::read(&out).unwrap();
    complaint(&output(compilation(&out).env("CC", "/bin/false")));
    assert!(fs::read(&out).unwrap() == before);
    assert_eq!(listing(folder.path()), ["model"]);
}

/// A spec with some 80 MB of weights.
fn large_spec(folder: &Path) -> PathBuf {
    let path = folder.join("large.json");
    let spec = r#"{
        "about": "A larger one",
        "extends": "llama",
        "match": { "model_type": ["large"] },
        "presets": { "tiny": {
            "vocab_size": 4000, "hidden_size": 512, "num_hidden_layers": 4, "num_attention_heads": 8,
            "intermediate_size": 2048, "max_position_embeddings": 512
        } }
    }"#;
    fs::write(&path, spec).unwrap();
    path
}

#[test]
fn an_interrupted_compilation_leaves_nothing_behind() {
    let folder = folder();
    let spec = folder.path().join("endless.json");
    let text = fs::read_to_string(large_spec(folder.path())).unwrap();
    // Gigabytes: more than is written before the signal comes.
    let text = text.replace("\"num_hidden_layers\": 4", "\"num_hidden_layers\": 600");
    fs::write(&spec, text).unwrap();
    let mut command = Command::new(GRAVER);
    command
        .arg("compile")
        .arg(&spec)
        .arg("-o")
        .arg(folder.path().join("model"));
    let child = start(command.stdout(Stdio::null()).stderr(Stdio::piped()));
    while !is_being_written(folder.path()) {
        std::thread::sleep(Duration::from_millis(10));
    }
    let pid = child.id().to_string();
    assert!(
        output(Command::new("kill").args(["-INT", &pid]))
            .status
            .success()
    );
    let message = complaint(&child.wait_with_output().unwrap());
    assert!(
        message.ends_with("error: interrupted; no file was written\n"),
        "{message}"
    );
    assert_eq!(listing(folder.path()), ["endless.json", "large.json"]);
}

/// Ctrl-C reaches the linker as well, whose end is not what is complained about.
#[test]
fn an_interruption_while_linking_is_no_fault_of_the_linker() {
    let folder = folder();
    let cc = folder.path().join("slow-cc");
    let script = "#!/bin/sh\ntouch started\nwhile :; do sleep 0.05; done\n";
    write_program(&cc, script.as_bytes());
    let mut command = Command::new(GRAVER);
    command
        .args(["compile", "llama", "-o"])
        .arg(folder.path().join("model"))
        .env("CC", &cc)
        .process_group(0)
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let child = start(&mut command);
    let has_begun = || {
        let staging = listing(folder.path());
        let staging = staging.into_iter().find(|n| n.starts_with(".graver-"));
        staging.is_some_and(|s| folder.path().join(s).join("new/started").exists())
    };
    while !has_begun() {
        std::thread::sleep(Duration::from_millis(10));
    }
    // To the whole group, as a terminal does.
    let group = format!("-{}", child.id());
    assert!(
        output(Command::new("kill").args(["-INT", "--", &group]))
            .status
            .success()
    );
    let message = complaint(&child.wait_with_output().unwrap());
    assert_eq!(message, "error: interrupted; no file was written\n");
    assert_eq!(listing(folder.path()), ["slow-cc"]);
}

/// What the disk has no room for is not begun.
#[test]
fn a_model_larger_than_the_disk_is_refused_before_it_is_written() {
    let folder = folder();
    let out = folder.path().join("huge").display().to_string();
    let message = fails(GRAVER, &["compile", "deepseek_v3:671b", "-o", &out]);
    assert!(
        message.contains("the weights need 1.34 TB, but only "),
        "{message}"
    );
    assert!(
        message.contains(" is free in this folder; free some space, "),
        "{message}"
    );
    assert_eq!(listing(folder.path()), [""; 0]);
}

/// Whether weights are being written somewhere in this folder: the linked code alone is smaller.
fn is_being_written(folder: &Path) -> bool {
    let staging = listing(folder)
        .into_iter()
        .find(|name| name.starts_with(".graver-"));
    let length = |path: PathBuf| fs::metadata(path).map_or(0, |file| file.len());
    staging.is_some_and(|staging| length(folder.join(staging).join("new/model")) > 50_000_000)
}
