//! What a sequence remembers between steps: KV caches, rings, recurrent state, one slot of them per sequence.
//!
//! A slot is contiguous address space, laid out by the manifest's list of states and committed as it is written. This module
//! knows sizes and positions, and how far back a sequence can be cut; the rows inside a buffer are generated code's affair,
//! so that copies and snapshots take every page that was written.

use std::sync::Arc;

use crate::abi::{Manifest, StateInfo};
use crate::checked::protect;
use crate::error::Error;
use crate::memory::{PAGE, Region, round_up};
use crate::past::{Past, Switches};

/// The most sequence slots of a session.
pub const MAX_SLOTS: usize = 1 << 16;

/// Alignment of a state buffer inside a slot: a cache line.
const ALIGN: usize = 64;

/// Where the state buffers of a slot lie, and how far back they reach.
#[derive(Debug, PartialEq, Eq)]
pub struct Layout {
    /// Positions of a full cache.
    context: usize,
    /// Offset of each state buffer in bytes.
    offsets: Vec<usize>,
    /// `(offset, bytes)` of buffers with a part that does not depend on the context: recurrent state, which has to be zero at
    /// the start of a sequence.
    fixed: Vec<(usize, usize)>,
    /// Bytes of a slot, a multiple of a page.
    bytes: usize,
    /// Rings that can wrap: `(rows, window)`.
    rings: Vec<(usize, usize)>,
    /// Where positions change with the length.
    switches: Switches,
    /// Bytes of each state buffer.
    sizes: Vec<usize>,
    /// Offsets of the guard pages that follow state buffers, where there are any.
    guards: Vec<usize>,
}

impl Layout {
    /// Lays out the states of `manifest` for a context of `context` positions.
    pub fn new(manifest: &Manifest, context: usize) -> Result<Layout, Error> {
        Layout::with(manifest, context, false)
    }

    /// The same, every buffer ending at a page of its own that can be made inaccessible.
    pub(crate) fn guarded(manifest: &Manifest, context: usize) -> Result<Layout, Error> {
        Layout::with(manifest, context, true)
    }

    fn with(manifest: &Manifest, context: usize, guarded: bool) -> Result<Layout, Error> {
        let largest_step = manifest.prefill.max_tokens.max(manifest.decode.max_tokens);
        let mut layout = Layout {
            context,
            offsets: Vec::new(),
            fixed: Vec::new(),
            bytes: 0,
            rings: Vec::new(),
            switches: Switches::new(manifest),
            sizes: Vec::new(),
            guards: Vec::new(),
        };
        for state in &manifest.states {
            let added = layout.add(state, largest_step, guarded);
            added.ok_or(Error::Overflow {
                what: "sequence state",
            })?;
        }
        layout.bytes = round_up(layout.bytes, PAGE).ok_or(Error::Overflow {
            what: "sequence state",
        })?;
        Ok(layout)
    }

    fn add(&mut self, state: &StateInfo, largest_step: usize, guarded: bool) -> Option<()> {
        let rows = match state.ring {
            Some(window) => self.context.min(window.checked_add(largest_step)?),
            None => self.context,
        };
        let bytes = rows
            .checked_mul(state.bytes_per_position)?
            .checked_add(state.fixed_bytes)?;
        let offset = match guarded {
            true => round_up(self.bytes.checked_add(bytes)?, PAGE)? - bytes,
            false => round_up(self.bytes, ALIGN)?,
        };
        self.bytes = offset.checked_add(bytes)?;
        if guarded {
            self.guards.push(self.bytes);
            self.bytes = self.bytes.checked_add(PAGE)?;
        }
        self.offsets.push(offset);
        self.sizes.push(bytes);
        if state.fixed_bytes > 0 {
            self.fixed.push((offset, bytes));
        }
        if let Some(window) = state.ring.filter(|_| rows < self.context) {
            self.rings.push((rows, window));
        }
        Some(())
    }

    /// Positions each slot has room for.
    pub fn context(&self) -> usize {
        self.context
    }

    /// Offset of each state buffer in bytes, in the order of the manifest.
    pub fn offsets(&self) -> &[usize] {
        &self.offsets
    }

    /// Bytes of each state buffer, in the order of the manifest.
    pub(crate) fn sizes(&self) -> &[usize] {
        &self.sizes
    }

    /// Bytes of a slot.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The first position, other than 0, to which a sequence can be cut that is at `position` now and was once at
    /// `furthest`: a ring's rows of positions up to `furthest` have replaced those `rows` before them, and the next query
    /// looks back over a window.
    fn earliest(&self, position: usize, furthest: usize) -> usize {
        if !self.fixed.is_empty() {
            return position;
        }
        let wrapped = self.rings.iter().filter(|(rows, _)| furthest > *rows);
        wrapped
            .map(|(rows, window)| furthest - rows + window)
            .max()
            .unwrap_or(0)
            .min(position)
    }
}

/// The state of all sequence slots.
pub struct States {
    layout: Arc<Layout>,
    region: Region,
    bases: Vec<*mut u8>,
    sequences: Vec<Sequence>,
    /// What caches are filled with where a sequence begins: checked sessions see then whether something is read before it
    /// was written.
    poison: Option<u8>,
}

/// How far a slot's sequence has come.
#[derive(Clone, Debug, Default)]
struct Sequence {
    /// Positions filled.
    position: usize,
    /// The most positions that were ever filled since the start: what rings have overwritten.
    furthest: usize,
    /// What they were computed from.
    past: Past,
}

impl Sequence {
    /// A copy, if there is room for it.
    fn copy(&self) -> Result<Sequence, Error> {
        let past = self.past.copy()?;
        Ok(Sequence { past, ..*self })
    }
}

/// A copy of a slot's state at one position.
#[derive(Clone, Debug)]
pub struct Snapshot {
    layout: Arc<Layout>,
    sequence: Sequence,
    /// Indices of the pages that are not all zero, ascending.
    pages: Vec<usize>,
    /// Their bytes, `[pages.len(), PAGE]`.
    bytes: Vec<u8>,
}

impl Snapshot {
    /// Positions filled when the snapshot was taken.
    pub fn position(&self) -> usize {
        self.sequence.position
    }

    /// Bytes of memory that it takes.
    pub fn bytes(&self) -> usize {
        self.bytes.capacity() + self.pages.capacity() * size_of::<usize>()
    }
}

impl States {
    /// Reserves `slots` slots, all at position 0.
    pub fn new(layout: Layout, slots: usize) -> Result<States, Error> {
        if !(1..=MAX_SLOTS).contains(&slots) {
            return Err(Error::Slots {
                found: slots,
                max: MAX_SLOTS,
            });
        }
        let bytes = layout.bytes.checked_mul(slots).ok_or(Error::Overflow {
            what: "sequence state",
        })?;
        let region = Region::reserve("sequence state", bytes)?;
        let bases = (0..slots)
            .map(|slot| region.as_mut_ptr().wrapping_add(slot * layout.bytes))
            .collect();
        Ok(States {
            layout: Arc::new(layout),
            region,
            bases,
            sequences: vec![Sequence::default(); slots],
            poison: None,
        })
    }

    /// Fills caches with `byte`, now and whenever a sequence begins.
    pub(crate) fn poisoned(mut self, byte: u8) -> States {
        self.poison = Some(byte);
        (0..self.slots()).for_each(|slot| self.clear(slot));
        self
    }

    /// Takes all rights to the pages that follow state buffers away, or gives them back.
    pub(crate) fn guard(&self, guarded: bool) -> Result<(), Error> {
        for slot in 0..self.slots() {
            for page in &self.layout.guards {
                protect(&self.region, slot * self.layout.bytes + page, guarded)?;
            }
        }
        Ok(())
    }

    /// Base address of each slot; `layout().bytes()` bytes from each may be read and written while `self` lives.
    pub fn bases(&self) -> &[*mut u8] {
        &self.bases
    }

    /// Where state buffers lie in a slot.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Number of slots.
    pub fn slots(&self) -> usize {
        self.sequences.len()
    }

    /// Positions filled in `slot`.
    pub fn position(&self, slot: usize) -> Result<usize, Error> {
        self.sequence(slot).map(|sequence| sequence.position)
    }

    /// The length that the sequence in `slot` is computed for.
    pub(crate) fn length(&self, slot: usize) -> Result<usize, Error> {
        self.sequence(slot).map(|sequence| sequence.past.length())
    }

    /// Says that the sequence in `slot` will have so many positions; it stands until the next [`States::reset`].
    pub fn expect(&mut self, slot: usize, positions: usize) -> Result<(), Error> {
        self.sequence_mut(slot)?.past.expect(positions);
        Ok(())
    }

    /// Makes room for what is remembered of `more` tokens.
    pub(crate) fn reserve(&mut self, slot: usize, more: usize) -> Result<(), Error> {
        self.sequence(slot)?;
        let past = &mut self.sequences[slot].past;
        past.reserve(&self.layout.switches, more)
    }

    /// Begins a step, or several, of `more` tokens. Returns whether the tokens before have to be computed again.
    pub(crate) fn begin(&mut self, slot: usize, more: usize) -> Result<bool, Error> {
        let position = self.position(slot)?;
        let past = &mut self.sequences[slot].past;
        Ok(past.begin(&self.layout.switches, position, position + more))
    }

    /// Goes back to position 0, to compute the tokens again that it returns; what was expected still is.
    pub(crate) fn restart(&mut self, slot: usize) -> Result<Vec<u32>, Error> {
        let sequence = self.sequence_mut(slot)?;
        (sequence.position, sequence.furthest) = (0, 0);
        let tokens = std::mem::take(&mut sequence.past.tokens);
        self.clear(slot);
        Ok(tokens)
    }

    /// Gives back what [`States::restart`] returned.
    pub(crate) fn give_back(&mut self, slot: usize, tokens: Vec<u32>) -> Result<(), Error> {
        self.sequence_mut(slot)?.past.tokens = tokens;
        Ok(())
    }

    /// Takes the tokens of a step that has begun and for which there is room.
    pub(crate) fn remember(&mut self, slot: usize, tokens: &[u32]) -> Result<(), Error> {
        self.sequence(slot)?;
        let past = &mut self.sequences[slot].past;
        past.remember(&self.layout.switches, tokens);
        Ok(())
    }

    /// Counts `tokens` more positions as filled.
    pub fn advance(&mut self, slot: usize, tokens: usize) -> Result<(), Error> {
        let sequence = self.sequence_mut(slot)?;
        sequence.position += tokens;
        sequence.furthest = sequence.furthest.max(sequence.position);
        Ok(())
    }

    /// Forgets everything after the first `position` positions.
    ///
    /// Full caches can be cut anywhere, rings as far as their slack reaches, recurrent state not at all. Position 0 is
    /// always possible: it is [`States::reset`].
    pub fn truncate(&mut self, slot: usize, position: usize) -> Result<(), Error> {
        let current = self.position(slot)?;
        let earliest = self.earliest(slot)?;
        if position == 0 {
            return self.reset(slot);
        }
        if !(earliest..=current).contains(&position) {
            return Err(Error::Truncate {
                slot,
                position,
                earliest,
                current,
            });
        }
        let sequence = &mut self.sequences[slot];
        sequence.position = position;
        sequence.past.tokens.truncate(position);
        Ok(())
    }

    /// The first position, other than 0, to which the sequence in `slot` can be cut now.
    pub fn earliest(&self, slot: usize) -> Result<usize, Error> {
        let &Sequence {
            position, furthest, ..
        } = self.sequence(slot)?;
        Ok(self.layout.earliest(position, furthest))
    }

    /// Begins a new sequence: position 0, recurrent state zero. What caches hold is left to be overwritten.
    pub fn reset(&mut self, slot: usize) -> Result<(), Error> {
        self.sequence(slot)?;
        self.sequences[slot] = Sequence::default();
        self.clear(slot);
        Ok(())
    }

    /// Makes recurrent state that of a sequence's start, and fills caches where that is asked for.
    fn clear(&mut self, slot: usize) {
        let base = slot * self.layout.bytes;
        if let Some(byte) = self.poison {
            for (&offset, &len) in self.layout.offsets.iter().zip(&self.layout.sizes) {
                self.region.slice_mut(base + offset, len).fill(byte);
            }
        }
        for &(offset, len) in &self.layout.fixed {
            self.region.slice_mut(base + offset, len).fill(0);
        }
    }

    /// Makes `to` an independent copy of `from`.
    pub fn copy(&mut self, from: usize, to: usize) -> Result<(), Error> {
        self.sequence(to)?;
        let sequence = self.sequence(from)?.copy()?;
        if from == to {
            return Ok(());
        }
        let bytes = self.layout.bytes;
        let (source, target) = (from * bytes, to * bytes);
        self.region.clear_pages(target, bytes);
        let low = source.min(target);
        let both = self.region.slice_mut(low, source.max(target) - low + bytes);
        let (first, last) = both.split_at_mut(source.max(target) - low);
        let (source, target) = if from < to {
            (&first[..bytes], last)
        } else {
            (&last[..], &mut first[..bytes])
        };
        for (source, target) in source
            .chunks_exact(PAGE)
            .zip(target.chunks_exact_mut(PAGE))
            .filter(|(page, _)| written(page))
        {
            target.copy_from_slice(source);
        }
        self.sequences[to] = sequence;
        Ok(())
    }

    /// Copies the state of `slot` out. Takes as much memory as the slot has had written.
    pub fn snapshot(&self, slot: usize) -> Result<Snapshot, Error> {
        let sequence = self.sequence(slot)?.copy()?;
        // SAFETY: generated code writes state only inside a step, which needs the session that owns `self` exclusively.
        let all = unsafe {
            self.region
                .slice(slot * self.layout.bytes, self.layout.bytes)
        };
        let all_pages = all.chunks_exact(PAGE).enumerate();
        let (mut pages, mut bytes) = (Vec::new(), Vec::new());
        for (index, _) in all_pages.filter(|(_, page)| written(page)) {
            pages.try_reserve(1).map_err(|_| no_room(pages.len()))?;
            pages.push(index);
        }
        let reserved = bytes.try_reserve_exact(pages.len() * PAGE);
        reserved.map_err(|_| no_room(pages.len()))?;
        for page in &pages {
            bytes.extend_from_slice(&all[page * PAGE..][..PAGE]);
        }
        Ok(Snapshot {
            layout: Arc::clone(&self.layout),
            sequence,
            pages,
            bytes,
        })
    }

    /// Puts a snapshot, of any slot of a session of the same model and context, back into `slot`.
    pub fn restore(&mut self, slot: usize, snapshot: &Snapshot) -> Result<(), Error> {
        self.sequence(slot)?;
        if snapshot.layout != self.layout {
            return Err(Error::Snapshot {
                found: snapshot.layout.bytes,
                expected: self.layout.bytes,
            });
        }
        let sequence = snapshot.sequence.copy()?;
        let base = slot * self.layout.bytes;
        self.region.clear_pages(base, self.layout.bytes);
        for (page, bytes) in snapshot.pages.iter().zip(snapshot.bytes.chunks_exact(PAGE)) {
            self.region
                .slice_mut(base + page * PAGE, PAGE)
                .copy_from_slice(bytes);
        }
        self.sequences[slot] = sequence;
        Ok(())
    }

    fn sequence(&self, slot: usize) -> Result<&Sequence, Error> {
        self.sequences.get(slot).ok_or(Error::UnknownSlot {
            slot,
            slots: self.sequences.len(),
        })
    }

    fn sequence_mut(&mut self, slot: usize) -> Result<&mut Sequence, Error> {
        let slots = self.sequences.len();
        let unknown = Error::UnknownSlot { slot, slots };
        self.sequences.get_mut(slot).ok_or(unknown)
    }
}

/// No memory for a snapshot of so many pages.
fn no_room(pages: usize) -> Error {
    Error::Memory {
        what: "a snapshot",
        bytes: pages * PAGE,
        source: std::io::ErrorKind::OutOfMemory.into(),
    }
}

/// Whether a page was written: anonymous pages begin as zeros.
fn written(page: &[u8]) -> bool {
    static ZEROS: [u8; PAGE] = [0; PAGE];
    page != ZEROS
}
