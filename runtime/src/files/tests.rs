use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use tempfile::TempDir;

use super::*;

/// What is said of `folder/name`, with the folder's path left out.
fn refused(folder: &TempDir, name: &str) -> String {
    let message = read(&folder.path().join(name), 100).unwrap_err();
    let folder = format!("{}/", folder.path().display());
    message.to_string().replace(&folder, "")
}

fn folder_with(name: &str, bytes: &[u8]) -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join(name), bytes).unwrap();
    folder
}

#[test]
fn a_file_up_to_the_limit() {
    let folder = folder_with("a", &[b'x'; 100]);
    let path = folder.path().join("a");
    assert_eq!(read(&path, 100).unwrap(), [b'x'; 100]);
    assert_eq!(read_text(&path, 100).unwrap(), "x".repeat(100));
    symlink("a", folder.path().join("b")).unwrap();
    assert_eq!(open(&folder.path().join("b")).unwrap().1, 100);
    fs::write(&path, [b'x'; 101]).unwrap();
    assert_eq!(
        refused(&folder, "a"),
        "a: 101 bytes is too large for this file; at most 100 are read"
    );
}

/// Files of /proc say that they are empty; no more than the limit is read of them.
#[test]
fn a_file_that_is_longer_than_it_says() {
    let path = Path::new("/proc/self/maps");
    assert_eq!(fs::metadata(path).unwrap().len(), 0);
    assert!(read(path, 1 << 24).unwrap().len() > 10);
    assert_eq!(
        read(path, 10).unwrap_err().to_string(),
        "/proc/self/maps: 11 bytes is too large for this file; at most 10 are read"
    );
}

#[test]
fn a_text_that_is_none() {
    let folder = folder_with("a", b"ab\xff");
    let message = read_text(&folder.path().join("a"), 100).unwrap_err();
    let message = message.to_string();
    assert!(
        message.ends_with("/a: not UTF-8 at byte 2; expected text"),
        "{message}"
    );
}

#[test]
fn what_is_no_regular_file() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("folder")).unwrap();
    let pipe = std::ffi::CString::new(at("pipe").as_os_str().as_bytes()).unwrap();
    // SAFETY: a path that ends with a zero.
    assert_eq!(unsafe { libc::mkfifo(pipe.as_ptr(), 0o600) }, 0);
    let _socket = UnixListener::bind(at("socket")).unwrap();
    symlink("/dev/zero", at("device")).unwrap();
    symlink("pipe", at("link")).unwrap();
    for (name, found) in [
        ("folder", "a folder"),
        ("pipe", "a pipe"),
        ("socket", "a socket"),
        ("device", "a device"),
        ("link", "a pipe"),
    ] {
        assert_eq!(
            refused(&folder, name),
            format!("{name}: found {found}, expected a regular file")
        );
    }
}

#[test]
fn what_is_not_there() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    symlink("../blobs/0a1b", at("a")).unwrap();
    symlink("loop", at("loop")).unwrap();
    assert_eq!(
        refused(&folder, "a"),
        "a: a broken link to ../blobs/0a1b; download the file again, or copy it there"
    );
    assert!(refused(&folder, "loop").starts_with("loop: cannot open: Too many levels"));
    assert!(refused(&folder, "b").starts_with("b: cannot open: No such file"));
    assert!(is_there(&at("a")) && !is_there(&at("b")));
}

#[test]
fn pointers_of_git_lfs() {
    let start = "version https://git-lfs.github.com/spec/v1\noid sha256:0a1b\n";
    let folder = folder_with("a", format!("{start}size 4096\n").as_bytes());
    let end = "not the file itself; run `git lfs pull`";
    assert_eq!(
        refused(&folder, "a"),
        format!("a: a Git LFS pointer to a file of 4096 bytes, {end}")
    );
    fs::write(folder.path().join("a"), start).unwrap();
    assert_eq!(
        refused(&folder, "a"),
        format!("a: a Git LFS pointer, {end}")
    );
    // Longer than any pointer.
    let long = format!("{start}{}", "x".repeat(1000));
    fs::write(folder.path().join("a"), long).unwrap();
    assert!(read(&folder.path().join("a"), 2000).is_ok());
}

/// Where links cannot be made, they are unpacked as files that hold their paths.
#[test]
fn texts_of_links() {
    for text in ["../../blobs/0a1b", "../../blobs/0a1b\n"] {
        let folder = folder_with("a", text.as_bytes());
        assert_eq!(
            refused(&folder, "a"),
            "a: a broken link: a file that holds the path \"../../blobs/0a1b\" in place of the file there; download or copy the file again"
        );
    }
    for text in ["../a\n../b\n", "..", "{}", ""] {
        let folder = folder_with("a", text.as_bytes());
        assert!(read(&folder.path().join("a"), 100).is_ok(), "{text}");
    }
}

#[test]
fn paths_are_shown_as_they_are_or_escaped() {
    let of = |path: &[u8]| shown(Path::new(OsStr::from_bytes(path))).to_string();
    assert_eq!(of("models/größe \"1\"".as_bytes()), "models/größe \"1\"");
    assert_eq!(of(b"a\nb"), r#""a\nb""#);
    assert_eq!(of(b"a\xffb"), r#""a\xFFb""#);
    assert_eq!(of(b"a\x1b[2J"), r#""a\u{1b}[2J""#);
    assert_eq!(of("a\u{202e}b".as_bytes()), r#""a\u{202e}b""#);
}
