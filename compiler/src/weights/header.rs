//! The header of a safetensors file: bytes in, checked tensors out.
//!
//! A file is the header's length (8 bytes, little-endian), the header (JSON: name → type, shape, `data_offsets` relative
//! to the end of the header), and the data, which the tensors cover without holes or overlaps. Everything is checked
//! here, so that later stages may slice with what they get. The `safetensors` crate reads the same format, but takes the
//! last of two tensors with one name, and its messages carry no numbers; its table of types is used.

use super::file_error::{HeaderError, MAX_HEADER};
use super::foreign::format_of;
use super::name::Name;
use graver_runtime::abi::Dtype;
use safetensors::Dtype as StoredDtype;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, IntoDeserializer, MapAccess, Visitor};
use std::collections::HashSet;
use std::fmt;

/// Bytes of the header's length.
const LENGTH_BYTES: usize = 8;

/// A tensor of one file.
#[derive(Clone, Debug, PartialEq)]
pub struct HeaderTensor {
    /// Its name.
    pub name: String,
    /// Element type as stored; any type of the format.
    pub dtype: StoredDtype,
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
    /// First byte, counted from the start of the file; any alignment.
    pub offset_bytes: usize,
    /// Length in bytes.
    pub bytes: usize,
}

/// The type of weights that a stored type is, if it is one.
pub(super) fn weight_type(dtype: StoredDtype) -> Option<Dtype> {
    match dtype {
        StoredDtype::F32 => Some(Dtype::F32),
        StoredDtype::BF16 => Some(Dtype::Bf16),
        StoredDtype::F16 => Some(Dtype::F16),
        _ => None,
    }
}

/// Parses the header of the safetensors file `file`, given whole.
///
/// The tensors come in the order of their bytes, and each lies inside `file`.
pub fn parse_header(file: &[u8]) -> Result<Vec<HeaderTensor>, HeaderError> {
    let header = header_text(file)?;
    let RawHeader(raw) = serde_json::from_str(header).map_err(HeaderError::Json)?;
    let data_start = LENGTH_BYTES + header.len();
    let data_bytes = file.len() - data_start;
    check_unique(&raw)?;
    let mut tensors = raw
        .into_iter()
        .map(|(name, tensor)| check_tensor(name, tensor, data_bytes))
        .collect::<Result<Vec<_>, _>>()?;
    tensors.sort_by(|a, b| {
        (a.offset_bytes, a.bytes, &a.name).cmp(&(b.offset_bytes, b.bytes, &b.name))
    });
    check_cover(&tensors, data_bytes)?;
    for tensor in &mut tensors {
        tensor.offset_bytes += data_start;
    }
    Ok(tensors)
}

fn header_text(file: &[u8]) -> Result<&str, HeaderError> {
    let too_short = HeaderError::TooShort { bytes: file.len() };
    let (length, rest) = file.split_first_chunk::<LENGTH_BYTES>().ok_or(too_short)?;
    let found = u64::from_le_bytes(*length);
    let limit = rest.len().min(MAX_HEADER);
    let bytes = usize::try_from(found)
        .ok()
        .filter(|bytes| *bytes <= limit)
        .ok_or_else(|| match format_of(file) {
            Some(what) => HeaderError::Foreign { what },
            None => HeaderError::TooLong { found, limit },
        })?;
    std::str::from_utf8(&rest[..bytes]).map_err(|error| HeaderError::NotUtf8 {
        at: LENGTH_BYTES + error.valid_up_to(),
    })
}

fn check_unique(raw: &[(String, RawTensor)]) -> Result<(), HeaderError> {
    let mut seen = HashSet::with_capacity(raw.len());
    match raw.iter().find(|(name, _)| !seen.insert(name)) {
        Some((name, _)) => Err(HeaderError::Duplicate { name: name.clone() }),
        None => Ok(()),
    }
}

/// Checks one tensor by itself. Its offset stays relative to the data.
fn check_tensor(
    name: String,
    raw: RawTensor,
    data_bytes: usize,
) -> Result<HeaderTensor, HeaderError> {
    let Ok(dtype) = stored_dtype(&raw.dtype) else {
        return Err(HeaderError::UnknownType {
            name,
            found: raw.dtype,
        });
    };
    let RawTensor {
        shape,
        data_offsets: [begin, end],
        ..
    } = raw;
    let Some(expected) = size_bytes(&shape, dtype) else {
        return Err(HeaderError::Overflow {
            name,
            shape,
            dtype: dtype.to_string(),
        });
    };
    if end.checked_sub(begin) != Some(expected as u64) {
        return Err(HeaderError::WrongSize {
            name,
            begin,
            end,
            expected,
            shape,
            dtype: dtype.to_string(),
        });
    }
    if end > data_bytes as u64 {
        return Err(HeaderError::OutOfRange {
            name,
            end,
            available: data_bytes,
        });
    }
    // `begin <= end <= data_bytes`, which is a usize.
    Ok(HeaderTensor {
        name,
        dtype,
        shape,
        offset_bytes: begin as usize,
        bytes: expected,
    })
}

fn stored_dtype(name: &str) -> Result<StoredDtype, serde::de::value::Error> {
    StoredDtype::deserialize(name.into_deserializer())
}

/// Bytes of a tensor, rounded up for types smaller than a byte; `None` when that overflows.
fn size_bytes(shape: &[usize], dtype: StoredDtype) -> Option<usize> {
    let elements = shape
        .iter()
        .try_fold(1usize, |product, n| product.checked_mul(*n))?;
    Some(elements.checked_mul(dtype.bitsize())?.div_ceil(8))
}

/// Checks that tensors, sorted by offset, cover the data exactly.
fn check_cover(tensors: &[HeaderTensor], data_bytes: usize) -> Result<(), HeaderError> {
    let mut covered = 0;
    let mut last: Option<&HeaderTensor> = None;
    for tensor in tensors {
        let begin = tensor.offset_bytes;
        if begin > covered {
            return Err(HeaderError::Hole {
                begin: covered as u64,
                end: begin as u64,
            });
        }
        if let Some(first) = last.filter(|_| begin < covered) {
            let (first, second) = (first.name.clone(), tensor.name.clone());
            return Err(HeaderError::Overlap {
                first,
                end: covered as u64,
                second,
                begin: begin as u64,
            });
        }
        covered = begin + tensor.bytes;
        last = Some(tensor);
    }
    if covered < data_bytes {
        return Err(HeaderError::Hole {
            begin: covered as u64,
            end: data_bytes as u64,
        });
    }
    Ok(())
}

/// An entry of the header, as written.
#[derive(Deserialize)]
struct RawTensor {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: [u64; 2],
}

/// The header's entries in their order, duplicates included, without `__metadata__`.
struct RawHeader(Vec<(String, RawTensor)>);

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RawHeader, D::Error> {
        deserializer.deserialize_map(RawHeaderVisitor)
    }
}

struct RawHeaderVisitor;

impl<'de> Visitor<'de> for RawHeaderVisitor {
    type Value = RawHeader;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawHeader, A::Error> {
        let mut entries = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            match map.next_value() {
                Ok(tensor) => entries.push((name, tensor)),
                Err(error) => {
                    return Err(A::Error::custom(format!("tensor {}: {error}", Name(&name))));
                }
            }
        }
        Ok(RawHeader(entries))
    }
}
