//! What a continuation has to follow: which tokens may come next.

use graver_runtime::caught::caught;

/// A set of tokens, a bit each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mask {
    words: Vec<u32>,
}

impl Mask {
    /// The set of those tokens whose bit is set: token `t` is bit `t % 32` of word `t / 32`.
    pub fn from_words(words: Vec<u32>) -> Mask {
        Mask { words }
    }

    /// Whether a token is in it.
    pub fn allows(&self, token: usize) -> bool {
        self.words
            .get(token / 32)
            .is_some_and(|word| word >> (token % 32) & 1 == 1)
    }

    /// Makes the logits of all other tokens impossible.
    pub(super) fn apply(&self, logits: &mut [f32]) {
        for (index, chunk) in logits.chunks_mut(32).enumerate() {
            let word = self.words.get(index).copied().unwrap_or(0);
            if word == u32::MAX {
                continue;
            }
            for (bit, logit) in chunk.iter_mut().enumerate() {
                if word >> bit & 1 == 0 {
                    *logit = f32::NEG_INFINITY;
                }
            }
        }
    }
}

/// Something that a continuation has to follow, at one place in it.
pub trait Constraint: Send {
    /// The tokens that may come next; with those that end the text where it may end here.
    fn mask(&mut self) -> Result<Mask, ConstraintError>;
    /// Takes the token that came. Returns whether nothing can follow it.
    fn accept(&mut self, token: u32) -> Result<bool, ConstraintError>;
    /// The same, at the same place.
    fn copy(&self) -> Box<dyn Constraint>;
}

/// Why a constraint cannot be followed (any further).
#[derive(Clone, Debug, thiserror::Error)]
#[error("the output cannot follow the schema or grammar: {message}")]
pub struct ConstraintError {
    /// What was wrong.
    pub message: String,
}

impl ConstraintError {
    /// The library panicked.
    pub(crate) fn fault() -> ConstraintError {
        ConstraintError {
            message: "the constraint library failed".into(),
        }
    }

    /// Nothing may follow.
    pub(super) fn nothing_fits() -> ConstraintError {
        ConstraintError {
            message: "no token may come next".into(),
        }
    }
}

/// Runs a constraint's code, which is a library's, with its panics caught.
pub(crate) fn guarded<T>(
    call: impl FnOnce() -> Result<T, ConstraintError>,
) -> Result<T, ConstraintError> {
    caught(call).unwrap_or_else(|_| Err(ConstraintError::fault()))
}

#[cfg(test)]
mod tests {
    use super::Mask;

    #[test]
    fn a_mask_leaves_its_own_tokens() {
        let mask = Mask::from_words(vec![u32::MAX, 0b101]);
        let mut logits = vec![1.0; 70];
        mask.apply(&mut logits);
        let left: Vec<usize> = (0..70).filter(|&i| logits[i] == 1.0).collect();
        let expected: Vec<usize> = (0..32).chain([32, 34]).collect();
        assert_eq!(left, expected);
        assert_eq!(
            (0..70).filter(|&t| mask.allows(t)).collect::<Vec<_>>(),
            expected
        );
    }
}
