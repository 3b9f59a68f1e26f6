//! Reads little-endian numbers and strings one after the other, never beyond the end, nor beyond what a header can be.

use std::ops::Range;

use super::error::GgufError;

/// Longest that metadata and the list of tensors are together, in bytes; those of the largest vocabularies have some 20 MB.
pub(super) const MAX_HEADER: usize = 256 << 20;

/// A place in a file.
pub(super) struct Cursor<'a> {
    file: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(file: &'a [u8]) -> Cursor<'a> {
        Cursor { file, at: 0 }
    }

    /// Bytes read so far.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The next `count` bytes; `what` they belong to is for messages.
    pub(super) fn take(&mut self, count: u64, what: &str) -> Result<Range<usize>, GgufError> {
        let left = self.file.len() - self.at;
        let Some(count) = usize::try_from(count).ok().filter(|n| *n <= left) else {
            let (what, at) = (what.into(), self.at);
            return Err(GgufError::Ends {
                what,
                at,
                wanted: count,
                left,
            });
        };
        let range = self.at..self.at + count;
        if range.end > MAX_HEADER {
            return Err(GgufError::LongHeader { limit: MAX_HEADER });
        }
        self.at = range.end;
        Ok(range)
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], GgufError> {
        let range = self.take(N as u64, what)?;
        Ok(self.file[range].try_into().expect("as long as was taken"))
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32, GgufError> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, what: &str) -> Result<u64, GgufError> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// A string: its length, and its bytes.
    pub(super) fn string(&mut self, what: &str) -> Result<Range<usize>, GgufError> {
        let length = self.u64(what)?;
        self.take(length, what)
    }

    /// A string that names something: short, and UTF-8.
    pub(super) fn name(&mut self, what: &str, longest: usize) -> Result<&'a str, GgufError> {
        let at = self.at;
        let range = self.string(what)?;
        if range.len() > longest {
            return Err(GgufError::LongName {
                what: what.into(),
                bytes: range.len(),
                limit: longest,
            });
        }
        let file: &'a [u8] = self.file;
        std::str::from_utf8(&file[range]).map_err(|_| GgufError::NotUtf8 {
            what: what.into(),
            at,
        })
    }
}
