//! Parameters of a spec, and what names in its expressions mean.
//!
//! A parameter is evaluated on first use and at most once: those of `params` for the model, those of `layer_params` for each
//! layer. What it failed with is remembered like a value, since `??` asks for it again. All expressions of a spec together
//! have a budget of work, so that binding ends soon whatever the spec and the config say.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::{Map, Value};

use super::error::{Fault, IN_CONFIG, Located, Read};
use super::expr::{self, Expr, Scope};
use super::json::place_in;
use super::near::nearest;
use super::total::Total;

/// Most work that binding may take, in steps of up to 400 ns: nodes of expressions and of the spec's JSON that are looked at, and
/// elements of lists that are searched.
const MAX_WORK: usize = 4 << 20;

/// Values of parameters, or what they failed with.
#[derive(Default)]
struct Memo<'a> {
    done: RefCell<BTreeMap<&'a str, Read<Cow<'a, Value>>>>,
    /// Parameters being evaluated, outermost first: a name met twice is a cycle.
    busy: RefCell<Vec<&'a str>>,
}

impl<'a> Memo<'a> {
    /// The parameter `name`, evaluated if it has not been; `path` is its place in the spec.
    fn get(
        &self,
        name: &'a str,
        path: &str,
        evaluate: impl FnOnce() -> Read<Cow<'a, Value>>,
    ) -> Read<Cow<'a, Value>> {
        if let Some(known) = self.done.borrow().get(name) {
            return known.clone();
        }
        self.enter(name).map_err(|f| f.at(path))?;
        let value = evaluate();
        self.busy.borrow_mut().pop();
        self.done.borrow_mut().insert(name, value.clone());
        value
    }

    fn enter(&self, name: &'a str) -> Result<(), Fault> {
        let mut busy = self.busy.borrow_mut();
        if let Some(start) = busy.iter().position(|n| *n == name) {
            let cycle = busy[start..].iter().chain([&name]);
            return Err(Fault::Cycle(cycle.map(|n| n.to_string()).collect()));
        }
        busy.push(name);
        Ok(())
    }
}

/// What parameters are made of.
#[derive(Clone, Copy)]
pub(super) struct Sources<'a> {
    /// `params` of the spec.
    pub(super) defs: &'a Map<String, Value>,
    /// `layer_params`, which every layer has anew.
    pub(super) of_layers: &'a Map<String, Value>,
    /// The config, `config_section` laid over it.
    pub(super) config: &'a Value,
    /// The config as it is in its file.
    pub(super) outer: &'a Value,
}

/// The parameters of a spec over a config.
pub(super) struct Params<'a> {
    from: Sources<'a>,
    memo: Memo<'a>,
    /// Expressions that have been read, by the address of their text.
    parsed: RefCell<BTreeMap<*const u8, Rc<Expr>>>,
    /// Work done so far.
    work: Cell<usize>,
    /// How large the model is so far.
    pub(super) total: Total,
}

/// A layer, and its parameters.
pub(super) struct Layer<'a> {
    pub(super) index: usize,
    memo: Memo<'a>,
}

impl Layer<'_> {
    pub(super) fn new(index: usize) -> Self {
        Layer {
            index,
            memo: Memo::default(),
        }
    }
}

impl<'a> Params<'a> {
    /// Evaluates all parameters but those of layers.
    pub(super) fn new(from: Sources<'a>) -> Read<Params<'a>> {
        let params = Params {
            from,
            memo: Memo::default(),
            parsed: RefCell::default(),
            work: Cell::new(0),
            total: Total::default(),
        };
        for name in from.defs.keys() {
            params.get(name, 0)?;
        }
        Ok(params)
    }

    /// Value of a parameter; `depth` is how deep the evaluation is already.
    pub(super) fn get(&self, name: &str, depth: usize) -> Read<Cow<'a, Value>> {
        let Some((name, def)) = self.from.defs.get_key_value(name) else {
            return Err(Fault::MissingKey("params").at("params"));
        };
        let path = format!("params.{name}");
        self.memo.get(name, &path, || {
            let scope = ParamScope {
                params: self,
                name,
                path: &path,
            };
            self.value(def, &scope, depth)
        })
    }

    /// A literal, or the value of an expression where the JSON is a string.
    pub(super) fn value(
        &self,
        json: &'a Value,
        scope: &dyn Scope<'a>,
        depth: usize,
    ) -> Read<Cow<'a, Value>> {
        match json {
            Value::String(text) => self.text(text, scope, depth),
            literal => Ok(Cow::Borrowed(literal)),
        }
    }

    /// The value of an expression.
    fn text(&self, text: &'a str, scope: &dyn Scope<'a>, depth: usize) -> Read<Cow<'a, Value>> {
        let known = self.parsed.borrow().get(&text.as_ptr()).cloned();
        let expr = match known {
            Some(expr) => expr,
            None => {
                let expr = Rc::new(expr::parse(text).map_err(|f| f.at(scope.path()))?);
                let mut parsed = self.parsed.borrow_mut();
                parsed.insert(text.as_ptr(), Rc::clone(&expr));
                expr
            }
        };
        expr::evaluate(&expr, scope, depth)
    }

    /// Takes `steps` from the budget of work.
    pub(super) fn spend(&self, steps: usize) -> Result<(), Fault> {
        let work = self.work.get().saturating_add(steps);
        self.work.set(work);
        match work > MAX_WORK {
            true => Err(Fault::TooMuchWork(MAX_WORK)),
            false => Ok(()),
        }
    }

    /// A fault of a value at `path`, with its place in the config where it is one of the config's own.
    pub(super) fn fault_of(&self, value: &Value, fault: Fault, path: &str) -> Located {
        let places = [self.from.config, self.from.outer];
        match places.iter().find_map(|config| place_in(config, value)) {
            Some(key) => fault.at(&format!("{path}{IN_CONFIG}{key}")),
            None => fault.at(path),
        }
    }

    fn config_key(&self, name: &str, path: &str) -> Read<Cow<'a, Value>> {
        match self.from.config.get(name) {
            Some(Value::Null) => Err(Fault::NullInConfig(name.into()).at(path)),
            Some(value) => Ok(Cow::Borrowed(value)),
            None => Err(Fault::not_in_config(name).at(path)),
        }
    }
}

/// Names in a parameter's definition: other parameters, and keys of the config.
struct ParamScope<'s, 'a> {
    params: &'s Params<'a>,
    name: &'a str,
    path: &'s str,
}

impl<'a> Scope<'a> for ParamScope<'_, 'a> {
    fn lookup(&self, name: &str, depth: usize) -> Read<Cow<'a, Value>> {
        // A parameter's own name is the config's key: `"head_dim": "head_dim ?? …"`.
        match name {
            "config" => Ok(Cow::Borrowed(self.params.from.config)),
            "outer" => Ok(Cow::Borrowed(self.params.from.outer)),
            _ if name != self.name && self.params.from.defs.contains_key(name) => {
                self.params.get(name, depth)
            }
            _ => self.params.config_key(name, self.path),
        }
    }

    fn path(&self) -> &str {
        self.path
    }

    fn spend(&self, steps: usize) -> Result<(), Fault> {
        self.params.spend(steps)
    }

    fn fault_of(&self, value: &Value, fault: Fault) -> Located {
        self.params.fault_of(value, fault, self.path)
    }
}

/// What expressions outside `params` may use: parameters, `config.…`, and inside a layer its index, `layer`, and
/// `layer_params`.
#[derive(Clone, Copy)]
pub(super) struct Names<'s, 'a> {
    pub(super) params: &'s Params<'a>,
    pub(super) layer: Option<&'s Layer<'a>>,
}

impl<'a> Names<'_, 'a> {
    /// A literal, or the value of an expression at `path` where the JSON is a string.
    pub(super) fn value(&self, json: &'a Value, path: &str, depth: usize) -> Read<Cow<'a, Value>> {
        self.params
            .value(json, &NodeScope { names: *self, path }, depth)
    }

    /// The value of an expression at `path`.
    pub(super) fn text(&self, text: &'a str, path: &str) -> Read<Cow<'a, Value>> {
        self.params.text(text, &NodeScope { names: *self, path }, 0)
    }
}

struct NodeScope<'n, 's, 'a> {
    names: Names<'s, 'a>,
    path: &'n str,
}

impl<'a> Scope<'a> for NodeScope<'_, '_, 'a> {
    fn lookup(&self, name: &str, depth: usize) -> Read<Cow<'a, Value>> {
        let params = self.names.params;
        match (name, self.names.layer) {
            ("config", _) => Ok(Cow::Borrowed(params.from.config)),
            ("outer", _) => Ok(Cow::Borrowed(params.from.outer)),
            ("layer", Some(layer)) => Ok(Cow::Owned(layer.index.into())),
            (_, Some(layer)) if params.from.of_layers.contains_key(name) => {
                self.layer_param(layer, name, depth)
            }
            (_, _) if params.from.defs.contains_key(name) => params.get(name, depth),
            _ => {
                let known = || params.from.defs.keys();
                let nearest = nearest(name, known().map(String::as_str));
                let fault = Fault::UnknownParameter {
                    name: name.into(),
                    known: known().cloned().collect(),
                    nearest,
                };
                Err(fault.at(self.path))
            }
        }
    }

    fn path(&self) -> &str {
        self.path
    }

    fn spend(&self, steps: usize) -> Result<(), Fault> {
        self.names.params.spend(steps)
    }

    fn fault_of(&self, value: &Value, fault: Fault) -> Located {
        self.names.params.fault_of(value, fault, self.path)
    }
}

impl<'a> NodeScope<'_, '_, 'a> {
    fn layer_param(&self, layer: &Layer<'a>, name: &str, depth: usize) -> Read<Cow<'a, Value>> {
        let found = self.names.params.from.of_layers.get_key_value(name);
        let (name, def) = found.expect("the caller has looked");
        let path = format!("layer_params.{name}");
        layer
            .memo
            .get(name, &path, || self.names.value(def, &path, depth))
    }
}
