//! Tensors of a checkpoint that nothing reads: an error, unless the spec says that they are no weights.

use std::collections::BTreeSet;

use super::checkpoint::Checkpoint;
use super::error::WeightsError;
use super::nearest::nearest;
use super::resolve::with_prefixes;
use crate::spec::model::Model;

/// How many left-over tensors a message lists.
const LEFT_OVER_EXAMPLES: usize = 4;

/// Checks that every tensor of the checkpoint is one of those `used`, or one that the spec ignores; messages compare the others
/// with the names `expected`.
pub(super) fn check_left_over(
    model: &Model,
    checkpoint: &Checkpoint,
    (used, expected): (&BTreeSet<String>, &BTreeSet<String>),
) -> Result<(), WeightsError> {
    let ignored: Vec<String> = model
        .ignore
        .iter()
        .flat_map(|pattern| with_prefixes(&model.prefixes, pattern.clone()))
        .collect();
    let is_ignored = |name: &str| {
        ignored
            .iter()
            .any(|pattern| matches(pattern.as_bytes(), name.as_bytes()))
    };
    // What an index does not list is there to be found, not part of the model.
    let listed = checkpoint.tensors.iter().filter(|(_, t)| t.listed);
    let left: Vec<&String> = listed
        .map(|(name, _)| name)
        .filter(|name| !used.contains(*name) && !is_ignored(name))
        .collect();
    if left.is_empty() {
        return Ok(());
    }
    let nearest = |name: &String| {
        nearest(
            std::slice::from_ref(name),
            expected.iter().map(String::as_str),
        )
    };
    let examples = left
        .iter()
        .take(LEFT_OVER_EXAMPLES)
        .map(|name| ((*name).clone(), nearest(name)))
        .collect();
    Err(WeightsError::LeftOver {
        count: left.len(),
        examples,
    })
}

/// Whether `name` matches `pattern`, in which `*` stands for any number of characters.
///
/// Greedy with one point to go back to, so that no pattern takes more than `pattern · name` steps.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while n < name.len() {
        if pattern.get(p) == Some(&b'*') {
            retry = Some((p, n));
            p += 1;
        } else if pattern.get(p) == Some(&name[n]) {
            (p, n) = (p + 1, n + 1);
        } else if let Some((star, from)) = retry {
            retry = Some((star, from + 1));
            (p, n) = (star + 1, from + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}
