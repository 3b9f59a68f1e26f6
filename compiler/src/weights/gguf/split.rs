//! Models in several files: `name-00001-of-00003.gguf`, `name-00002-of-00003.gguf`, …

use std::path::{Path, PathBuf};

use super::error::{GgufError, SplitError};
use super::header::GgufHeader;

/// Most parts of a model.
const MAX_PARTS: u64 = 1000;
const NUMBER: &str = "split.no";
const COUNT: &str = "split.count";
const TENSORS: &str = "split.tensors.count";

/// Which part of a model a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// From 1.
    pub(super) number: u64,
    pub(super) count: u64,
    /// Tensors of all parts, where it says so.
    pub(super) tensors: Option<u64>,
}

impl Part {
    /// What a file says of itself; none where it is a model by itself.
    pub(super) fn of(file: &[u8], header: &GgufHeader) -> Result<Option<Part>, GgufError> {
        let whole = |key| header.metadata.whole(file, key);
        let (count, number) = (whole(COUNT)?, whole(NUMBER)?);
        let tensors = whole(TENSORS)?;
        Ok(count.filter(|count| *count > 1).map(|count| Part {
            number: number.unwrap_or(0).saturating_add(1),
            count,
            tensors,
        }))
    }

    /// The files of all parts, of which `path` is this one.
    pub(super) fn all(self, path: &Path) -> Result<Vec<PathBuf>, SplitError> {
        let Part { number, count, .. } = self;
        if count > MAX_PARTS {
            let limit = MAX_PARTS;
            return Err(SplitError::Count { count, limit });
        }
        let name = path.file_name().and_then(|name| name.to_str());
        let stem = name.and_then(|name| name.strip_suffix(&ending(number, count)));
        let stem = stem.ok_or(SplitError::Name { number, count })?;
        let named = |n| path.with_file_name(format!("{stem}{}", ending(n, count)));
        Ok((1..=count).map(named).collect())
    }

    /// Checks that a file is the part that its name says.
    pub(super) fn check(found: Option<Part>, number: u64, count: u64) -> Result<(), SplitError> {
        let of = found.map_or((1, 1), |part| (part.number, part.count));
        match of == (number, count) {
            true => Ok(()),
            false => Err(SplitError::Part {
                found: of.0,
                found_count: of.1,
                expected: number,
                count,
            }),
        }
    }
}

fn ending(number: u64, count: u64) -> String {
    format!("-{number:05}-of-{count:05}.gguf")
}
