//! Weights in a spec: a tensor's name, or an object that says what has to be done to it.

use super::error::{Fault, Read};
use super::form;
use super::model::{Linear, Range, Weight};
use super::read::Node;

/// Largest number of rows of a joined tensor.
const MAX_ROWS: usize = 1 << 31;
/// Longest name of a tensor, in bytes.
const MAX_NAME: usize = 256;
/// Most names that are tried for a tensor.
const MAX_ALTERNATIVES: usize = 16;

/// Reads a weight of shape `shape`: `"name"`, or `{"tensor": "name" | ["name", "or this"], "transposed": true, "part":
/// {"from": row, "of": rows}}`.
pub(super) fn weight(node: &Node<'_, '_>, slot: String, shape: Vec<usize>) -> Read<Weight> {
    weights(node, slot, shape, None)
}

/// Reads a weight of which rows are read one by one, so that they have to lie one behind the other.
pub(super) fn row_by_row(node: &Node<'_, '_>, slot: String, shape: Vec<usize>) -> Read<Weight> {
    let weight = weight(node, slot, shape)?;
    let found = match (weight.transposed, weight.blocks()) {
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
            shape,
            transposed: false,
            part: None,
            columns: None,
            family,
        });
    }
    if !node.value.is_object() {
        return Err(node.wrong("a tensor's name, or an object with the key `tensor`"));
    }
    let fields = node.object(form::WEIGHT)?;
    let names = fields
        .raw("tensor")
        .ok_or_else(|| node.fault(Fault::MissingKey("tensor")))?;
    let tensors = match names.value.as_array() {
        Some(list) if list.is_empty() || list.len() > MAX_ALTERNATIVES => {
            return Err(names.wrong("a tensor's name or a list of 2 to 16"));
        }
        Some(_) => names
            .elements()?
            .iter()
            .map(|n| tensor_name(n, family))
            .collect::<Read<_>>()?,
        None => vec![tensor_name(&names, family)?],
    };
    let run = |key, len| {
        let node = fields.optional(key)?;
        node.map(|n| range(&n, len)).transpose()
    };
    let (part, columns) = (
        run("part", shape[0])?,
        run("columns", shape[shape.len() - 1])?,
    );
    Ok(Weight {
        slot,
        tensors,
        shape,
        transposed: fields.flag("transposed")?,
        part,
        columns,
        family,
    })
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

/// A tensor's name; in braces may stand `{i}` where there is a layer, and `{e}` where there are experts.
fn tensor_name(node: &Node<'_, '_>, family: Option<usize>) -> Read<String> {
    let name = node.literal("a tensor's name")?;
    let mut plain = name.to_string();
    if node.names.layer.is_some() {
        plain = plain.replace("{i}", "");
    }
    if family.is_some() {
        plain = plain.replace("{e}", "");
    }
    if name.is_empty() || plain.contains(['{', '}']) {
        return Err(node.fault(Fault::Template(name.into())));
    }
    if name.len() > MAX_NAME {
        let found = format!("a name of {} bytes", name.len());
        let expected = format!("at most {MAX_NAME}");
        return Err(node.fault(Fault::Range { found, expected }));
    }
    Ok(name.into())
}
