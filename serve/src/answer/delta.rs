//! What is new of an answer.

use super::calls::Call;

/// Something new of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Delta {
    Reasoning(String),
    Content(String),
    Call(Call),
}

impl Delta {
    /// The same with those of a kind that follow each other as one.
    #[cfg(test)]
    pub(crate) fn joined(deltas: Vec<Delta>) -> Vec<Delta> {
        let mut joined: Vec<Delta> = Vec::new();
        for delta in deltas {
            match (joined.last_mut(), delta) {
                (Some(Delta::Content(a)), Delta::Content(b))
                | (Some(Delta::Reasoning(a)), Delta::Reasoning(b)) => a.push_str(&b),
                (_, delta) => joined.push(delta),
            }
        }
        joined
    }
}
