//! What `graver tune` found out, in a file: the [`Choices`] for each processor that it was run on.
//!
//! The file is named by [`VARIABLE`] and read once, when the first kernels are asked for. It has entries for as many processors as one likes, so that
//! one file can serve many machines; a processor that has none gets what is usual. No choice changes a result.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::choices::Choices;
use super::isa::Isa;
use crate::files::{self, FileError, shown};

/// The variable that names a file written by `graver tune`.
pub const VARIABLE: &str = "GRAVER_TUNED";

/// Version of the file.
const FORMAT: u32 = 1;
/// Largest file that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// The file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    format: u32,
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// As [`crate::cpu::model_name`] gives it.
    processor: String,
    /// Name of the instruction set.
    kernels: String,
    #[serde(flatten)]
    choices: Choices,
}

/// A file that is not a record.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// It cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is something else.
    #[error(
        "{}: not a file of graver tune: {source}; run graver tune -o again",
        shown(path)
    )]
    Json {
        /// The file.
        path: PathBuf,
        /// Line, column and reason.
        source: serde_json::Error,
    },
    /// It is of another version.
    #[error(
        "{}: format {found}, expected {FORMAT}: run graver tune -o again",
        shown(path)
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
}

impl Default for Record {
    fn default() -> Record {
        Record {
            format: FORMAT,
            entries: vec![],
        }
    }
}

impl Record {
    /// Reads a file.
    ///
    /// # Errors
    /// What is wrong with it, and that there is none.
    pub fn read(path: &Path) -> Result<Record, RecordError> {
        let text = files::read_text(path, MAX_BYTES)?;
        let record: Record = serde_json::from_str(&text).map_err(|source| RecordError::Json {
            path: path.into(),
            source,
        })?;
        match record.format {
            FORMAT => Ok(record),
            found => Err(RecordError::Format {
                path: path.into(),
                found,
            }),
        }
    }

    /// The choices for a processor with an instruction set, where it was run there.
    pub fn find(&self, processor: &str, isa: Isa) -> Option<Choices> {
        let is_it = |e: &&Entry| e.processor == processor && e.kernels == isa.name();
        self.entries.iter().find(is_it).map(|e| e.choices)
    }

    /// Puts in the choices for a processor, in place of those it had.
    pub fn set(&mut self, processor: &str, isa: Isa, choices: Choices) {
        let of = |e: &Entry| e.processor == processor && e.kernels == isa.name();
        self.entries.retain(|e| !of(e));
        self.entries.push(Entry {
            processor: processor.into(),
            kernels: isa.name().into(),
            choices,
        });
    }

    /// The file's text.
    pub fn text(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("strings and names");
        text.push('\n');
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> Result<Record, RecordError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tuned.json");
        std::fs::write(&path, text).unwrap();
        Record::read(&path)
    }

    #[test]
    fn what_is_written_is_read() {
        let mut record = Record::default();
        for choices in Choices::all() {
            record.set("a", Isa::Avx512Vnni, choices);
            record.set("b", Isa::Avx2, Choices::usual());
            let read = written(&record.text()).unwrap();
            assert_eq!(read, record);
            assert_eq!(read.find("a", Isa::Avx512Vnni), Some(choices));
        }
        assert_eq!(record.entries.len(), 2);
        assert_eq!(record.find("a", Isa::Avx2), None);
        assert_eq!(record.find("c", Isa::Avx2), None);
    }

    #[test]
    fn other_files_are_refused_with_their_place() {
        let good = Record::default().text();
        for (text, expected) in [
            ("", "not a file of graver tune: EOF"),
            ("[]", "not a file of graver tune"),
            (&good.replace("format", "formt"), "unknown field `formt`"),
            (&good.replace('1', "2"), "format 2, expected 1"),
            (
                r#"{"format":1,"entries":[{"processor":"a","kernels":"avx2","ahead":"pages","integers":"wide"}]}"#,
                "missing field `floats`",
            ),
        ] {
            let error = written(text).unwrap_err().to_string();
            assert!(
                error.contains(expected) && error.contains("tuned.json"),
                "{error}"
            );
        }
        assert!(matches!(
            Record::read(Path::new("/there/is/none")),
            Err(RecordError::File(_))
        ));
    }
}
