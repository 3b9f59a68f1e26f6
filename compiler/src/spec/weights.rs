//! Weights in a spec: a tensor's name, or an object that says what has to be done to it.

use serde_json::Value;

use super::error::{Fault, Kind, Read};
use super::form;
use super::model::{Joined, JoinedPart, Linear, Range, Weight};
use super::read::{Fields, Node};

/// Largest number of rows of a joined tensor.
const MAX_ROWS: usize = 1 << 31;
/// Longest name of a tensor, in bytes.
const MAX_NAME: usize = 256;
/// Most names that are tried for a tensor.
const MAX_ALTERNATIVES: usize = 16;

/// Reads a weight of shape `shape`: `"name"`, or `{"tensor": "name" | ["name", "or this"], "transposed": true, "part":
/// {"from": row, "of": rows}}`. An element of a list of tensors may be an object itself, where that tensor is stored otherwise.
pub(super) fn weight(node: &Node<'_, '_>, slot: String, shape: Vec<usize>) -> Read<Weight> {
    weights(node, slot, shape, None)
}

/// Reads a weight of which rows are read one by one, so that they have to lie one after the other.
pub(super) fn row_by_row(node: &Node<'_, '_>, slot: String, shape: Vec<usize>) -> Read<Weight> {
    let weight = weight(node, slot, shape)?;
    let turned = weight.all_stored().any(|w| w.transposed);
    let found = match (turned, weight.blocks()) {
        (true, _) => "a tensor that is stored transposed",
        (false, Some(_)) => "a run of rows of each head",
        (false, None) => return Ok(weight),
    };
    Err(node.fault(Fault::Range {
        found: found.into(),
        expected: "one whose rows follow each other: they are read one by one".into(),
    }))
}

/// Reads one weight, or a family of them: one for each of so many experts.
fn weights(
    node: &Node<'_, '_>,
    slot: String,
    shape: Vec<usize>,
    family: Option<usize>,
) -> Read<Weight> {
    let total = &node.names.params.total;
    total
        .add_weight(&shape, family.unwrap_or(1))
        .map_err(|f| node.fault(f))?;
    if node.value.is_string() {
        return Ok(Weight {
            slot,
            tensors: vec![tensor_name(node, family)?],
            others: Vec::new(),
            shape,
            transposed: false,
            exponential: false,
            part: None,
            columns: None,
            family,
            experts: None,
            joined: None,
            made: None,
        });
    }
    if !node.value.is_object() {
        return Err(node.wrong("a tensor's name, or an object with the key `tensor`"));
    }
    let fields = node.object(form::WEIGHT)?;
    let names = fields
        .raw("tensor")
        .ok_or_else(|| node.fault(Fault::MissingKey("tensor")))?;
    let weight = Weight {
        slot,
        tensors: Vec::new(),
        others: Vec::new(),
        shape,
        transposed: false,
        exponential: false,
        part: None,
        columns: None,
        family,
        experts: None,
        joined: None,
        made: None,
    };
    let mut weight = stored(&fields, weight)?;
    let Some(list) = names.value.as_array() else {
        weight.tensors = vec![tensor_name(&names, family)?];
        return Ok(weight);
    };
    if list.is_empty() || list.len() > MAX_ALTERNATIVES {
        return Err(names.wrong("a tensor's name or a list of 2 to 16"));
    }
    let mut found = Vec::new();
    for element in names.elements()? {
        found.extend(alternative(&element, &weight)?);
    }
    in_one(found).map_err(|f| {
        f.map_or_else(
            || names.fault(Fault::NoAlternative(list.len())),
            |f| names.fault(f),
        )
    })
}

/// How a tensor holds a weight, as `fields` say.
fn stored(fields: &Fields<'_, '_>, weight: Weight) -> Read<Weight> {
    let run = |key, len| {
        let node = fields.optional(key)?;
        node.map(|n| range(&n, len)).transpose()
    };
    let (rows, columns) = (weight.shape[0], weight.shape[weight.shape.len() - 1]);
    Ok(Weight {
        transposed: fields.flag("transposed")?,
        exponential: fields.flag("exponential")?,
        part: run("part", rows)?,
        columns: run("columns", columns)?,
        ..weight
    })
}

/// One of several tensors: a name, stored as the object around it says, or an object that says how itself.
fn alternative(node: &Node<'_, '_>, outer: &Weight) -> Read<Option<Weight>> {
    let Some(node) = node.chosen()? else {
        return Ok(None);
    };
    let (name, mut weight) = match node.value.is_object() {
        false => (node, outer.clone()),
        true => {
            if node.value.get("join").is_some() {
                return joined(&node, outer).map(Some);
            }
            let fields = node.object(form::STORED)?;
            let mut weight = stored(&fields, outer.clone())?;
            weight.experts = experts(&fields, outer.family)?;
            (fields.required("tensor")?, weight)
        }
    };
    weight.tensors = vec![tensor_name(&name, outer.family)?];
    Ok(Some(weight))
}

/// `"join": [{"tensor", "rows", "transposed"}, …], "heads": n`: a matrix whose heads have rows in several tensors.
fn joined(node: &Node<'_, '_>, outer: &Weight) -> Read<Weight> {
    let fields = node.object(form::JOIN)?;
    let Some(join) = fields.raw("join").filter(|join| join.value.is_array()) else {
        return Err(node.wrong("a list of tensors to `join`"));
    };
    let rows = outer.shape[0];
    let heads = fields.required("heads")?.whole(1, rows)?;
    let mut parts = vec![];
    for element in join.elements()?.into_iter().take(MAX_ALTERNATIVES) {
        let fields = element.object(form::JOINED)?;
        parts.push(JoinedPart {
            tensor: tensor_name(&fields.required("tensor")?, None)?,
            rows: fields.required("rows")?.whole(1, rows)?,
            transposed: fields.flag("transposed")?,
        });
    }
    let of_head: usize = parts.iter().map(|part| part.rows).sum();
    let is_whole = of_head.checked_mul(heads) == Some(rows);
    if outer.family.is_some() || outer.shape.len() != 2 || !is_whole {
        return Err(join.fault(Fault::Range {
            found: format!("{heads} heads of {of_head} rows"),
            expected: format!("the rows of one matrix of shape {:?}", outer.shape),
        }));
    }
    Ok(Weight {
        tensors: vec![parts[0].tensor.clone()],
        joined: Some(Joined { heads, parts }),
        ..outer.clone()
    })
}

/// `"experts": {"from": first, "count": how many}`: those of a family that a tensor holds.
fn experts(fields: &Fields<'_, '_>, family: Option<usize>) -> Read<Option<(usize, usize)>> {
    let Some(node) = fields.optional("experts")? else {
        return Ok(None);
    };
    let Some(all) = family else {
        return Err(node.wrong("no `experts`: the weight is not one of each expert"));
    };
    let fields = node.object(form::EXPERTS)?;
    let first = fields.required("from")?.whole(0, all - 1)?;
    let count = fields.required("count")?.whole(1, all - first)?;
    Ok(Some((first, count)))
}

/// A weight and its others; those that are stored alike and follow each other share a list of names.
fn in_one(found: Vec<Weight>) -> Result<Weight, Option<Fault>> {
    let mut merged: Vec<Weight> = Vec::new();
    for weight in found {
        match merged.last_mut() {
            Some(last) if stored_alike(last, &weight) => last.tensors.extend(weight.tensors),
            _ => merged.push(weight),
        }
    }
    let mut merged = merged.into_iter();
    let first = merged.next().ok_or(None)?;
    let others: Vec<Weight> = merged.collect();
    if others.iter().any(|o| o.blocks() != first.blocks()) {
        return Err(Some(Fault::Range {
            found: "tensors of which some have the rows of each head together".into(),
            expected:
                "`part.heads` in all of them, or in none: code is made before the tensor is known"
                    .into(),
        }));
    }
    Ok(Weight { others, ..first })
}

fn stored_alike(a: &Weight, b: &Weight) -> bool {
    let form = |w: &Weight| (w.transposed, w.exponential, w.part, w.columns, w.experts);
    form(a) == form(b) && a.joined.is_none() && b.joined.is_none()
}

/// Reads a matrix `[out, in]` with an optional bias: a weight, or `{"weight": …, "bias": …}`.
pub(super) fn linear(node: &Node<'_, '_>, slot: &str, out: usize, inner: usize) -> Read<Linear> {
    linears(node, slot, out, inner, None)
}

/// The same for each of `experts` experts.
pub(super) fn expert_linear(
    node: &Node<'_, '_>,
    slot: &str,
    out: usize,
    inner: usize,
    experts: usize,
) -> Read<Linear> {
    linears(node, slot, out, inner, Some(experts))
}

fn linears(
    node: &Node<'_, '_>,
    slot: &str,
    out: usize,
    inner: usize,
    family: Option<usize>,
) -> Read<Linear> {
    let matrix = |n: &Node<'_, '_>| weights(n, format!("{slot}.weight"), vec![out, inner], family);
    if node.value.get("weight").is_none() && node.value.get("bias").is_none() {
        return Ok(Linear {
            weight: matrix(node)?,
            bias: None,
        });
    }
    let fields = node.object(form::LINEAR)?;
    let bias = fields.optional("bias")?;
    Ok(Linear {
        weight: matrix(&fields.required("weight")?)?,
        bias: bias
            .map(|n| weights(&n, format!("{slot}.bias"), vec![out], family))
            .transpose()?,
    })
}

/// `{"from": first, "per_layer": further on in each layer, "of": rows or columns of the whole, "heads": how many}`, for a run of
/// `len`. With `heads` the whole is that many heads of `of`, and the run takes its part of each.
fn range(node: &Node<'_, '_>, len: usize) -> Read<Range> {
    let fields = node.object(form::RANGE)?;
    let heads_node = fields.optional("heads")?;
    let heads = heads_node
        .as_ref()
        .map_or(Ok(1), |n| n.whole(1, MAX_ROWS))?;
    if let Some(node) = heads_node.filter(|_| !len.is_multiple_of(heads)) {
        return Err(node.fault(Fault::NotADivisor {
            value: heads,
            name: "the rows of the weight",
            of: len,
        }));
    }
    let len = len / heads;
    let range = Range {
        heads,
        first: fields.required("from")?.whole(0, MAX_ROWS)?,
        per_layer: fields
            .value("per_layer", |n| n.whole(0, MAX_ROWS))?
            .unwrap_or(0),
        of: fields.required("of")?.whole(1, MAX_ROWS)?,
    };
    if range.heads.saturating_mul(range.of) > MAX_ROWS {
        let found = format!("{} heads of {}", range.heads, range.of);
        let expected = format!("a tensor of at most {MAX_ROWS} rows or columns");
        return Err(node.fault(Fault::Range { found, expected }));
    }
    let first = range.first_in(node.names.layer.map(|l| l.index));
    if first + len > range.of {
        let found = format!("{first} to {}", first + len);
        return Err(node.fault(Fault::Range {
            found,
            expected: format!("a run within the {} of the whole tensor", range.of),
        }));
    }
    Ok(range)
}

/// A tensor's name; in braces may stand `{i}` where there is a layer, `{e}` where there are experts, and expressions.
fn tensor_name(node: &Node<'_, '_>, family: Option<usize>) -> Read<String> {
    let template = node.literal("a tensor's name")?;
    let malformed = || node.fault(Fault::Template(template.into()));
    let (mut name, mut rest) = (String::new(), template);
    while let Some((before, following)) = rest.split_once('{') {
        let (inside, after) = following.split_once('}').ok_or_else(malformed)?;
        name.push_str(before);
        match inside {
            "i" if node.names.layer.is_some() => name.push_str("{i}"),
            "e" if family.is_some() => name.push_str("{e}"),
            "i" | "e" | "" => return Err(malformed()),
            expression => name.push_str(&part_of_name(node, expression)?),
        }
        rest = after;
    }
    name.push_str(rest);
    if template.is_empty() || rest.contains('}') {
        return Err(malformed());
    }
    if name.len() > MAX_NAME {
        let found = format!("a name of {} bytes", name.len());
        let expected = format!("at most {MAX_NAME}");
        return Err(node.fault(Fault::Range { found, expected }));
    }
    Ok(name)
}

/// What an expression puts into a tensor's name.
fn part_of_name<'a>(node: &Node<'_, 'a>, expression: &'a str) -> Read<String> {
    let value = node.names.text(expression, &node.path)?;
    match &*value {
        Value::String(text) if !text.contains(['{', '}']) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        other => Err(node.fault_of(
            other,
            Fault::WrongType {
                found: Kind::of(other),
                expected: "a string or a number to put into a tensor's name",
            },
        )),
    }
}
