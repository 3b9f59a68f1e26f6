//! Filters of lists.

use std::rc::Rc;

use super::arguments::{Given, as_count, as_text};
use super::error::{Fault, Outcome};
use super::fuel::Writer;
use super::operate;
use super::print;
use super::renderer::Renderer;
use super::strings;
use super::value::{Dict, List, ListKind, Value};

impl Renderer<'_> {
    /// `value | name(given)`, where the filter takes what can be gone through.
    pub(super) fn sequence_filter(
        &self,
        name: &str,
        value: &Value,
        given: Given,
    ) -> Outcome<Value> {
        match name {
            "list" => {
                given.none(name)?;
                self.copied(value, ListKind::List, false)
            }
            "reverse" => {
                given.none(name)?;
                match value {
                    Value::Text(text) => {
                        self.fuel.bytes(text.len())?;
                        Ok(Value::text(text.chars().rev().collect::<String>()))
                    }
                    value => self.copied(value, ListKind::Iterator, true),
                }
            }
            "first" | "last" => {
                given.none(name)?;
                let items = value.items(&self.fuel)?;
                let item = match name {
                    "first" => items.items.first(),
                    _last => items.items.last(),
                };
                let nothing = || Value::undefined(&format!("the {name} item of an empty list"));
                Ok(item.cloned().unwrap_or_else(nothing))
            }
            "join" => self.join(value, given),
            "map" => self.map(value, given),
            "select" | "reject" | "selectattr" | "rejectattr" => self.select(name, value, given),
            "sort" => self.sort(value, given),
            "dictsort" => self.dictsort(value, given),
            "unique" => self.unique(value, given),
            "min" | "max" => self.extreme(name, value, given),
            "sum" => self.sum(value, given),
            "groupby" => self.groupby(value, given),
            "batch" | "slice" => self.cut(name, value, given),
            unknown => Err(Fault::wrong(format!("unknown filter {unknown:?}"))),
        }
    }

    fn copied(&self, value: &Value, kind: ListKind, reversed: bool) -> Outcome<Value> {
        let items = value.items(&self.fuel)?;
        self.fuel.values(items.items.len())?;
        let mut items = items.items.clone();
        if reversed {
            items.reverse();
        }
        Value::list(kind, items)
    }

    /// What a path such as `function.name` or `0.id` leads to.
    fn at_path(&self, value: &Value, path: &Value) -> Outcome<Value> {
        self.at_path_or(value, path, None)
    }

    /// The same, with something in the place of what is not there.
    fn at_path_or(&self, value: &Value, path: &Value, default: Option<&Value>) -> Outcome<Value> {
        let or_default = |found: Value| match (&found, default) {
            (Value::Undefined(_), Some(default)) => default.clone(),
            _there => found,
        };
        let Value::Text(path) = path else {
            return Ok(or_default(self.item(value, path)?));
        };
        self.fuel.look(path.len())?;
        let mut value = value.clone();
        for part in path.split('.') {
            self.fuel.spend(1)?;
            let index = match part.parse::<i128>() {
                Ok(number) if part.bytes().all(|b| b.is_ascii_digit()) => Value::Int(number),
                _name => Value::text(part),
            };
            value = or_default(self.item(&value, &index)?);
        }
        Ok(value)
    }

    fn join(&self, value: &Value, given: Given) -> Outcome<Value> {
        let [separator, attribute] = given.bind("join", ["d", "attribute"])?;
        let separator = match separator {
            Some(separator) => print::text(&separator, &self.fuel)?,
            None => "".into(),
        };
        let mut out = Writer::new(&self.fuel);
        for (at, item) in value.items(&self.fuel)?.items.iter().enumerate() {
            if at > 0 {
                out.push(&separator)?;
            }
            match &attribute {
                Some(path) => print::write(&self.at_path(item, path)?, &mut out)?,
                None => print::write(item, &mut out)?,
            }
        }
        Ok(Value::text(out.finish()))
    }

    /// The items of what `map` and `select` take: whatever is not true has none.
    fn items_if_any(&self, value: &Value) -> Outcome<Rc<List>> {
        match value.is_true() {
            true => value.items(&self.fuel),
            false => Value::undefined("nothing").items(&self.fuel),
        }
    }

    fn map(&self, value: &Value, mut given: Given) -> Outcome<Value> {
        let items = self.items_if_any(value)?;
        self.fuel.values(items.items.len())?;
        let mut mapped = Vec::with_capacity(items.items.len());
        if given.positional.is_empty() {
            let [path, default] = given.bind("map", ["attribute", "default"])?;
            let path = path.ok_or_else(|| Fault::wrong("map: no filter or attribute is given"))?;
            for item in &items.items {
                mapped.push(self.at_path_or(item, &path, default.as_ref())?);
            }
        } else {
            let filter = as_text(&given.positional.remove(0), "map")?;
            for item in &items.items {
                let given = self.copy(&given)?;
                mapped.push(
                    self.fuel
                        .deeper(|| self.filter(&filter, item.clone(), given))?,
                );
            }
        }
        Value::list(ListKind::Iterator, mapped)
    }

    /// The same arguments, for one more item.
    fn copy(&self, given: &Given) -> Outcome<Given> {
        self.fuel
            .spend(given.positional.len() + given.named.len())?;
        Ok(Given {
            positional: given.positional.clone(),
            named: given.named.clone(),
        })
    }

    fn select(&self, name: &str, value: &Value, mut given: Given) -> Outcome<Value> {
        let path = match name.ends_with("attr") && !given.positional.is_empty() {
            true => Some(given.positional.remove(0)),
            false if name.ends_with("attr") => {
                return Err(Fault::wrong(format!("{name}: no attribute is given")));
            }
            false => None,
        };
        let test = match given.positional.is_empty() {
            true => None,
            false => Some(as_text(&given.positional.remove(0), name)?),
        };
        let mut kept = Vec::new();
        for item in &self.items_if_any(value)?.items {
            self.fuel.spend(1)?;
            let subject = match &path {
                Some(path) => self.at_path(item, path)?,
                None => item.clone(),
            };
            let passes = match &test {
                Some(test) => self.test(test, &subject, self.copy(&given)?)?,
                None => subject.is_true(),
            };
            if passes == name.starts_with("select") {
                kept.push(item.clone());
            }
        }
        Value::list(ListKind::Iterator, kept)
    }

    /// A value as it is sorted or compared: without regard to large and small letters, unless those matter.
    fn key(&self, value: &Value, path: Option<&Value>, case: bool) -> Outcome<Value> {
        self.fuel.spend(1)?;
        let value = match path {
            Some(path) => self.at_path(value, path)?,
            None => value.clone(),
        };
        Ok(match &value {
            Value::Text(text) if !case => {
                self.fuel.bytes(text.len())?;
                Value::text(strings::cased(text, "lower"))
            }
            _other => value,
        })
    }

    fn sort(&self, value: &Value, given: Given) -> Outcome<Value> {
        let parameters = ["reverse", "case_sensitive", "attribute"];
        let [reverse, case, path] = given.bind("sort", parameters)?;
        let is = |given: Option<Value>| given.is_some_and(|given| given.is_true());
        let (reverse, case) = (is(reverse), is(case));
        let items = value.items(&self.fuel)?;
        let paths: Vec<Option<Value>> = match path {
            Some(Value::Text(path)) => {
                self.fuel.values(path.len())?;
                path.split(',').map(|p| Some(Value::text(p))).collect()
            }
            other => vec![other],
        };
        let mut keyed = Vec::new();
        for item in &items.items {
            let keys = paths.iter().map(|path| self.key(item, path.as_ref(), case));
            let keys: Outcome<Vec<Value>> = keys.collect();
            keyed.push((Value::list(ListKind::List, keys?)?, item.clone()));
        }
        self.sorted(keyed, reverse)
    }

    fn sorted(&self, mut keyed: Vec<(Value, Value)>, reverse: bool) -> Outcome<Value> {
        self.fuel.values(keyed.len())?;
        if reverse {
            // Twice, so that what is equal keeps its order.
            keyed.reverse();
        }
        let mut keyed = operate::sorted(keyed, &|pair: &(Value, Value)| &pair.0, &self.fuel)?;
        if reverse {
            keyed.reverse();
        }
        Value::list(
            ListKind::List,
            keyed.into_iter().map(|pair| pair.1).collect(),
        )
    }

    fn dictsort(&self, value: &Value, given: Given) -> Outcome<Value> {
        let [case, by, reverse] = given.bind("dictsort", ["case_sensitive", "by", "reverse"])?;
        let is = |given: Option<Value>| given.is_some_and(|given| given.is_true());
        let by = by.map_or(Ok("key".into()), |by| as_text(&by, "dictsort"))?;
        let entries = as_dict(value, "dictsort")?;
        let case = is(case);
        self.fuel.values(3 * entries.entries.len())?;
        let mut keyed = Vec::new();
        for (key, value) in &entries.entries {
            let sorted_by = if &*by == "value" { value } else { key };
            let pair = Value::list(ListKind::Tuple, vec![key.clone(), value.clone()])?;
            keyed.push((self.key(sorted_by, None, case)?, pair));
        }
        self.sorted(keyed, is(reverse))
    }

    fn unique(&self, value: &Value, given: Given) -> Outcome<Value> {
        let [case, path] = given.bind("unique", ["case_sensitive", "attribute"])?;
        let case = case.is_some_and(|case| case.is_true());
        let (mut seen, mut kept): (Vec<Value>, Vec<Value>) = Default::default();
        'items: for item in &value.items(&self.fuel)?.items {
            let key = self.key(item, path.as_ref(), case)?;
            for known in &seen {
                if operate::equal(known, &key, &self.fuel)? {
                    continue 'items;
                }
            }
            seen.push(key);
            kept.push(item.clone());
        }
        Value::list(ListKind::Iterator, kept)
    }

    fn extreme(&self, name: &str, value: &Value, given: Given) -> Outcome<Value> {
        let [case, path] = given.bind(name, ["case_sensitive", "attribute"])?;
        let case = case.is_some_and(|case| case.is_true());
        let mut best: Option<(Value, Value)> = None;
        for item in &value.items(&self.fuel)?.items {
            let key = self.key(item, path.as_ref(), case)?;
            let is_better = match &best {
                None => true,
                Some((best, _)) => {
                    let order = operate::order(&key, best, &self.fuel)?;
                    order.is_some_and(|order| match name {
                        "min" => order.is_lt(),
                        _max => order.is_gt(),
                    })
                }
            };
            if is_better {
                best = Some((key, item.clone()));
            }
        }
        let nothing = || Value::undefined(&format!("the {name} of an empty list"));
        Ok(best.map_or_else(nothing, |(_, item)| item))
    }

    fn sum(&self, value: &Value, given: Given) -> Outcome<Value> {
        let [path, start] = given.bind("sum", ["attribute", "start"])?;
        let mut sum = start.unwrap_or(Value::Int(0));
        for item in &value.items(&self.fuel)?.items {
            self.fuel.spend(1)?;
            let item = match path.as_ref().filter(|path| !matches!(path, Value::None)) {
                Some(path) => self.at_path(item, path)?,
                None => item.clone(),
            };
            sum = operate::binary(super::ast::Binary::Add, &sum, &item, &self.fuel)?;
        }
        Ok(sum)
    }

    fn groupby(&self, value: &Value, given: Given) -> Outcome<Value> {
        let parameters = ["attribute", "default", "case_sensitive"];
        let [path, default, case] = given.bind("groupby", parameters)?;
        let path = path.ok_or_else(|| Fault::wrong("groupby: no attribute is given"))?;
        let case = case.is_some_and(|case| case.is_true());
        let mut keyed = Vec::new();
        for item in &value.items(&self.fuel)?.items {
            self.fuel.spend(1)?;
            let found = self.at_path_or(item, &path, default.as_ref())?;
            keyed.push((self.key(&found, None, case)?, found, item.clone()));
        }
        let keyed = operate::sorted(keyed, &|e: &(Value, Value, Value)| &e.0, &self.fuel)?;
        let mut groups: Vec<(Value, Value, Vec<Value>)> = Vec::new();
        for (key, found, item) in keyed {
            match groups.last_mut() {
                Some((known, _, items)) if operate::equal(known, &key, &self.fuel)? => {
                    items.push(item);
                }
                _new => groups.push((key, found, vec![item])),
            }
        }
        let group = |(_, found, items)| {
            let items = Value::list(ListKind::List, items)?;
            Value::list(ListKind::Tuple, vec![found, items])
        };
        let groups: Outcome<Vec<Value>> = groups.into_iter().map(group).collect();
        Value::list(ListKind::List, groups?)
    }

    /// `batch` and `slice`: lists of so many items, or so many lists.
    fn cut(&self, name: &str, value: &Value, given: Given) -> Outcome<Value> {
        let [count, fill] = given.bind(name, ["count", "fill_with"])?;
        let count = count.map_or(Ok(0), |count| as_count(&count, name))?;
        if count == 0 {
            return Err(Fault::wrong(format!("{name}: a count of 0")));
        }
        let fill = fill.filter(|fill| !matches!(fill, Value::None));
        let items = value.items(&self.fuel)?;
        let all = items.items.as_slice();
        self.fuel.values(all.len())?;
        let mut parts: Vec<Vec<Value>> = Vec::new();
        if name == "batch" {
            for part in all.chunks(count) {
                self.fuel.values(count)?;
                let mut part = part.to_vec();
                if let Some(fill) = &fill {
                    part.resize(count, fill.clone());
                }
                parts.push(part);
            }
        } else {
            self.fuel.values(count)?;
            let (each, longer) = (all.len() / count, all.len() % count);
            let mut from = 0;
            for at in 0..count {
                let length = each + usize::from(at < longer);
                let mut part = all[from..from + length].to_vec();
                from += length;
                part.extend(fill.clone().filter(|_| at >= longer));
                parts.push(part);
            }
        }
        let parts = parts
            .into_iter()
            .map(|part| Value::list(ListKind::List, part));
        let parts: Outcome<Vec<Value>> = parts.collect();
        Value::list(ListKind::Iterator, parts?)
    }
}

fn as_dict<'v>(value: &'v Value, callee: &str) -> Outcome<&'v Dict> {
    match value {
        Value::Dict(dict) => Ok(dict),
        other => {
            let found = other.type_name();
            Err(Fault::wrong(format!(
                "{callee}: found a {found}, expected a dict"
            )))
        }
    }
}
