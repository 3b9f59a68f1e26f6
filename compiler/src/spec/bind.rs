//! Binding: a spec's JSON and a config become a [`Model`].
//!
//! Layers are read one by one, with the layer's index as `layer`; layers that come out equal are one kind. So a field
//! that differs from layer to layer needs no rule of its own, and the number of kinds is what it costs.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::error::{Fault, Kind};
use super::expr::equal;
use super::model::{Item, KeyValue, LayerKind, Model, Rope};
use super::read::{Fields, Names, Node, Params, Read, unknown, whole};
use super::rope::rope;
use super::steps::{Around, MAX_CONTEXT, MAX_WIDTH, steps};
use super::values::Seen;

/// Most layers of a model.
const MAX_LAYERS: usize = 4096;
/// Most ropes of a spec.
const MAX_ROPES: usize = 64;

/// Keys at the top of a spec.
pub(super) const KEYS: [&str; 17] = [
    "carried",
    "about",
    "extends",
    "match",
    "config_section",
    "params",
    "layer_params",
    "require",
    "ropes",
    "embed",
    "layers",
    "layer_kind",
    "head",
    "prefixes",
    "ignore",
    "presets",
    "$schema",
];

/// Parameters that every spec defines, and two that it may.
const VOCAB: &str = "vocab";
const HIDDEN: &str = "hidden";
const N_LAYERS: &str = "n_layers";
const CONTEXT: &str = "context";
const EOS: &str = "eos";
const BOS: &str = "bos";

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
    let config = &*sectioned(doc, config);
    let empty = Map::new();
    let defs = doc
        .get("params")
        .and_then(Value::as_object)
        .unwrap_or(&empty);
    let of_layers = doc.get("layer_params").and_then(Value::as_object);
    let params = Params::new(defs, of_layers.unwrap_or(&empty), config)?;
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

/// The config with the section laid over it that `config_section` names, where it has that: the text half of a multimodal
/// checkpoint says there what it is.
fn sectioned<'c>(doc: &Value, config: &'c Value) -> Cow<'c, Value> {
    let name = doc.get("config_section").and_then(Value::as_str);
    let section = name.and_then(|n| config.get(n)).and_then(Value::as_object);
    let (Some(section), Some(outer)) = (section, config.as_object()) else {
        return Cow::Borrowed(config);
    };
    let mut whole = outer.clone();
    whole.extend(section.iter().map(|(k, v)| (k.clone(), v.clone())));
    Cow::Owned(Value::Object(whole))
}

/// Kinds, the kind of each layer, and the layer whose state each shares.
type Layers = (Vec<LayerKind>, Vec<usize>, Vec<Option<usize>>);

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
        };
        // Weights of the embedding and the head share a table, so their steps need different names.
        let carried = self.carried()?;
        let mut seen = Seen::default();
        let (embed, width) = steps(&self.section("embed")?, around, None, &mut seen)?;
        self.width_is("embed", width, hidden)?;
        for (name, width) in &carried {
            let found = seen.width(name).map_err(|f| f.at("carried"))?;
            self.width_is("carried", Some(found), *width)?;
        }
        let stream = (STREAM, hidden);
        let handed = carried.iter().map(|(n, w)| (n.as_str(), *w));
        let handed = Seen::values(handed.chain([stream]));
        let (kinds, layers, sources) = self.layers(around, n_layers, &handed)?;
        let mut seen = Seen {
            names: seen.names,
            ..handed
        };
        let (head, width) = steps(&self.section("head")?, around, Some(hidden), &mut seen)?;
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
            eos,
            bos,
            prefixes,
            ignore,
        })
    }

    /// Values handed from layer to layer, with their widths.
    fn carried(&self) -> Read<Vec<(String, usize)>> {
        let Some(node) = self.root.object(&KEYS)?.optional("carried")? else {
            return Ok(Vec::new());
        };
        let width = |(name, n): &(&str, Node<'_, '_>)| match *name {
            STREAM => Err(n.wrong("another name than `h`, the residual stream's")),
            _ => Ok((name.to_string(), n.whole(1, MAX_WIDTH)?)),
        };
        node.entries()?.iter().map(width).collect()
    }

    fn section(&self, key: &'static str) -> Read<Node<'s, 'a>> {
        self.root
            .object(&KEYS)?
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
        whole(&value, 1, max).map_err(|f| f.at(&format!("params.{name}")))
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
        let id = |v: &Value| whole(v, 0, u32::MAX as usize).map(|n| n as u32);
        ids.iter()
            .map(id)
            .collect::<Result<_, _>>()
            .map_err(|f: Fault| f.at(&format!("params.{name}")))
    }

    fn ropes(&self, context: usize) -> Read<Vec<Rope>> {
        let Some(node) = self.root.object(&KEYS)?.optional("ropes")? else {
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
        entries
            .iter()
            .map(|(name, n)| rope(name, n, context))
            .collect()
    }

    /// Distinct layers, and for each layer the index of the one it equals, and the layer whose state it shares.
    fn layers(&self, around: Around<'_>, n_layers: usize, handed: &Seen) -> Read<Layers> {
        let (mut kinds, mut layers) = (Vec::<LayerKind>::new(), Vec::with_capacity(n_layers));
        let mut sources = Vec::with_capacity(n_layers);
        for i in 0..n_layers {
            let layer = self.layer(around, i, handed)?;
            sources.push(self.source(&layer, &sources)?);
            let index = kinds
                .iter()
                .position(|k| family(&k.name) == layer.name && k.items == layer.items);
            layers.push(index.unwrap_or(kinds.len()));
            if index.is_none() {
                let earlier = kinds
                    .iter()
                    .filter(|k| family(&k.name) == layer.name)
                    .count();
                let name = if earlier == 0 {
                    layer.name
                } else {
                    format!("{}.{earlier}", layer.name)
                };
                kinds.push(LayerKind { name, ..layer });
            }
        }
        Ok((kinds, layers, sources))
    }

    /// The layer whose state a layer shares; one that shares another's in turn has none to share.
    fn source(&self, layer: &LayerKind, sources: &[Option<usize>]) -> Read<Option<usize>> {
        let place = format!("layers.{}", layer.name);
        let mut shared = layer.attentions().map(|a| match a.kv {
            KeyValue::Own(..) => None,
            KeyValue::Shared(source) => Some(source.0),
        });
        let source = shared.next().flatten();
        if shared.any(|s| s != source) {
            let (found, expected) = (
                "attention steps that share different states".into(),
                "all of a layer's attention steps to share one layer's states, or none".into(),
            );
            return Err(Fault::Range { found, expected }.at(&place));
        }
        match source.filter(|s| sources[*s].is_some()) {
            Some(s) => {
                let found = format!("layer {s}, which shares another's itself");
                let expected = "a layer with keys and values of its own".into();
                Err(Fault::Range { found, expected }.at(&place))
            }
            None => Ok(source),
        }
    }

    fn layer(&self, around: Around<'_>, i: usize, handed: &Seen) -> Read<LayerKind> {
        let mut root = self.root.clone();
        root.names.layer = Some(i);
        let fields = root.object(&KEYS)?;
        let kinds = fields
            .raw("layers")
            .ok_or_else(|| root.fault(Fault::MissingKey("layers")))?;
        let node = chosen_kind(&fields, &kinds)?;
        let name = node.path.trim_start_matches("layers.").to_string();
        let mut seen = handed.clone();
        let items = node
            .elements()?
            .iter()
            .map(|n| item(n, around, &mut seen))
            .collect::<Read<_>>()?;
        Ok(LayerKind { name, items })
    }

    /// A list of strings, each of which may have an `if`, or stand for several: `{"name": "layers.{i}.*", "from": first,
    /// "count": how many}`.
    fn strings(&self, key: &str) -> Read<Vec<String>> {
        let Some(list) = self.root.object(&KEYS)?.raw(key) else {
            return Ok(Vec::new());
        };
        let mut strings = Vec::new();
        for node in list.elements()? {
            let Some(node) = node.chosen()? else { continue };
            if !node.value.is_object() {
                strings.push(node.literal("a string")?.to_string());
                continue;
            }
            let fields = node.object(&["name", "from", "count"])?;
            let name = fields.required("name")?.literal("a string")?;
            let from = fields.value("from", |n| n.whole(0, MAX_LAYERS))?;
            let count = fields.value("count", |n| n.whole(0, MAX_LAYERS))?;
            let from = from.unwrap_or(0);
            let numbers = from..from + count.unwrap_or(1);
            strings.extend(numbers.map(|i| name.replace("{i}", &i.to_string())));
        }
        Ok(strings)
    }

    /// `require`: config values that change the arithmetic, with the values (or the condition) that this spec describes.
    fn check_requirements(&self) -> Read<()> {
        let Some(node) = self.root.object(&KEYS)?.optional("require")? else {
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
                let (found, expected) = (found.to_string(), shown(supported.value));
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

/// `[false]` → `false`; a condition stands for itself.
fn shown(supported: &Value) -> String {
    match supported {
        Value::Array(values) => values
            .iter()
            .map(Value::to_string)
            .collect::<Vec<_>>()
            .join(" or "),
        Value::String(condition) => format!("`{condition}`"),
        other => other.to_string(),
    }
}

/// `dense.2` → `dense`: kinds that differ in a field only are numbered.
fn family(kind: &str) -> &str {
    kind.split('.').next().unwrap_or(kind)
}

/// The kind that `layer_kind` names; without that rule there is one kind only.
fn chosen_kind<'s, 'a>(fields: &Fields<'s, 'a>, kinds: &Node<'s, 'a>) -> Read<Node<'s, 'a>> {
    let entries = kinds.entries()?;
    let names = entries.iter().map(|(name, _)| *name);
    let Some(rule) = fields.raw("layer_kind") else {
        return match entries.as_slice() {
            [(_, only)] => Ok(only.clone()),
            _ => Err(fields.node.fault(Fault::MissingKey("layer_kind"))),
        };
    };
    let value = rule.eval()?;
    let name = value
        .as_str()
        .ok_or_else(|| rule.unexpected(&value, "the name of a layer kind"))?;
    let found = entries
        .iter()
        .find(|(n, _)| *n == name)
        .map(|(_, node)| node.clone());
    found.ok_or_else(|| rule.fault(unknown("layer kind", name, names.clone())))
}

/// `{"residual": [step…]}`, `{"before": [step…], "parallel": [[step…], [step…]]}` or `{"plain": [step…]}`.
fn item(node: &Node<'_, '_>, around: Around<'_>, seen: &mut Seen) -> Read<Item> {
    let fields = node.object(&["residual", "before", "parallel", "plain"])?;
    let mut branch = |n: &Node<'_, '_>| {
        let (steps, width) = steps(n, around, Some(around.hidden), seen)?;
        match width {
            Some(found) if found != around.hidden => Err(n.fault(Fault::Mismatch {
                what: "its output's width",
                found,
                expected: around.hidden,
            })),
            _ => Ok(steps),
        }
    };
    let keys = ["residual", "parallel", "plain", "before"];
    match keys.map(|key| fields.raw(key)) {
        [Some(steps), None, None, None] => Ok(Item::Residual {
            before: Vec::new(),
            branches: vec![branch(&steps)?],
        }),
        [None, Some(lists), None, before] => Ok(Item::Residual {
            before: before.as_ref().map_or(Ok(Vec::new()), &mut branch)?,
            branches: lists.elements()?.iter().map(branch).collect::<Read<_>>()?,
        }),
        [None, None, Some(steps), None] => Ok(Item::Plain(branch(&steps)?)),
        _ => Err(node.wrong(
            "one of `residual`, `parallel` (with or without `before`) and `plain`, with lists of steps",
        )),
    }
}
