//! Profiles as ranks send them to each other: sums and timelines together.

use serde::{Deserialize, Serialize};

use super::{Profile, Span};

/// A profile whose timeline goes with it.
#[derive(Serialize, Deserialize)]
struct Whole {
    profile: Profile,
    spans: Vec<Span>,
}

impl Profile {
    /// The bytes of a profile; none where there is no profile.
    pub(crate) fn pack(profile: Option<Profile>) -> Vec<u8> {
        let whole = profile.map(|mut profile| {
            let spans = std::mem::take(&mut profile.spans);
            Whole { profile, spans }
        });
        whole.map_or_else(Vec::new, |whole| {
            serde_json::to_vec(&whole).expect("a profile is plain data")
        })
    }

    /// The profile that was packed, if there was one.
    pub(crate) fn unpack(bytes: &[u8]) -> Option<Profile> {
        let Whole { profile, spans } = serde_json::from_slice(bytes).ok()?;
        Some(Profile { spans, ..profile })
    }
}
