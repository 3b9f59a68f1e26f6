//! The bytes of tensors as a stream: for writing a model out without holding it in memory.

use std::io::{self, Write};

use super::blobs::{Blob, Weights};
use super::file::release;
use super::view::Tensor;

/// Bytes that go through at once: few enough to stay small beside a model, enough for all threads to draw.
const PIECE: usize = 16 << 20;

/// Where the bytes of a tensor come from.
pub(crate) enum ByteSource<'a> {
    /// Bytes `offset..offset + bytes` of a blob, in memory or mapped.
    Held {
        /// The blob.
        blob: &'a Blob,
        /// First byte.
        offset: usize,
        /// Length.
        bytes: usize,
    },
    /// Bytes that are made while they are written.
    Made(Make<'a>),
}

/// Makes bytes and writes them.
pub(super) type Make<'a> = Box<dyn Fn(&mut dyn Write) -> io::Result<()> + 'a>;

impl ByteSource<'_> {
    /// Writes all of them, in pieces; gives pages of mapped files back afterwards.
    ///
    /// # Errors
    /// Those of `out`.
    pub(crate) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        match self {
            ByteSource::Made(make) => make(out),
            &ByteSource::Held {
                blob,
                offset,
                bytes,
            } => {
                for start in (offset..offset + bytes).step_by(PIECE) {
                    let end = (start + PIECE).min(offset + bytes);
                    out.write_all(&blob.as_bytes()[start..end])?;
                    blob.release(start, end);
                }
                Ok(())
            }
        }
    }
}

impl Weights {
    /// The bytes of a whole tensor.
    pub(crate) fn byte_source<'a>(&'a self, held: &'a Tensor) -> ByteSource<'a> {
        match &*self.blobs[held.blob] {
            Blob::Recipe(recipe) => {
                ByteSource::Made(Box::new(move |out| recipe.write(held, PIECE, out)))
            }
            Blob::Packing(packing) => ByteSource::Made(Box::new(move |out| {
                packing.write(self, held.offset_bytes, PIECE, out)
            })),
            blob @ (Blob::Mapped(_) | Blob::Owned(_) | Blob::Empty) => ByteSource::Held {
                blob,
                offset: held.offset_bytes,
                bytes: held.bytes,
            },
        }
    }
}

impl Blob {
    /// Says that these bytes are not needed for now. Pages of a file are read again when they are; others stay.
    pub(super) fn release(&self, start: usize, end: usize) {
        match self {
            Blob::Mapped(map) => release(map, start, end),
            Blob::Owned(_) | Blob::Recipe(_) | Blob::Packing(_) | Blob::Empty => {}
        }
    }
}
