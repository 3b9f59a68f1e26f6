//! What an artifact carries behind its code: weights, and small files such as the tokenizer's.
//!
//! The compiler appends to the linked file, in this order: zeros up to a multiple of [`PAGE_BYTES`]; the weights; the small
//! files one after the other; a directory of them (JSON); and, as the last [`TRAILER_BYTES`] bytes of the file, a trailer that says
//! where weights and directory are. Linkers and loaders take no notice. [`Attached::read`] trusts nothing: whatever it gives
//! back lies inside the file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use serde::{Deserialize, Serialize};

/// The weights of an artifact begin at a multiple of this.
pub const PAGE_BYTES: u64 = 4096;
/// Length of the trailer.
pub const TRAILER_BYTES: usize = 64;
/// The trailer's first bytes.
pub const MAGIC: [u8; 8] = *b"GRAVERW1";
/// Longest directory that is read, in bytes.
const MAX_DIRECTORY: u64 = 1 << 20;
/// Longest small file that is read, in bytes.
const MAX_FILE: u64 = 1 << 30;

/// The end of an artifact: `MAGIC`, four little-endian numbers of 64 bits, zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trailer {
    /// First byte of the weights.
    pub weights_start: u64,
    /// Length of the weights; 0 where they are in a file of their own.
    pub weights_bytes: u64,
    /// First byte of the directory.
    pub directory_start: u64,
    /// Length of the directory.
    pub directory_bytes: u64,
}

/// A small file inside an artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachedFile {
    /// `tokenizer.json`.
    pub name: String,
    /// First byte, counted from the start of the artifact.
    pub offset: u64,
    /// Length in bytes.
    pub bytes: u64,
}

/// Where in an artifact its attachments are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// First byte of the weights: what a blob's offset is counted from.
    pub weights_start: u64,
    /// Length of the weights.
    pub weights_bytes: u64,
    /// The small files.
    pub files: Vec<AttachedFile>,
}

/// Attachments that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum AttachedError {
    /// The system's reason.
    #[error("cannot read the end of the file: {0}")]
    Io(#[from] io::Error),
    /// A part that is not inside the file.
    #[error(
        "the file is damaged: its {what} should be bytes {start} to {start} + {bytes}, but it ends at {limit}; compile the model again"
    )]
    OutOfRange {
        /// `weights`, `directory`, or the name of a small file.
        what: String,
        /// First byte.
        start: u64,
        /// Length.
        bytes: u64,
        /// Where the part would have to end.
        limit: u64,
    },
    /// A directory that is none.
    #[error("the file is damaged: its directory does not parse: {0}; compile the model again")]
    Directory(serde_json::Error),
    /// Something far larger than the compiler writes.
    #[error(
        "the file is damaged: its {what} should have {bytes} bytes, more than the {limit} that are allowed; compile the model again"
    )]
    TooLarge {
        /// `directory`, or the name of a small file.
        what: String,
        /// Length.
        bytes: u64,
        /// Longest allowed.
        limit: u64,
    },
}

impl Trailer {
    /// The trailer as written.
    pub fn to_bytes(&self) -> [u8; TRAILER_BYTES] {
        let mut out = [0; TRAILER_BYTES];
        out[..8].copy_from_slice(&MAGIC);
        let numbers = [
            self.weights_start,
            self.weights_bytes,
            self.directory_start,
            self.directory_bytes,
        ];
        for (number, to) in numbers.iter().zip(out[8..].chunks_exact_mut(8)) {
            to.copy_from_slice(&number.to_le_bytes());
        }
        out
    }

    /// Reads a trailer; `None` where the bytes are something else.
    pub fn from_bytes(bytes: &[u8; TRAILER_BYTES]) -> Option<Trailer> {
        let number = |i: usize| {
            let mut number = [0; 8];
            number.copy_from_slice(&bytes[8 * i..8 * (i + 1)]);
            u64::from_le_bytes(number)
        };
        (bytes[..8] == MAGIC).then(|| Trailer {
            weights_start: number(1),
            weights_bytes: number(2),
            directory_start: number(3),
            directory_bytes: number(4),
        })
    }
}

impl Attached {
    /// Finds what is attached to `file`; `None` for a file without a trailer.
    ///
    /// # Errors
    /// Files that cannot be read, and trailers or directories that point out of the file.
    pub fn read(file: &File) -> Result<Option<Attached>, AttachedError> {
        let Some(limit) = file.metadata()?.len().checked_sub(TRAILER_BYTES as u64) else {
            return Ok(None);
        };
        let mut tail = [0; TRAILER_BYTES];
        file.read_exact_at(&mut tail, limit)?;
        let Some(trailer) = Trailer::from_bytes(&tail) else {
            return Ok(None);
        };
        check_range(
            "weights",
            trailer.weights_start,
            trailer.weights_bytes,
            limit,
        )?;
        let directory = read_part(
            file,
            "directory",
            trailer.directory_start,
            trailer.directory_bytes,
            limit,
            MAX_DIRECTORY,
        )?;
        let files: Vec<AttachedFile> =
            serde_json::from_slice(&directory).map_err(AttachedError::Directory)?;
        for part in &files {
            check_range(&part.name, part.offset, part.bytes, limit)?;
        }
        let Trailer {
            weights_start,
            weights_bytes,
            ..
        } = trailer;
        Ok(Some(Attached {
            weights_start,
            weights_bytes,
            files,
        }))
    }

    /// The contents of the small file called `name`; `None` where there is none.
    ///
    /// # Errors
    /// Files that cannot be read.
    pub fn contents(&self, file: &File, name: &str) -> Result<Option<Vec<u8>>, AttachedError> {
        let Some(part) = self.files.iter().find(|part| part.name == name) else {
            return Ok(None);
        };
        let limit = file.metadata()?.len();
        read_part(file, &part.name, part.offset, part.bytes, limit, MAX_FILE).map(Some)
    }
}

fn check_range(what: &str, start: u64, bytes: u64, limit: u64) -> Result<(), AttachedError> {
    if start.checked_add(bytes).is_some_and(|end| end <= limit) {
        return Ok(());
    }
    Err(AttachedError::OutOfRange {
        what: what.into(),
        start,
        bytes,
        limit,
    })
}

fn read_part(
    file: &File,
    what: &str,
    start: u64,
    bytes: u64,
    limit: u64,
    most: u64,
) -> Result<Vec<u8>, AttachedError> {
    check_range(what, start, bytes, limit)?;
    if bytes > most {
        return Err(AttachedError::TooLarge {
            what: what.into(),
            bytes,
            limit: most,
        });
    }
    // At most a gigabyte, and at most the file's length.
    let mut out = vec![0; bytes as usize];
    file.read_exact_at(&mut out, start)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// A file that is gone when it is closed.
    fn file(bytes: &[u8]) -> File {
        let path = std::env::temp_dir().join(format!(
            "graver-attached-{:?}-{}",
            std::thread::current().id(),
            std::process::id()
        ));
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .unwrap();
        std::fs::remove_file(path).unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn artifact(directory: &str, trailer: impl FnOnce(Trailer) -> Trailer) -> File {
        let mut bytes = b"code....weightsTOKEN".to_vec();
        let found = Trailer {
            weights_start: 8,
            weights_bytes: 7,
            directory_start: 20,
            directory_bytes: directory.len() as u64,
        };
        bytes.extend_from_slice(directory.as_bytes());
        bytes.extend_from_slice(&trailer(found).to_bytes());
        file(&bytes)
    }

    const DIRECTORY: &str = r#"[{"name": "tokenizer.json", "offset": 15, "bytes": 5}]"#;

    fn message(file: &File) -> String {
        Attached::read(file).unwrap_err().to_string()
    }

    #[test]
    fn what_is_attached_is_found() {
        let file = artifact(DIRECTORY, |t| t);
        let attached = Attached::read(&file).unwrap().unwrap();
        assert_eq!((attached.weights_start, attached.weights_bytes), (8, 7));
        assert_eq!(
            attached
                .contents(&file, "tokenizer.json")
                .unwrap()
                .as_deref(),
            Some(&b"TOKEN"[..])
        );
        assert_eq!(attached.contents(&file, "other").unwrap(), None);
    }

    #[test]
    fn files_without_a_trailer_have_nothing_attached() {
        assert_eq!(Attached::read(&file(b"short")).unwrap(), None);
        assert_eq!(Attached::read(&file(&[7; 1000])).unwrap(), None);
    }

    #[test]
    fn parts_outside_the_file_are_refused() {
        let weights = artifact("[]", |t| Trailer {
            weights_bytes: 100,
            ..t
        });
        assert_eq!(
            message(&weights),
            "the file is damaged: its weights should be bytes 8 to 8 + 100, but it ends at 22; compile the model again"
        );
        let overflow = artifact("[]", |t| Trailer {
            weights_start: u64::MAX,
            ..t
        });
        assert!(message(&overflow).contains("its weights should be bytes 18446744073709551615"));
        let directory = artifact("[]", |t| Trailer {
            directory_bytes: 3,
            ..t
        });
        assert!(message(&directory).contains("its directory should be bytes 20 to 20 + 3"));
        let small = artifact(r#"[{"name": "t", "offset": 9000, "bytes": 5}]"#, |t| t);
        assert!(message(&small).contains("its t should be bytes 9000 to 9000 + 5"));
    }

    #[test]
    fn directories_that_do_not_parse_are_refused() {
        let message = message(&artifact("{", |t| t));
        assert!(
            message.starts_with("the file is damaged: its directory does not parse"),
            "{message}"
        );
    }
}
