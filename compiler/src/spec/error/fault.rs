//! What is wrong at a place of a spec or a config.

use super::super::near::nearest;
use super::kind::Kind;
use super::names::{hint, list, meant, quoted};
use super::syntax::Syntax;

/// What is wrong at a place.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// A key that means nothing here.
    #[error("unknown key `{key}`{}; expected {}", hint(nearest), list(known))]
    UnknownKey {
        /// The key.
        key: String,
        /// Keys that would mean something.
        known: Vec<String>,
        /// The most similar of them.
        nearest: Option<String>,
    },
    /// A key that has to be there.
    #[error("missing key `{0}`")]
    MissingKey(&'static str),
    /// A value of the wrong type.
    #[error("found {found}, expected {expected}")]
    WrongType {
        /// What is there.
        found: Kind,
        /// What was expected, in words.
        expected: &'static str,
    },
    /// A name out of a fixed set.
    #[error("unknown {what} `{name}`{}; known are {}", hint(nearest), list(known))]
    UnknownName {
        /// What it should name: `op`, `activation`.
        what: &'static str,
        /// The name.
        name: String,
        /// The set.
        known: Vec<String>,
        /// The most similar of it.
        nearest: Option<String>,
    },
    /// A name in an expression that is not a parameter.
    #[error(
        "unknown parameter `{name}`{}; known are {}; {}",
        hint(nearest),
        list(known),
        quoted(name)
    )]
    UnknownParameter {
        /// The name.
        name: String,
        /// The spec's parameters.
        known: Vec<String>,
        /// The most similar of them.
        nearest: Option<String>,
    },
    /// The config lacks a value.
    #[error("config.json has no `{name}`{}{}", hint(nearest), meant(name))]
    NotInConfig {
        /// Path inside the config.
        name: String,
        /// The most similar key there.
        nearest: Option<String>,
    },
    /// The config has a null where a value is needed.
    #[error("config.json: `{0}` is null, expected a value")]
    NullInConfig(String),
    /// Parameters that need each other.
    #[error("depends on itself: {}", .0.join(" needs "))]
    Cycle(Vec<String>),
    /// A chain of `extends` that is circular or too long.
    #[error("extends itself or too many others: {}", .0.join(" extends "))]
    ExtendsCycle(Vec<String>),
    /// A file that a spec extends and that is not there.
    #[error("no file `{0}` beside this one; a built-in spec is named without `.json`")]
    NoParent(String),
    /// Layer kinds that are like each other.
    #[error("like itself: {}", .0.join(" is like "))]
    LikeCycle(Vec<String>),
    /// An expression that cannot be read.
    #[error("`{text}`, character {column}: {problem}")]
    Syntax {
        /// The expression.
        text: String,
        /// Where, counted from 1.
        column: usize,
        /// What was expected.
        problem: Syntax,
    },
    /// An operation on a value it does not work on.
    #[error("`{op}` of {found}, expected {expected}")]
    Operand {
        /// The operation.
        op: &'static str,
        /// What it was given.
        found: Kind,
        /// What it takes.
        expected: &'static str,
    },
    /// A division that does not come out even.
    #[error("{left} / {right} leaves a remainder of {}; expected an exact division (`//` rounds down)", left.rem_euclid(*right))]
    Remainder {
        /// What was divided.
        left: i64,
        /// By what.
        right: i64,
    },
    /// A division by zero.
    #[error("{0} is divided by zero")]
    DivisionByZero(i64),
    /// A whole number outside 64 bits, or a fraction that is not finite.
    #[error("`{0}` gives a number that is too large")]
    Overflow(&'static str),
    /// An index outside a list.
    #[error("index {index} of a list of {len}")]
    Index {
        /// The index.
        index: i64,
        /// Length of the list.
        len: usize,
    },
    /// Nesting beyond what any sensible spec has.
    #[error("nested more than {0} deep")]
    TooDeep(usize),
    /// Work beyond what any sensible spec takes.
    #[error(
        "binding takes more than {0} steps; expected fewer layers, or a spec with fewer steps and shorter expressions and lists"
    )]
    TooMuchWork(usize),
    /// A number outside its range.
    #[error("found {found}, expected {expected}")]
    Range {
        /// The number.
        found: String,
        /// The range, in words.
        expected: String,
    },
    /// Two sizes that do not go together.
    #[error("{value} does not divide {name} = {of}")]
    NotADivisor {
        /// The value at this place.
        value: usize,
        /// What it should divide.
        name: &'static str,
        /// Its value.
        of: usize,
    },
    /// Rows given by a step or a part are not the rows needed.
    #[error("{what} is {found}, expected {expected}")]
    Mismatch {
        /// What was measured.
        what: &'static str,
        /// Its value.
        found: usize,
        /// What it should be.
        expected: usize,
    },
    /// A config value that changes the arithmetic in a way the spec does not describe.
    #[error("config.json has `{key}` = {found}; this spec supports only {expected}")]
    Unsupported {
        /// Path inside the config.
        key: String,
        /// Its value.
        found: String,
        /// Values that are supported, or the condition.
        expected: String,
    },
    /// Two steps of the same name.
    #[error("there are two steps `{0}`; give one of them another `name`")]
    SameName(String),
    /// A name of a step that could not be part of a path.
    #[error("step name `{0}`: expected letters, digits and `_`")]
    StepName(String),
    /// A name of a value that could not be told from others in dumps.
    #[error("value name `{0}`: expected letters, digits and `_`")]
    ValueName(String),
    /// A name that means something already.
    #[error("`{name}` is {meaning}; expected another name")]
    Reserved {
        /// The name.
        name: String,
        /// What it means.
        meaning: &'static str,
    },
    /// A name of a layer kind that no line of a dump could hold.
    #[error(
        "name of a layer kind {0:?}: expected a name without line breaks and other control characters"
    )]
    KindName(String),
    /// A step that cannot stand in this part of a spec.
    #[error("found a step that {does} (`{op}`), expected one that does not: {why}")]
    Misplaced {
        /// The operation.
        op: &'static str,
        /// What it does.
        does: &'static str,
        /// Why that is not possible here.
        why: &'static str,
    },
    /// A step before anything flows.
    #[error("expected `embed` as the first step")]
    NothingYet,
    /// An embedding where something flows already.
    #[error("starts from token ids, but a step before it gives {0} components")]
    NotFirst(usize),
    /// A tensor name whose braces do not match, or hold an index that is not there.
    #[error(
        "tensor name `{0}`: braces may contain `i`, the layer's index, in layers, `e`, the expert's, in matrices of experts, or an expression"
    )]
    Template(String),
    /// No alternative of a list applies.
    #[error("none of the {0} alternatives applies: each has an `if` that is false")]
    NoAlternative(usize),
    /// A new step in an extension without a place.
    #[error(
        "the parent has no step `{name}`{}; to add one, give it `before`, `after` or `replace` and the name of a step",
        hint(nearest)
    )]
    NoSuchStep {
        /// The step.
        name: String,
        /// The most similar step of the parent.
        nearest: Option<String>,
    },
}

impl Fault {
    /// A key that the config lacks; the most similar one is looked for where the fault is reported, since `??` catches most.
    pub(crate) fn not_in_config(name: impl Into<String>) -> Fault {
        Fault::NotInConfig {
            name: name.into(),
            nearest: None,
        }
    }

    pub(crate) fn at(self, path: &str) -> Located {
        Located {
            path: path.to_string(),
            fault: self,
        }
    }
}

/// A fault and the path at which it was found; the file is added by the spec that knows it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Located {
    pub(crate) path: String,
    pub(crate) fault: Fault,
}

impl Located {
    /// Whether something is missing from the config, or null: what `??` catches.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(
            self.fault,
            Fault::NotInConfig { .. } | Fault::NullInConfig(_)
        )
    }
}

/// Between the path of an expression and the key of the config that its value is.
pub(crate) const IN_CONFIG: &str = " → config.json: ";

pub(crate) type Read<T> = Result<T, Located>;

/// A fault for a name outside a fixed set.
pub(crate) fn unknown<'k>(
    what: &'static str,
    name: &str,
    known: impl Iterator<Item = &'k str> + Clone,
) -> Fault {
    let near = nearest(name, known.clone());
    Fault::UnknownName {
        what,
        name: name.into(),
        known: known.map(String::from).collect(),
        nearest: near,
    }
}
