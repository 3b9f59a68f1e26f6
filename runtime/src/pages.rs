//! Large pages for weights: a thread that streams them from pages of 4 KiB waits for addresses, and decodes by a tenth slower.
//!
//! Linux keeps a file in large pages if it was written, or first read, in large pieces: maps are asked for that here, and
//! `graver compile` writes in that way. What another program has just written in small pieces stays in small pages while it is
//! cached. Then a small model is copied, which takes as long as a few of its tokens; a large one is used as it lies.

use memmap2::{Mmap, MmapMut};

/// Bytes of a large page.
pub const LARGE_PAGE: usize = 2 << 20;
/// The most bytes that are copied: some hundredths of a second's work where memory is not short.
const COPIED: usize = 512 << 20;
/// Places of a map that are looked at.
const SAMPLES: usize = 16;
/// Bytes that are copied before their pages are let go.
const PIECE: usize = 4 * LARGE_PAGE;
/// Threads that copy: enough for what memory writes.
const THREADS: usize = 4;

/// Asks for large pages where the system has them.
pub fn advise(map: &Mmap) {
    // Only a wish: a kernel without large pages says no, and nothing else changes.
    #[cfg(target_os = "linux")]
    let _ = map.advise(memmap2::Advice::HugePage);
    #[cfg(not(target_os = "linux"))]
    let _ = map;
}

/// A copy in large pages of a file's bytes, where it is worth its time: of small files that lie in small pages, if there is room.
pub fn copy_of(map: &Mmap) -> Option<MmapMut> {
    let wanted = (LARGE_PAGE..=COPIED).contains(&map.len()) && has_large_pages();
    if !wanted || map.len() > available()? / 4 || lies_in_large_pages(map)? {
        return None;
    }
    let mut copy = MmapMut::map_anon(map.len()).ok()?;
    #[cfg(target_os = "linux")]
    copy.advise(memmap2::Advice::HugePage).ok()?;
    let threads = crate::cpu::available_threads().clamp(1, THREADS);
    let each = map.len().div_ceil(threads).next_multiple_of(LARGE_PAGE);
    std::thread::scope(|scope| {
        for (to, from) in copy.chunks_mut(each).zip(map.chunks(each)) {
            scope.spawn(move || {
                for (to, from) in to.chunks_mut(PIECE).zip(from.chunks(PIECE)) {
                    to.copy_from_slice(from);
                    let_go(map, from);
                }
            });
        }
    });
    Some(copy)
}

/// Takes pages of a map that have been read out of the process, so that it does not hold a file and its copy at the same time.
fn let_go(map: &Mmap, read: &[u8]) {
    #[cfg(target_os = "linux")]
    {
        let offset = read.as_ptr() as usize - map.as_ptr() as usize;
        let unwanted = memmap2::UncheckedAdvice::DontNeed;
        // SAFETY: the map is of a file and cannot be written to: whoever reads these bytes again reads the file again.
        let _ = unsafe { map.unchecked_advise_range(unwanted, offset, read.len()) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (map, read);
}

/// Whether programs get large pages for the asking.
fn has_large_pages() -> bool {
    let setting = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
    setting.is_ok_and(|s| s.contains("[always]") || s.contains("[madvise]"))
}

/// Bytes of memory that can be had without pushing others out: of the machine, and of the group that this process is in.
pub fn available() -> Option<usize> {
    let all = std::fs::read_to_string("/proc/meminfo").ok()?;
    let machine = kib_of(all.lines(), "MemAvailable:").map(|kib| kib << 10)?;
    Some(machine.min(left_to_group().unwrap_or(usize::MAX)))
}

/// Bytes up to the limit of a container's own group; what only caches a file makes room.
fn left_to_group() -> Option<usize> {
    let read = |name: &str| std::fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok();
    let number = |name| -> Option<usize> { read(name)?.trim().parse().ok() };
    let (limit, used) = (number("memory.max")?, number("memory.current")?);
    let stat = read("memory.stat")?;
    let cached = stat.lines().find_map(|line| line.strip_prefix("file "));
    let cached: usize = cached?.trim().parse().ok()?;
    Some(limit.saturating_sub(used.saturating_sub(cached)))
}

/// Whether most places of a map come in large pages; reads a few of them first, since pages are mapped as they are touched.
fn lies_in_large_pages(map: &Mmap) -> Option<bool> {
    let step = (map.len() / SAMPLES).max(LARGE_PAGE);
    let touched = map.iter().step_by(step);
    let samples = touched.map(std::hint::black_box).count();
    // Names of files in it, which do not matter here, may be of any bytes.
    let maps = std::fs::read("/proc/self/smaps").ok()?;
    let maps = String::from_utf8_lossy(&maps);
    let kib = file_kib_in_large_pages(&maps, map.as_ptr() as usize)?;
    Some((kib << 10) / LARGE_PAGE * 2 >= samples)
}

/// What `smaps` says of the map that holds `address`: KiB of a file that are there in large pages.
fn file_kib_in_large_pages(smaps: &str, address: usize) -> Option<usize> {
    let mut lines = smaps.lines();
    lines.find(|line| range_of(line).is_some_and(|r| r.contains(&address)))?;
    kib_of(
        lines.take_while(|line| range_of(line).is_none()),
        "FilePmdMapped:",
    )
}

/// The addresses that a map's first line begins with.
fn range_of(line: &str) -> Option<std::ops::Range<usize>> {
    let (start, end) = line.split_whitespace().next()?.split_once('-')?;
    let address = |text| usize::from_str_radix(text, 16).ok();
    Some(address(start)?..address(end)?)
}

/// The number after `name`.
fn kib_of<'a>(mut lines: impl Iterator<Item = &'a str>, name: &str) -> Option<usize> {
    let rest = lines.find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use memmap2::MmapOptions;

    use super::*;

    #[test]
    fn smaps_are_read_by_address() {
        let smaps = "7f0000000000-7f0000200000 r--s 00000000 fe:00 12 /some-file\n\
            Size:               2048 kB\nFilePmdMapped:        0 kB\n\
            7f0000200000-7f0010000000 r--s 00000000 fe:00 13 /other file\n\
            Rss:              2048 kB\nFilePmdMapped:      2048 kB\n";
        let of = |address| file_kib_in_large_pages(smaps, address);
        assert_eq!(of(0x7f00_0000_1000), Some(0));
        assert_eq!(of(0x7f00_0020_0000), Some(2048));
        assert_eq!(of(0x7f00_1000_0000), None);
    }

    #[test]
    fn files_of_any_name_are_looked_at() {
        use std::os::unix::ffi::OsStrExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder
            .path()
            .join(std::ffi::OsStr::from_bytes(b"caf\xe9\n"));
        std::fs::write(&path, [1; 5000]).unwrap();
        // SAFETY: nobody changes the file.
        let map = unsafe { Mmap::map(&std::fs::File::open(&path).unwrap()) }.unwrap();
        assert_eq!(lies_in_large_pages(&map), Some(false));
    }

    /// A file's bytes are the same wherever they are read from; small ones stay where they are.
    #[test]
    fn a_copy_is_the_file() {
        let mut file = tempfile::tempfile().unwrap();
        let piece: Vec<u8> = (0..8191u32).map(|i| (i * i) as u8).collect();
        for _ in 0..600 {
            file.write_all(&piece).unwrap();
        }
        // SAFETY: nobody changes a temporary file without a name.
        let map = unsafe { Mmap::map(&file) }.unwrap();
        advise(&map);
        if let Some(copy) = copy_of(&map) {
            assert!(copy[..] == map[..]);
        }
        // SAFETY: as above.
        let small = unsafe { MmapOptions::new().len(4096).map(&file) }.unwrap();
        assert!(copy_of(&small).is_none());
    }
}
