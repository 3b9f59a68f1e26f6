//! Steps of a spec: each entry of a list of steps becomes a [`Step`], and the width of what flows is checked on the way.

use serde_json::Value;

use super::attention;
use super::error::{Fault, Kind};
use super::form::{self, Keys};
use super::latent::latent_attention;
use super::model::{Activation, Linear, Mlp, Norm, NormKind, Rope, Step, StepOp};
use super::part::Part;
use super::read::{Fields, Node, Read, unknown};
use super::recurrent::delta_net;
use super::tables;
use super::values::{self, Seen};
use super::weights::{linear, row_by_row, weight};

/// Largest width of anything: hidden states, feed-forward blocks, vocabularies.
pub(super) const MAX_WIDTH: usize = 1 << 24;
/// Longest context: positions are 32-bit numbers.
pub(super) const MAX_CONTEXT: usize = 1 << 30;
/// Most heads of an attention step.
pub(super) const MAX_HEADS: usize = 1 << 16;

/// Most steps of a layer, and of embedding and head together.
pub(super) const MAX_STEPS: usize = 1024;

/// What steps need to know about the model around them.
#[derive(Clone, Copy)]
pub(super) struct Around<'m> {
    pub(super) hidden: usize,
    pub(super) vocab: usize,
    pub(super) context: usize,
    pub(super) ropes: &'m [Rope],
    pub(super) part: Part,
}

impl<'m> Around<'m> {
    /// The same around another part of the spec.
    pub(super) fn within(self, part: Part) -> Around<'m> {
        Around { part, ..self }
    }
}

/// Reads a list of steps whose input has `width` components (none for token ids); gives their output's width.
///
/// `seen` collects the names of steps, and of values that later steps can read.
pub(super) fn steps(
    list: &Node<'_, '_>,
    around: Around<'_>,
    mut width: Option<usize>,
    seen: &mut Seen,
) -> Read<(Vec<Step>, Option<usize>)> {
    let mut steps = Vec::new();
    let section = form::section(&list.path);
    for mut node in list.elements()? {
        let name = name_of(&node)?.to_string();
        node.path = format!("{section}.{name}");
        if !seen.names.insert(name.clone()) {
            return Err(node.fault(Fault::SameName(name)));
        }
        if seen.names.len() > MAX_STEPS {
            let found = format!("more than {MAX_STEPS} steps");
            let expected = "a layer, or embedding and head together, of fewer".into();
            return Err(node.fault(Fault::Range { found, expected }));
        }
        if node.chosen()?.is_none() {
            continue;
        }
        let at = At {
            node: node.clone(),
            name: name.clone(),
            op: &node.value["op"],
            around,
            width,
            seen,
        };
        let (from, keep) = (at.from()?, at.keep()?);
        let (op, out) = at.with_input(from.as_deref())?.read()?;
        around.part.takes(&op).map_err(|f| node.fault(f))?;
        if let Some(name) = &keep {
            seen.keep(name, out).map_err(|f| node.fault(f))?;
        }
        width = Some(out);
        steps.push(Step {
            name,
            op,
            from,
            keep,
        });
    }
    Ok((steps, width))
}

/// Name of a step: its `name`, or else its `op`.
pub(super) fn step_name(step: &Value) -> Option<&str> {
    step.get("name").or_else(|| step.get("op"))?.as_str()
}

/// The name of a step that has an `op`.
fn name_of<'a>(node: &Node<'_, 'a>) -> Read<&'a str> {
    if node.value.get("op").is_none() {
        return Err(node.fault(Fault::MissingKey("op")));
    }
    let name = step_name(node.value);
    let name = name.ok_or_else(|| node.wrong("a step whose `name` is a string"))?;
    match !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        true => Ok(name),
        false => Err(node.fault(Fault::StepName(name.into()))),
    }
}

/// Reads a step's fields, given the width of its input.
type Reader = fn(&At<'_, '_, '_>) -> Read<(StepOp, usize)>;

/// Every operation: its keys beside those of every step, and its reader.
const OPS: [(&str, Keys, Reader); 19] = [
    ("embed", form::EMBED, embed),
    ("position_embed", form::POSITION_EMBED, position_embed),
    ("rms_norm", form::NORM, norm_step),
    ("layer_norm", form::NORM, norm_step),
    ("l2_norm", form::NORM, norm_step),
    ("linear", form::LINEAR_STEP, linear_step),
    ("scale", form::SCALE, scale),
    ("softcap", form::SOFTCAP, softcap),
    ("pick", form::PICK, values::pick),
    ("activation", form::ACTIVATION, values::activation_step),
    ("add", form::OPERAND, values::add),
    ("mul", form::OPERAND, values::mul),
    ("weighted_sum", form::WEIGHTED_SUM, values::weighted_sum),
    ("match_rms", form::MATCH_RMS, values::match_rms),
    ("attention", form::ATTENTION, attention::attention),
    ("latent_attention", form::LATENT_ATTENTION, latent_attention),
    ("delta_net", form::DELTA_NET, delta_net),
    ("mlp", form::MLP, mlp_step),
    ("moe", form::MOE, super::moe::moe),
];

fn op_named(op: &Value) -> Result<&'static (&'static str, Keys, Reader), Fault> {
    let found = OPS.iter().find(|(name, ..)| op.as_str() == Some(name));
    found.ok_or_else(|| {
        let name = op
            .as_str()
            .map_or_else(|| Kind::of(op).to_string(), String::from);
        unknown("op", &name, OPS.iter().map(|o| o.0))
    })
}

/// Keys of a step with this `op`, beside those of every step.
pub(super) fn keys_of(op: &Value) -> Result<Keys, Fault> {
    op_named(op).map(|(_, keys, _)| *keys)
}

/// A step while it is read.
pub(super) struct At<'m, 's, 'a> {
    pub(super) node: Node<'s, 'a>,
    pub(super) name: String,
    op: &'a Value,
    pub(super) around: Around<'m>,
    width: Option<usize>,
    pub(super) seen: &'m Seen,
}

impl<'s, 'a> At<'_, 's, 'a> {
    fn read(&self) -> Read<(StepOp, usize)> {
        let (_, _, reader) = op_named(self.op).map_err(|f| self.node.fault(f))?;
        reader(self)
    }

    pub(super) fn fields(&self) -> Read<Fields<'s, 'a>> {
        let keys = keys_of(self.op).map_err(|f| self.node.fault(f))?;
        self.node.object_of(&[form::STEP, keys])
    }

    /// The named value that it reads, if any.
    fn from(&self) -> Read<Option<String>> {
        let node = self.node.object_unchecked()?.optional("from")?;
        node.map(|n| n.literal("the name of a value").map(String::from))
            .transpose()
    }

    /// The name that its result gets, if any.
    fn keep(&self) -> Read<Option<String>> {
        let node = self.node.object_unchecked()?.optional("as")?;
        node.map(|n| n.literal("a name for the result").map(String::from))
            .transpose()
    }

    /// With the named value's width for its own input's.
    fn with_input(mut self, name: Option<&str>) -> Read<Self> {
        if let Some(name) = name {
            self.width = Some(self.seen.width(name).map_err(|f| self.node.fault(f))?);
        }
        Ok(self)
    }

    /// Adds a state of so many elements to what a sequence has.
    pub(super) fn add_state(&self, sizes: [usize; 3]) -> Read<()> {
        let total = &self.node.names.params.total;
        total.add_state(&sizes).map_err(|f| self.node.fault(f))
    }

    pub(super) fn slot(&self, field: &str) -> String {
        format!("{}.{field}", self.name)
    }

    /// Width of the input; only an embedding does without.
    pub(super) fn width(&self) -> Read<usize> {
        self.width.ok_or_else(|| self.node.fault(Fault::NothingYet))
    }
}

fn embed(at: &At<'_, '_, '_>) -> Read<(StepOp, usize)> {
    let fields = at.fields()?;
    let sized = fields.value("width", |n| n.whole(1, MAX_WIDTH))?;
    if let (Some(width), None) = (at.width, sized) {
        return Err(at.node.fault(Fault::NotFirst(width)));
    }
    let width = sized.unwrap_or(at.around.hidden);
    let rows = fields.value("rows", |n| n.whole(1, MAX_WIDTH))?;
    let shape = vec![rows.unwrap_or(at.around.vocab), width];
    let table = row_by_row(&fields.required("table")?, at.slot("table"), shape)?;
    let scale = fields.value("scale", Node::real)?.unwrap_or(1.0);
    let limit = rows.filter(|rows| *rows < at.around.vocab);
    let embed = StepOp::Embed {
        table,
        scale,
        limit,
    };
    Ok((embed, width))
}

fn position_embed(at: &At<'_, '_, '_>) -> Read<(StepOp, usize)> {
    let fields = at.fields()?;
    let offset = fields
        .value("offset", |n| n.whole(0, 1 << 16))?
        .unwrap_or(0);
    let width = at.width()?;
    let table = row_by_row(
        &fields.required("table")?,
        at.slot("table"),
        vec![at.around.context + offset, width],
    )?;
    Ok((StepOp::PositionEmbed { table, offset }, width))
}

fn norm_step(at: &At<'_, '_, '_>) -> Read<(StepOp, usize)> {
    let width = at.width()?;
    Ok((StepOp::Norm(norm(&at.node, &at.name, width)?), width))
}

/// Reads a norm over `width` components; its slots are `{slot}.gain` and `{slot}.bias`.
pub(super) fn norm(node: &Node<'_, '_>, slot: &str, width: usize) -> Read<Norm> {
    let fields = node.object(form::NORM)?;
    let kind = match fields
        .required("op")?
        .literal("`rms_norm`, `layer_norm` or `l2_norm`")?
    {
        "rms_norm" => NormKind::Rms,
        "layer_norm" => NormKind::Layer,
        "l2_norm" => NormKind::L2,
        other => {
            return Err(node.fault(unknown(
                "norm",
                other,
                ["rms_norm", "layer_norm", "l2_norm"].into_iter(),
            )));
        }
    };
    let eps_node = fields.required("eps")?;
    let eps = eps_node.real()?;
    if eps < 0.0 {
        let expected = "a number of at least 0".into();
        return Err(eps_node.fault(Fault::Range {
            found: eps.to_string(),
            expected,
        }));
    }
    let vector = |key: &'static str| {
        let node = fields.optional(key)?;
        node.map(|n| weight(&n, format!("{slot}.{key}"), vec![width]))
            .transpose()
    };
    Ok(Norm {
        kind,
        eps,
        gain: vector("gain")?,
        bias: vector("bias")?,
        unit_offset: fields.flag("unit_offset")?,
    })
}

fn linear_step(at: &At<'_, '_, '_>) -> Read<(StepOp, usize)> {
    let fields = at.fields()?;
    let out = fields.required("out")?.whole(1, MAX_WIDTH)?;
    let width = at.width()?;
    let bias = fields.optional("bias")?;
    let linear = Linear {
        weight: weight(
            &fields.required("weight")?,
            at.slot("weight"),
            vec![out, width],
        )?,
        bias: bias
            .map(|n| weight(&n, at.slot("bias"), vec![out]))
            .transpose()?,
    };
    Ok((StepOp::Linear(linear), out))
}

fn scale(at: &At<'_, '_, '_>) -> Read<(StepOp, usize)> {
    let factor = at.fields()?.required("by")?.real()?;
    Ok((StepOp::Scale(factor), at.width()?))
}

fn softcap(at: &At<'_, '_, '_>) -> Read<(StepOp, usize)> {
    let cap = at.fields()?.required("cap")?.above_zero()?;
    Ok((StepOp::Softcap(cap), at.width()?))
}

fn mlp_step(at: &At<'_, '_, '_>) -> Read<(StepOp, usize)> {
    let fields = at.fields()?;
    let mlp = mlp(&fields, &at.name, at.around.hidden, at.width()?, None)?;
    Ok((StepOp::Mlp(mlp), at.around.hidden))
}

/// Reads a feed-forward block from `width` to `hidden` components; `act` is used where it names no activation.
pub(super) fn mlp(
    fields: &Fields<'_, '_>,
    slot: &str,
    hidden: usize,
    width: usize,
    act: Option<Activation>,
) -> Read<Mlp> {
    let ffn = fields.required("ffn")?.whole(1, MAX_WIDTH)?;
    let matrix = |node: &Node<'_, '_>, key: &str, out, inner| {
        linear(node, &format!("{slot}.{key}"), out, inner)
    };
    let act = match act {
        Some(act) if fields.raw("act").is_none() => act,
        _ => activation(&fields.required("act")?)?,
    };
    Ok(Mlp {
        gate: fields
            .optional("gate")?
            .map(|n| matrix(&n, "gate", ffn, width))
            .transpose()?,
        up: matrix(&fields.required("up")?, "up", ffn, width)?,
        down: matrix(&fields.required("down")?, "down", hidden, ffn)?,
        act,
        cutoff: fields.value("cutoff", Node::real)?,
    })
}

pub(super) fn activation(node: &Node<'_, '_>) -> Read<Activation> {
    let value = node.eval()?;
    let name = value
        .as_str()
        .ok_or_else(|| node.unexpected(&value, "the name of an activation"))?;
    tables::activation(name).map_err(|f| node.fault(f))
}
