//! What `graver tune` found out, in a file: the [`Choices`](crate::abi::tuned::Choices) for each processor that it was run on.
//!
//! Programs read the file that [`VARIABLE`] names when they ask for kernels; a model can be compiled with one, and carries it in its manifest. It has
//! entries for as many processors as one likes, so that one file can serve many machines; a processor that has none gets what is usual. No choice changes a
//! result.

use std::path::{Path, PathBuf};

use crate::abi::tuned::{FORMAT, Record};
use crate::files::{self, FileError, shown};

/// The variable that names a file written by `graver tune`.
pub const VARIABLE: &str = "GRAVER_TUNED";

/// Largest file that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;

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
        match record.format() {
            FORMAT => Ok(record),
            found => Err(RecordError::Format {
                path: path.into(),
                found,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::tuned::Choices;

    fn written(text: &str) -> Result<Record, RecordError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tuned.json");
        std::fs::write(&path, text).unwrap();
        Record::read(&path)
    }

    #[test]
    fn what_is_written_is_read() {
        let mut record = Record::default();
        assert!(record.is_empty());
        for choices in Choices::all() {
            record.set("a", "avx512", choices);
            record.set("b", "avx2", Choices::usual());
            let read = written(&record.text()).unwrap();
            assert_eq!(read, record);
            assert_eq!(read.find("a", "avx512"), Some(choices));
        }
        let usual = Choices::usual();
        assert_eq!(record.find("b", "avx2"), Some(usual));
        assert_eq!(record.find("a", "avx2"), None);
        assert_eq!(record.find("c", "avx2"), None);
        let lines: Vec<String> = record.lines().collect();
        let wide = "weights by lines, floats wide";
        assert_eq!(
            lines,
            [
                format!("a with avx512: {wide}"),
                format!("b with avx2: {usual}")
            ]
        );
    }

    #[test]
    fn other_files_are_refused_with_their_place() {
        let good = Record::default().text();
        for (text, expected) in [
            ("", "not a file of graver tune: EOF"),
            ("[]", "not a file of graver tune"),
            (&good.replace("format", "formt"), "unknown field `formt`"),
            (&good.replace('2', "1"), "format 1, expected 2"),
            (
                r#"{"format":2,"entries":[{"processor":"a","kernels":"avx2","ahead":"pages"}]}"#,
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
