//! What a pass says of each place where it could act.

/// A place where a pass could act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Place in the spec: `attention.q`.
    pub at: String,
    /// What happened, or what stood in the way.
    pub outcome: Outcome,
}

/// What a pass did with a candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Rewritten; says into what.
    Fused(String),
    /// Left alone; says why.
    Kept(String),
}

impl std::fmt::Display for Candidate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.outcome {
            Outcome::Fused(into) => write!(f, "fused {}: {into}", self.at),
            Outcome::Kept(why) => write!(f, "kept {}: {why}", self.at),
        }
    }
}

impl Candidate {
    pub(super) fn fused(at: &str, into: impl Into<String>) -> Candidate {
        Candidate {
            at: at.into(),
            outcome: Outcome::Fused(into.into()),
        }
    }

    pub(super) fn kept(at: &str, why: impl Into<String>) -> Candidate {
        Candidate {
            at: at.into(),
            outcome: Outcome::Kept(why.into()),
        }
    }
}
