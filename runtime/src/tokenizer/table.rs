//! A vocabulary of byte pairs as a table that is used as it lies: nothing is read before it is asked for.
//!
//! `tokenizer.json` has tokens and merges as text, and a library makes maps of them before the first word is encoded, which takes
//! half a second and more than a hundred megabytes for a quarter of a million tokens. The table has the same maps, made once, when a model is
//! compiled.
//!
//! ```text
//! magic │ ids, merges, slots, bytes │ ends [ids + 1] │ slots [slots] │ first [ids + 1] │ merges [merges × 3] │ texts
//! ```
//!
//! All numbers are little-endian `u32`. The text of token `i` is `texts[ends[i] .. ends[i + 1]]`. `slots` is a hash map with open
//! addressing, of texts to ids plus one. Merges that make token `i` are `merges[first[i] .. first[i + 1]]`, each a rank, a left and a
//! right token.

use std::borrow::Cow;
use std::ops::Range;

use crate::fnv;

/// What the file begins with.
const MAGIC: [u8; 8] = *b"GRVPAIR1";
/// Bytes before the first array.
const HEADER: usize = MAGIC.len() + 4 * NUMBER;
const NUMBER: usize = size_of::<u32>();
/// Longest token, in bytes; real ones have some dozens, and each byte of a text is the first of as many candidates.
const LONGEST: usize = 1024;
/// Ids for which there may be no token, for each for which there is one.
const SPARSEST: usize = 2;
/// A slot in which nothing lies.
const EMPTY: u32 = 0;

/// Two tokens that become one. Those with smaller ranks are joined first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Merge {
    pub(super) rank: u32,
    pub(super) left: u32,
    pub(super) right: u32,
}

/// A table in memory, its arrays checked.
pub(super) struct Table {
    bytes: Cow<'static, [u8]>,
    counts: Counts,
    layout: Layout,
    /// Tokens that have a text.
    used: usize,
    /// Bytes of the longest text.
    longest: usize,
}

/// How many elements arrays have.
#[derive(Clone, Copy)]
struct Counts {
    ids: u32,
    merges: u32,
    /// A power of two.
    slots: u32,
    /// Of all texts.
    bytes: u32,
}

/// Where arrays begin, in bytes.
#[derive(Clone, Copy)]
struct Layout {
    ends: usize,
    slots: usize,
    first: usize,
    merges: usize,
    texts: usize,
    total: usize,
}

impl Counts {
    fn layout(self) -> Layout {
        let array = |at: usize, elements: usize| at + elements * NUMBER;
        let per_id = self.ids as usize + 1;
        let ends = HEADER;
        let slots = array(ends, per_id);
        let first = array(slots, self.slots as usize);
        let merges = array(first, per_id);
        let texts = array(merges, 3 * self.merges as usize);
        Layout {
            ends,
            slots,
            first,
            merges,
            texts,
            total: texts + self.bytes as usize,
        }
    }

    fn read(bytes: &[u8]) -> Option<Counts> {
        let (magic, numbers) = bytes.get(..HEADER)?.split_at(MAGIC.len());
        let mut numbers = numbers.chunks_exact(NUMBER).map(number);
        let mut next = || numbers.next();
        (magic == MAGIC).then_some(())?;
        Some(Counts {
            ids: next()?,
            merges: next()?,
            slots: next()?,
            bytes: next()?,
        })
    }
}

impl Table {
    /// Takes a table's bytes, and checks that all they say lies inside them.
    pub(super) fn open(bytes: Cow<'static, [u8]>) -> Result<Table, &'static str> {
        let counts = Counts::read(&bytes).ok_or("expected a table of byte pairs")?;
        let layout = counts.layout();
        if layout.total != bytes.len() {
            return Err("the table has another length than its counts say");
        }
        let mut table = Table {
            bytes,
            counts,
            layout,
            used: 0,
            longest: 0,
        };
        (table.used, table.longest) = table.check()?;
        Ok(table)
    }

    /// How many tokens have a text, and the length of the longest.
    fn check(&self) -> Result<(usize, usize), &'static str> {
        let Counts {
            ids, merges, slots, ..
        } = self.counts;
        if !slots.is_power_of_two() || slots <= ids {
            return Err("the table has too few slots");
        }
        let texts = std::str::from_utf8(&self.bytes[self.layout.texts..])
            .map_err(|_| "the table's texts are not UTF-8")?;
        let (mut last, mut longest) = (0, 0);
        for end in self.array(self.layout.ends, ids as usize + 1) {
            let end = end as usize;
            if end < last || !texts.is_char_boundary(end) {
                return Err("a text of the table does not lie inside it");
            }
            longest = longest.max(end - last);
            last = end;
        }
        if longest > LONGEST {
            return Err("a token of the table is too long");
        }
        let mut used = 0;
        for slot in self.array(self.layout.slots, slots as usize) {
            used += usize::from(slot != EMPTY);
            if slot > ids {
                return Err("a slot of the table names no token");
            }
        }
        // Searches end at an empty slot.
        if used >= slots as usize {
            return Err("the table has no empty slot");
        }
        let mut last = 0;
        for first in self.array(self.layout.first, ids as usize + 1) {
            if first < last || first > merges {
                return Err("merges of the table are out of order");
            }
            last = first;
        }
        let merges = self.layout.merges..self.layout.texts;
        for merge in self.bytes[merges].chunks_exact(3 * NUMBER).map(merge) {
            if merge.left >= ids || merge.right >= ids {
                return Err("a merge of the table names no token");
            }
        }
        Ok((used, longest))
    }

    fn array(&self, at: usize, elements: usize) -> impl Iterator<Item = u32> {
        let bytes = &self.bytes[at..][..elements * NUMBER];
        bytes.chunks_exact(NUMBER).map(number)
    }

    fn element(&self, array: usize, index: usize) -> usize {
        number(&self.bytes[array + index * NUMBER..][..NUMBER]) as usize
    }

    /// The range that token `id` has in an array of borders.
    fn range(&self, array: usize, id: u32) -> Range<usize> {
        let id = id as usize;
        self.element(array, id)..self.element(array, id + 1)
    }

    /// One more than the largest id.
    pub(super) fn ids(&self) -> u32 {
        self.counts.ids
    }

    /// How many tokens there are.
    pub(super) fn len(&self) -> usize {
        self.used
    }

    /// Tokens with their ids.
    pub(super) fn tokens(&self) -> impl Iterator<Item = (&str, u32)> {
        (0..self.counts.ids).filter_map(|id| Some((self.text(id)?, id)))
    }

    /// The text of a token. An id whose text another one has stands for nothing.
    pub(super) fn text(&self, id: u32) -> Option<&str> {
        let text = (id < self.counts.ids).then(|| self.written(id))?;
        (self.id(text) == Some(id)).then_some(text)
    }

    fn written(&self, id: u32) -> &str {
        let range = self.range(self.layout.ends, id);
        let bytes = &self.bytes[self.layout.texts..][range];
        std::str::from_utf8(bytes).expect("borders were checked to be those of characters")
    }

    /// The id of a text.
    pub(super) fn id(&self, text: &str) -> Option<u32> {
        self.find(Hash::of(text.as_bytes()), text)
    }

    fn find(&self, hash: Hash, text: &str) -> Option<u32> {
        let mut slots = hash.slots(self.counts.slots);
        let slot = |at| self.element(self.layout.slots, at) as u32;
        let ids = slots.by_ref().map(slot).take_while(|id| *id != EMPTY);
        ids.map(|id| id - 1).find(|id| self.written(*id) == text)
    }

    /// Merges that make a token, the first first.
    pub(super) fn merges_of(&self, id: u32) -> impl Iterator<Item = Merge> {
        let range = self.range(self.layout.first, id);
        let merges = &self.bytes[self.layout.merges..self.layout.texts];
        let merges = &merges[range.start * 3 * NUMBER..range.end * 3 * NUMBER];
        merges.chunks_exact(3 * NUMBER).map(merge)
    }

    /// Calls `found` with every token that a part of a text spells, at each place where it does.
    pub(super) fn parts(&self, text: &str, mut found: impl FnMut(u32)) {
        for (start, _) in text.char_indices() {
            let rest = &text[start..];
            let (mut hash, mut hashed) = (Hash::NOTHING, 0);
            for (at, character) in rest.char_indices() {
                let end = at + character.len_utf8();
                if end > self.longest {
                    break;
                }
                hash = hash.with(&rest.as_bytes()[hashed..end]);
                hashed = end;
                if let Some(id) = self.find(hash, &rest[..end]) {
                    found(id);
                }
            }
        }
    }
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes.try_into().expect("four bytes"))
}

fn merge(bytes: &[u8]) -> Merge {
    Merge {
        rank: number(&bytes[..NUMBER]),
        left: number(&bytes[NUMBER..2 * NUMBER]),
        right: number(&bytes[2 * NUMBER..]),
    }
}

/// What a text is found by.
#[derive(Clone, Copy)]
struct Hash(u64);

impl Hash {
    const NOTHING: Hash = Hash(fnv::NOTHING);

    fn of(bytes: &[u8]) -> Hash {
        Hash::NOTHING.with(bytes)
    }

    fn with(self, bytes: &[u8]) -> Hash {
        Hash(fnv::fnv1a(self.0, bytes))
    }

    /// Some of its bits.
    fn short(self) -> u32 {
        self.0 as u32
    }

    /// All slots, from the one where a text lies that had it to itself.
    fn slots(self, slots: u32) -> impl Iterator<Item = usize> {
        let mixed = (self.0 ^ (self.0 >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let slots = slots as usize;
        (0..slots).map(move |step| (mixed as usize + step) & (slots - 1))
    }
}

/// Tokens by their texts, of which a table is made.
#[derive(Clone, Debug)]
pub struct Ids<'a> {
    /// By id. Of tokens with one text the last one has it.
    texts: Vec<Option<&'a str>>,
    slots: Vec<Slot>,
}

/// A slot, with some of its text's hash, so that nearly no other text is looked at.
#[derive(Clone, Copy, Debug)]
struct Slot {
    hash: u32,
    /// An id plus one.
    id: u32,
}

impl<'a> Ids<'a> {
    /// Nothing where two tokens share an id, or ids are mostly unused.
    pub fn of(tokens: impl Iterator<Item = (&'a str, u32)>) -> Option<Ids<'a>> {
        let tokens: Vec<(&str, u32)> = tokens.collect();
        let ids = tokens.iter().map(|(_, id)| *id as usize + 1);
        let ids = ids.max().unwrap_or(0);
        if ids > SPARSEST * tokens.len() {
            return None;
        }
        let mut all = Ids {
            texts: vec![None; ids],
            slots: vec![Slot { hash: 0, id: EMPTY }; 2 * ids.next_power_of_two()],
        };
        for (text, id) in tokens {
            if all.texts[id as usize].replace(text).is_some() {
                return None;
            }
            let hash = Hash::of(text.as_bytes());
            let at = all.slot_of(hash, text);
            if let Some(before) = all.slots[at].id.checked_sub(1) {
                all.texts[before as usize] = None;
            }
            let (hash, id) = (hash.short(), id + 1);
            all.slots[at] = Slot { hash, id };
        }
        Some(all)
    }

    /// The token with this text.
    pub fn get(&self, text: &str) -> Option<u32> {
        let hash = Hash::of(text.as_bytes());
        self.slots[self.slot_of(hash, text)].id.checked_sub(1)
    }

    /// The slot where a text lies, or would.
    fn slot_of(&self, hash: Hash, text: &str) -> usize {
        let short = hash.short();
        let is_its = |at: &usize| {
            let Slot { hash, id } = self.slots[*at];
            id == EMPTY || hash == short && self.texts[id as usize - 1] == Some(text)
        };
        let mut all = hash.slots(self.slots.len() as u32);
        all.find(is_its)
            .expect("there are twice as many slots as ids")
    }
}

/// Writes the table of a vocabulary. Nothing where it would not give what the library gives: merges of tokens that there are not or that
/// stand for something else than their text (`never_merged`), and tokens of a kilobyte.
pub(super) fn write<'a>(
    ids: &Ids<'_>,
    merges: impl Iterator<Item = (&'a str, &'a str)>,
    never_merged: impl Fn(&str) -> bool,
) -> Option<Vec<u8>> {
    let Ids { texts, slots } = ids;
    let texts = || texts.iter().map(|text| text.unwrap_or_default());
    if texts().any(|text| text.len() > LONGEST) {
        return None;
    }
    let mut made: Vec<(u32, Merge)> = vec![];
    let mut whole = String::new();
    for (rank, (left, right)) in merges.enumerate() {
        if never_merged(left) || never_merged(right) {
            return None;
        }
        whole.clear();
        whole.extend([left, right]);
        let whole = ids.get(&whole)?;
        let (left, right) = (ids.get(left)?, ids.get(right)?);
        let rank = u32::try_from(rank).ok()?;
        made.push((whole, Merge { rank, left, right }));
    }
    made.sort_unstable();

    let counts = Counts {
        ids: u32::try_from(ids.texts.len()).ok()?,
        merges: u32::try_from(made.len()).ok()?,
        slots: u32::try_from(slots.len()).ok()?,
        bytes: u32::try_from(texts().map(str::len).sum::<usize>()).ok()?,
    };
    let mut out = Vec::with_capacity(counts.layout().total);
    out.extend(MAGIC);
    let mut put = |number: u32| out.extend(number.to_le_bytes());
    for count in [counts.ids, counts.merges, counts.slots, counts.bytes] {
        put(count);
    }
    borders(texts().map(str::len), &mut put);
    slots.iter().for_each(|slot| put(slot.id));
    let mut of_id = vec![0; ids.texts.len()];
    for (whole, _) in &made {
        of_id[*whole as usize] += 1;
    }
    borders(of_id.into_iter(), &mut put);
    for (_, merge) in made {
        put(merge.rank);
        put(merge.left);
        put(merge.right);
    }
    texts().for_each(|text| out.extend(text.bytes()));
    debug_assert_eq!(out.len(), counts.layout().total);
    Some(out)
}

/// Sums of lengths so far, from none to all.
fn borders(lengths: impl Iterator<Item = usize>, put: &mut impl FnMut(u32)) {
    let mut sum = 0;
    put(sum);
    for length in lengths {
        // All of them together were counted in 32 bits.
        sum += length as u32;
        put(sum);
    }
}
