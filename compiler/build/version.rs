//! The version, with the commit that is built where that is known.
//!
//! A published package says which it was made from; in a checkout git is asked. Incremental builds are those of somebody at work,
//! whose commit changes more often than the program: they have none, and are not made again for every commit.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

/// Characters of a commit that are shown.
const SHOWN: usize = 12;

/// `0.1.0 (0a1b2c3d4e5f)`.
pub(crate) fn version(package: &Path) -> String {
    println!("cargo::rerun-if-env-changed=CARGO_INCREMENTAL");
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    match published(package).or_else(|| checked_out(package)) {
        Some(commit) => format!("{version} ({commit})"),
        None => version,
    }
}

/// The commit of a published package, as cargo notes it.
fn published(package: &Path) -> Option<String> {
    let note = fs::read_to_string(package.join(".cargo_vcs_info.json")).ok()?;
    let (_, rest) = note.split_once("\"sha1\"")?;
    let commit = rest.split('"').nth(1)?;
    is_commit(commit).then(|| commit.chars().take(SHOWN).collect())
}

/// The commit of a checkout that is this project's own.
fn checked_out(package: &Path) -> Option<String> {
    let is_at_work = env::var("CARGO_INCREMENTAL").is_ok_and(|on| on == "1");
    if is_at_work || !package.join("../.git").exists() {
        return None;
    }
    let log = git(package, &["rev-parse", "--git-path", "logs/HEAD"])?;
    let log = package.join(log);
    if log.exists() {
        println!("cargo::rerun-if-changed={}", log.display());
    }
    let commit = git(package, &["rev-parse", &format!("--short={SHOWN}"), "HEAD"])?;
    is_commit(&commit).then_some(commit)
}

fn git(folder: &Path, arguments: &[&str]) -> Option<String> {
    let mut git = Command::new("git");
    let done = git.arg("-C").arg(folder).args(arguments).output().ok()?;
    let text = String::from_utf8(done.stdout).ok()?;
    done.status.success().then(|| text.trim().to_string())
}

fn is_commit(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit())
}
