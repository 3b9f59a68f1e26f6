//! Build script: what the `graver` program carries inside it.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let root =
        PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"));
    list_specs(&root.join("../specs"), &out.join("builtin_specs.rs"))
}

/// Writes a table `FILES` of names and texts, so that a file added to `specs/` is a built-in spec without an edit here.
fn list_specs(folder: &Path, table: &Path) -> io::Result<()> {
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut files: Vec<PathBuf> = fs::read_dir(folder)?
        .map(|f| f.map(|f| f.path()))
        .collect::<io::Result<_>>()?;
    files.retain(|f| f.extension().is_some_and(|e| e == "json"));
    files.sort();
    let entry = |f: &PathBuf| {
        let name = f
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        format!(
            "    ({name:?}, include_str!({:?})),\n",
            f.display().to_string()
        )
    };
    let entries: String = files.iter().map(entry).collect();
    fs::write(
        table,
        format!("const FILES: &[(&str, &str)] = &[\n{entries}];\n"),
    )
}
