//! The most similar of several names, for "did you mean".

/// Longest name, in bytes, that is compared.
const MAX_NAME: usize = 200;
/// Most names that one is compared with.
const MAX_CANDIDATES: usize = 2_000;

/// The candidate with the smallest edit distance to `name`, if it is close enough to be what was meant.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    // Distances take time in the product of the lengths: nobody means a name of hundreds of characters, or finds one among
    // many thousands.
    if name.len() > MAX_NAME {
        return None;
    }
    candidates
        .into_iter()
        .take(MAX_CANDIDATES)
        .filter(|c| c.len() <= MAX_NAME)
        .map(|c| (distance(name, c), c))
        .filter(|(d, c)| *d <= 1 + name.len().max(c.len()) / 4)
        .min_by_key(|(d, _)| *d)
        .map(|(_, c)| c.to_string())
}

/// Levenshtein distance in bytes, letter case ignored: insertions, deletions and substitutions that turn `a` into `b`.
pub(crate) fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(!x.eq_ignore_ascii_case(&y));
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::{distance, nearest};

    #[test]
    fn distances() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("same", "Same"), 0);
    }

    #[test]
    fn finds_a_misspelt_name_and_leaves_strangers_alone() {
        assert_eq!(
            nearest("hiden_size", ["head_dim", "hidden_size"]).as_deref(),
            Some("hidden_size")
        );
        assert_eq!(nearest("vocab", ["hidden_size", "eps"]), None);
        assert_eq!(nearest("Eps", ["eps", "ep"]).as_deref(), Some("eps"));
    }
}
