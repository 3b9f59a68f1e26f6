//! What rank 0 tells the others to do, as bytes.

use serde::{Deserialize, Serialize};

use crate::step::{Segment, Wanted};

/// What a session is asked to do, which all ranks do alike.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Command {
    /// One step.
    Step {
        /// Slots and tokens.
        segments: Vec<(usize, Vec<u32>)>,
        /// Whose logits.
        wanted: Wanted,
    },
    /// As many steps as it takes.
    Feed {
        /// The slot.
        slot: usize,
        /// Its tokens.
        tokens: Vec<u32>,
        /// Whose logits.
        wanted: Wanted,
    },
    /// A sequence will have so many positions.
    Expect {
        /// The slot.
        slot: usize,
        /// Its positions.
        positions: usize,
    },
    /// A sequence forgets what is after a position.
    Truncate {
        /// The slot.
        slot: usize,
        /// The position.
        position: usize,
    },
    /// A sequence begins again.
    Reset {
        /// The slot.
        slot: usize,
    },
    /// A sequence is copied.
    Copy {
        /// Where it is.
        from: usize,
        /// Where it goes.
        to: usize,
    },
    /// All say where their time went.
    Profile,
    /// What was recorded of time is forgotten.
    ResetProfile,
    /// What rank 0 does next it does without the others.
    Pause,
    /// Nothing more will come.
    Quit,
}

impl Command {
    pub(crate) fn step(segments: &[Segment<'_>], wanted: Wanted) -> Command {
        let segments = segments.iter().map(|s| (s.slot, s.tokens.to_vec()));
        Command::Step {
            segments: segments.collect(),
            wanted,
        }
    }

    pub(crate) fn feed(segment: Segment<'_>, wanted: Wanted) -> Command {
        let Segment { slot, tokens } = segment;
        Command::Feed {
            slot,
            tokens: tokens.to_vec(),
            wanted,
        }
    }
}
