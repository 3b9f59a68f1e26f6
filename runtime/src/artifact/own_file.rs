//! The file that code was loaded from, and what follows the code there.
//!
//! In: a model in memory. Out: its file's path and checked [`Appendix`]. The system's list of mappings names the file, as
//! bytes: a name need not be UTF-8. Where there is no list (`/proc` is not mounted), the loader still knows the name that it
//! was given. A file that has the right name only is taken if it carries the model's manifest and its code is whole.

use std::ffi::{CStr, OsStr, c_char};
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::abi::CompiledModel;
use crate::appendix::{Appendix, AppendixError};
use crate::files::{self, shown};

const MAPS: &str = "/proc/self/maps";

/// Finds the file of `model` and checks its appendix and its code: damaged code must not run, and reading it takes a few
/// milliseconds.
pub(super) fn own_file(model: &CompiledModel) -> Result<(PathBuf, Appendix), Error> {
    let address = std::ptr::from_ref(model).addr();
    let maps = fs::read(MAPS);
    let mapping = maps
        .as_ref()
        .ok()
        .and_then(|maps| mapping_of(maps, address));
    let mut unfit = None;
    for Candidate { path, file, is_it } in candidates(mapping.as_ref(), address) {
        match whole(file, &path, model) {
            Ok(appendix) => return Ok((path, appendix)),
            Err(error) if is_it => return Err(error.into()),
            Err(error) => unfit = unfit.or(Some(error)),
        }
    }
    let source = match (mapping, &maps, unfit) {
        (Some(mapping), ..) => not_found(match mapping.path {
            b"" => "it lies in no file".into(),
            path => format!("{} has been moved or replaced", shown(path_of(path))),
        }),
        (None, _, Some(error)) => return Err(error.into()),
        (None, Ok(_), None) => not_found(format!("{MAPS} does not list it")),
        (None, Err(error), None) => io::Error::new(error.kind(), format!("{MAPS}: {error}")),
    };
    Err(Error::OwnFile { source })
}

/// Where the file of `model` lies, or lay.
pub(super) fn path(model: &CompiledModel) -> Option<PathBuf> {
    let address = std::ptr::from_ref(model).addr();
    let maps = fs::read(MAPS).unwrap_or_default();
    let mapping = mapping_of(&maps, address);
    let found = candidates(mapping.as_ref(), address).into_iter().next();
    found.map(|candidate| candidate.path)
}

fn not_found(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, reason)
}

/// The appendix of a file that belongs to `model` and whose code is as the compiler wrote it.
fn whole(file: File, path: &Path, model: &CompiledModel) -> Result<Appendix, AppendixError> {
    let appendix = Appendix::open(file, path)?;
    appendix.check_manifest(model.manifest_checksum)?;
    appendix.check(&appendix.directory().code)?;
    Ok(appendix)
}

/// A file that may be the one.
struct Candidate {
    /// Where it lies, or lay when it was loaded.
    path: PathBuf,
    file: File,
    /// Whether it is that file, as the system says, and not another one of the same name.
    is_it: bool,
}

/// Files that can be opened, those that are it first.
fn candidates(mapping: Option<&Mapping<'_>>, address: usize) -> Vec<Candidate> {
    let mut places: Vec<(PathBuf, PathBuf)> = Vec::new();
    if let Some(mapping) = mapping {
        let gone = mapping.path.strip_suffix(b" (deleted)");
        let name = gone.unwrap_or(mapping.path);
        let listed = std::iter::once(mapping.path).chain(gone);
        places.extend(listed.flat_map(names).map(|name| (name.clone(), name)));
        // Moved or deleted since: the system still has it, and shows it to those who have the right to see it.
        let kept = [
            format!("/proc/self/map_files/{:x}-{:x}", mapping.start, mapping.end),
            "/proc/self/exe".into(),
        ];
        places.extend(kept.map(|kept| (kept.into(), path_of(name).into())));
    } else {
        places.extend(name_of_loader(address).map(|name| (name.clone(), name)));
    }
    let mut found: Vec<Candidate> = places
        .into_iter()
        .filter_map(|(place, path)| {
            let (file, _) = files::open(&place).ok()?;
            let inode = file.metadata().ok()?.ino();
            let is_it = mapping.is_some_and(|mapping| mapping.inode == inode);
            // Of the two that are not names, only the right one is of use.
            (is_it || place == path).then_some(Candidate { path, file, is_it })
        })
        .collect();
    found.sort_by_key(|candidate| !candidate.is_it);
    found
}

fn path_of(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

/// Names that the list may mean: a line break is written `\012`, as a name may be spelt, and ` (deleted)` is put after
/// what is gone, with which a name may end.
fn names(listed: &[u8]) -> impl Iterator<Item = PathBuf> {
    let mut broken = Vec::with_capacity(listed.len());
    let mut rest = listed;
    while let Some((first, after)) = rest.split_first() {
        let line_break = rest.strip_prefix(br"\012");
        broken.push(if line_break.is_some() { b'\n' } else { *first });
        rest = line_break.unwrap_or(after);
    }
    let other = (broken != listed).then(|| path_of(&broken).to_owned());
    [Some(path_of(listed).to_owned()), other]
        .into_iter()
        .flatten()
}

/// What the loader calls the file that has `address`: a library by the path it was opened by, the program by that by which it was
/// started.
fn name_of_loader(address: usize) -> Option<PathBuf> {
    let (base, name) = loaded(address);
    // SAFETY: the call reads a number that the system left for this process: the address of the program's own headers.
    let headers = unsafe { libc::getauxval(libc::AT_PHDR) } as usize;
    let is_program = base == loaded(headers).0;
    let name = if is_program { started_as() } else { name };
    // SAFETY: NULL, or what the loader and the system keep for as long as the code is loaded, which ends with a zero.
    let name = (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) });
    name.map(|name| path_of(name.to_bytes()).to_owned())
}

/// Where the loader put the file that has `address`, and what it calls it; nothing where everything is in one file.
fn loaded(address: usize) -> (usize, *const c_char) {
    let mut found = libc::Dl_info {
        dli_fname: std::ptr::null(),
        dli_fbase: std::ptr::null_mut(),
        dli_sname: std::ptr::null(),
        dli_saddr: std::ptr::null_mut(),
    };
    // SAFETY: any address may be asked about, and the answer is written to `found`.
    match unsafe { libc::dladdr(std::ptr::without_provenance(address), &raw mut found) } {
        0 => (0, std::ptr::null()),
        _ => (found.dli_fbase.addr(), found.dli_fname),
    }
}

/// The path by which the program was started.
fn started_as() -> *const c_char {
    // SAFETY: the call reads a number that the system left for this process.
    let address = unsafe { libc::getauxval(libc::AT_EXECFN) };
    std::ptr::with_exposed_provenance(address as usize)
}

/// A line of [`MAPS`].
#[derive(Debug, PartialEq, Eq)]
struct Mapping<'a> {
    start: usize,
    end: usize,
    inode: u64,
    /// As it is listed.
    path: &'a [u8],
}

/// The mapping that covers an address. Lines read `start-end perms offset device inode path`.
fn mapping_of(maps: &[u8], address: usize) -> Option<Mapping<'_>> {
    let mut lines = maps.split(|byte| *byte == b'\n').filter_map(mapping);
    lines.find(|mapping| (mapping.start..mapping.end).contains(&address))
}

fn mapping(line: &[u8]) -> Option<Mapping<'_>> {
    let mut fields = line.splitn(6, |byte| *byte == b' ');
    let mut text = || std::str::from_utf8(fields.next()?).ok();
    let (start, end) = text()?.split_once('-')?;
    let number = |hex| usize::from_str_radix(hex, 16).ok();
    let (start, end) = (number(start)?, number(end)?);
    let (_permissions, _offset, _device) = (text()?, text()?, text()?);
    let inode = text()?.parse().ok()?;
    let path = fields.next()?.trim_ascii_start();
    Some(Mapping {
        start,
        end,
        inode,
        path,
    })
}

#[cfg(test)]
mod tests;
