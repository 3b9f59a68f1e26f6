//! Slots, and what of earlier sequences in them a new prompt can go on from.
//!
//! A slot keeps its sequence after a request is done. A new prompt takes the slot, or a copy of the slot, that has the longest
//! beginning in common with it, cut to that beginning. Where state cannot be cut (recurrent state, rings that have wrapped) it can
//! go on from the whole of a sequence only, or from a snapshot; those are taken where a prompt ends, and where prompts were
//! seen to part.

use graver_runtime::Error;
use graver_runtime::session::Session;
use graver_runtime::state::Snapshot;

use super::metrics::{Counts, Gauges};

/// Tokens that have to be saved for a copy of a slot's whole state to be worth while.
const COPY_SAVES: usize = 64;

/// What lies in the slots.
pub(super) struct Cache {
    slots: Vec<Slot>,
    kept: Vec<Kept>,
    /// Bytes that snapshots may take.
    most_bytes: usize,
    /// Counts up with each use.
    now: u64,
}

/// One slot.
#[derive(Default)]
struct Slot {
    /// The tokens at its positions.
    tokens: Vec<u32>,
    busy: bool,
    used: u64,
}

/// A snapshot, and the tokens at its positions.
struct Kept {
    tokens: Vec<u32>,
    snapshot: Snapshot,
    used: u64,
}

/// Where a prompt is read.
pub(super) struct Place {
    pub(super) slot: usize,
    /// Tokens of the prompt that are there.
    pub(super) reused: usize,
    /// Tokens of the prompt that some sequence began with, from which it could not go on.
    pub(super) shared: usize,
}

/// What a prompt can go on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Nothing,
    Slot(usize),
    Snapshot(usize),
}

impl Cache {
    pub(super) fn new(slots: usize, most_bytes: usize) -> Cache {
        Cache {
            slots: (0..slots).map(|_| Slot::default()).collect(),
            kept: Vec::new(),
            most_bytes,
            now: 0,
        }
    }

    /// Slots in which something is computed.
    pub(super) fn busy(&self) -> usize {
        self.slots.iter().filter(|slot| slot.busy).count()
    }

    /// Takes a slot for `prompt`, of which at least the last token is left to be read. `None` while none is free.
    pub(super) fn take(&mut self, session: &mut Session, prompt: &[u32]) -> Option<Place> {
        self.now += 1;
        let oldest = self.oldest(None)?;
        let most = prompt.len().saturating_sub(1);
        let common = |tokens: &[u32]| common(tokens, prompt).min(most);
        let shared = self.slots.iter().map(|slot| common(&slot.tokens));
        let shared = shared.chain(self.kept.iter().map(|kept| common(&kept.tokens)));
        let shared = shared.max().unwrap_or(0);
        let (origin, reused, slot) = self.choose(session, prompt, oldest);
        let reused = match self.prepare(session, origin, slot, reused) {
            Ok(()) => reused,
            // No memory for a copy: the prompt is read from its start.
            Err(_) => {
                session.reset(slot).ok()?;
                0
            }
        };
        let now = self.now;
        let taken = &mut self.slots[slot];
        taken.tokens.clear();
        taken.tokens.extend_from_slice(&prompt[..reused]);
        (taken.busy, taken.used) = (true, now);
        Some(Place {
            slot,
            reused,
            shared: if shared > reused { shared } else { 0 },
        })
    }

    /// Takes a free slot for a copy of what is in `from`.
    pub(super) fn fork(&mut self, session: &mut Session, from: usize) -> Option<usize> {
        self.now += 1;
        let to = self.oldest(Some(from))?;
        if session.copy(from, to).is_err() {
            self.forget(session, to);
            return None;
        }
        let tokens = self.slots[from].tokens.clone();
        self.slots[to] = Slot {
            tokens,
            busy: true,
            used: self.now,
        };
        Some(to)
    }

    /// Takes note of tokens that a step has appended.
    pub(super) fn extend(&mut self, slot: usize, tokens: &[u32]) {
        self.slots[slot].tokens.extend_from_slice(tokens);
    }

    /// Gives a slot back with what is in it.
    pub(super) fn release(&mut self, slot: usize) {
        self.now += 1;
        (self.slots[slot].busy, self.slots[slot].used) = (false, self.now);
    }

    /// Gives a slot back whose state is of no use.
    pub(super) fn forget(&mut self, session: &mut Session, slot: usize) {
        self.slots[slot] = Slot::default();
        // Fails for slots only that do not exist.
        let _ = session.reset(slot);
    }

    /// Keeps the state of a slot that could not be cut back to it, as far as there is room.
    pub(super) fn keep(
        &mut self,
        session: &Session,
        slot: usize,
        counts: &Counts,
        gauges: &Gauges,
    ) {
        let tokens = &self.slots[slot].tokens;
        let cuttable = session.earliest(slot).is_ok_and(|earliest| earliest == 0);
        if cuttable || self.most_bytes == 0 || self.kept.iter().any(|k| k.tokens == *tokens) {
            return;
        }
        let Ok(snapshot) = session.snapshot(slot) else {
            return;
        };
        if snapshot.bytes() > self.most_bytes {
            return;
        }
        counts.snapshots.add(1);
        self.kept.push(Kept {
            tokens: tokens.clone(),
            snapshot,
            used: self.now,
        });
        while self.kept_bytes() > self.most_bytes {
            let oldest = (0..self.kept.len()).min_by_key(|&i| self.kept[i].used);
            oldest.map(|i| self.kept.swap_remove(i));
        }
        gauges.snapshot_bytes.set(self.kept_bytes());
    }

    fn kept_bytes(&self) -> usize {
        self.kept.iter().map(|kept| kept.snapshot.bytes()).sum()
    }

    /// The free slot that nothing has used for the longest time.
    fn oldest(&self, but: Option<usize>) -> Option<usize> {
        let free = |i: &usize| !self.slots[*i].busy && Some(*i) != but;
        let slots = 0..self.slots.len();
        slots.filter(free).min_by_key(|&i| self.slots[i].used)
    }

    /// What the most tokens of a prompt can be taken from, and how many.
    fn best(&mut self, session: &Session, prompt: &[u32], most: usize) -> (Origin, usize) {
        let mut best = (Origin::Nothing, 0);
        let mut offer = |origin, reused: usize, costs: usize| {
            if reused > best.1 + costs {
                best = (origin, reused);
            }
        };
        // Free slots first: they need not be copied.
        for busy in [false, true] {
            for index in (0..self.slots.len()).filter(|&i| self.slots[i].busy == busy) {
                let reused = self.reusable(session, index, prompt, most);
                offer(
                    Origin::Slot(index),
                    reused,
                    if busy { COPY_SAVES } else { 0 },
                );
            }
        }
        for (index, kept) in self.kept.iter().enumerate() {
            let whole = kept.tokens.len() <= most && prompt.starts_with(&kept.tokens);
            if whole {
                offer(Origin::Snapshot(index), kept.tokens.len(), 0);
            }
        }
        if let (Origin::Snapshot(index), _) = best {
            self.kept[index].used = self.now;
        }
        best
    }

    /// What to go on from, how many tokens that saves, and in which slot: the one it comes from where that loses little, or else the
    /// one that nothing has used for longest.
    fn choose(
        &mut self,
        session: &Session,
        prompt: &[u32],
        oldest: usize,
    ) -> (Origin, usize, usize) {
        let most = prompt.len().saturating_sub(1);
        let (origin, reused) = self.best(session, prompt, most);
        let Origin::Slot(from) = origin else {
            return (origin, reused, oldest);
        };
        let slot = &self.slots[from];
        if from == oldest || !slot.busy && slot.tokens.len() - reused <= reused {
            return (origin, reused, from);
        }
        // What is cut off would be lost, so that a copy is cut, unless the oldest slot will do or it is not worth while.
        let there = self.reusable(session, oldest, prompt, most);
        if there > 0 && there + COPY_SAVES > reused {
            (Origin::Slot(oldest), there, oldest)
        } else if reused >= COPY_SAVES {
            (origin, reused, oldest)
        } else {
            (Origin::Nothing, 0, oldest)
        }
    }

    /// Tokens of a prompt that a slot can be cut to.
    fn reusable(&self, session: &Session, index: usize, prompt: &[u32], most: usize) -> usize {
        let tokens = &self.slots[index].tokens;
        let reused = common(tokens, prompt).min(most);
        let reaches = |earliest| earliest <= reused || reused == tokens.len();
        match session.earliest(index).is_ok_and(reaches) {
            true => reused,
            false => 0,
        }
    }

    fn prepare(
        &self,
        session: &mut Session,
        origin: Origin,
        slot: usize,
        reused: usize,
    ) -> Result<(), Error> {
        match origin {
            Origin::Nothing => session.reset(slot),
            Origin::Slot(from) => {
                session.copy(from, slot)?;
                session.truncate(slot, reused)
            }
            Origin::Snapshot(index) => session.restore(slot, &self.kept[index].snapshot),
        }
    }
}

/// Tokens that two sequences begin with.
fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}
