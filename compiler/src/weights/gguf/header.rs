//! One file: everything before the data, checked against its length.

use std::collections::HashSet;

use super::cursor::Cursor;
use super::error::GgufError;
use super::metadata::{Metadata, at_most};
use crate::weights::foreign::format_of;
use crate::weights::name::Name;
use crate::weights::storage::StorageType;

const MAGIC: &[u8; 4] = b"GGUF";
const VERSIONS: std::ops::RangeInclusive<u32> = 2..=3;
/// Most tensors of a file; a model whose experts are stored one by one has some ten thousand.
const MAX_TENSORS: u64 = 1 << 17;
/// Longest name of a tensor, in bytes; the format's own writer allows 64.
const MAX_NAME: usize = 256;
/// Most dimensions of a tensor.
const MAX_DIMENSIONS: u32 = 4;
const ALIGNMENT: &str = "general.alignment";
const DEFAULT_ALIGNMENT: u64 = 32;
const MAX_ALIGNMENT: u64 = 1 << 30;

/// What a file says before its data.
#[derive(Clone, Debug, PartialEq)]
pub struct GgufHeader {
    /// 2 or 3.
    pub version: u32,
    /// The metadata.
    pub metadata: Metadata,
    /// Multiples of this many bytes from the beginning of the data are where tensors begin.
    pub alignment: u64,
    /// The tensors, in the order of their bytes.
    pub tensors: Vec<GgufTensor>,
}

/// A tensor of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct GgufTensor {
    /// Its name.
    pub name: String,
    /// How its values are stored.
    pub storage: &'static StorageType,
    /// Dimensions, outermost first (the file has them the other way round).
    pub shape: Vec<usize>,
    /// First byte, counted from the start of the file.
    pub offset_bytes: usize,
    /// Length in bytes.
    pub bytes: usize,
}

/// Reads everything before the data of the GGUF file `file`, given whole. All tensors lie inside it.
///
/// # Errors
/// Whatever is not as the format says.
pub fn parse_gguf(file: &[u8]) -> Result<GgufHeader, GgufError> {
    let mut cursor = Cursor::new(file);
    let version = version(&mut cursor, file)?;
    let tensors = cursor.u64("number of tensors")?;
    let keys = cursor.u64("number of keys")?;
    at_most("tensors", tensors, MAX_TENSORS)?;
    let metadata = Metadata::read(&mut cursor, file, keys)?;
    let alignment = match metadata.whole(file, ALIGNMENT)? {
        None => DEFAULT_ALIGNMENT,
        Some(n) if (1..=MAX_ALIGNMENT).contains(&n) => n,
        Some(found) => {
            let limit = MAX_ALIGNMENT;
            return Err(GgufError::Alignment { found, limit });
        }
    };
    let listed = (0..tensors).map(|i| Listed::read(&mut cursor, i));
    let listed = listed.collect::<Result<Vec<_>, _>>()?;
    check_unique(&listed)?;
    let data_start = (cursor.at() as u64).next_multiple_of(alignment);
    let tensors = listed.into_iter();
    let tensors = tensors.map(|t| t.check(file.len(), data_start, alignment));
    let mut tensors = tensors.collect::<Result<Vec<_>, _>>()?;
    tensors.sort_by_key(|t| t.offset_bytes);
    check_apart(&tensors, data_start as usize)?;
    Ok(GgufHeader {
        version,
        metadata,
        alignment,
        tensors,
    })
}

fn version(cursor: &mut Cursor<'_>, file: &[u8]) -> Result<u32, GgufError> {
    if !file.starts_with(MAGIC) {
        let first = &file[..file.len().min(MAGIC.len())];
        let what = format_of(file).unwrap_or_else(|| format!("bytes {first:02x?}"));
        return Err(GgufError::Magic { found: what });
    }
    cursor.u32("magic")?;
    let found = cursor.u32("version")?;
    match VERSIONS.contains(&found) {
        true => Ok(found),
        false if VERSIONS.contains(&found.swap_bytes()) => Err(GgufError::BigEndian),
        false => Err(GgufError::Version { found }),
    }
}

/// A tensor as it is listed.
struct Listed {
    name: String,
    /// Innermost first.
    dimensions: Vec<u64>,
    storage: &'static StorageType,
    /// From the beginning of the data.
    offset: u64,
}

impl Listed {
    fn read(cursor: &mut Cursor<'_>, i: u64) -> Result<Listed, GgufError> {
        let name = cursor.name(&format!("tensor {i}"), MAX_NAME)?.to_string();
        let what = format!("tensor {}", Name(&name));
        let found = cursor.u32(&what)?;
        if !(1..=MAX_DIMENSIONS).contains(&found) {
            return Err(GgufError::Dimensions {
                tensor: name,
                found,
                limit: MAX_DIMENSIONS,
            });
        }
        let dimensions = (0..found).map(|_| cursor.u64(&what));
        let dimensions = dimensions.collect::<Result<Vec<_>, _>>()?;
        let number = cursor.u32(&what)?;
        let Some(storage) = StorageType::of_gguf(number) else {
            return Err(GgufError::TensorType {
                tensor: name,
                found: number,
            });
        };
        let offset = cursor.u64(&what)?;
        Ok(Listed {
            name,
            dimensions,
            storage,
            offset,
        })
    }

    /// Checks the tensor by itself.
    fn check(
        self,
        file_bytes: usize,
        data_start: u64,
        alignment: u64,
    ) -> Result<GgufTensor, GgufError> {
        let bytes = self.bytes()?;
        let tensor = || self.name.clone();
        if !self.offset.is_multiple_of(alignment) {
            return Err(GgufError::Unaligned {
                tensor: tensor(),
                offset: self.offset,
                alignment,
            });
        }
        let begin = data_start.checked_add(self.offset);
        let end = begin.and_then(|begin| begin.checked_add(bytes as u64));
        let (Some(begin), Some(_)) = (begin, end.filter(|end| *end <= file_bytes as u64)) else {
            return Err(GgufError::OutOfRange {
                tensor: tensor(),
                offset: self.offset,
                bytes,
                available: file_bytes.saturating_sub(data_start as usize),
            });
        };
        let shape = self.dimensions.iter().rev().map(|n| *n as usize).collect();
        Ok(GgufTensor {
            name: self.name,
            storage: self.storage,
            shape,
            offset_bytes: begin as usize,
            bytes,
        })
    }

    fn bytes(&self) -> Result<usize, GgufError> {
        let dtype = self.storage.name;
        let columns = self.dimensions[0];
        let block = self.storage.block;
        if !columns.is_multiple_of(block as u64) {
            return Err(GgufError::RaggedRows {
                tensor: self.name.clone(),
                columns,
                block,
                dtype,
            });
        }
        let mut sizes = self.dimensions.iter();
        // Elements have to be countable too, since what they become may be larger than they are.
        let elements = sizes.try_fold(1usize, |n, size| {
            n.checked_mul(usize::try_from(*size).ok()?)
                .filter(|n| *n > 0)
        });
        let bytes = elements.and_then(|n| (n / block).checked_mul(self.storage.bytes));
        bytes.ok_or_else(|| GgufError::Size {
            tensor: self.name.clone(),
            dimensions: self.dimensions.clone(),
            dtype,
        })
    }
}

fn check_unique(listed: &[Listed]) -> Result<(), GgufError> {
    let mut seen = HashSet::with_capacity(listed.len());
    match listed.iter().find(|t| !seen.insert(&t.name)) {
        None => Ok(()),
        Some(twice) => Err(GgufError::DuplicateTensor {
            tensor: twice.name.clone(),
        }),
    }
}

/// Checks that tensors, in the order of their bytes, do not overlap.
fn check_apart(tensors: &[GgufTensor], data_start: usize) -> Result<(), GgufError> {
    let mut pairs = tensors.windows(2);
    let overlap = pairs.find(|pair| pair[0].offset_bytes + pair[0].bytes > pair[1].offset_bytes);
    overlap.map_or(Ok(()), |pair| {
        Err(GgufError::Overlap {
            first: pair[0].name.clone(),
            end: pair[0].offset_bytes + pair[0].bytes - data_start,
            second: pair[1].name.clone(),
            begin: pair[1].offset_bytes - data_start,
        })
    })
}
