//! What a GGUF file says of its model, as the expressions of specs see it.

use serde_json::{Map, Value};

use super::error::GgufError;
use super::metadata::{Item, Scalar};
use super::model::{GgufFile, GgufModel};
use crate::spec::{GgufFacts, gguf_values};
use crate::weights::error::WeightsError;
use crate::weights::storage::FloatType;

const ARCHITECTURE: &str = "general.architecture";
/// Longest list that expressions see: one element for each layer.
const MAX_LIST: usize = 4096;
/// Most values of a tensor that expressions see.
const MAX_VALUES: usize = 4096;
/// Parts of a key; what has more keeps its dots in the last.
const MAX_PARTS: usize = 8;

impl GgufModel {
    /// The metadata, and shapes and values of tensors.
    ///
    /// # Errors
    /// A file that does not say what architecture it is of.
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
        let mut outer = Map::new();
        for key in metadata.keys() {
            let value = metadata.get(&first.bytes, key).map_or(Value::Null, json);
            insert(&mut outer, &parts(key), value);
        }
        let own = outer.get(architecture).and_then(Value::as_object);
        let mut config = own.cloned().unwrap_or_default();
        let (mut tensors, mut values) = (Map::new(), Map::new());
        for (file, tensor) in self.tensors() {
            let named = |part: &&str| !part.bytes().all(|b| b.is_ascii_digit());
            let place: Vec<&str> = parts(&tensor.name).into_iter().filter(named).collect();
            insert(&mut tensors, &place, tensor.shape.clone().into());
            if gguf_values().any(|name| name == tensor.name) {
                let read = self.files[file].values(&tensor.name);
                insert(&mut values, &parts(&tensor.name), read.into());
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

impl GgufFile {
    /// The values of a small tensor of floats.
    fn values(&self, name: &str) -> Option<Vec<f64>> {
        let tensor = self.header.tensors.iter().find(|t| t.name == name)?;
        let floats = self.tensor_bytes(tensor).chunks_exact(4);
        let is_read = tensor.storage.float() == Some(FloatType::F32) && floats.len() <= MAX_VALUES;
        let floats = floats.map(|b| f32::from_le_bytes(b.try_into().expect("four bytes")));
        is_read.then(|| floats.map(shortest).collect())
    }
}

fn parts(key: &str) -> Vec<&str> {
    key.splitn(MAX_PARTS, '.').collect()
}

/// Puts a value where its key says, unless what stands there already is in the way.
fn insert(into: &mut Map<String, Value>, parts: &[&str], value: Value) {
    match parts {
        [] => {}
        [last] => drop(into.entry(*last).or_insert(value)),
        [first, rest @ ..] => {
            let inner = into.entry(*first).or_insert_with(|| Map::new().into());
            if let Some(inner) = inner.as_object_mut() {
                insert(inner, rest, value);
            }
        }
    }
}

/// A value as JSON has it; null where it is not text, not a finite number, or a long list.
fn json(item: Item<'_>) -> Value {
    match item {
        Item::Scalar(Scalar::Whole(n)) => match (u64::try_from(n), i64::try_from(n)) {
            (Ok(n), _) => n.into(),
            (Err(_), Ok(n)) => n.into(),
            (Err(_), Err(_)) => Value::Null,
        },
        Item::Scalar(Scalar::Single(x)) => shortest(x).into(),
        Item::Scalar(Scalar::Double(x)) => x.into(),
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
