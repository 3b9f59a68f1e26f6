//! Chromium without a window, for tests of pages.

use std::process::Command;

/// The name under which it is installed, if it is.
pub fn browser() -> Option<&'static str> {
    let runs = |name: &&str| Command::new(name).arg("--version").output().is_ok();
    ["chromium", "chromium-browser", "google-chrome"]
        .into_iter()
        .find(runs)
}

/// The document at `url` after its scripts have run, and what they logged. `options` come after those that every page needs.
///
/// # Panics
/// Where it cannot be run.
pub fn browse(browser: &str, options: &[&str], url: &str) -> (String, String) {
    let profile = tempfile::tempdir().expect("a folder for the profile");
    let output = Command::new(browser)
        .args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--enable-logging=stderr",
            "--dump-dom",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(options)
        .arg(url)
        .output()
        .expect("the browser runs");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (text(output.stdout), text(output.stderr))
}
