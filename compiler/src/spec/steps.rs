//! Steps of a spec: each entry of a list of steps becomes a [`Step`], and the width of what flows is checked on the way.

use super::at::{Around, At};
use super::error::{Fault, Read};
use super::form::{self, OpName};
use super::keys;
use super::limits::MAX_STEPS;
use super::model::{Step, StepOp};
use super::read::Node;
use super::seen::Seen;
use super::{attention, index, latent, mlp, moe, norm, plain, recurrence, recurrent, values};

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
    let section = keys::section(&list.path);
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
        let (op, out) = read(&at.with_input(from.as_deref())?)?;
        around.part.takes(&op).map_err(|f| node.fault(f))?;
        if let Some(name) = &keep {
            seen.keep(name, out).map_err(|f| node.fault(f))?;
            let listing = match &op {
                StepOp::Index(index) => Some(index.listing),
                _ => None,
            };
            seen.lists(name, listing);
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

/// The name of a step that has an `op`.
fn name_of<'a>(node: &Node<'_, 'a>) -> Read<&'a str> {
    if node.value.get("op").is_none() {
        return Err(node.fault(Fault::MissingKey("op")));
    }
    let name = keys::step_name(node.value);
    let name = name.ok_or_else(|| node.wrong("a step whose `name` is a string"))?;
    match !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        true => Ok(name),
        false => Err(node.fault(Fault::StepName(name.into()))),
    }
}

/// Reads a step's fields, given the width of its input.
fn read(at: &At<'_, '_, '_>) -> Read<(StepOp, usize)> {
    match form::op_named(at.op).map_err(|f| at.node.fault(f))? {
        OpName::Embed => plain::embed(at),
        OpName::PositionEmbed => plain::position_embed(at),
        OpName::Sinusoids => plain::sinusoids(at),
        OpName::Norm => norm::norm_step(at),
        OpName::Linear => plain::linear_step(at),
        OpName::Scale => plain::scale(at),
        OpName::Softcap => plain::softcap(at),
        OpName::Clamp => plain::clamp(at),
        OpName::Xielu => values::xielu(at),
        OpName::Pick => values::pick(at),
        OpName::Concat => values::concat(at),
        OpName::Activation => values::activation_step(at),
        OpName::Add => values::add(at),
        OpName::Mul => values::mul(at),
        OpName::WeightedSum => values::weighted_sum(at),
        OpName::MatchRms => values::match_rms(at),
        OpName::Attention => attention::attention(at),
        OpName::LatentAttention => latent::latent_attention(at),
        OpName::Index => index::index(at),
        OpName::DeltaNet => recurrent::delta_net(at),
        OpName::ShortConv => recurrence::short_conv(at),
        OpName::Decay => recurrence::decay(at),
        OpName::Recurrence => recurrence::recurrence(at),
        OpName::Mlp => mlp::mlp_step(at),
        OpName::Moe => moe::moe(at),
    }
}
