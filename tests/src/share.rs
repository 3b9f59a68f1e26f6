//! Which part of a long list of cases this run takes.
//!
//! `GRAVER_SHARE=2/4` takes the third quarter, by a hash of each case's name, and `0/1` all; without it the first eighth is taken, so
//! that `cargo test` stays short.

use graver_runtime::appendix::Checksum;

/// The part that is taken where nothing is said: the first of eight.
const USUAL: (u64, u64) = (0, 8);

/// Whether this run takes a case.
///
/// # Panics
/// Where `GRAVER_SHARE` is not a part of a whole.
pub fn has(case: &str) -> bool {
    let (part, whole) = match std::env::var("GRAVER_SHARE") {
        Ok(text) => parse(&text)
            .unwrap_or_else(|| panic!("GRAVER_SHARE={text}: expected PART/WHOLE, 0/4 to 3/4")),
        Err(_) => USUAL,
    };
    Checksum::of(case.as_bytes()) % whole == part
}

fn parse(text: &str) -> Option<(u64, u64)> {
    let (part, whole) = text.split_once('/')?;
    let (part, whole) = (part.parse().ok()?, whole.parse().ok()?);
    (part < whole).then_some((part, whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_part_of_a_whole() {
        assert_eq!(parse("3/4"), Some((3, 4)));
        assert_eq!(parse("4/4"), None);
        assert_eq!(parse("1"), None);
    }
}
