//! Binding: a spec's JSON and a config become a [`Model`].

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::at::Around;
use super::error::{Fault, IN_CONFIG, Kind, Located, Read, in_json};
use super::form;
use super::json::equal;
use super::keys;
use super::layers::{Layers, layers};
use super::limits::{MAX_CONTEXT, MAX_LAYERS, MAX_WIDTH};
use super::model::{Model, Rope};
use super::near::nearest;
use super::params::{Names, Params, Sources};
use super::part::Part;
use super::read::{Node, whole};
use super::rope::rope;
use super::seen::{Seen, check_carried};
use super::steps::steps;

/// Most bytes that the names of a list (`ignore`, `prefixes`) have together.
const MAX_NAMES_BYTES: usize = 1 << 20;
/// Most ropes of a spec.
const MAX_ROPES: usize = 64;

/// Parameters that every spec defines, and two that it may.
const VOCAB: &str = "vocab";
const HIDDEN: &str = "hidden";
const N_LAYERS: &str = "n_layers";
const CONTEXT: &str = "context";
const EOS: &str = "eos";
const BOS: &str = "bos";

/// Key of a spec that names a section of the config.
const SECTION: &str = "config_section";

/// The residual stream's name among values.
const STREAM: &str = "h";

/// Binds the spec `doc` (parents merged in) to `config`.
pub(super) fn bind(name: &str, doc: &Value, config: &Value) -> Read<Model> {
    if !config.is_object() {
        return Err(Fault::WrongType {
            found: Kind::of(config),
            expected: "an object",
        }
        .at("config.json"));
    }
    keys::check(doc)?;
    let outer = config;
    let config = &*sectioned(doc, outer)?;
    bind_to(name, doc, config, outer).map_err(|e| with_nearest(e, config))
}

fn bind_to(name: &str, doc: &Value, config: &Value, outer: &Value) -> Read<Model> {
    let empty = Map::new();
    let defs = doc
        .get("params")
        .and_then(Value::as_object)
        .unwrap_or(&empty);
    let of_layers = doc.get("layer_params").and_then(Value::as_object);
    let params = Params::new(Sources {
        defs,
        of_layers: of_layers.unwrap_or(&empty),
        config,
        outer,
    })?;
    let root = Node {
        value: doc,
        path: String::new(),
        names: Names {
            params: &params,
            layer: None,
        },
    };
    let spec = Spec { root, defs, config };
    spec.check_requirements()?;
    spec.model(name)
}

/// A fault of a key that the config lacks, with the most similar key beside it.
fn with_nearest(mut located: Located, config: &Value) -> Located {
    if let Fault::NotInConfig {
        name,
        nearest: near,
    } = &mut located.fault
    {
        let (inside, key) = name.rsplit_once('.').unwrap_or(("", name));
        let mut parts = inside.split('.').filter(|p| !p.is_empty());
        let object = parts.try_fold(config, |v, part| v.get(part));
        let keys = object.and_then(Value::as_object).map(Map::keys);
        *near = nearest(key, keys.into_iter().flatten().map(String::as_str));
    }
    located
}

/// The config with the section laid over it that `config_section` names, where it has that: the text half of a multimodal
/// checkpoint says there what it is.
fn sectioned<'c>(doc: &Value, config: &'c Value) -> Read<Cow<'c, Value>> {
    let wrong = |value, expected, path: String| {
        let found = Kind::of(value);
        Err(Fault::WrongType { found, expected }.at(&path))
    };
    let name = match doc.get(SECTION) {
        None | Some(Value::Null) => return Ok(Cow::Borrowed(config)),
        Some(Value::String(name)) => name,
        Some(other) => return wrong(other, "a key of the config", SECTION.into()),
    };
    let (section, outer) = match (config.get(name), config.as_object()) {
        (Some(Value::Object(section)), Some(outer)) => (section, outer),
        (None | Some(Value::Null), _) | (_, None) => return Ok(Cow::Borrowed(config)),
        (Some(other), _) => {
            let path = format!("{SECTION}{IN_CONFIG}{name}");
            return wrong(other, "an object", path);
        }
    };
    let mut whole = outer.clone();
    whole.extend(section.iter().map(|(k, v)| (k.clone(), v.clone())));
    Ok(Cow::Owned(Value::Object(whole)))
}

struct Spec<'s, 'a> {
    root: Node<'s, 'a>,
    defs: &'a Map<String, Value>,
    config: &'a Value,
}

impl<'s, 'a> Spec<'s, 'a> {
    fn model(&self, name: &str) -> Read<Model> {
        let vocab = self.size(VOCAB, MAX_WIDTH)?;
        let hidden = self.size(HIDDEN, MAX_WIDTH)?;
        let context = self.size(CONTEXT, MAX_CONTEXT)?;
        let n_layers = self.size(N_LAYERS, MAX_LAYERS)?;
        let ropes = self.ropes(context)?;
        let around = Around {
            hidden,
            vocab,
            context,
            ropes: &ropes,
            part: Part::Embed,
        };
        // Weights of the embedding and the head share a table, so their steps need different names.
        let carried = self.carried()?;
        let mut seen = Seen::default();
        let (embed, width) = steps(&self.section("embed")?, around, None, &mut seen)?;
        self.width_is("embed", width, hidden)?;
        let in_carried = |f: Fault| f.at("carried");
        let mut handed = Seen::values([(STREAM, hidden)].into_iter());
        handed.hand_on(&seen, &carried).map_err(in_carried)?;
        let Layers {
            kinds,
            layers,
            sources,
            ..
        } = layers(
            &self.root,
            around.within(Part::Layer),
            n_layers,
            (&mut handed, &carried),
        )?;
        for (name, _) in &carried {
            handed.width(name).map_err(in_carried)?;
        }
        handed.names = seen.names;
        let mut seen = handed;
        let in_head = around.within(Part::Head);
        let (head, width) = steps(&self.section("head")?, in_head, Some(hidden), &mut seen)?;
        self.width_is("head", width, vocab)?;
        let (eos, bos) = (self.token_ids(EOS)?, self.token_ids(BOS)?.first().copied());
        let prefixes = self.strings("prefixes")?;
        let ignore = self.strings("ignore")?;
        Ok(Model {
            name: name.into(),
            vocab,
            hidden,
            context,
            ropes,
            embed,
            carried,
            kinds,
            layers,
            sources,
            head,
            output: None,
            eos,
            bos,
            prefixes,
            ignore,
        })
    }

    /// Values handed from layer to layer, with their widths.
    fn carried(&self) -> Read<Vec<(String, usize)>> {
        let Some(node) = self.root.object(form::SPEC)?.optional("carried")? else {
            return Ok(Vec::new());
        };
        let width = |(name, n): &(&str, Node<'_, '_>)| {
            check_carried(name).map_err(|f| n.fault(f))?;
            Ok((name.to_string(), n.whole(1, MAX_WIDTH)?))
        };
        node.entries()?.iter().map(width).collect()
    }

    fn section(&self, key: &'static str) -> Read<Node<'s, 'a>> {
        self.root
            .object(form::SPEC)?
            .raw(key)
            .ok_or_else(|| self.root.fault(Fault::MissingKey(key)))
    }

    fn width_is(&self, section: &'static str, found: Option<usize>, expected: usize) -> Read<()> {
        let found = found.unwrap_or(0);
        if found == expected {
            Ok(())
        } else {
            Err(Fault::Mismatch {
                what: "its output's width",
                found,
                expected,
            }
            .at(section))
        }
    }

    fn param_value(&self, name: &'static str) -> Read<Option<Cow<'a, Value>>> {
        let params = self.root.names.params;
        self.defs
            .contains_key(name)
            .then(|| params.get(name, 0))
            .transpose()
    }

    fn size(&self, name: &'static str, max: usize) -> Read<usize> {
        let value = self
            .param_value(name)?
            .ok_or_else(|| Fault::MissingKey(name).at("params"))?;
        whole(&value, 1, max).map_err(|f| self.fault_of_param(name, &value, f))
    }

    fn fault_of_param(&self, name: &str, value: &Value, fault: Fault) -> Located {
        let path = format!("params.{name}");
        self.root.names.params.fault_of(value, fault, &path)
    }

    /// One id, a list of them, or none.
    fn token_ids(&self, name: &'static str) -> Read<Vec<u32>> {
        let Some(value) = self.param_value(name)? else {
            return Ok(Vec::new());
        };
        let ids = match &*value {
            Value::Null => &[],
            Value::Array(list) => list.as_slice(),
            one => std::slice::from_ref(one),
        };
        let id = |v: &Value| match whole(v, 0, u32::MAX as usize) {
            Ok(id) => Ok(id as u32),
            Err(f) => Err(self.fault_of_param(name, v, f)),
        };
        ids.iter().map(id).collect()
    }

    fn ropes(&self, context: usize) -> Read<Vec<Rope>> {
        let Some(node) = self.root.object(form::SPEC)?.optional("ropes")? else {
            return Ok(Vec::new());
        };
        let entries = node.entries()?;
        if entries.len() > MAX_ROPES {
            let expected = format!("at most {MAX_ROPES}");
            return Err(node.fault(Fault::Range {
                found: format!("{} ropes", entries.len()),
                expected,
            }));
        }
        let mut ropes = Vec::new();
        for (name, node) in entries {
            if let Some(node) = node.chosen()? {
                ropes.push(rope(name, &node, context)?);
            }
        }
        Ok(ropes)
    }

    /// A list of strings, each of which may have an `if`, or stand for several: `{"name": "layers.{i}.*", "from": first,
    /// "count": how many}`.
    fn strings(&self, key: &str) -> Read<Vec<String>> {
        let Some(list) = self.root.object(form::SPEC)?.raw(key) else {
            return Ok(Vec::new());
        };
        let mut strings = Vec::new();
        let mut bytes = 0;
        for node in list.elements()? {
            if bytes > MAX_NAMES_BYTES {
                let found = format!("names of more than {MAX_NAMES_BYTES} bytes in all");
                let expected = "fewer, or shorter ones with a `*`".into();
                return Err(list.fault(Fault::Range { found, expected }));
            }
            let Some(node) = node.chosen()? else { continue };
            if !node.value.is_object() {
                let name = node.literal("a string")?;
                bytes += name.len();
                strings.push(name.to_string());
                continue;
            }
            let fields = node.object(form::NAMES)?;
            let name = fields.required("name")?.literal("a string")?;
            let from = fields.value("from", |n| n.whole(0, MAX_LAYERS))?;
            let count = fields.value("count", |n| n.whole(0, MAX_LAYERS))?;
            let from = from.unwrap_or(0);
            let numbers = from..from + count.unwrap_or(1);
            bytes += name.len() * numbers.len();
            if bytes > MAX_NAMES_BYTES {
                continue;
            }
            strings.extend(numbers.map(|i| name.replace("{i}", &i.to_string())));
        }
        Ok(strings)
    }

    /// `require`: config values that change the arithmetic, with the values (or the condition) that this spec describes.
    fn check_requirements(&self) -> Read<()> {
        let Some(node) = self.root.object(form::SPEC)?.optional("require")? else {
            return Ok(());
        };
        for (key, supported) in node.entries()? {
            let found = key
                .split('.')
                .try_fold(self.config, |v, k| v.get(k))
                .unwrap_or(&Value::Null);
            let holds = match supported.value {
                Value::Array(values) => found.is_null() || values.iter().any(|v| equal(v, found)),
                _ => supported.flag()?,
            };
            if !holds {
                let (found, expected) = (in_json(found), shown(supported.value));
                return Err(supported.fault(Fault::Unsupported {
                    key: key.into(),
                    found,
                    expected,
                }));
            }
        }
        Ok(())
    }
}

/// `[false]` → `false`; nothing but null for an empty list; a condition stands for itself.
fn shown(supported: &Value) -> String {
    match supported {
        Value::Array(values) if values.is_empty() => "null".into(),
        Value::Array(values) => values.iter().map(in_json).collect::<Vec<_>>().join(" or "),
        Value::String(condition) => format!("`{condition}`"),
        other => in_json(other),
    }
}
