//! Files that appear whole or not at all.
//!
//! In: the path of the main output, and the names of all files that are to lie in its folder. Files are made in a temporary
//! folder beside them, on the same file system, and moved into place when everything is done; until then, and after any
//! error, nothing of the outside has changed and nothing stays behind.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{CompileError, Written};

/// Files being made.
pub(super) struct Staging {
    /// Where they are to go.
    folder: PathBuf,
    names: Vec<String>,
    temporary: TempDir,
}

impl Staging {
    /// Makes the temporary folder. `names` are those of the files to come, the main one first.
    pub(super) fn begin(out: &Path, names: &[&str]) -> Result<Staging, CompileError> {
        let folder = folder_of(out);
        for name in names {
            check_target(&folder.join(name))?;
        }
        let temporary = tempfile::Builder::new()
            .prefix(".graver-")
            .tempdir_in(folder);
        Ok(Staging {
            temporary: temporary.map_err(|source| CompileError::Folder {
                folder: folder.into(),
                source,
            })?,
            folder: folder.into(),
            names: names.iter().map(|name| name.to_string()).collect(),
        })
    }

    /// Where files are made.
    pub(super) fn folder(&self) -> &Path {
        self.temporary.path()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.temporary.path().join(name)
    }

    /// Makes a file.
    pub(super) fn write(
        &self,
        name: &str,
        write: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> Result<(), CompileError> {
        let options = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .clone();
        self.open(name, &options, write)
    }

    /// Goes on with a file that is there.
    pub(super) fn extend(
        &self,
        name: &str,
        write: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> Result<(), CompileError> {
        let options = File::options().read(true).write(true).clone();
        self.open(name, &options, write)
    }

    /// Moves all files into place, the main one last; returns them, the main one first.
    pub(super) fn commit(self) -> Result<Vec<Written>, CompileError> {
        let mut written = vec![];
        for name in self.names.iter().rev() {
            let (from, path) = (self.path(name), self.folder.join(name));
            let moved = fs::metadata(&from).and_then(|file| {
                fs::rename(&from, &path)?;
                Ok(file.len())
            });
            let bytes = moved.map_err(|source| CompileError::Write {
                path: path.clone(),
                source,
            })?;
            written.push(Written { path, bytes });
        }
        written.reverse();
        Ok(written)
    }

    fn open(
        &self,
        name: &str,
        options: &fs::OpenOptions,
        write: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> Result<(), CompileError> {
        let done = options
            .open(self.path(name))
            .and_then(|mut file| write(&mut file));
        done.map_err(|source| CompileError::Write {
            path: self.folder.join(name),
            source,
        })
    }
}

fn folder_of(out: &Path) -> &Path {
    match out.parent() {
        Some(folder) if folder != Path::new("") => folder,
        Some(_) | None => Path::new("."),
    }
}

/// A file may be replaced; a folder may not, and a device must not.
fn check_target(path: &Path) -> Result<(), CompileError> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => Err(CompileError::IsFolder { path: path.into() }),
        Ok(found) if !found.is_file() => Err(CompileError::NotAFile { path: path.into() }),
        // One that is missing is what is hoped for; other reasons come up again where the file is made.
        Ok(_) | Err(_) => Ok(()),
    }
}
