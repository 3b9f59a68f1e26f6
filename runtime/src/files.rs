//! Opens and reads the files of a checkpoint, a tokenizer or a spec, none of which is trusted.
//!
//! In: a path, and for reading the most bytes that such a file has. Out: an open regular file, or its bytes. What is not a
//! file (a folder, a pipe that would block, a device without an end), is larger than any real one, or only stands for a
//! file that was never fetched (a broken link, or its text, or a Git LFS pointer) is an error that says so. Whether the bytes make sense is
//! the caller's affair.

use std::fmt;
use std::fs::{self, File, FileType, OpenOptions};
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

/// Largest JSON file with settings that is read (`config.json`, an index of shards), in bytes; real ones are under 16 MB.
pub const MAX_CONFIG: u64 = 64 << 20;
/// Largest `tokenizer.json` that is read, in bytes; real ones are under 40 MB.
pub const MAX_TOKENIZER: u64 = 256 << 20;

/// The longest that what only stands for a file is, in bytes.
const LONGEST_STAND_IN: u64 = 1024;
/// What Git LFS pointers begin with.
const LFS: &str = "version https://git-lfs";

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refused.
    #[error("{}: cannot {action}: {source}", shown(path))]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried: `open`, `read`.
        action: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// A link to nothing.
    #[error(
        "{}: a broken link to {}; download the file again, or copy it there",
        shown(path),
        shown(target)
    )]
    BrokenLink {
        /// The link.
        path: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// Something other than a file.
    #[error("{}: found {found}, expected a regular file", shown(path))]
    NotRegular {
        /// The place.
        path: PathBuf,
        /// `a folder`.
        found: &'static str,
    },
    /// What a repository has in a file's place until the file is fetched.
    #[error("{}: a Git LFS pointer{}, not the file itself; run `git lfs pull`", shown(path), size.as_ref().map_or(String::new(), |n| format!(" to a file of {n} bytes")))]
    LfsPointer {
        /// The file.
        path: PathBuf,
        /// Size of the file that it stands for, as it says.
        size: Option<u64>,
    },
    /// What a link becomes where it was unpacked or checked out as a file.
    #[error(
        "{}: a broken link: a file that holds the path {target:?} in place of the file there; download or copy the file again",
        shown(path)
    )]
    LinkText {
        /// The file.
        path: PathBuf,
        /// Where the link led.
        target: String,
    },
    /// A file that is larger than any real one.
    #[error(
        "{}: {bytes} bytes is too large for this file; at most {limit} are read",
        shown(path)
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size, as far as it is known.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// Bytes that are not text.
    #[error("{}: not UTF-8 at byte {at}; expected text", shown(path))]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// First bad byte.
        at: usize,
    },
}

/// Opens a regular file (through links), and says how long it is. Never waits: a pipe is refused, whether or not somebody
/// writes to it.
///
/// # Errors
/// What is not there, not a regular file, or a Git LFS pointer.
pub fn open(path: &Path) -> Result<(File, u64), FileError> {
    // Looked at before it is opened, since opening alone can set a device in motion, and after, since it is then that file.
    let found = fs::metadata(path).map_err(|source| missing(path, source))?;
    check_regular(path, found.file_type())?;
    let mut file = options().open(path).map_err(io(path, "open"))?;
    let found = file.metadata().map_err(io(path, "open"))?;
    check_regular(path, found.file_type())?;
    check_fetched(path, &mut file, found.len())?;
    Ok((file, found.len()))
}

/// Reads a regular file of at most `limit` bytes.
///
/// # Errors
/// As [`open`]; a file that is larger or cannot be read.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let (file, bytes) = open(path)?;
    let too_large = |bytes| FileError::TooLarge {
        path: path.into(),
        bytes,
        limit,
    };
    if bytes > limit {
        return Err(too_large(bytes));
    }
    let mut contents = Vec::with_capacity(bytes as usize);
    // A file can grow meanwhile, and some of /proc say that they have no bytes: the limit holds for what is read as well.
    let read = file.take(limit + 1).read_to_end(&mut contents);
    match read.map_err(io(path, "read"))? as u64 {
        bytes if bytes > limit => Err(too_large(bytes)),
        _ => Ok(contents),
    }
}

/// Reads a regular file of at most `limit` bytes of UTF-8.
///
/// # Errors
/// As [`read`]; bytes that are not text.
pub fn read_text(path: &Path, limit: u64) -> Result<String, FileError> {
    String::from_utf8(read(path, limit)?).map_err(|error| FileError::NotUtf8 {
        path: path.into(),
        at: error.utf8_error().valid_up_to(),
    })
}

/// Whether anything has this name: a file, or a link to one that is gone, so that reading it says what is wrong with it.
pub fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// A path for messages: as it is, or quoted and escaped where that would not show what it is (bytes that are not UTF-8,
/// line breaks and other control characters, changes of direction).
pub fn shown(path: &Path) -> impl fmt::Display {
    fmt::from_fn(move |f| match path.to_str() {
        Some(text) if !text.chars().any(misleads) => f.write_str(text),
        Some(_) | None => write!(f, "{path:?}"),
    })
}

fn misleads(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK);
    options
}

fn io(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_path_buf();
    move |source| FileError::Io {
        path,
        action,
        source,
    }
}

/// Why a path leads nowhere.
fn missing(path: &Path, source: io::Error) -> FileError {
    match fs::read_link(path) {
        Ok(target) if source.kind() == io::ErrorKind::NotFound => FileError::BrokenLink {
            path: path.into(),
            target,
        },
        Ok(_) | Err(_) => io(path, "open")(source),
    }
}

fn check_regular(path: &Path, found: FileType) -> Result<(), FileError> {
    if found.is_file() {
        return Ok(());
    }
    Err(FileError::NotRegular {
        path: path.into(),
        found: kind(found),
    })
}

#[cfg(unix)]
fn kind(found: FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    if found.is_dir() {
        "a folder"
    } else if found.is_fifo() {
        "a pipe"
    } else if found.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

#[cfg(not(unix))]
fn kind(found: FileType) -> &'static str {
    match found.is_dir() {
        true => "a folder",
        false => "something else",
    }
}

/// Refuses what stands for a file that was not fetched.
fn check_fetched(path: &Path, file: &mut File, bytes: u64) -> Result<(), FileError> {
    if bytes > LONGEST_STAND_IN {
        return Ok(());
    }
    let mut text = vec![];
    let read = file.take(LONGEST_STAND_IN).read_to_end(&mut text);
    read.and_then(|_| file.rewind()).map_err(io(path, "read"))?;
    let text = String::from_utf8_lossy(&text);
    if text.starts_with(LFS) {
        let size = text.lines().find_map(|line| line.strip_prefix("size "));
        return Err(FileError::LfsPointer {
            path: path.into(),
            size: size.and_then(|n| n.parse().ok()),
        });
    }
    let target = text.trim_end();
    match target.starts_with("../") && !target.contains(misleads) {
        true => Err(FileError::LinkText {
            path: path.into(),
            target: target.into(),
        }),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests;
