//! Layers of a spec: kinds, and which layer is of which.
//!
//! Layers are read one by one, with the layer's index as `layer`; layers that come out equal are one kind. So a field
//! that differs from layer to layer needs no rule of its own, and the number of kinds is what it costs.

use super::at::Around;
use super::error::{Fault, Read, unknown};
use super::form;
use super::limits::MAX_KINDS;
use super::model::{Item, LayerKind, Step};
use super::params::Layer;
use super::read::{Fields, Node};
use super::seen::Seen;
use super::share::{self, Earlier};
use super::steps::steps;

/// Distinct layers, and for each layer the index of the one it equals, and the layer whose state it shares.
#[derive(Debug, Default)]
pub(super) struct Layers {
    pub(super) kinds: Vec<LayerKind>,
    pub(super) layers: Vec<usize>,
    pub(super) sources: Vec<Option<usize>>,
    /// The spec's name of each kind: those that differ in a field only are numbered.
    families: Vec<String>,
}

/// Reads the layers of a spec; `handed` are the values that the first finds, and those of `carried` that layers make are added to
/// them, for the layers that follow.
pub(super) fn layers(
    root: &Node<'_, '_>,
    around: Around<'_>,
    n_layers: usize,
    (handed, carried): (&mut Seen, &[(String, usize)]),
) -> Read<Layers> {
    let mut all = Layers::default();
    for i in 0..n_layers {
        let (layer, seen) = layer(root, around, i, handed)?;
        handed
            .hand_on(&seen, carried)
            .map_err(|f| f.at("carried"))?;
        let source = share::source(&layer, all.earlier())?;
        all.sources.push(source);
        let index = all.kind_of(root, layer)?;
        all.layers.push(index);
    }
    Ok(all)
}

impl Layers {
    fn earlier(&self) -> Earlier<'_> {
        Earlier {
            kinds: &self.kinds,
            layers: &self.layers,
            sources: &self.sources,
        }
    }

    /// The kind that a layer is of, a new one if it equals none.
    fn kind_of(&mut self, root: &Node<'_, '_>, layer: LayerKind) -> Read<usize> {
        let steps: usize = layer.items.iter().map(count).sum();
        let mut earlier = 0;
        for (i, kind) in self.kinds.iter().enumerate() {
            if self.families[i] != layer.name {
                continue;
            }
            root.spend(steps)?;
            if kind.items == layer.items {
                return Ok(i);
            }
            earlier += 1;
        }
        if self.kinds.len() == MAX_KINDS {
            let found = format!("layers of more than {MAX_KINDS} kinds");
            let expected = "layers of which more are equal".into();
            return Err(Fault::Range { found, expected }.at("layers"));
        }
        let given = &root.value["layers"];
        let taken =
            |name: &str| given.get(name).is_some() || self.kinds.iter().any(|k| k.name == name);
        let family = layer.name;
        let name = match earlier {
            0 => family.clone(),
            n => LayerKind::variant_name(&family, n, taken),
        };
        self.families.push(family);
        self.kinds.push(LayerKind { name, ..layer });
        Ok(self.kinds.len() - 1)
    }
}

/// Steps of an item.
fn count(item: &Item) -> usize {
    match item {
        Item::Plain(steps) => steps.len(),
        Item::Residual { before, branches } => {
            before.len() + branches.iter().map(Vec::len).sum::<usize>()
        }
    }
}

/// A layer, under the spec's name of its kind, and what has been named behind it.
fn layer(
    root: &Node<'_, '_>,
    around: Around<'_>,
    i: usize,
    handed: &Seen,
) -> Read<(LayerKind, Seen)> {
    let layer = Layer::new(i);
    let mut root = root.clone();
    root.names.layer = Some(&layer);
    let fields = root.object(form::SPEC)?;
    let kinds = fields
        .raw("layers")
        .ok_or_else(|| root.fault(Fault::MissingKey("layers")))?;
    let (name, node) = chosen_kind(&fields, &kinds)?;
    if name.contains(char::is_control) {
        return Err(kinds.fault(Fault::KindName(name.into())));
    }
    let mut seen = handed.clone();
    let mut items = Vec::new();
    for node in node.elements()? {
        let Some(node) = node.chosen()? else { continue };
        items.extend(item(&node, around, &mut seen)?);
    }
    let name = name.into();
    Ok((LayerKind { name, items }, seen))
}

/// The kind that `layer_kind` names; without that rule there is one kind only.
fn chosen_kind<'s, 'a>(
    fields: &Fields<'s, 'a>,
    kinds: &Node<'s, 'a>,
) -> Read<(&'a str, Node<'s, 'a>)> {
    let entries = kinds.entries()?;
    let names = entries.iter().map(|(name, _)| *name);
    let Some(rule) = fields.raw("layer_kind") else {
        return match entries.as_slice() {
            [only] => Ok(only.clone()),
            _ => Err(fields.node.fault(Fault::MissingKey("layer_kind"))),
        };
    };
    let value = rule.eval()?;
    let name = value
        .as_str()
        .ok_or_else(|| rule.unexpected(&value, "the name of a layer kind"))?;
    let found = entries.iter().find(|(n, _)| *n == name).cloned();
    found.ok_or_else(|| rule.fault(unknown("layer kind", name, names.clone())))
}

/// `{"residual": [step…]}`, `{"before": [step…], "parallel": [[step…], [step…]]}` or `{"plain": [step…]}`.
///
/// A branch of which no step is left adds nothing, and an item of which no branch is left is none.
fn item(node: &Node<'_, '_>, around: Around<'_>, seen: &mut Seen) -> Read<Option<Item>> {
    let fields = node.object(form::ITEM)?;
    let outer = seen.clone();
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
    let (before, branches) = match keys.map(|key| fields.raw(key)) {
        [Some(steps), None, None, None] => (Vec::new(), vec![branch(&steps)?]),
        [None, Some(lists), None, before] => (
            before.as_ref().map_or(Ok(Vec::new()), &mut branch)?,
            lists.elements()?.iter().map(branch).collect::<Read<_>>()?,
        ),
        [None, None, Some(steps), None] => {
            let steps = branch(&steps)?;
            return Ok((!steps.is_empty()).then_some(Item::Plain(steps)));
        }
        _ => {
            return Err(node.wrong(
                "one of `residual`, `parallel` (with or without `before`) and `plain`, with lists of steps",
            ));
        }
    };
    let branches: Vec<Vec<Step>> = branches.into_iter().filter(|b| !b.is_empty()).collect();
    if branches.is_empty() {
        // Nothing reads `before`, so that names it gave to values are taken back.
        outer.values_again(seen);
        return Ok(None);
    }
    Ok(Some(Item::Residual { before, branches }))
}
