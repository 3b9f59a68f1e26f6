//! A safetensors file: its bytes, mapped or in memory, and its tensors.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use graver_runtime::files::{self, FileError};
use graver_runtime::pages;
use memmap2::{Mmap, MmapMut};

use super::error::WeightsError;
use super::header::{HeaderTensor, parse_header};
use super::storage::StorageType;

/// A tensor of a checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredTensor {
    /// Index into `Checkpoint::files`.
    pub file: usize,
    /// Type, shape and place in the file.
    pub header: HeaderTensor,
    /// Whether the index lists it, where there is one.
    pub listed: bool,
    /// How its values are stored, where that is no type of safetensors files.
    pub storage: Option<&'static StorageType>,
}

/// A safetensors file whose header has been checked.
#[derive(Debug)]
pub struct SafetensorsFile {
    /// The file.
    pub path: PathBuf,
    /// All its bytes.
    pub bytes: FileBytes,
    /// Its tensors by name.
    pub tensors: BTreeMap<String, HeaderTensor>,
}

/// Where the bytes of a file are.
#[derive(Debug)]
pub enum FileBytes {
    /// Mapped.
    Mapped(Mmap),
    /// In memory: of a file that the program carries.
    Held(MmapMut),
}

impl Deref for FileBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            FileBytes::Mapped(map) => map,
            FileBytes::Held(memory) => memory,
        }
    }
}

impl SafetensorsFile {
    /// Maps `path` and checks its header.
    pub fn open(path: &Path) -> Result<SafetensorsFile, WeightsError> {
        SafetensorsFile::check(path.to_path_buf(), FileBytes::Mapped(map_file(path)?))
    }

    /// Checks the header of a file whose bytes are there.
    pub(super) fn check(path: PathBuf, bytes: FileBytes) -> Result<SafetensorsFile, WeightsError> {
        let tensors = parse_header(&bytes).map_err(|problem| WeightsError::Header {
            path: path.clone(),
            problem,
        })?;
        let tensors = tensors
            .into_iter()
            .map(|tensor| (tensor.name.clone(), tensor))
            .collect();
        Ok(SafetensorsFile {
            path,
            bytes,
            tensors,
        })
    }

    /// The bytes of one of the file's tensors.
    pub fn bytes(&self, tensor: &HeaderTensor) -> &[u8] {
        &self.bytes[tensor.offset_bytes..tensor.offset_bytes + tensor.bytes]
    }
}

/// Maps a file that can be read.
pub(super) fn map_file(path: &Path) -> Result<Mmap, WeightsError> {
    let (file, _) = files::open(path)?;
    // SAFETY: the map is read-only and private. The bytes are only as constant as the file: whoever changes a
    // checkpoint in place while it is in use changes weights under the model, and who truncates it gets SIGBUS, as
    // with every program that maps files. Offsets are checked against the length mapped here.
    let map = unsafe { Mmap::map(&file) }.map_err(|source| FileError::Io {
        path: path.to_path_buf(),
        action: "map",
        source,
    })?;
    pages::advise(&map);
    Ok(map)
}

/// Lets go of the pages of some bytes of a file, which are read again when they are needed.
pub(super) fn release(map: &Mmap, start: usize, end: usize) {
    #[cfg(unix)]
    {
        // SAFETY: the mapping is of a file and read-only, so that a page that is dropped is read from the file again, with
        // the bytes it had.
        let advised = unsafe {
            map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, start, end - start)
        };
        // Only a wish: memory is larger without it, nothing else changes.
        let _ = advised;
    }
    #[cfg(not(unix))]
    let _ = (map, start, end);
}
