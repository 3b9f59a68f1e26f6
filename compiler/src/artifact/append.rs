//! Writes what follows an artifact's code in its file: weights, small files, directory, trailer.
//!
//! In: a file that ends with the code (or is empty, for a file of weights), and what to write as [`Run`]s of bytes that are
//! in memory, in mapped files, or made on the way. Out: the same file, whole. Bytes go through piece by piece, so that memory
//! stays small whatever the size of the model; pages of mapped files are given back once they are written.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};

use graver_runtime::appendix::{Checksum, Directory, FilePart, PAGE_BYTES, trailer};

use super::options::Progress;
use super::pieces::LargePieces;
use crate::weights::ByteSource;

/// A blob to be written.
#[derive(Default)]
pub(super) struct Run<'a> {
    /// Its parts, ascending; zeros lie between them.
    pub(super) pieces: Vec<Piece<'a>>,
    /// Length in bytes.
    pub(super) bytes: usize,
}

/// Some bytes of a blob.
pub(super) struct Piece<'a> {
    /// First byte in the blob.
    pub(super) offset: usize,
    /// The bytes.
    pub(super) bytes: ByteSource<'a>,
}

/// A small file to be carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Carried<'a> {
    /// Its name.
    pub(super) name: &'static str,
    /// Its contents.
    pub(super) contents: &'a [u8],
}

/// Where each run begins, counted from the start of the weights: at a page of its own.
pub(super) fn offsets(runs: &[Run<'_>]) -> Vec<usize> {
    let mut end = 0;
    let next = |run: &Run<'_>| {
        let offset = end;
        end = (offset + run.bytes).next_multiple_of(PAGE_BYTES as usize);
        offset
    };
    runs.iter().map(next).collect()
}

/// Appends to `file`, all of whose bytes so far are the code.
pub(super) fn append(
    file: &mut File,
    manifest: u64,
    runs: &[Run<'_>],
    files: &[Carried<'_>],
    progress: Progress<'_>,
) -> io::Result<()> {
    let code = code_part(file)?;
    let mut out = Counted {
        at: code.bytes,
        out: LargePieces::new(file, code.bytes),
        checksum: Checksum::default(),
        progress,
        total: runs.iter().map(|run| run.bytes).sum(),
    };
    out.zeros_to(code.bytes.next_multiple_of(PAGE_BYTES))?;
    let weights = out.part("weights", |out| {
        let start = out.at;
        for (run, offset) in runs.iter().zip(offsets(runs)) {
            let start = start + offset as u64;
            for piece in &run.pieces {
                out.zeros_to(start + piece.offset as u64)?;
                piece.bytes.write(out)?;
            }
            out.zeros_to(start + run.bytes as u64)?;
        }
        Ok(())
    })?;
    let carried = files
        .iter()
        .map(|f| out.part(f.name, |out| out.write_all(f.contents)));
    let files = carried.collect::<io::Result<_>>()?;
    let directory = Directory {
        manifest,
        code,
        weights,
        files,
    };
    let text = serde_json::to_vec(&directory)?;
    let directory = out.part("directory", |out| out.write_all(&text))?;
    out.out.write_all(&trailer(&directory))?;
    out.out.flush()
}

/// Reads the code once, for its checksum; leaves the file at its end.
fn code_part(file: &mut File) -> io::Result<FilePart> {
    let mut checksum = Checksum::default();
    file.seek(SeekFrom::Start(0))?;
    let bytes = io::copy(file, &mut checksum)?;
    Ok(FilePart {
        name: "code".into(),
        offset: 0,
        bytes,
        checksum: checksum.finish(),
    })
}

/// A writer that knows where it is and takes the checksum of the current part.
struct Counted<'a> {
    out: LargePieces<&'a mut File>,
    at: u64,
    checksum: Checksum,
    progress: Progress<'a>,
    /// Bytes of all runs.
    total: usize,
}

impl Counted<'_> {
    fn part(
        &mut self,
        name: &str,
        write: impl FnOnce(&mut Self) -> io::Result<()>,
    ) -> io::Result<FilePart> {
        self.checksum = Checksum::default();
        let offset = self.at;
        write(self)?;
        Ok(FilePart {
            name: name.into(),
            offset,
            bytes: self.at - offset,
            checksum: std::mem::take(&mut self.checksum).finish(),
        })
    }

    fn zeros_to(&mut self, at: u64) -> io::Result<()> {
        let zeros = at
            .checked_sub(self.at)
            .expect("pieces ascend and do not overlap");
        self.write_all(&vec![0; zeros as usize])
    }
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.out.write(bytes)?;
        self.checksum.update(&bytes[..n]);
        self.at += n as u64;
        (self.progress)(n, self.total)?;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
