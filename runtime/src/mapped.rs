//! Weight bytes: mapped from files, or owned, and the table of pointers that generated code reaches them through.
//!
//! Every slot of a manifest is checked to lie inside its blob before a pointer to it is made. What the bytes mean is the
//! compiler's affair.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use memmap2::{Mmap, MmapOptions};

use crate::abi::WeightInfo;
use crate::error::Error;
use crate::memory::Region;
use crate::pages;

/// A run of weight bytes that stays in place while the value lives.
pub struct Blob {
    bytes: Bytes,
}

enum Bytes {
    Empty,
    Mapped(Mmap),
    Owned(Region, usize),
    Shared(Arc<dyn AsRef<[u8]> + Send + Sync>),
}

impl Blob {
    /// Maps `len` bytes of `file`, which lies at `path` (for messages), from byte `offset`, read-only and without copying.
    ///
    /// The file must not be cut short while it is mapped: as with any mapping, a read of what is gone ends the process.
    pub fn map(file: &File, path: &Path, offset: u64, len: usize) -> Result<Blob, Error> {
        let failed = |source| Error::WeightFile {
            path: path.to_owned(),
            source,
        };
        let file_bytes = file.metadata().map_err(failed)?.len();
        if offset
            .checked_add(len as u64)
            .is_none_or(|end| end > file_bytes)
        {
            return Err(Error::WeightFileShort {
                path: path.to_owned(),
                offset,
                bytes: len,
                file_bytes,
            });
        }
        if len == 0 {
            return Ok(Blob {
                bytes: Bytes::Empty,
            });
        }
        // SAFETY: the range is inside the file (checked). Somebody who changes the file meanwhile changes the numbers that come
        // out; nothing derives an address or a length from weight bytes.
        let map =
            unsafe { MmapOptions::new().offset(offset).len(len).map(file) }.map_err(failed)?;
        pages::advise(&map);
        Ok(Blob {
            bytes: Bytes::Mapped(map),
        })
    }

    /// The same bytes, where they are quick to read again and again: see [`pages::copy_of`].
    pub fn settled(self) -> Blob {
        let copy = match &self.bytes {
            Bytes::Mapped(map) => pages::copy_of(map),
            Bytes::Empty | Bytes::Owned(..) | Bytes::Shared(_) => None,
        };
        let Some(copy) = copy else { return self };
        let len = copy.len();
        Blob {
            bytes: Bytes::Owned(copy.into(), len),
        }
    }

    /// A copy of `bytes`, aligned to 64 bytes or more.
    pub fn owned(bytes: &[u8]) -> Result<Blob, Error> {
        Blob::filled(bytes.len(), |to| to.copy_from_slice(bytes))
    }

    /// `len` bytes, aligned to 64 bytes or more, zero until `fill` has written them in place.
    pub fn filled(len: usize, fill: impl FnOnce(&mut [u8])) -> Result<Blob, Error> {
        let mut region = Region::reserve("weights", len)?.large_pages();
        fill(region.slice_mut(0, len));
        Ok(Blob {
            bytes: Bytes::Owned(region, len),
        })
    }

    /// Bytes that somebody else holds, in place.
    ///
    /// `bytes` has to give the same slice every time.
    pub fn shared(bytes: Arc<dyn AsRef<[u8]> + Send + Sync>) -> Blob {
        Blob {
            bytes: Bytes::Shared(bytes),
        }
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Empty => &[],
            Bytes::Mapped(map) => map,
            Bytes::Shared(bytes) => (**bytes).as_ref(),
            // SAFETY: nothing writes to an owned blob once it is filled: no function gives out a mutable reference.
            Bytes::Owned(region, len) => unsafe { region.slice(0, *len) },
        }
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// No bytes at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// All the weight bytes of a model, in the order of its manifest's blobs.
#[derive(Default)]
pub struct WeightSource {
    /// One for each entry of the manifest's list.
    pub blobs: Vec<Blob>,
}

impl WeightSource {
    /// Address of every weight slot, in order. They hold while `self` lives.
    ///
    /// A slot whose blob does not exist, or that reaches beyond its blob's end, is an error that names it.
    pub fn pointers(&self, weights: &[WeightInfo]) -> Result<Vec<*const u8>, Error> {
        weights.iter().map(|weight| self.pointer(weight)).collect()
    }

    fn pointer(&self, weight: &WeightInfo) -> Result<*const u8, Error> {
        let &WeightInfo {
            ref name,
            blob,
            offset,
            bytes,
        } = weight;
        let Some(run) = self.blobs.get(blob).map(Blob::as_slice) else {
            return Err(Error::WeightBlob {
                name: name.clone(),
                blob,
                blobs: self.blobs.len(),
            });
        };
        let slot = offset
            .checked_add(bytes)
            .and_then(|end| run.get(offset..end));
        match slot {
            Some(slot) => Ok(slot.as_ptr()),
            None => Err(Error::WeightRange {
                name: name.clone(),
                offset,
                bytes,
                blob,
                blob_bytes: run.len(),
            }),
        }
    }
}
