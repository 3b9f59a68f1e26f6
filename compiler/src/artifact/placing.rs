//! Moves files into place one after the other, and can take all of that back.
//!
//! In: pairs of a file and where it goes, on one file system. What a file replaces is kept under a second name until
//! everything is in place, so that at no moment a name stands for nothing that stood for something before.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Files that were moved into place.
pub(super) struct Placing {
    /// Where replaced files are kept.
    kept: PathBuf,
    placed: Vec<Placed>,
}

struct Placed {
    path: PathBuf,
    /// Where what was there before is kept.
    older: Option<PathBuf>,
    /// Whether the new file is there.
    is_new: bool,
}

/// A file that could not be taken back.
pub(super) struct NotUndone {
    pub(super) path: PathBuf,
    pub(super) source: io::Error,
}

impl Placing {
    /// Nothing so far. `kept` is an empty folder on the same file system.
    pub(super) fn new(kept: PathBuf) -> Placing {
        Placing {
            kept,
            placed: vec![],
        }
    }

    /// Moves a file to `path`, over what is there. After an error, too, [`Placing::undo`] sets everything right.
    pub(super) fn place(&mut self, from: &Path, path: &Path) -> io::Result<()> {
        let older = self.keep(path)?;
        let mut placed = Placed {
            path: path.into(),
            older,
            is_new: false,
        };
        let renamed = fs::rename(from, path);
        placed.is_new = renamed.is_ok();
        self.placed.push(placed);
        renamed
    }

    /// Gives what is at `path` a second name, or moves it away where the file system has no second names.
    fn keep(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        match fs::symlink_metadata(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            // One that is in the way is left where it is: the rename will say so.
            Ok(found) if found.is_dir() => return Ok(None),
            found => found?,
        };
        let older = self.kept.join(self.placed.len().to_string());
        fs::hard_link(path, &older).or_else(|_| fs::rename(path, &older))?;
        Ok(Some(older))
    }

    /// Takes everything back, the last first.
    pub(super) fn undo(self) -> Result<(), NotUndone> {
        for placed in self.placed.into_iter().rev() {
            let Placed {
                path,
                older,
                is_new,
            } = placed;
            let undone = match (older, is_new) {
                // Where both are names of one file, nothing was replaced, and the system leaves them alone.
                (Some(older), _) => fs::rename(older, &path),
                (None, true) => fs::remove_file(&path),
                (None, false) => Ok(()),
            };
            undone.map_err(|source| NotUndone { path, source })?;
        }
        Ok(())
    }
}
