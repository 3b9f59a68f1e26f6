//! Reading a spec's JSON: nodes that know their path, and the values that expressions in them may use.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::error::{Fault, Kind, Located};
use super::expr::{self, Scope};
use super::near::nearest;

pub(super) type Read<T> = Result<T, Located>;

/// The parameters of a spec, evaluated over a config on first use and at most once.
pub(super) struct Params<'a> {
    defs: &'a Map<String, Value>,
    /// Those that are evaluated anew for each layer.
    of_layers: &'a Map<String, Value>,
    config: &'a Value,
    done: RefCell<BTreeMap<&'a str, Cow<'a, Value>>>,
    /// Parameters being evaluated, outermost first: a name met twice is a cycle.
    busy: RefCell<Vec<&'a str>>,
}

impl<'a> Params<'a> {
    /// Evaluates all of `defs` over `config`; `of_layers` wait for a layer.
    pub(super) fn new(
        defs: &'a Map<String, Value>,
        of_layers: &'a Map<String, Value>,
        config: &'a Value,
    ) -> Read<Params<'a>> {
        let params = Params {
            defs,
            of_layers,
            config,
            done: RefCell::default(),
            busy: RefCell::default(),
        };
        for name in defs.keys() {
            params.get(name, 0)?;
        }
        Ok(params)
    }

    /// Value of a parameter; `depth` is how deep the evaluation is already.
    pub(super) fn get(&self, name: &str, depth: usize) -> Read<Cow<'a, Value>> {
        let Some((name, def)) = self.defs.get_key_value(name) else {
            return Err(Fault::MissingKey("params").at("params"));
        };
        if let Some(value) = self.done.borrow().get(name.as_str()) {
            return Ok(value.clone());
        }
        self.enter(name)?;
        let value = match def {
            Value::String(text) => expr::evaluate(
                text,
                &ParamScope {
                    params: self,
                    name,
                    path: param_path(name),
                },
                depth,
            ),
            literal => Ok(Cow::Borrowed(literal)),
        };
        self.busy.borrow_mut().pop();
        let value = value?;
        self.done.borrow_mut().insert(name, value.clone());
        Ok(value)
    }

    fn enter(&self, name: &'a str) -> Read<()> {
        let mut busy = self.busy.borrow_mut();
        if let Some(start) = busy.iter().position(|n| *n == name) {
            let cycle = busy[start..]
                .iter()
                .chain([&name])
                .map(|n| n.to_string())
                .collect();
            return Err(Fault::Cycle(cycle).at(&param_path(name)));
        }
        busy.push(name);
        Ok(())
    }

    fn config_key(&self, name: &str, path: &str) -> Read<Cow<'a, Value>> {
        match self.config.get(name) {
            Some(Value::Null) => Err(Fault::NullInConfig(name.into()).at(path)),
            Some(value) => Ok(Cow::Borrowed(value)),
            None => {
                let keys = self
                    .config
                    .as_object()
                    .into_iter()
                    .flat_map(|o| o.keys())
                    .map(String::as_str);
                Err(Fault::NotInConfig {
                    name: name.into(),
                    nearest: nearest(name, keys),
                }
                .at(path))
            }
        }
    }
}

fn param_path(name: &str) -> String {
    format!("params.{name}")
}

/// Names in a parameter's definition: other parameters, and keys of the config.
struct ParamScope<'s, 'a> {
    params: &'s Params<'a>,
    name: &'a str,
    path: String,
}

impl<'a> Scope<'a> for ParamScope<'_, 'a> {
    fn lookup(&self, name: &str, depth: usize) -> Read<Cow<'a, Value>> {
        // A parameter's own name is the config's key: `"head_dim": "head_dim ?? …"`.
        match name {
            "config" => Ok(Cow::Borrowed(self.params.config)),
            _ if name != self.name && self.params.defs.contains_key(name) => {
                self.params.get(name, depth)
            }
            _ => self.params.config_key(name, &self.path),
        }
    }

    fn path(&self) -> &str {
        &self.path
    }
}

/// What expressions outside `params` may use: parameters, `config.…`, and inside a layer its index, `layer`, and
/// `layer_params`.
#[derive(Clone, Copy)]
pub(super) struct Names<'s, 'a> {
    pub(super) params: &'s Params<'a>,
    pub(super) layer: Option<usize>,
}

struct NodeScope<'n, 's, 'a> {
    names: Names<'s, 'a>,
    path: &'n str,
}

impl<'a> Scope<'a> for NodeScope<'_, '_, 'a> {
    fn lookup(&self, name: &str, depth: usize) -> Read<Cow<'a, Value>> {
        let params = self.names.params;
        match (name, self.names.layer) {
            ("config", _) => Ok(Cow::Borrowed(params.config)),
            ("layer", Some(i)) => Ok(Cow::Owned(i.into())),
            (_, Some(_)) if params.of_layers.contains_key(name) => self.layer_param(name, depth),
            (_, _) if params.defs.contains_key(name) => params.get(name, depth),
            _ => Err(
                unknown("parameter", name, params.defs.keys().map(String::as_str)).at(self.path),
            ),
        }
    }

    fn path(&self) -> &str {
        self.path
    }
}

impl<'a> NodeScope<'_, '_, 'a> {
    /// A parameter of the layer; parameters that use each other in a circle end at the depth limit.
    fn layer_param(&self, name: &str, depth: usize) -> Read<Cow<'a, Value>> {
        match &self.names.params.of_layers[name] {
            Value::String(text) => {
                let path = &format!("layer_params.{name}");
                let names = self.names;
                expr::evaluate(text, &NodeScope { names, path }, depth)
            }
            literal => Ok(Cow::Borrowed(literal)),
        }
    }
}

/// A whole number in `min..=max`; `4.0` is one.
pub(super) fn whole(value: &Value, min: usize, max: usize) -> Result<usize, Fault> {
    let expected = "a whole number";
    let number = value.as_f64().ok_or_else(|| Fault::WrongType {
        found: Kind::of(value),
        expected,
    })?;
    if number.fract() != 0.0 || number < min as f64 || number > max as f64 {
        let expected = format!("a whole number from {min} to {max}");
        return Err(Fault::Range {
            found: value.to_string(),
            expected,
        });
    }
    Ok(number as usize)
}

/// A fault for a name outside a fixed set.
pub(super) fn unknown<'k>(
    what: &'static str,
    name: &str,
    known: impl Iterator<Item = &'k str> + Clone,
) -> Fault {
    let nearest = nearest(name, known.clone());
    Fault::UnknownName {
        what,
        name: name.into(),
        known: known.map(String::from).collect(),
        nearest,
    }
}

/// A value of the spec and where it stands.
#[derive(Clone)]
pub(super) struct Node<'s, 'a> {
    pub(super) value: &'a Value,
    pub(super) path: String,
    pub(super) names: Names<'s, 'a>,
}

impl<'s, 'a> Node<'s, 'a> {
    pub(super) fn fault(&self, fault: Fault) -> Located {
        fault.at(&self.path)
    }

    pub(super) fn wrong(&self, expected: &'static str) -> Located {
        self.fault(Fault::WrongType {
            found: Kind::of(self.value),
            expected,
        })
    }

    fn child(&self, value: &'a Value, step: std::fmt::Arguments<'_>) -> Node<'s, 'a> {
        let path = if self.path.is_empty() {
            step.to_string().trim_start_matches('.').into()
        } else {
            format!("{}{step}", self.path)
        };
        Node {
            value,
            path,
            names: self.names,
        }
    }

    /// The elements of a list.
    pub(super) fn elements(&self) -> Read<Vec<Node<'s, 'a>>> {
        let list = self.value.as_array().ok_or_else(|| self.wrong("a list"))?;
        Ok(list
            .iter()
            .enumerate()
            .map(|(i, v)| self.child(v, format_args!("[{i}]")))
            .collect())
    }

    /// The entries of an object whose keys are free.
    pub(super) fn entries(&self) -> Read<Vec<(&'a str, Node<'s, 'a>)>> {
        let map = self
            .value
            .as_object()
            .ok_or_else(|| self.wrong("an object"))?;
        Ok(map
            .iter()
            .map(|(k, v)| (k.as_str(), self.child(v, format_args!(".{k}"))))
            .collect())
    }

    /// The entries of an object whose keys are among `known` (and `if`, which [`Node::chosen`] has read).
    pub(super) fn object(&self, known: &[&'static str]) -> Read<Fields<'s, 'a>> {
        let map = self
            .value
            .as_object()
            .ok_or_else(|| self.wrong("an object"))?;
        for key in map.keys().filter(|k| *k != "if") {
            if !known.contains(&key.as_str()) {
                let nearest = nearest(key, known.iter().copied());
                let known = known.iter().map(|k| k.to_string()).collect();
                return Err(self.fault(Fault::UnknownKey {
                    key: key.clone(),
                    known,
                    nearest,
                }));
            }
        }
        Ok(Fields {
            node: self.clone(),
            map,
        })
    }

    /// The entries of an object, whatever its keys.
    pub(super) fn object_unchecked(&self) -> Read<Fields<'s, 'a>> {
        let map = self
            .value
            .as_object()
            .ok_or_else(|| self.wrong("an object"))?;
        Ok(Fields {
            node: self.clone(),
            map,
        })
    }

    /// Of a list of alternatives the first whose `if` holds; of one value itself, unless its `if` does not hold.
    pub(super) fn chosen(&self) -> Read<Option<Node<'s, 'a>>> {
        match self.value {
            Value::Null => Ok(None),
            Value::Array(_) => {
                for alternative in self.elements()? {
                    if alternative.holds()? {
                        return Ok(Some(alternative));
                    }
                }
                Ok(None)
            }
            _ => Ok(if self.holds()? {
                Some(self.clone())
            } else {
                None
            }),
        }
    }

    /// The `if` of an object; true without one.
    fn holds(&self) -> Read<bool> {
        match self.value.get("if") {
            Some(condition) => self.child(condition, format_args!(".if")).flag(),
            None => Ok(true),
        }
    }

    /// A literal, or the value of an expression where the JSON is a string.
    pub(super) fn eval(&self) -> Read<Cow<'a, Value>> {
        match self.value {
            Value::String(text) => expr::evaluate(
                text,
                &NodeScope {
                    names: self.names,
                    path: &self.path,
                },
                0,
            ),
            literal => Ok(Cow::Borrowed(literal)),
        }
    }

    /// A string that is not an expression.
    pub(super) fn literal(&self, expected: &'static str) -> Read<&'a str> {
        self.value.as_str().ok_or_else(|| self.wrong(expected))
    }

    /// True or false.
    pub(super) fn flag(&self) -> Read<bool> {
        let value = self.eval()?;
        value
            .as_bool()
            .ok_or_else(|| self.unexpected(&value, "true or false"))
    }

    /// A whole number in `min..=max`.
    pub(super) fn whole(&self, min: usize, max: usize) -> Read<usize> {
        whole(&*self.eval()?, min, max).map_err(|f| self.fault(f))
    }

    /// A number that float32 can hold.
    pub(super) fn real(&self) -> Read<f32> {
        let value = self.eval()?;
        let number = value
            .as_f64()
            .ok_or_else(|| self.unexpected(&value, "a number"))?;
        let narrow = number as f32;
        if !narrow.is_finite() {
            return Err(self.fault(Fault::Range {
                found: value.to_string(),
                expected: "a number within float32".into(),
            }));
        }
        Ok(narrow)
    }

    pub(super) fn unexpected(&self, value: &Value, expected: &'static str) -> Located {
        self.fault(Fault::WrongType {
            found: Kind::of(value),
            expected,
        })
    }
}

/// The entries of an object, by key.
pub(super) struct Fields<'s, 'a> {
    pub(super) node: Node<'s, 'a>,
    map: &'a Map<String, Value>,
}

impl<'s, 'a> Fields<'s, 'a> {
    /// The node of a key as it stands, alternatives not chosen.
    pub(super) fn raw(&self, key: &str) -> Option<Node<'s, 'a>> {
        self.map
            .get(key)
            .map(|v| self.node.child(v, format_args!(".{key}")))
    }

    /// The node of a key, unless it is absent, null or switched off by its `if`.
    pub(super) fn optional(&self, key: &str) -> Read<Option<Node<'s, 'a>>> {
        self.raw(key).map_or(Ok(None), |node| node.chosen())
    }

    /// The node of a key that has to be there.
    pub(super) fn required(&self, key: &'static str) -> Read<Node<'s, 'a>> {
        let raw = self
            .raw(key)
            .ok_or_else(|| self.node.fault(Fault::MissingKey(key)))?;
        let alternatives = raw.value.as_array().map_or(1, Vec::len);
        raw.chosen()?
            .ok_or_else(|| raw.fault(Fault::NoAlternative(alternatives)))
    }

    /// The elements of a list that has to be there and has some.
    pub(super) fn required_list(&self, key: &'static str) -> Read<Vec<Node<'s, 'a>>> {
        let node = self
            .raw(key)
            .ok_or_else(|| self.node.fault(Fault::MissingKey(key)))?;
        let list = node.elements()?;
        match list.is_empty() {
            true => Err(node.wrong("a list that is not empty")),
            false => Ok(list),
        }
    }

    /// An optional value: none where the key is absent or its expression is null.
    pub(super) fn value<T>(
        &self,
        key: &str,
        read: impl FnOnce(&Node<'s, 'a>) -> Read<T>,
    ) -> Read<Option<T>> {
        match self.optional(key)? {
            Some(node) if node.value.is_string() && node.eval()?.is_null() => Ok(None),
            Some(node) => read(&node).map(Some),
            None => Ok(None),
        }
    }

    /// A flag that is false where absent.
    pub(super) fn flag(&self, key: &str) -> Read<bool> {
        Ok(self.value(key, Node::flag)?.unwrap_or(false))
    }
}
