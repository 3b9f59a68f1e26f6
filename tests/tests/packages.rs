//! What is published can be built: packages hold what their build scripts and sources read.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// Files of a package, as cargo would publish it.
fn files(package: &str) -> BTreeSet<String> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo
        .args([
            "package",
            "--list",
            "--offline",
            "--allow-dirty",
            "-p",
            package,
        ])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    let listed = cargo.output().unwrap();
    let (out, err) = (listed.stdout, String::from_utf8_lossy(&listed.stderr));
    assert!(listed.status.success(), "{err}");
    let text = String::from_utf8(out).unwrap();
    text.lines().map(String::from).collect()
}

#[test]
fn the_compiler_carries_its_specs_its_model_and_its_pages() {
    let files = files("graver");
    for spec in graver::spec::builtin_names() {
        assert!(files.contains(&format!("specs/{spec}.json")), "{spec}");
    }
    for file in [
        "build.rs",
        "build/archive.rs",
        "build/version.rs",
        "model/config.json",
        "model/model.safetensors",
        "model/tokenizer.json",
        "model/tokenizer_config.json",
        "src/report/page.js",
        "src/explore/page.css",
        "src/spec/tables.json",
        "examples/logits.rs",
        "README.md",
        "Cargo.lock",
    ] {
        assert!(files.contains(file), "{file}");
    }
    // Sources of another package come from that package.
    assert!(files.iter().all(|f| !f.contains("runtime/src")));
}

#[test]
fn the_runtime_carries_its_header_and_says_where_it_is() {
    let files = files("graver-runtime");
    for file in ["build.rs", "include/graver.h", "src/lib.rs", "Cargo.lock"] {
        assert!(files.contains(file), "{file}");
    }
    assert!(files.iter().all(|f| !f.starts_with("tests/")), "{files:?}");
}

#[test]
fn no_source_reads_a_file_that_is_not_in_its_package() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (folder, package) in [
        ("compiler", "graver"),
        ("runtime", "graver-runtime"),
        ("serve", "graver-serve"),
    ] {
        let files = files(package);
        let is_tested = |file: &str| file.contains("/tests");
        let sources = files
            .iter()
            .filter(|f| f.ends_with(".rs") && !is_tested(f.as_str()));
        for source in sources.filter(|f| f.starts_with("src/")) {
            let path = root.join(folder).join(source);
            let text = std::fs::read_to_string(&path).unwrap();
            for part in text.split("include_").skip(1) {
                let Some((call, rest)) = part.split_once("!(\"") else {
                    continue;
                };
                if !matches!(call, "str" | "bytes") {
                    continue;
                }
                let name = rest.split('"').next().unwrap_or_default();
                let read = path.parent().unwrap().join(name).canonicalize().unwrap();
                let home = root.join(folder).canonicalize().unwrap();
                let inside = read.strip_prefix(&home).map(|p| p.display().to_string());
                assert!(
                    inside.as_ref().is_ok_and(|p| files.contains(p)),
                    "{source} reads {name}, which is not in the package"
                );
            }
        }
    }
}
