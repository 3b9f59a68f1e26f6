//! Files that appear whole or not at all.
//!
//! In: the path of the main output, and the names of all files that are to lie in its folder. Files are made in a temporary
//! folder beside them, on the same file system, and moved into place when everything is done; until then, and after any
//! error, nothing of the outside has changed and nothing stays behind.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::error::CompileError;
use super::options::Written;
use super::placing::{self, Placing};

/// Files being made.
pub(super) struct Staging {
    /// Where they are to go.
    folder: PathBuf,
    names: Vec<String>,
    temporary: TempDir,
}

/// Where the files to come are made, where what they are made of lies, and where what they replace is kept meanwhile: apart,
/// so that an output may have any name.
const OUTPUTS: &str = "new";
const PARTS: &str = "parts";
const REPLACED: &str = "replaced";

impl Staging {
    /// Makes the temporary folder. `names` are those of the files to come, the main one first.
    pub(super) fn begin(out: &Path, names: &[&str]) -> Result<Staging, CompileError> {
        let folder = folder_of(out);
        for name in names {
            check_target(&folder.join(name))?;
        }
        let failed = |source| CompileError::Folder {
            folder: folder.into(),
            source,
        };
        let temporary = tempfile::Builder::new()
            .prefix(".graver-")
            .tempdir_in(folder)
            .map_err(failed)?;
        for inside in [OUTPUTS, PARTS, REPLACED] {
            fs::create_dir(temporary.path().join(inside)).map_err(failed)?;
        }
        Ok(Staging {
            temporary,
            folder: folder.into(),
            names: names.iter().map(|name| name.to_string()).collect(),
        })
    }

    /// Refuses what the file system has no room for, before any of it is written.
    pub(super) fn expect_room(&self, bytes: u64) -> Result<(), CompileError> {
        match free_bytes(self.temporary.path()) {
            Some(free) if free < bytes => Err(CompileError::NoRoom {
                folder: self.folder.clone(),
                bytes,
                free,
            }),
            // A system that does not say is asked by writing.
            Some(_) | None => Ok(()),
        }
    }

    /// Where files are made.
    pub(super) fn outputs(&self) -> PathBuf {
        self.temporary.path().join(OUTPUTS)
    }

    /// Where a file that outputs are made of lies, seen from where they are made.
    pub(super) fn part(name: &str) -> String {
        format!("../{PARTS}/{name}")
    }

    /// Makes a file that outputs are made of.
    pub(super) fn write_part(&self, name: &str, contents: &[u8]) -> Result<(), CompileError> {
        let path = self.temporary.path().join(PARTS).join(name);
        fs::write(path, contents).map_err(|source| self.failed(name, source))
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

    /// Moves all files into place, the main one last; returns them, the main one first. If one cannot be moved, those that
    /// were are taken back, and what they replaced is as it was.
    pub(super) fn commit(self) -> Result<Vec<Written>, CompileError> {
        let mut placing = Placing::new(self.temporary.path().join(REPLACED));
        let mut written = vec![];
        for name in self.names.iter().rev() {
            let (from, path) = (self.outputs().join(name), self.folder.join(name));
            let moved = fs::metadata(&from).and_then(|file| {
                placing.place(&from, &path)?;
                Ok(file.len())
            });
            match moved {
                Ok(bytes) => written.push(Written { path, bytes }),
                Err(source) => return Err(self.undo(placing, path, source)),
            }
        }
        written.reverse();
        Ok(written)
    }

    /// Takes back what was placed before `path` could not be, and says so.
    fn undo(self, placing: Placing, path: PathBuf, source: io::Error) -> CompileError {
        match placing.undo() {
            Ok(()) => CompileError::Write { path, source },
            Err(placing::NotUndone {
                path: stuck,
                source: reason,
            }) => CompileError::NotUndone {
                path,
                source,
                stuck,
                reason,
                // What was replaced is in there.
                kept: self.temporary.keep(),
            },
        }
    }

    fn open(
        &self,
        name: &str,
        options: &fs::OpenOptions,
        write: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> Result<(), CompileError> {
        let done = options
            .open(self.outputs().join(name))
            .and_then(|mut file| write(&mut file));
        // Weights are packed while they are written; what is wrong with them is not the output's fault.
        done.map_err(|source| match source.downcast() {
            Ok(weights) => CompileError::Weights(weights),
            Err(source) => self.failed(name, source),
        })
    }

    fn failed(&self, name: &str, source: io::Error) -> CompileError {
        CompileError::Write {
            path: self.folder.join(name),
            source,
        }
    }
}

/// Bytes that a file in this folder may grow by.
fn free_bytes(folder: &Path) -> Option<u64> {
    let path = CString::new(folder.as_os_str().as_bytes()).ok()?;
    // SAFETY: plain numbers, for which zeros are a value.
    let mut found: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: the path ends with a zero, and the answer is written to `found`.
    let failed = unsafe { libc::statvfs(path.as_ptr(), &raw mut found) } != 0;
    (!failed).then(|| found.f_bavail.saturating_mul(found.f_frsize))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_there_is_no_room_for_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let staging = Staging::begin(&folder.path().join("main"), &["main"]).unwrap();
        staging.expect_room(1).unwrap();
        let message = staging.expect_room(u64::MAX).unwrap_err().to_string();
        assert!(
            message.contains("the weights need 18446744 TB, but only "),
            "{message}"
        );
    }

    /// Stages two files; `meanwhile` does something to the folder before they are moved.
    fn commit(meanwhile: impl FnOnce(&Path)) -> (TempDir, Result<Vec<Written>, CompileError>) {
        let folder = tempfile::tempdir().unwrap();
        let staging = Staging::begin(&folder.path().join("main"), &["main", "side"]).unwrap();
        for name in ["main", "side"] {
            let written = staging.write(name, |file| io::Write::write_all(file, b"new"));
            written.unwrap();
        }
        meanwhile(folder.path());
        let outcome = staging.commit();
        (folder, outcome)
    }

    /// Names of what lies in a folder, and what they contain where they are files.
    fn contents(folder: &Path) -> Vec<(String, Option<String>)> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| {
            let entry = entry.unwrap();
            let text = fs::read_to_string(entry.path()).ok();
            (entry.file_name().into_string().unwrap(), text)
        });
        let mut all: Vec<_> = entries.collect();
        all.sort();
        all
    }

    fn file(name: &str, text: &str) -> (String, Option<String>) {
        (name.into(), Some(text.into()))
    }

    #[test]
    fn files_appear_together_and_replace_older_ones() {
        let (folder, outcome) = commit(|folder| fs::write(folder.join("side"), "old").unwrap());
        let written = outcome.unwrap();
        assert_eq!(written[0].path, folder.path().join("main"));
        let expected = [file("main", "new"), file("side", "new")];
        assert_eq!(contents(folder.path()), expected);
    }

    /// A folder that appears where the main file goes makes its rename fail, which is the last one.
    #[test]
    fn what_was_placed_is_taken_back_when_a_rename_fails() {
        for older in [None, Some("old")] {
            let (folder, outcome) = commit(|folder| {
                fs::create_dir(folder.join("main")).unwrap();
                if let Some(text) = older {
                    fs::write(folder.join("side"), text).unwrap();
                }
            });
            let message = outcome.unwrap_err().to_string();
            assert!(message.ends_with("; no output is left"), "{message}");
            let mut expected = vec![("main".to_string(), None)];
            expected.extend(older.map(|text| file("side", text)));
            assert_eq!(contents(folder.path()), expected);
        }
    }

    /// A link is replaced as a link; what it leads to stays as it is, and the link comes back if the rest fails.
    #[test]
    fn links_come_back_as_links() {
        let (folder, outcome) = commit(|folder| {
            fs::write(folder.join("elsewhere"), "old").unwrap();
            std::os::unix::fs::symlink("elsewhere", folder.join("side")).unwrap();
            fs::create_dir(folder.join("main")).unwrap();
        });
        outcome.unwrap_err();
        let link = fs::read_link(folder.path().join("side")).unwrap();
        assert_eq!(link, Path::new("elsewhere"));
        let elsewhere = fs::read_to_string(folder.path().join("elsewhere")).unwrap();
        assert_eq!(elsewhere, "old");
    }
}
