//! The tensor name closest to a name, for messages.

use crate::spec::edit_distance;

/// The candidate with the smallest edit distance to any of `names`; the first of several. Absurdly long names, and
/// names so far off that they would not help, are passed over. A file may have millions of names: those beyond what can be
/// compared in a moment are not looked at.
pub(super) fn nearest<'a>(
    names: &[String],
    candidates: impl Iterator<Item = &'a str>,
) -> Option<String> {
    const LONGEST: usize = 256;
    // Steps of the edit distance: those of a hundred thousand names of 60 characters with one of their kind.
    let mut budget: usize = 400_000_000;
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates.filter(|candidate| candidate.len() <= LONGEST) {
        for name in names.iter().filter(|name| name.len() <= LONGEST) {
            let limit = best.map_or(name.len().max(candidate.len()) / 2 + 1, |(distance, _)| {
                distance
            });
            let steps = name.len() * candidate.len();
            if name.len().abs_diff(candidate.len()) < limit && steps <= budget {
                budget -= steps;
                let distance = distance(name, candidate);
                if distance < limit {
                    best = Some((distance, candidate));
                }
            }
        }
    }
    best.map(|(_, name)| name.to_string())
}

/// The edit distance; names with other numbers in them are of another layer or expert, and so further off.
fn distance(a: &str, b: &str) -> usize {
    const OTHER_NUMBERS: usize = 4;
    fn numbers(name: &str) -> impl Iterator<Item = &str> {
        name.split(|c: char| !c.is_ascii_digit())
            .filter(|run| !run.is_empty())
    }
    let penalty = if numbers(a).eq(numbers(b)) {
        0
    } else {
        OTHER_NUMBERS
    };
    edit_distance(a, b) + penalty
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_nearest_and_nothing_far() {
        let names = ["layers.0.q_proj.weight".to_string()];
        let found = nearest(
            &names,
            ["layers.0.k_norm.weight", "layers.0.q_proj.weigth", "x"].into_iter(),
        );
        assert_eq!(found.as_deref(), Some("layers.0.q_proj.weigth"));
        assert_eq!(nearest(&names, ["wte"].into_iter()), None);
    }

    /// Forty million names of 250 characters would take hours.
    #[test]
    fn gives_up_on_more_names_than_any_checkpoint_has() {
        let far = "x".repeat(250);
        let names = [format!("{}y", "z".repeat(240))];
        let many = std::iter::repeat_n(far.as_str(), 40_000_000);
        assert_eq!(nearest(&names, many), None);
    }
}
