//! Which keys stand where in a spec: one table, by which a spec is checked as a whole before it is bound (`keys.rs`), and which its readers
//! use. So a key that nothing knows is an error also in a step whose `if` does not hold, and in a kind that no layer is of.

use serde_json::Value;

use super::error::{Fault, Kind, unknown};

/// Keys of an object, with what stands at each. `if` may stand in any object but the outermost.
pub(super) type Keys = &'static [(&'static str, Form)];

/// Forms of an object, the first that counts being one of whose keys some is there; the last is for all others.
pub(super) type Choices = &'static [(&'static [&'static str], Keys)];

/// What stands at a place. Null may stand anywhere, and where an object may, so may a list of alternatives.
#[derive(Clone, Copy)]
pub(super) enum Form {
    /// Anything.
    Any,
    /// A number, a flag, an expression or a name, or a list of such.
    Plain,
    /// An object with these keys, or something plain.
    Object(Keys),
    /// An object whose form its keys decide, or something plain.
    OneOf(Choices),
    /// An object with free keys.
    Free(&'static Form),
    /// A list.
    List(&'static Form),
    /// A step: keys of every step, and those of its `op`.
    Step,
}

use Form::{Any, Free, List, Object, OneOf, Plain, Step};

/// The whole of a spec.
pub(super) const SPEC: Keys = &[
    ("carried", Free(&Plain)),
    ("about", Plain),
    ("extends", Plain),
    ("match", Object(&[("model_type", Plain)])),
    ("config_section", Plain),
    ("params", Free(&Any)),
    ("layer_params", Free(&Any)),
    ("require", Free(&Plain)),
    ("ropes", Free(&Object(ROPE))),
    ("embed", List(&Step)),
    ("layers", Free(&List(&Object(ITEM)))),
    ("layer_kind", Plain),
    ("head", List(&Step)),
    ("prefixes", List(&Object(NAMES))),
    ("ignore", List(&Object(NAMES))),
    ("presets", Free(&Any)),
    ("gguf", Object(GGUF)),
    ("$schema", Any),
];

/// What a spec makes of GGUF files.
const GGUF: Keys = &[
    ("architecture", Plain),
    ("config", Free(&Any)),
    ("tensors", Free(&Plain)),
    ("changes", Any),
    ("ignore", List(&Object(NAMES))),
];

pub(super) const ROPE: Keys = &[
    ("dim", Plain),
    ("theta", Plain),
    ("parameters", Any),
    ("elsewhere", Plain),
    ("original_context", Plain),
    ("interleaved", Plain),
    ("backwards", Plain),
];
pub(super) const ITEM: Keys = &[
    ("residual", List(&Step)),
    ("before", List(&Step)),
    ("parallel", List(&List(&Step))),
    ("plain", List(&Step)),
];
/// Keys of an item of a layer that hold steps.
pub(super) const BRANCHES: [&str; 4] = ["residual", "before", "parallel", "plain"];
/// One name, or several that differ in a number.
pub(super) const NAMES: Keys = &[("name", Plain), ("from", Plain), ("count", Plain)];
/// A name with a condition.
pub(super) const NAME: Keys = &[("name", Plain)];

/// Keys of every step.
pub(super) const STEP: Keys = &[
    ("op", Plain),
    ("name", Plain),
    ("from", Plain),
    ("as", Plain),
];
pub(super) const EMBED: Keys = &[
    ("table", Object(WEIGHT)),
    ("scale", Plain),
    ("width", Plain),
    ("rows", Plain),
];
pub(super) const POSITION_EMBED: Keys = &[("table", Object(WEIGHT)), ("offset", Plain)];
pub(super) const SINUSOIDS: Keys = &[("offset", Plain), ("theta", Plain), ("over", Plain)];
pub(super) const NORM: Keys = &[
    ("op", Plain),
    ("name", Plain),
    ("from", Plain),
    ("as", Plain),
    ("eps", Plain),
    ("gain", Object(WEIGHT)),
    ("bias", Object(WEIGHT)),
    ("unit_offset", Plain),
    ("group", Plain),
];
pub(super) const LINEAR_STEP: Keys = &[
    ("out", Plain),
    ("weight", Object(WEIGHT)),
    ("bias", Object(WEIGHT)),
];
pub(super) const SCALE: Keys = &[("by", Plain)];
pub(super) const SOFTCAP: Keys = &[("cap", Plain)];
pub(super) const CLAMP: Keys = &[("least", Plain), ("most", Plain)];
pub(super) const XIELU: Keys = &[
    ("positive", Object(WEIGHT)),
    ("negative", Object(WEIGHT)),
    ("beta", Plain),
    ("eps", Plain),
];
pub(super) const PICK: Keys = &[];
pub(super) const CONCAT: Keys = &[("value", Plain)];
pub(super) const ACTIVATION: Keys = &[("act", Plain)];
pub(super) const ADD: Keys = &[("value", Plain), ("vector", Object(WEIGHT))];
pub(super) const MUL: Keys = &[
    ("value", Plain),
    ("vector", Object(WEIGHT)),
    ("scalar", Object(WEIGHT)),
];
pub(super) const WEIGHTED_SUM: Keys = &[("values", Plain), ("start", Plain)];
pub(super) const MATCH_RMS: Keys = &[("like", Plain), ("least", Plain)];
pub(super) const ATTENTION: Keys = &[
    ("share", Plain),
    ("gate", OneOf(LINEAR_OR_WEIGHT)),
    ("gate_over", Plain),
    ("gate_act", Plain),
    ("n_heads", Plain),
    ("n_kv_heads", Plain),
    ("head_dim", Plain),
    ("value_dim", Plain),
    ("value_scale", Plain),
    ("clip", Plain),
    ("q", OneOf(LINEAR_OR_WEIGHT)),
    ("k", OneOf(MATRIX_OR_VALUE)),
    ("v", OneOf(MATRIX_OR_VALUE)),
    ("o", OneOf(LINEAR_OR_WEIGHT)),
    ("qk_norm", Object(QK_NORM)),
    ("rope", Object(NAME)),
    ("scale", Plain),
    ("softcap", Plain),
    ("window", Plain),
    ("chunk", Plain),
    ("sinks", Object(WEIGHT)),
    ("alibi", Object(ALIBI)),
    ("relative", Object(RELATIVE)),
    ("position_scale", Object(POSITION_SCALE)),
    ("picked", Plain),
];
pub(super) const ALIBI: Keys = &[("most", Plain)];
pub(super) const RELATIVE: Keys = &[
    ("dim", Plain),
    ("extent", Plain),
    ("r", OneOf(LINEAR_OR_WEIGHT)),
    ("profiles", Object(WEIGHT)),
];
pub(super) const QK_NORM: Keys = &[
    ("over", Plain),
    ("after_rope", Plain),
    ("q", Object(NORM)),
    ("k", Object(NORM)),
    ("v", Object(NORM)),
];
pub(super) const POSITION_SCALE: Keys = &[
    ("scale", Plain),
    ("every", Plain),
    ("offset", Plain),
    ("smooth", Plain),
];
pub(super) const NAMED: Keys = &[("value", Plain)];
pub(super) const LATENT_ATTENTION: Keys = &[
    ("n_heads", Plain),
    ("rank", Plain),
    ("nope_dim", Plain),
    ("rope_dim", Plain),
    ("value_dim", Plain),
    ("q", OneOf(LINEAR_OR_WEIGHT)),
    ("compressed_q", Object(COMPRESSED)),
    ("kv_a", OneOf(LINEAR_OR_WEIGHT)),
    ("kv_norm", Object(NORM)),
    ("latent_scale", Plain),
    ("kv_b", OneOf(LINEAR_OR_WEIGHT)),
    ("gate", OneOf(LINEAR_OR_WEIGHT)),
    ("gate_over", Plain),
    ("gate_act", Plain),
    ("o", OneOf(LINEAR_OR_WEIGHT)),
    ("rope", Object(NAME)),
    ("scale", Plain),
    ("q_from", Plain),
    ("picked", Plain),
];
pub(super) const INDEX: Keys = &[
    ("n_heads", Plain),
    ("dim", Plain),
    ("count", Plain),
    ("block", Plain),
    ("near", Plain),
    ("q_from", Plain),
    ("q", OneOf(LINEAR_OR_WEIGHT)),
    ("q_norm", Object(NORM)),
    ("k", OneOf(LINEAR_OR_WEIGHT)),
    ("k_norm", Object(NORM)),
    ("weigh", OneOf(LINEAR_OR_WEIGHT)),
    ("rope", Object(NAME)),
];
pub(super) const COMPRESSED: Keys = &[
    ("rank", Plain),
    ("a", OneOf(LINEAR_OR_WEIGHT)),
    ("norm", Object(NORM)),
    ("b", OneOf(LINEAR_OR_WEIGHT)),
];
pub(super) const DELTA_NET: Keys = &[
    ("key_heads", Plain),
    ("in_turn", Plain),
    ("value_heads", Plain),
    ("key_dim", Plain),
    ("value_dim", Plain),
    ("taps", Plain),
    ("act", Plain),
    ("q", Object(CONVOLVED)),
    ("k", Object(CONVOLVED)),
    ("v", Object(CONVOLVED)),
    ("q_norm", Object(NORM)),
    ("k_norm", Object(NORM)),
    ("scale", Plain),
    ("decay", OneOf(PROJECTION)),
    ("decay_over", Plain),
    ("rate", Object(WEIGHT)),
    ("decay_bias", Object(WEIGHT)),
    ("decay_lower", Plain),
    ("beta", OneOf(LINEAR_OR_WEIGHT)),
    ("beta_scale", Plain),
    ("gate", OneOf(PROJECTION)),
    ("gate_act", Plain),
    ("norm", Object(NORM)),
    ("o", OneOf(LINEAR_OR_WEIGHT)),
];
pub(super) const SHORT_CONV: Keys = &[
    ("taps", Plain),
    ("weight", Object(WEIGHT)),
    ("bias", Object(WEIGHT)),
    ("act", Plain),
];
pub(super) const DECAY: Keys = &[
    ("heads", Plain),
    ("lower", Plain),
    ("rate", Object(WEIGHT)),
    ("bias", Object(WEIGHT)),
];
pub(super) const RECURRENCE: Keys = &[
    ("heads", Plain),
    ("key_heads", Plain),
    ("key_dim", Plain),
    ("q", Plain),
    ("k", Plain),
    ("decay", Object(CONSTANT_DECAY)),
    ("rate", Object(WEIGHT)),
    ("write", Plain),
    ("correct", Plain),
    ("scale", Plain),
    ("skip", Object(WEIGHT)),
];
pub(super) const CONSTANT_DECAY: Keys = &[("most", Plain), ("first", Plain), ("per_layer", Plain)];
pub(super) const CONVOLVED: Keys = &[
    ("weight", Object(WEIGHT)),
    ("bias", Object(WEIGHT)),
    ("conv", Object(WEIGHT)),
];
pub(super) const LOW_RANK: Keys = &[
    ("rank", Plain),
    ("a", OneOf(LINEAR_OR_WEIGHT)),
    ("b", OneOf(LINEAR_OR_WEIGHT)),
];
pub(super) const MLP: Keys = &[
    ("ffn", Plain),
    ("gate", OneOf(LINEAR_OR_WEIGHT)),
    ("up", OneOf(LINEAR_OR_WEIGHT)),
    ("down", OneOf(LINEAR_OR_WEIGHT)),
    ("act", Plain),
    ("cutoff", Plain),
    ("gating", Object(GATING)),
];
pub(super) const MOE: Keys = &[
    ("experts", Plain),
    ("identity", Plain),
    ("top_k", Plain),
    ("ffn", Plain),
    ("act", Plain),
    ("router", Object(ROUTER)),
    ("gate", OneOf(LINEAR_OR_WEIGHT)),
    ("up", OneOf(LINEAR_OR_WEIGHT)),
    ("down", OneOf(LINEAR_OR_WEIGHT)),
    ("pairs", OneOf(LINEAR_OR_WEIGHT)),
    ("weigh", Plain),
    ("out", Plain),
    ("gating", Object(GATING)),
    ("shared", Object(SHARED)),
];
pub(super) const ROUTER: Keys = &[
    ("always", Plain),
    ("listed", Object(WEIGHT)),
    ("from", Plain),
    ("weight", Object(WEIGHT)),
    ("bias", Object(WEIGHT)),
    ("score", Plain),
    ("after", Plain),
    ("correction", Object(WEIGHT)),
    ("groups", Object(GROUPS)),
    ("renormalise", Plain),
    ("scale", Plain),
    ("softcap", Plain),
    ("expert_scale", Object(WEIGHT)),
    ("near", Plain),
];
pub(super) const GROUPS: Keys = &[("count", Plain), ("top", Plain), ("best", Plain)];
pub(super) const GATING: Keys = &[
    ("alpha", Plain),
    ("limit", Plain),
    ("after", Plain),
    ("offset", Plain),
];
pub(super) const SHARED: Keys = &[
    ("ffn", Plain),
    ("gate", OneOf(LINEAR_OR_WEIGHT)),
    ("up", OneOf(LINEAR_OR_WEIGHT)),
    ("down", OneOf(LINEAR_OR_WEIGHT)),
    ("act", Plain),
    ("cutoff", Plain),
    ("gating", Object(GATING)),
    ("weigh", OneOf(LINEAR_OR_WEIGHT)),
];
pub(super) const WEIGHT: Keys = &[
    ("tensor", OneOf(STORED_OR_JOINED)),
    ("transposed", Plain),
    ("exponential", Plain),
    ("part", Object(RANGE)),
    ("columns", Object(RANGE)),
];
const STORED_OR_JOINED: Choices = &[(&["join"], JOIN), (&[], STORED)];
/// One of several tensors that may hold a weight.
pub(super) const STORED: Keys = &[
    ("tensor", Plain),
    ("experts", Object(EXPERTS)),
    ("transposed", Plain),
    ("exponential", Plain),
    ("part", Object(RANGE)),
    ("columns", Object(RANGE)),
];
/// A matrix whose heads have rows in several tensors.
pub(super) const JOIN: Keys = &[("join", List(&Object(JOINED))), ("heads", Plain)];
/// One of these tensors.
pub(super) const JOINED: Keys = &[("tensor", Plain), ("rows", Plain), ("transposed", Plain)];
pub(super) const EXPERTS: Keys = &[("from", Plain), ("count", Plain)];
pub(super) const RANGE: Keys = &[
    ("from", Plain),
    ("per_layer", Plain),
    ("of", Plain),
    ("heads", Plain),
];
pub(super) const LINEAR: Keys = &[("weight", Object(WEIGHT)), ("bias", Object(WEIGHT))];

/// What a step does, by the reader that its `op` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OpName {
    Embed,
    PositionEmbed,
    Sinusoids,
    Norm,
    Linear,
    Scale,
    Softcap,
    Clamp,
    Xielu,
    Pick,
    Concat,
    Activation,
    Add,
    Mul,
    WeightedSum,
    MatchRms,
    Attention,
    LatentAttention,
    Index,
    DeltaNet,
    ShortConv,
    Decay,
    Recurrence,
    Mlp,
    Moe,
}

/// Every `op` with its reader and its keys beside those of every step.
const OPS: [(&str, OpName, Keys); 27] = [
    ("embed", OpName::Embed, EMBED),
    ("position_embed", OpName::PositionEmbed, POSITION_EMBED),
    ("sinusoids", OpName::Sinusoids, SINUSOIDS),
    ("rms_norm", OpName::Norm, NORM),
    ("layer_norm", OpName::Norm, NORM),
    ("l2_norm", OpName::Norm, NORM),
    ("linear", OpName::Linear, LINEAR_STEP),
    ("scale", OpName::Scale, SCALE),
    ("softcap", OpName::Softcap, SOFTCAP),
    ("clamp", OpName::Clamp, CLAMP),
    ("xielu", OpName::Xielu, XIELU),
    ("pick", OpName::Pick, PICK),
    ("concat", OpName::Concat, CONCAT),
    ("activation", OpName::Activation, ACTIVATION),
    ("add", OpName::Add, ADD),
    ("mul", OpName::Mul, MUL),
    ("weighted_sum", OpName::WeightedSum, WEIGHTED_SUM),
    ("match_rms", OpName::MatchRms, MATCH_RMS),
    ("attention", OpName::Attention, ATTENTION),
    (
        "latent_attention",
        OpName::LatentAttention,
        LATENT_ATTENTION,
    ),
    ("index", OpName::Index, INDEX),
    ("delta_net", OpName::DeltaNet, DELTA_NET),
    ("short_conv", OpName::ShortConv, SHORT_CONV),
    ("decay", OpName::Decay, DECAY),
    ("recurrence", OpName::Recurrence, RECURRENCE),
    ("mlp", OpName::Mlp, MLP),
    ("moe", OpName::Moe, MOE),
];

fn op_entry(op: &Value) -> Result<&'static (&'static str, OpName, Keys), Fault> {
    let found = OPS.iter().find(|(name, ..)| op.as_str() == Some(name));
    found.ok_or_else(|| {
        let name = op
            .as_str()
            .map_or_else(|| Kind::of(op).to_string(), String::from);
        unknown("op", &name, OPS.iter().map(|o| o.0))
    })
}

/// The reader of a step with this `op`.
pub(super) fn op_named(op: &Value) -> Result<OpName, Fault> {
    op_entry(op).map(|(_, name, _)| *name)
}

/// Keys of a step with this `op`, beside those of every step.
pub(super) fn keys_of(op: &Value) -> Result<Keys, Fault> {
    op_entry(op).map(|(.., keys)| *keys)
}

/// A matrix with a bias, or a weight.
const LINEAR_OR_WEIGHT: Choices = &[(&["weight", "bias"], LINEAR), (&[], WEIGHT)];
/// A matrix with a bias, a named value, or a matrix.
const MATRIX_OR_VALUE: Choices = &[
    (&["weight", "bias"], LINEAR),
    (&["value"], NAMED),
    (&[], WEIGHT),
];
/// A product of two matrices, or one.
const PROJECTION: Choices = &[
    (&["rank"], LOW_RANK),
    (&["weight", "bias"], LINEAR),
    (&[], WEIGHT),
];

/// Every `op`, with its keys beside those of every step.
pub(super) fn ops() -> impl Iterator<Item = (&'static str, Keys)> {
    OPS.iter().map(|(name, _, keys)| (*name, *keys))
}
