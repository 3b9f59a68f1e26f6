//! Metadata: keys with typed values, of which lists and strings stay where the file has them.

use std::collections::BTreeMap;
use std::ops::Range;

use super::cursor::Cursor;
use super::error::GgufError;
use crate::weights::name::Name;

/// Most keys; real files have some dozens.
const MAX_KEYS: u64 = 1 << 14;
/// Longest key, in bytes.
const MAX_KEY: usize = 1024;
/// Most elements of a list; the largest, a vocabulary's merges, have half a million.
const MAX_ELEMENTS: u64 = 1 << 22;

/// The metadata of one file; the file's bytes come with every question.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata(BTreeMap<String, Entry>);

/// A value, or where it lies.
#[derive(Clone, Debug, PartialEq)]
enum Entry {
    Scalar(Scalar),
    Text(Range<usize>),
    List {
        kind: Kind,
        count: usize,
        at: Range<usize>,
    },
}

/// A number or a flag.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scalar {
    /// A whole number, signed or not.
    Whole(i128),
    /// A number in f32.
    Single(f32),
    /// A number in f64.
    Double(f64),
    /// True or false.
    Flag(bool),
}

/// A value of the metadata.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Item<'a> {
    /// A number or a flag.
    Scalar(Scalar),
    /// A text, of which nothing is known but its bytes.
    Text(&'a [u8]),
    /// A list.
    List(List<'a>),
}

/// A list of numbers, flags or texts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct List<'a> {
    kind: Kind,
    count: usize,
    bytes: &'a [u8],
}

/// Types of values, by the format's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Flag,
    Text,
    List,
    U64,
    I64,
    F64,
}

impl Kind {
    const ALL: [Kind; 13] = [
        Kind::U8,
        Kind::I8,
        Kind::U16,
        Kind::I16,
        Kind::U32,
        Kind::I32,
        Kind::F32,
        Kind::Flag,
        Kind::Text,
        Kind::List,
        Kind::U64,
        Kind::I64,
        Kind::F64,
    ];

    fn read(cursor: &mut Cursor<'_>, key: &str) -> Result<Kind, GgufError> {
        let found = cursor.u32(&called(key))?;
        let kind = Kind::ALL.get(found as usize).copied();
        kind.ok_or_else(|| GgufError::ValueType {
            key: key.into(),
            found,
        })
    }

    /// Bytes of a value; of texts and lists those of their length.
    fn size(self) -> usize {
        match self {
            Kind::U8 | Kind::I8 | Kind::Flag => 1,
            Kind::U16 | Kind::I16 => 2,
            Kind::U32 | Kind::I32 | Kind::F32 => 4,
            Kind::Text | Kind::List | Kind::U64 | Kind::I64 | Kind::F64 => 8,
        }
    }

    /// The number in `bytes`, which are as many as it has. Texts and lists are none.
    fn scalar(self, bytes: &[u8]) -> Option<Scalar> {
        let mut wide = [0; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        let bits = u64::from_le_bytes(wide);
        Some(match self {
            Kind::U8 | Kind::U16 | Kind::U32 | Kind::U64 => Scalar::Whole(bits.into()),
            Kind::I8 => Scalar::Whole((bits as i8).into()),
            Kind::I16 => Scalar::Whole((bits as i16).into()),
            Kind::I32 => Scalar::Whole((bits as i32).into()),
            Kind::I64 => Scalar::Whole((bits as i64).into()),
            Kind::F32 => Scalar::Single(f32::from_bits(bits as u32)),
            Kind::F64 => Scalar::Double(f64::from_bits(bits)),
            Kind::Flag => Scalar::Flag(bits != 0),
            Kind::Text | Kind::List => return None,
        })
    }
}

impl Metadata {
    /// Reads `count` keys.
    pub(super) fn read(
        cursor: &mut Cursor<'_>,
        file: &[u8],
        count: u64,
    ) -> Result<Metadata, GgufError> {
        at_most("keys", count, MAX_KEYS)?;
        let mut entries = BTreeMap::new();
        for i in 0..count {
            let key = cursor.name(&format!("key {i}"), MAX_KEY)?;
            let kind = Kind::read(cursor, key)?;
            let entry = Entry::read(cursor, file, key, kind)?;
            if entries.insert(key.to_string(), entry).is_some() {
                return Err(GgufError::DuplicateKey { key: key.into() });
            }
        }
        Ok(Metadata(entries))
    }

    /// All keys, in alphabetical order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The value of a key as text: a long one cut, a list by its length.
    pub(super) fn shown(&self, file: &[u8], key: &str) -> String {
        self.get(file, key)
            .map_or(String::new(), |item| item.shown())
    }

    /// The value of a key in the file that this is the metadata of.
    pub fn get<'a>(&self, file: &'a [u8], key: &str) -> Option<Item<'a>> {
        Some(match self.0.get(key)? {
            Entry::Scalar(scalar) => Item::Scalar(*scalar),
            Entry::Text(at) => Item::Text(&file[at.clone()]),
            Entry::List { kind, count, at } => Item::List(List {
                kind: *kind,
                count: *count,
                bytes: &file[at.clone()],
            }),
        })
    }

    /// A whole number of at least 0, or none where there is no such key.
    ///
    /// # Errors
    /// A value of another type.
    pub fn whole(&self, file: &[u8], key: &str) -> Result<Option<u64>, GgufError> {
        match self.get(file, key) {
            None => Ok(None),
            Some(Item::Scalar(Scalar::Whole(n))) if u64::try_from(n).is_ok() => Ok(Some(n as u64)),
            Some(other) => Err(other.wrong(key, "a whole number of at least 0")),
        }
    }

    /// True or false, or none where there is no such key.
    ///
    /// # Errors
    /// A value of another type.
    pub fn flag(&self, file: &[u8], key: &str) -> Result<Option<bool>, GgufError> {
        match self.get(file, key) {
            None => Ok(None),
            Some(Item::Scalar(Scalar::Flag(flag))) => Ok(Some(flag)),
            Some(other) => Err(other.wrong(key, "true or false")),
        }
    }

    /// A text, or none where there is no such key.
    ///
    /// # Errors
    /// A value of another type, and bytes that are not text.
    pub fn text<'a>(&self, file: &'a [u8], key: &str) -> Result<Option<&'a str>, GgufError> {
        match self.get(file, key) {
            None => Ok(None),
            Some(Item::Text(bytes)) => match std::str::from_utf8(bytes) {
                Ok(text) => Ok(Some(text)),
                Err(_) => Err(Item::Text(bytes).wrong(key, "UTF-8")),
            },
            Some(other) => Err(other.wrong(key, "a text")),
        }
    }

    /// A list, or none where there is no such key.
    ///
    /// # Errors
    /// A value of another type.
    pub fn list<'a>(&self, file: &'a [u8], key: &str) -> Result<Option<List<'a>>, GgufError> {
        match self.get(file, key) {
            None => Ok(None),
            Some(Item::List(list)) => Ok(Some(list)),
            Some(other) => Err(other.wrong(key, "a list")),
        }
    }
}

impl Entry {
    fn read(
        cursor: &mut Cursor<'_>,
        file: &[u8],
        key: &str,
        kind: Kind,
    ) -> Result<Entry, GgufError> {
        match kind {
            Kind::Text => return cursor.string(&called(key)).map(Entry::Text),
            Kind::List => return Entry::read_list(cursor, file, key),
            _ => {}
        }
        let bytes = &file[cursor.take(kind.size() as u64, &called(key))?];
        if kind == Kind::Flag {
            check_flags(key, bytes)?;
        }
        let scalar = kind.scalar(bytes);
        Ok(Entry::Scalar(scalar.expect("texts and lists are read")))
    }

    fn read_list(cursor: &mut Cursor<'_>, file: &[u8], key: &str) -> Result<Entry, GgufError> {
        let kind = Kind::read(cursor, key)?;
        let what = called(key);
        let count = cursor.u64(&what)?;
        at_most(&format!("elements of {what}"), count, MAX_ELEMENTS)?;
        let begin = cursor.at();
        match kind {
            Kind::List => return Err(GgufError::Nested { key: key.into() }),
            Kind::Text => {
                for _ in 0..count {
                    cursor.string(&what)?;
                }
            }
            _ => {
                let bytes = &file[cursor.take(count * kind.size() as u64, &what)?];
                if kind == Kind::Flag {
                    check_flags(key, bytes)?;
                }
            }
        }
        Ok(Entry::List {
            kind,
            count: count as usize,
            at: begin..cursor.at(),
        })
    }
}

impl<'a> List<'a> {
    /// How many elements there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The elements of a list of bytes.
    pub fn bytes(self) -> Option<&'a [u8]> {
        matches!(self.kind, Kind::U8 | Kind::I8).then_some(self.bytes)
    }

    /// The elements.
    pub fn items(self) -> impl Iterator<Item = Item<'a>> {
        let mut rest = self.bytes;
        (0..self.count).map(move |_| {
            let (head, after) = rest.split_at(self.kind.size());
            rest = after;
            match self.kind.scalar(head) {
                Some(scalar) => Item::Scalar(scalar),
                None => {
                    let length = u64::from_le_bytes(head.try_into().expect("a length"));
                    let (text, after) = rest.split_at(length as usize);
                    rest = after;
                    Item::Text(text)
                }
            }
        })
    }
}

impl Item<'_> {
    /// Says that a key's value is not what it should be.
    pub fn wrong(&self, key: &str, expected: &'static str) -> GgufError {
        GgufError::WrongType {
            key: key.into(),
            found: self.shown(),
            expected,
        }
    }

    fn shown(&self) -> String {
        match self {
            Item::Scalar(Scalar::Whole(n)) => n.to_string(),
            Item::Scalar(Scalar::Single(x)) => format!("{x:?}"),
            Item::Scalar(Scalar::Double(x)) => format!("{x:?}"),
            Item::Scalar(Scalar::Flag(flag)) => flag.to_string(),
            Item::Text(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => format!("{}", Name(text)),
                Err(_) => "bytes that are not UTF-8".into(),
            },
            Item::List(list) => format!("a list of {} elements", list.len()),
        }
    }
}

fn called(key: &str) -> String {
    format!("key {}", Name(key))
}

pub(super) fn at_most(what: &str, found: u64, limit: u64) -> Result<(), GgufError> {
    match found <= limit {
        true => Ok(()),
        false => Err(GgufError::TooMany {
            what: what.into(),
            found,
            limit,
        }),
    }
}

fn check_flags(key: &str, bytes: &[u8]) -> Result<(), GgufError> {
    match bytes.iter().find(|byte| **byte > 1) {
        None => Ok(()),
        Some(found) => Err(GgufError::Flag {
            key: key.into(),
            found: *found,
        }),
    }
}
