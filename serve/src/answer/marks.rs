//! Marks in the text of a model, which may lie across the pieces in which it comes.

/// A beginning and an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marks {
    pub(crate) open: &'static str,
    pub(crate) close: &'static str,
}

/// Bytes at the end of `text` that `mark` begins with, and does not end with.
pub(crate) fn begun(text: &str, mark: &str) -> usize {
    let most = text.len().min(mark.len().saturating_sub(1));
    (1..=most)
        .rev()
        .find(|&n| text.as_bytes().ends_with(&mark.as_bytes()[..n]))
        .unwrap_or(0)
}
