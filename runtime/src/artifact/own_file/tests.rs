use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use super::*;

const LISTED: &[u8] = b"\
55e0c8a00000-55e0c8a2f000 r--p 00000000 fe:00 11 /usr/bin/some model
55e0c8a2f000-55e0c8b00000 r-xp 0002f000 fe:00 11                         /usr/bin/some model
7f0000000000-7f0000001000 rw-p 00000000 00:00 0 
7f0000001000-7f0000002000 rw-p 00000000 00:00 0                          [heap]
7f0000002000-7f0000003000 r--p 00000000 fe:00 12                         /tmp/libmodel.so (deleted)
7f0000003000-7f0000004000 r--p 00000000 fe:00 13                         /tmp/caf\xe9/x.bin
7f0000004000-7f0000005000 r--p 00000000 fe:00 14                         /tmp/line\\012break\xff \r
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]
";

#[test]
fn the_mapping_of_an_address_is_found_whatever_names_are_listed() {
    let at = |address| mapping_of(LISTED, address).map(|m| (m.inode, m.path));
    let model = b"/usr/bin/some model".as_slice();
    assert_eq!(at(0x55e0_c8a0_0000), Some((11, model)));
    assert_eq!(at(0x55e0_c8a2_f123), Some((11, model)));
    assert_eq!(at(0x7f00_0000_0000), Some((0, b"".as_slice())));
    let deleted = b"/tmp/libmodel.so (deleted)".as_slice();
    assert_eq!(at(0x7f00_0000_2fff), Some((12, deleted)));
    assert_eq!(
        at(0x7f00_0000_3000),
        Some((13, b"/tmp/caf\xe9/x.bin".as_slice()))
    );
    let odd = b"/tmp/line\\012break\xff \r".as_slice();
    assert_eq!(at(0x7f00_0000_4000), Some((14, odd)));
    assert_eq!(at(0x7f00_0000_5000), None);
    assert_eq!(at(0), None);
}

#[test]
fn what_is_no_list_has_no_mapping() {
    let lists: [&[u8]; 5] = [
        b"",
        b"garbage\n-\n1-2\n",
        b"0-ffff r--p 0 0:0 x /a",
        b"\xff-\xfe r--p 0 0:0 1 /a",
        b"0-fffffffffffffffff r--p 0 0:0 1 /a",
    ];
    for list in lists {
        assert_eq!(mapping_of(list, 1), None, "{list:?}");
    }
}

#[test]
fn a_line_break_may_be_meant_or_spelt() {
    let names = |listed| {
        names(listed)
            .map(|name| name.into_os_string().into_vec())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(b"/a/\xe9"), [b"/a/\xe9"]);
    let both: [&[u8]; 2] = [br"/a\012b\012", b"/a\nb\n"];
    assert_eq!(names(br"/a\012b\012"), both);
}

/// A file in a folder of that name.
fn file_in(name: &[u8], contents: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let odd = folder.path().join(OsString::from_vec(name.to_vec()));
    fs::create_dir(&odd).unwrap();
    let path = odd.join("file (deleted)");
    fs::write(&path, contents).unwrap();
    (folder, path)
}

/// What [`candidates`] finds for a mapped file, as contents and whether it is that file.
fn found(map: &memmap2::Mmap) -> Vec<(String, bool)> {
    let maps = fs::read(MAPS).unwrap();
    let mapping = mapping_of(&maps, map.as_ptr().addr()).expect("it is mapped");
    let candidates = candidates(Some(&mapping), map.as_ptr().addr());
    let read = |c: Candidate| (io::read_to_string(c.file).unwrap(), c.is_it);
    candidates.into_iter().map(read).collect()
}

#[test]
fn a_mapped_file_of_any_name_is_found_by_the_real_list() {
    for name in [b"caf\xe9 \n\n".as_slice(), br"line\012break", b" (deleted)"] {
        let (_folder, path) = file_in(name, "right");
        // SAFETY: nobody changes the file.
        let map = unsafe { memmap2::Mmap::map(&File::open(&path).unwrap()) }.unwrap();
        assert_eq!(found(&map)[0], ("right".to_string(), true));
        // Another file in its place is not it. Who may look at what is gone finds that first.
        fs::remove_file(&path).unwrap();
        fs::write(&path, "wrong").unwrap();
        let found = found(&map);
        assert!(found.contains(&("wrong".to_string(), false)), "{found:?}");
        assert_eq!(found[0].1, found.len() > 1, "{found:?}");
    }
}

#[test]
fn without_a_list_the_loader_knows_the_program() {
    let own = std::env::current_exe().unwrap().metadata().unwrap().ino();
    let address = (path_of as fn(&'static [u8]) -> &'static Path) as usize;
    let found = candidates(None, address);
    let inodes: Vec<u64> = found
        .iter()
        .map(|c| c.file.metadata().unwrap().ino())
        .collect();
    assert!(inodes.contains(&own), "{own} is not in {inodes:?}");
    assert!(found.iter().all(|candidate| !candidate.is_it));
}
