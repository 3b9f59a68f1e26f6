//! A model in one GGUF file, or in several: mapped, and all headers checked.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::error::SplitError;
use super::header::{GgufHeader, GgufTensor, parse_gguf};
use super::split::Part;
use crate::weights::error::WeightsError;
use crate::weights::file::{FileBytes, map_file};

/// A GGUF file whose header has been checked.
#[derive(Debug)]
pub struct GgufFile {
    /// The file.
    pub path: PathBuf,
    /// All its bytes.
    pub bytes: FileBytes,
    /// What it says before its data.
    pub header: GgufHeader,
}

/// A model's files.
#[derive(Debug)]
pub struct GgufModel {
    /// All of them; the first has the metadata.
    pub files: Vec<GgufFile>,
}

impl GgufModel {
    /// Opens a model of which `path` is the file, or any of its files.
    ///
    /// # Errors
    /// Files that cannot be read, are not as the format says, or do not belong together.
    pub fn open(path: &Path) -> Result<GgufModel, WeightsError> {
        let file = GgufFile::open(path)?;
        let Some(part) = file.part()? else {
            return Ok(GgufModel { files: vec![file] });
        };
        let split = |path: &Path, problem| WeightsError::Split {
            path: path.into(),
            problem,
        };
        let paths = part.all(path).map_err(|e| split(path, e))?;
        let mut files = vec![];
        let mut seen = HashSet::new();
        for (number, path) in (1..).zip(&paths) {
            let file = GgufFile::open(path)?;
            Part::check(file.part()?, number, part.count).map_err(|e| split(path, e))?;
            for t in &file.header.tensors {
                if !seen.insert(t.name.clone()) {
                    let tensor = t.name.clone();
                    return Err(split(path, SplitError::Twice { tensor }));
                }
            }
            files.push(file);
        }
        let found = seen.len() as u64;
        match files[0].part()?.and_then(|part| part.tensors) {
            Some(expected) if expected != found => {
                Err(split(&paths[0], SplitError::Tensors { found, expected }))
            }
            Some(_) | None => Ok(GgufModel { files }),
        }
    }

    /// All tensors, with the index of their file.
    pub fn tensors(&self) -> impl Iterator<Item = (usize, &GgufTensor)> {
        let files = self.files.iter().enumerate();
        files.flat_map(|(i, file)| file.header.tensors.iter().map(move |t| (i, t)))
    }
}

impl GgufFile {
    /// Maps `path` and checks its header.
    fn open(path: &Path) -> Result<GgufFile, WeightsError> {
        let bytes = FileBytes::Mapped(map_file(path)?);
        let header = parse_gguf(&bytes).map_err(|problem| WeightsError::Gguf {
            path: path.into(),
            problem,
        })?;
        Ok(GgufFile {
            path: path.into(),
            bytes,
            header,
        })
    }

    fn part(&self) -> Result<Option<Part>, WeightsError> {
        Part::of(&self.bytes, &self.header).map_err(|problem| WeightsError::Gguf {
            path: self.path.clone(),
            problem,
        })
    }

    /// The bytes of one of the file's tensors.
    pub(crate) fn tensor_bytes(&self, tensor: &GgufTensor) -> &[u8] {
        &self.bytes[tensor.offset_bytes..tensor.offset_bytes + tensor.bytes]
    }
}
