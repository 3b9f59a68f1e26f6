//! What a GGUF file says of its model, as the expressions of specs see it.

use serde_json::{Map, Value};

use super::error::GgufError;
use super::header::GgufTensor;
use super::metadata::{Item, Metadata, Scalar};
use super::model::{GgufFile, GgufModel};
use crate::spec::{GgufFacts, gguf_values, json_number};
use crate::weights::error::WeightsError;
use crate::weights::name::Name;
use crate::weights::storage::FloatType;

const ARCHITECTURE: &str = "general.architecture";
/// Longest list that expressions see: one element for each layer.
const MAX_LIST: usize = 4096;
/// Most values of a tensor that expressions see.
const MAX_VALUES: usize = 4096;
/// Parts of a key; what has more keeps its dots in the last.
const MAX_PARTS: usize = 8;
/// Most values that expressions see, those in lists and the parts of keys and names counted: a real file has some thousand.
const MAX_TOTAL: usize = 1 << 17;

impl GgufModel {
    /// The metadata, and shapes and values of tensors.
    ///
    /// # Errors
    /// A file that does not say what architecture it is of, more values than any real file has, and values of the architecture
    /// that no expression can see as they are.
    pub fn facts(&self) -> Result<GgufFacts, WeightsError> {
        self.facts_of_files().map_err(|problem| WeightsError::Gguf {
            path: self.files[0].path.clone(),
            problem,
        })
    }

    fn facts_of_files(&self) -> Result<GgufFacts, GgufError> {
        let first = &self.files[0];
        let metadata = &first.header.metadata;
        let Some(architecture) = metadata.text(&first.bytes, ARCHITECTURE)? else {
            let key = ARCHITECTURE.into();
            return Err(GgufError::MissingKey { key });
        };
        let mut seen = Seen::default();
        let mut outer = seen.metadata(metadata, &first.bytes, architecture)?;
        let mut config = match outer.shift_remove(architecture) {
            Some(Value::Object(own)) => own,
            Some(_) | None => Map::new(),
        };
        let (mut tensors, mut values) = (Map::new(), Map::new());
        for (file, tensor) in self.tensors() {
            let named = |part: &&str| !part.bytes().all(|b| b.is_ascii_digit());
            let place: Vec<&str> = parts(&tensor.name).into_iter().filter(named).collect();
            let what = || format!("tensor {}", Name(&tensor.name));
            if seen.insert(&mut tensors, &place, tensor.shape.clone().into()) {
                seen.take(tensor.shape.len(), what)?;
            }
            if gguf_values().any(|name| name == tensor.name) {
                let read = self.files[file].values(tensor)?;
                seen.take(read.len(), what)?;
                seen.insert(&mut values, &parts(&tensor.name), read.into());
            }
        }
        config.insert("tensors".into(), tensors.into());
        config.insert("values".into(), values.into());
        Ok(GgufFacts {
            architecture: architecture.into(),
            config: config.into(),
            outer: outer.into(),
        })
    }
}

/// How many values have been made.
#[derive(Default)]
struct Seen(usize);

impl Seen {
    /// All keys. Those of the architecture have to be what an expression sees as it is: one that was left out would have the
    /// value that a file without the key has.
    fn metadata(
        &mut self,
        metadata: &Metadata,
        bytes: &[u8],
        architecture: &str,
    ) -> Result<Map<String, Value>, GgufError> {
        let mut all = Map::new();
        for key in metadata.keys() {
            let Some(item) = metadata.get(bytes, key) else {
                continue;
            };
            let what = || format!("key {}", Name(key));
            let rest = key.strip_prefix(architecture);
            let is_own = rest.is_some_and(|rest| rest.starts_with('.'));
            if is_own {
                check(key, item)?;
            }
            self.take(elements(item), what)?;
            let is_placed = self.insert(&mut all, &parts(key), json(item));
            if is_own && !is_placed {
                return Err(GgufError::InTheWay { key: key.into() });
            }
            self.take(0, what)?;
        }
        Ok(all)
    }

    /// Counts `values` more.
    fn take(&mut self, values: usize, what: impl Fn() -> String) -> Result<(), GgufError> {
        self.0 = self.0.saturating_add(values);
        match self.0 <= MAX_TOTAL {
            true => Ok(()),
            false => Err(GgufError::TooMany {
                what: format!("values up to {}", what()),
                found: self.0 as u64,
                limit: MAX_TOTAL as u64,
            }),
        }
    }

    /// Puts a value where its key says, unless what stands there already is in the way; whether it did.
    fn insert(&mut self, into: &mut Map<String, Value>, parts: &[&str], value: Value) -> bool {
        let Some((first, rest)) = parts.split_first() else {
            return false;
        };
        if !into.contains_key(*first) {
            self.0 += 1;
            let new = match rest {
                [] => value,
                _ => {
                    let mut inner = Map::new();
                    self.insert(&mut inner, rest, value);
                    inner.into()
                }
            };
            into.insert((*first).into(), new);
            return true;
        }
        match into.get_mut(*first) {
            Some(Value::Object(inner)) if !rest.is_empty() => self.insert(inner, rest, value),
            Some(_) | None => false,
        }
    }
}

impl GgufFile {
    /// The values of a small tensor of floats.
    fn values(&self, tensor: &GgufTensor) -> Result<Vec<Value>, GgufError> {
        let floats = self.tensor_bytes(tensor).chunks_exact(4);
        if tensor.storage.float() != Some(FloatType::F32) || floats.len() > MAX_VALUES {
            return Err(GgufError::NoValues {
                tensor: tensor.name.clone(),
                dtype: tensor.storage.name,
                shape: tensor.shape.clone(),
                limit: MAX_VALUES,
            });
        }
        let floats = floats.map(|b| f32::from_le_bytes(b.try_into().expect("four bytes")));
        Ok(floats.map(|x| json_number(shortest(x))).collect())
    }
}

fn parts(key: &str) -> Vec<&str> {
    key.splitn(MAX_PARTS, '.').collect()
}

/// How many values a list becomes.
fn elements(item: Item<'_>) -> usize {
    match item {
        Item::List(list) if list.len() <= MAX_LIST => list.len(),
        Item::Scalar(_) | Item::Text(_) | Item::List(_) => 0,
    }
}

/// Refuses what `json` has no value for, and numbers that are none.
fn check(key: &str, item: Item<'_>) -> Result<(), GgufError> {
    match item {
        Item::Scalar(scalar) if !float(scalar).is_none_or(f64::is_finite) => {
            Err(item.wrong(key, "a finite number"))
        }
        Item::Text(text) if std::str::from_utf8(text).is_err() => Err(item.wrong(key, "UTF-8")),
        Item::List(list) if list.len() > MAX_LIST => {
            Err(item.wrong(key, "a list of at most 4096, one for each layer"))
        }
        Item::List(list) => {
            // An infinity has a meaning where a list holds limits: none.
            let is_nan = |item: &Item<'_>| match item {
                Item::Scalar(scalar) => float(*scalar).is_some_and(f64::is_nan),
                Item::Text(text) => std::str::from_utf8(text).is_err(),
                Item::List(_) => false,
            };
            match list.items().find(is_nan) {
                None => Ok(()),
                Some(found @ Item::Text(_)) => Err(found.wrong(key, "texts in UTF-8")),
                Some(found) => Err(found.wrong(key, "a list of numbers")),
            }
        }
        Item::Scalar(_) | Item::Text(_) => Ok(()),
    }
}

fn float(scalar: Scalar) -> Option<f64> {
    match scalar {
        Scalar::Single(x) => Some(x.into()),
        Scalar::Double(x) => Some(x),
        Scalar::Whole(_) | Scalar::Flag(_) => None,
    }
}

/// A value as JSON has it; null where it is not text, or a long list.
fn json(item: Item<'_>) -> Value {
    match item {
        Item::Scalar(Scalar::Whole(n)) => match (u64::try_from(n), i64::try_from(n)) {
            (Ok(n), _) => n.into(),
            (Err(_), Ok(n)) => n.into(),
            (Err(_), Err(_)) => Value::Null,
        },
        Item::Scalar(Scalar::Single(x)) => json_number(shortest(x)),
        Item::Scalar(Scalar::Double(x)) => json_number(x),
        Item::Scalar(Scalar::Flag(flag)) => flag.into(),
        Item::Text(text) => std::str::from_utf8(text).map_or(Value::Null, Value::from),
        Item::List(list) if list.len() <= MAX_LIST => list.items().map(json).collect(),
        Item::List(_) => Value::Null,
    }
}

/// The number with the fewest digits that is this one in f32: `1e-6`, which a config has in its place, rather than
/// `9.999999974752427e-7`.
fn shortest(x: f32) -> f64 {
    x.to_string().parse().unwrap_or(f64::from(x))
}
