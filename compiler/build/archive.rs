//! What linkers are to leave out of the runtime's archive, so that artifacts stay small.
//!
//! In: an archive of ELF objects. Out: the same with its debug sections marked as excluded and emptied (what the standard
//! library brings along for debuggers takes as much room as all code), and the names of the runtime's own functions, which
//! are worth keeping for profilers; those of other libraries take a quarter as much room as the code.

/// What every name in one of our own crates has in it: the length and name of the crate, as Rust's manglings write them.
const OWN: [&str; 2] = ["14graver_runtime", "12graver_serve"];
/// The section is not to be part of what is linked.
const SHF_EXCLUDE: u64 = 0x8000_0000;
/// The section is a table of symbols.
const SHT_SYMTAB: usize = 2;
/// Length of a symbol, which begins with the place of its name.
const SYMBOL: usize = 24;
/// Header of an archive's member, with its length in decimal digits.
const MEMBER_HEADER: usize = 60;
const MEMBER_LENGTH: std::ops::Range<usize> = 48..58;

/// Excludes debug sections; returns the names of the runtime's own functions, sorted, one a line.
pub(crate) fn slim(archive: &mut [u8]) -> String {
    let mut names = vec![];
    let mut at = b"!<arch>\n".len();
    while at + MEMBER_HEADER <= archive.len() {
        let digits = &archive[at..at + MEMBER_HEADER][MEMBER_LENGTH];
        let digits = std::str::from_utf8(digits).expect("an archive's numbers are digits");
        let bytes: usize = digits
            .trim_end()
            .parse()
            .expect("an archive's numbers are digits");
        at += MEMBER_HEADER;
        slim_object(&mut archive[at..at + bytes], &mut names);
        // Members begin at even places.
        at += bytes.next_multiple_of(2);
    }
    names.sort();
    names.dedup();
    names.into_iter().map(|name| name + "\n").collect()
}

/// Other members than objects, such as the archive's list of symbols, are left alone.
fn slim_object(object: &mut [u8], names: &mut Vec<String>) {
    // 64 bits, little-endian.
    if !object.starts_with(b"\x7fELF\x02\x01") {
        return;
    }
    let (table, size) = (number(object, 0x28, 8), number(object, 0x3a, 2));
    let (count, strings) = (number(object, 0x3c, 2), number(object, 0x3e, 2));
    let header = |index: usize| table + index * size;
    let names_at = number(object, header(strings) + 24, 8);
    for index in 0..count {
        let header = header(index);
        let name = names_at + number(object, header, 4);
        let (start, bytes) = (
            number(object, header + 24, 8),
            number(object, header + 32, 8),
        );
        let name = &object[name..];
        if name.starts_with(b".debug_") {
            let flags = number(object, header + 8, 8) as u64 | SHF_EXCLUDE;
            object[header + 8..header + 16].copy_from_slice(&flags.to_le_bytes());
            object[start..start + bytes].fill(0);
        } else if number(object, header + 4, 4) == SHT_SYMTAB {
            let strings = number(
                object,
                table + size * number(object, header + 40, 4) + 24,
                8,
            );
            let entries = object[start..start + bytes].chunks_exact(SYMBOL);
            let symbols = entries.filter_map(|entry| string(object, strings + number(entry, 0, 4)));
            names.extend(
                symbols
                    .filter(|name| OWN.iter().any(|own| name.contains(own)))
                    .map(String::from),
            );
        }
    }
}

/// The text that begins at `at`. A table of strings does not say where they begin: one may be the tail of another.
fn string(object: &[u8], at: usize) -> Option<&str> {
    let text = object[at..].split(|byte| *byte == 0).next()?;
    std::str::from_utf8(text).ok()
}

/// An unsigned number of `bytes` bytes.
fn number(object: &[u8], at: usize, bytes: usize) -> usize {
    let digits = object[at..at + bytes].iter().rev();
    digits.fold(0, |number, byte| number << 8 | usize::from(*byte))
}
