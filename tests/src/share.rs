//! Which part of a long list of cases this run takes.
//!
//! `GRAVER_SHARE=2/4` takes the third quarter, by a hash of each case's name; without it all are taken.

use graver_runtime::appendix::Checksum;

/// Whether this run takes a case.
///
/// # Panics
/// Where `GRAVER_SHARE` is not a part of a whole.
pub fn has(case: &str) -> bool {
    match std::env::var("GRAVER_SHARE") {
        Ok(text) => {
            let share = parse(&text);
            let (part, whole) = share
                .unwrap_or_else(|| panic!("GRAVER_SHARE={text}: expected PART/WHOLE, 0/4 to 3/4"));
            Checksum::of(case.as_bytes()) % whole == part
        }
        Err(_) => true,
    }
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
