//! The list of symbols that `perf` reads for code made in memory: `/tmp/perf-PID.map`.
//!
//! The name can be foreseen and the folder is everybody's, so whatever lies there already is overwritten only if it is a
//! plain file of this user's, reached by this name alone: no link leads the writing elsewhere.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use cranelift_jit::JITModule;
use cranelift_module::Module;

use super::error::JitError;

/// Writes the symbols of a module whose code is finished.
pub(super) fn write(path: &Path, module: &JITModule) -> Result<(), JitError> {
    let done = open(path).and_then(|mut file| file.write_all(text(module).as_bytes()));
    done.map_err(|source| JitError::PerfMap {
        path: path.into(),
        source,
    })
}

/// Opens the file, emptied. Never waits, as it would for the reader of a pipe.
fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?;
    let found = file.metadata()?;
    // SAFETY: the call only returns a number.
    let user = unsafe { libc::geteuid() };
    if !found.is_file() || found.nlink() != 1 || found.uid() != user {
        return Err(io::Error::other(
            "what lies there is not a plain file of this user's",
        ));
    }
    file.set_len(0)?;
    Ok(file)
}

/// `address size name` in hexadecimal, one line for each function. They lie one after the other, so that each ends where the next
/// begins; of the last only the start is known, and a page is assumed.
fn text(module: &JITModule) -> String {
    let functions = module.declarations().get_functions();
    let mut starts: Vec<(usize, String)> = functions
        .filter(|(_, f)| f.linkage.is_definable())
        .map(|(id, f)| {
            let name = f.linkage_name(id).into_owned();
            (module.get_finalized_function(id) as usize, name)
        })
        .collect();
    starts.sort_unstable();
    let ends = starts.iter().skip(1).map(|s| s.0).collect::<Vec<_>>();
    let ends = ends.into_iter().chain(starts.last().map(|s| s.0 + 4096));
    let line = |((start, name), end): (&(usize, String), usize)| {
        format!("{start:x} {:x} {name}\n", end - start)
    };
    starts.iter().zip(ends).map(line).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::open;

    #[test]
    fn only_a_plain_file_of_ones_own_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("target"), "precious").unwrap();
        symlink(path("target"), path("link")).unwrap();
        symlink(path("nowhere"), path("dangling")).unwrap();
        fs::write(path("twice"), "precious").unwrap();
        fs::hard_link(path("twice"), path("again")).unwrap();
        fs::create_dir(path("folder")).unwrap();
        for name in ["link", "dangling", "again", "folder"] {
            assert!(open(&path(name)).is_err(), "{name}");
        }
        assert_eq!(fs::read(path("target")).unwrap(), b"precious");
        assert_eq!(fs::read(path("twice")).unwrap(), b"precious");
        assert!(!path("nowhere").exists());

        open(&path("target")).unwrap();
        assert_eq!(fs::read(path("target")).unwrap(), b"", "an older list goes");
        open(&path("new")).unwrap();
        assert!(path("new").exists());
    }
}
