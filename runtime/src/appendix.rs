//! What an artifact carries after its code: weights, and small files such as the tokenizer's.
//!
//! The compiler appends to the linked file, in this order: zeros up to a multiple of [`PAGE_BYTES`]; the weights; the small
//! files one after the other; a [`Directory`] of all that (JSON); and, as the file's last [`TRAILER_BYTES`] bytes, a trailer
//! that says where the directory is. Linkers and loaders take no notice. A `.weights` file is the same without code.
//!
//! Reading trusts nothing: whatever [`Appendix::open`] gives back lies inside the file, the directory and every small file
//! are as they were written, and nothing larger than the file is allocated. Weights are not read until
//! [`Appendix::check`] is asked to: a flipped bit in them changes a number that comes out, and nothing else.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::files::shown;
use crate::mapped::Blob;

/// The weights begin at a multiple of this.
pub const PAGE_BYTES: u64 = 4096;
/// Length of the trailer: [`MAGIC`], then start, length and checksum of the directory as little-endian numbers of 64 bits.
pub const TRAILER_BYTES: usize = 32;
/// The trailer's first bytes.
pub const MAGIC: [u8; 8] = *b"GRAVERA1";
/// Longest directory that is read, in bytes; what the compiler writes is under a kilobyte.
const MAX_DIRECTORY: u64 = 1 << 20;
/// Bytes that are read at once when a part is checked.
const CHUNK: usize = 1 << 18;

/// What lies where in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directory {
    /// Checksum of the manifest that the weights belong to.
    pub manifest: u64,
    /// The code, from the file's first byte on; empty in a `.weights` file.
    pub code: FilePart,
    /// The weights, of all blobs that the manifest does not give a file of their own; blobs are found from their start.
    pub weights: FilePart,
    /// The small files.
    pub files: Vec<FilePart>,
}

/// A run of bytes of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilePart {
    /// `code`, `weights`, or the name of a small file.
    pub name: String,
    /// First byte, counted from the start of the file.
    pub offset: u64,
    /// Length in bytes.
    pub bytes: u64,
    /// [`Checksum`] of the bytes.
    pub checksum: u64,
}

/// A file whose directory has been read and checked.
#[derive(Debug)]
pub struct Appendix {
    file: File,
    path: PathBuf,
    directory: Directory,
}

/// Why a file's appendix could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendixError {
    /// The system's reason.
    #[error("{}: cannot be read: {source}", shown(path))]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file does not end as the compiler left it.
    #[error(
        "{}: its last {TRAILER_BYTES} bytes of {file_bytes} are not the compiler's: it was cut short, stripped or changed; copy it again or compile the model again",
        shown(path)
    )]
    NoTrailer {
        /// The file.
        path: PathBuf,
        /// Its length.
        file_bytes: u64,
    },
    /// A part that is not inside the file.
    #[error(
        "{}: damaged: its {part} should be {bytes} bytes from byte {offset}, but what can hold it ends at {limit}; copy it again or compile the model again",
        shown(path)
    )]
    OutOfRange {
        /// The file.
        path: PathBuf,
        /// `directory`, `weights`, or the name of a small file.
        part: String,
        /// First byte.
        offset: u64,
        /// Length.
        bytes: u64,
        /// Where it would have to end.
        limit: u64,
    },
    /// A part that is not as it was written.
    #[error(
        "{}: damaged: the checksum of its {part} is {found:016x}, expected {expected:016x}; copy it again or compile the model again",
        shown(path)
    )]
    Checksum {
        /// The file.
        path: PathBuf,
        /// `code`, `directory`, `weights`, or the name of a small file.
        part: String,
        /// Checksum of what is there.
        found: u64,
        /// Checksum of what was written.
        expected: u64,
    },
    /// A directory that does not parse although its checksum is right.
    #[error(
        "{}: damaged: its directory does not parse: {source}; compile the model again",
        shown(path)
    )]
    Directory {
        /// The file.
        path: PathBuf,
        /// Line, column and reason.
        source: serde_json::Error,
    },
    /// Weights of something else.
    #[error(
        "{}: belongs to another model or compilation (manifest {found:016x}, this code has {expected:016x}); use what was written together",
        shown(path)
    )]
    Manifest {
        /// The file.
        path: PathBuf,
        /// Checksum of the manifest it belongs to.
        found: u64,
        /// Checksum of the code's manifest.
        expected: u64,
    },
    /// The system did not map a part.
    #[error(transparent)]
    Map(Box<crate::Error>),
}

impl Appendix {
    /// Reads and checks the directory of `file`, which lies at `path` (for messages).
    ///
    /// # Errors
    /// A file that cannot be read, has no trailer, or whose directory is damaged or points out of the file.
    pub fn open(file: File, path: &Path) -> Result<Appendix, AppendixError> {
        let read = Reader { file: &file, path };
        let file_bytes = read.io(file.metadata())?.len();
        let trailer = read.trailer(file_bytes)?;
        let limit = file_bytes - TRAILER_BYTES as u64;
        let text = read.part(
            &trailer,
            limit.min(trailer.offset.saturating_add(MAX_DIRECTORY)),
        )?;
        let directory: Directory =
            serde_json::from_slice(&text).map_err(|source| AppendixError::Directory {
                path: path.into(),
                source,
            })?;
        let Directory {
            code,
            weights,
            files,
            ..
        } = &directory;
        for part in [code, weights].into_iter().chain(files) {
            read.check_range(part, trailer.offset)?;
        }
        Ok(Appendix {
            path: path.into(),
            file,
            directory,
        })
    }

    /// What lies where.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Checks that the weights belong to the manifest with this checksum.
    ///
    /// # Errors
    /// Weights of another manifest.
    pub fn check_manifest(&self, expected: u64) -> Result<(), AppendixError> {
        let found = self.directory.manifest;
        if found == expected {
            return Ok(());
        }
        Err(AppendixError::Manifest {
            path: self.path.clone(),
            found,
            expected,
        })
    }

    /// Reads a part and compares its checksum with the directory's.
    ///
    /// # Errors
    /// A part that cannot be read, or is not as it was written.
    pub fn check(&self, part: &FilePart) -> Result<(), AppendixError> {
        let read = Reader {
            file: &self.file,
            path: &self.path,
        };
        let mut checksum = Checksum::default();
        let mut buffer = vec![0; CHUNK.min(part.bytes as usize)];
        let (mut at, end) = (part.offset, part.offset + part.bytes);
        while at < end {
            let n = buffer.len().min((end - at) as usize);
            read.io(self.file.read_exact_at(&mut buffer[..n], at))?;
            checksum.update(&buffer[..n]);
            at += n as u64;
        }
        read.compare(part, checksum.finish())
    }

    /// Maps `bytes` bytes of the weights from their byte `offset`.
    ///
    /// # Errors
    /// A range outside the weights; what the system says.
    pub fn weights(&self, offset: u64, bytes: usize) -> Result<Blob, AppendixError> {
        let weights = &self.directory.weights;
        let part = FilePart {
            name: "weights".into(),
            offset: weights.offset.saturating_add(offset),
            bytes: bytes as u64,
            checksum: 0,
        };
        let read = Reader {
            file: &self.file,
            path: &self.path,
        };
        read.check_range(&part, weights.offset + weights.bytes)?;
        Ok(self.map(&part)?.settled())
    }

    /// The small file called `name`, checked; `None` where there is none.
    ///
    /// # Errors
    /// A file that is not as it was written; what the system says.
    pub fn file(&self, name: &str) -> Result<Option<Blob>, AppendixError> {
        let Some(part) = self.directory.files.iter().find(|part| part.name == name) else {
            return Ok(None);
        };
        let blob = self.map(part)?;
        let read = Reader {
            file: &self.file,
            path: &self.path,
        };
        read.compare(part, Checksum::of(blob.as_slice()))?;
        Ok(Some(blob))
    }

    fn map(&self, part: &FilePart) -> Result<Blob, AppendixError> {
        Blob::map(&self.file, &self.path, part.offset, part.bytes as usize)
            .map_err(|error| AppendixError::Map(Box::new(error)))
    }
}

/// The trailer that points to a directory.
pub fn trailer(directory: &FilePart) -> [u8; TRAILER_BYTES] {
    let mut out = [0; TRAILER_BYTES];
    out[..8].copy_from_slice(&MAGIC);
    let numbers = [directory.offset, directory.bytes, directory.checksum];
    for (number, to) in numbers.iter().zip(out[8..].chunks_exact_mut(8)) {
        to.copy_from_slice(&number.to_le_bytes());
    }
    out
}

struct Reader<'a> {
    file: &'a File,
    path: &'a Path,
}

impl Reader<'_> {
    fn io<T>(&self, result: io::Result<T>) -> Result<T, AppendixError> {
        result.map_err(|source| AppendixError::Read {
            path: self.path.into(),
            source,
        })
    }

    fn trailer(&self, file_bytes: u64) -> Result<FilePart, AppendixError> {
        let none = || AppendixError::NoTrailer {
            path: self.path.into(),
            file_bytes,
        };
        let at = file_bytes
            .checked_sub(TRAILER_BYTES as u64)
            .ok_or_else(none)?;
        let mut tail = [0; TRAILER_BYTES];
        self.io(self.file.read_exact_at(&mut tail, at))?;
        let number = |i: usize| {
            let mut number = [0; 8];
            number.copy_from_slice(&tail[8 * i..8 * (i + 1)]);
            u64::from_le_bytes(number)
        };
        if tail[..8] != MAGIC {
            return Err(none());
        }
        Ok(FilePart {
            name: "directory".into(),
            offset: number(1),
            bytes: number(2),
            checksum: number(3),
        })
    }

    /// Reads a part that has to end at `limit` or before.
    fn part(&self, part: &FilePart, limit: u64) -> Result<Vec<u8>, AppendixError> {
        self.check_range(part, limit)?;
        let mut out = vec![0; part.bytes as usize];
        self.io(self.file.read_exact_at(&mut out, part.offset))?;
        self.compare(part, Checksum::of(&out))?;
        Ok(out)
    }

    fn check_range(&self, part: &FilePart, limit: u64) -> Result<(), AppendixError> {
        let &FilePart {
            ref name,
            offset,
            bytes,
            ..
        } = part;
        if offset.checked_add(bytes).is_some_and(|end| end <= limit) {
            return Ok(());
        }
        Err(AppendixError::OutOfRange {
            path: self.path.into(),
            part: name.clone(),
            offset,
            bytes,
            limit,
        })
    }

    fn compare(&self, part: &FilePart, found: u64) -> Result<(), AppendixError> {
        if found == part.checksum {
            return Ok(());
        }
        Err(AppendixError::Checksum {
            path: self.path.into(),
            part: part.name.clone(),
            found,
            expected: part.checksum,
        })
    }
}

/// A checksum against damage, not against intent: little-endian words of 64 bits, then the length, each mixed by itself and
/// taken in by a rotation, an exclusive or and a multiplication.
///
/// Every step is a bijection of the state, so that no change of a single word goes unnoticed; one word at a time keeps up with
/// a disk, which one byte at a time does not.
#[derive(Clone, Debug)]
pub struct Checksum {
    state: u64,
    /// The bytes after the last whole word.
    rest: Vec<u8>,
    bytes: u64,
}

impl Default for Checksum {
    fn default() -> Self {
        Checksum {
            state: 0xcbf2_9ce4_8422_2325,
            rest: Vec::with_capacity(8),
            bytes: 0,
        }
    }
}

impl Checksum {
    /// Checksum of `bytes`.
    pub fn of(bytes: &[u8]) -> u64 {
        let mut checksum = Checksum::default();
        checksum.update(bytes);
        checksum.finish()
    }

    /// Takes the next bytes; where the input is cut makes no difference.
    pub fn update(&mut self, mut bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        if !self.rest.is_empty() {
            let (fill, after) = bytes.split_at(bytes.len().min(8 - self.rest.len()));
            self.rest.extend_from_slice(fill);
            bytes = after;
            if self.rest.len() < 8 {
                return;
            }
            self.word_of_rest();
        }
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        self.rest.extend_from_slice(rest);
    }

    /// The checksum of all that was taken.
    pub fn finish(mut self) -> u64 {
        self.word_of_rest();
        self.word(self.bytes);
        // High bits have seen every input bit, low bits only those below them.
        self.state ^ (self.state >> 32)
    }

    /// Takes the rest, filled up with zeros, as a word.
    fn word_of_rest(&mut self) {
        let mut word = [0; 8];
        word[..self.rest.len()].copy_from_slice(&self.rest);
        self.rest.clear();
        self.word(u64::from_le_bytes(word));
    }

    fn word(&mut self, word: u64) {
        // Two odd numbers: 2^64 divided by the golden ratio, and by the square root of three, rounded. A flipped bit has
        // reached many others before it gets to the state, where another one could undo it.
        const FIRST: u64 = 0x9e37_79b9_7f4a_7c15;
        const SECOND: u64 = 0x93cd_3a2c_8198_e269;
        let mixed = word
            .wrapping_mul(FIRST)
            .rotate_left(31)
            .wrapping_mul(SECOND);
        self.state = (self.state.rotate_left(23) ^ mixed).wrapping_mul(FIRST);
    }
}

impl io::Write for Checksum {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
