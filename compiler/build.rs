//! Build script: what the `graver` program carries inside it, the built-in specs and the runtime of compiled models.
//!
//! The runtime is linked into every executable and library that `graver compile` makes, as a static archive, in which are conversations
//! and the server, too: linkers leave out what an artifact was not compiled with. Cargo cannot
//! yet build a dependency as another kind of crate, with another profile, and hand over the file; so a nested cargo builds
//! it here, and `graver` includes the archive, compressed, and needs nothing beside it but the system's `cc`.
//!
//! The nested cargo has a target folder of its own, because this one's is locked while this script runs. The folder lies
//! beside the profiles' folders, so that debug, release, clippy and tests share what is in it. It gets none of the flags
//! that were meant for this build (`RUSTFLAGS`, `target-cpu=native` among them, and clippy's wrapper): what is compiled
//! here runs on other machines. It works offline and with the lock file as it is, since the outer cargo has resolved and
//! fetched the same packages already: both crates are among its own dependencies, whose build scripts say where their source is, be
//! it a checkout or a published package.

#[path = "build/archive.rs"]
mod archive;
#[path = "build/version.rs"]
mod version;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let out = variable("OUT_DIR");
    let package = variable("CARGO_MANIFEST_DIR");
    println!(
        "cargo::rustc-env=GRAVER_TARGET={}",
        variable("TARGET").display()
    );
    fs::write(out.join("version.txt"), version::version(&package))?;
    // A link to the repository's folder; in a published package, a folder.
    list_specs(&package.join("specs"), &out.join("builtin_specs.rs"))?;
    println!("cargo::rustc-env=GRAVER_MPI_LIBRARIES={}", mpi_libraries()?);
    let serve = source(&package, "serve", "DEP_GRAVER_SERVE_FOLDER");
    let runtime = source(&package, "runtime", "DEP_GRAVER_RUNTIME_FOLDER");
    watch(&runtime);
    let mut archive = fs::read(build_runtime(&serve, &runtime, &out)?)?;
    fs::write(out.join("runtime.symbols"), archive::slim(&mut archive))?;
    let packed = lz4_flex::compress_prepend_size(&archive);
    fs::write(out.join("runtime.a.lz4"), packed)
}

/// Where a package's source is: in the checkout beside this package, else where its own script, which is given as a variable, says. That one does not run
/// again where a checkout is moved with its target folder, and would go on to name the old place.
fn source(package: &Path, name: &str, said: &str) -> PathBuf {
    let beside = package.join("..").join(name);
    match beside.join("Cargo.toml").exists() && package.join("../Cargo.lock").exists() {
        true => beside,
        false => variable(said),
    }
}

/// Whether executables of ranks are wanted.
fn has_mpi() -> bool {
    env::var_os("CARGO_FEATURE_MPI").is_some()
}

/// What an executable that uses MPI is linked with, as MPI's own compiler says; nothing where it is not wanted.
fn mpi_libraries() -> io::Result<String> {
    if !has_mpi() {
        return Ok(String::new());
    }
    println!("cargo::rerun-if-env-changed=MPICC");
    let mpicc = env::var("MPICC").unwrap_or_else(|_| "mpicc".into());
    // Open MPI's, then MPICH's.
    for option in ["-showme:link", "-link_info"] {
        let said = Command::new(&mpicc).arg(option).output()?;
        if said.status.success() {
            let text = String::from_utf8_lossy(&said.stdout).trim().to_string();
            // MPICH's names the compiler first.
            let options = text.split_whitespace().filter(|word| word.starts_with('-'));
            return Ok(options.collect::<Vec<_>>().join(" "));
        }
    }
    let message = format!("{mpicc} does not say what it links with; is it MPI's compiler?");
    Err(io::Error::other(message))
}

/// A variable that cargo sets for build scripts.
fn variable(name: &str) -> PathBuf {
    PathBuf::from(env::var_os(name).unwrap_or_else(|| panic!("cargo sets {name}")))
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

/// Has this script run again when a package's source changes.
fn watch(source: &Path) {
    for input in [
        "src",
        "include",
        "Cargo.toml",
        "../Cargo.toml",
        "../Cargo.lock",
    ] {
        let input = source.join(input);
        // What is not there would be taken for changed each time.
        if input.exists() {
            println!("cargo::rerun-if-changed={}", input.display());
        }
    }
}

/// Builds the archive from the source of the crate that has all of it, and returns where it is.
fn build_runtime(serve: &Path, runtime: &Path, out: &Path) -> io::Result<PathBuf> {
    watch(serve);
    let (folder, target) = (nested_target_folder(out), variable("TARGET"));
    let status = if serve.join("../Cargo.lock").exists() {
        nested_cargo(serve, &folder)
            .args(["--locked", "--offline"])
            .status()?
    } else {
        build_published(serve, runtime, out, &folder)?
    };
    if !status.success() {
        let message = format!("the runtime of compiled models was not built ({status}), see above");
        return Err(io::Error::other(message));
    }
    Ok(folder.join(target).join("artifact/libgraver_serve.a"))
}

/// Builds a published package: a copy, since cargo writes a lock file beside it, with the very runtime that this build has.
fn build_published(
    serve: &Path,
    runtime: &Path,
    out: &Path,
    folder: &Path,
) -> io::Result<ExitStatus> {
    let copy = out.join("serve");
    if copy.exists() {
        fs::remove_dir_all(&copy)?;
    }
    copy_folder(serve, &copy)?;
    // A workspace of its own, whatever the target folder lies in.
    let manifest = copy.join("Cargo.toml");
    let text = fs::read_to_string(&manifest)? + "\n[workspace]\n";
    fs::write(manifest, text)?;
    let patch = format!("patch.crates-io.graver-runtime.path={runtime:?}");
    let build = |more: &[&str]| {
        let mut cargo = nested_cargo(&copy, folder);
        cargo.args(["--config", &patch]).args(more).status()
    };
    // What is there already was fetched for this build, and has its versions.
    let status = build(&["--offline"])?;
    if status.success() {
        return Ok(status);
    }
    build(&[])
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// A cargo that builds the runtime's archive into a target folder of its own.
fn nested_cargo(source: &Path, folder: &Path) -> Command {
    let mut features = vec!["artifact"];
    features.extend(has_mpi().then_some("mpi"));
    let mut cargo = Command::new(variable("CARGO"));
    cargo
        .args(["rustc", "--lib", "--crate-type=staticlib"])
        .arg(format!("--features={}", features.join(",")))
        .arg("--profile=artifact")
        // Published packages have no profiles.
        .args(["--config", "profile.artifact.inherits=\"release\""])
        .arg("--manifest-path")
        .arg(source.join("Cargo.toml"))
        .arg("--target")
        .arg(variable("TARGET"))
        .arg("--target-dir")
        .arg(folder);
    let ours = env::vars_os().map(|(name, _)| name);
    for name in ours.filter(|name| is_for_this_build(name)) {
        cargo.env_remove(name);
    }
    // An empty list of flags goes before any that a configuration file has.
    cargo.env("CARGO_ENCODED_RUSTFLAGS", "");
    cargo.env("RUSTC", variable("RUSTC"));
    cargo
}

/// `target/runtime` for an output folder such as `target/release/build/graver-1234/out`, else a folder in the latter.
fn nested_target_folder(out: &Path) -> PathBuf {
    let is_usual = out.ancestors().nth(2).and_then(Path::file_name) == Some(OsStr::new("build"));
    let beside = is_usual.then(|| out.ancestors().nth(4)).flatten();
    beside.unwrap_or(out).join("runtime")
}

/// Whether a variable of cargo's and the compiler's is about this build rather than about the machine: where packages come
/// from, how many jobs may run at once.
fn is_for_this_build(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let machine = [
        "CARGO_HOME",
        "CARGO_HTTP_",
        "CARGO_MAKEFLAGS",
        "CARGO_NET_",
        "CARGO_REGISTRIES_",
        "CARGO_REGISTRY_",
        "CARGO_SOURCE_",
        "CARGO_TERM_",
    ];
    let tools = ["CARGO", "RUSTC", "RUSTDOC", "RUSTFLAGS"];
    tools.iter().any(|tool| name.starts_with(tool))
        && !machine.iter().any(|setting| name.starts_with(setting))
}
