//! What operands are: the part that each plays in its operation, and what it is read as.
//!
//! Every operation has one walk over its operands, `operands(take)`, which asks `take` for each in order and gives them back as
//! fields with names. `T` is a role where the text form asks, a node or rows of a kernel in code generation, a shape in shape
//! rules, a value in the interpreter.

use std::fmt;

/// The part that an operand plays: its name in text form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The rows that are worked on.
    X,
    /// The left of two.
    A,
    /// The right of two.
    B,
    /// Queries.
    Q,
    /// Keys.
    K,
    /// Values.
    V,
    /// Weights of values, out of a softmax.
    P,
    /// A table whose rows are looked up.
    Table,
    /// What orders readers of a state after its writer.
    After,
    /// Cosines and sines of a rotation.
    Angles,
    /// What is added to a result.
    Residual,
    /// Logits that the sums of a softmax start with.
    Sinks,
    /// What scores fall by with the distance.
    Slopes,
    /// How much queries take of each profile.
    Relative,
    /// What is added to scores by distance.
    Profiles,
    /// Positions that queries attend to.
    Picked,
    /// The table of groups.
    Groups,
    /// A router's scores.
    Scores,
    /// Which experts tokens have.
    Listed,
    /// What is added to scores where experts are chosen.
    Correction,
    /// What multiplies an expert's weight.
    ExpertScale,
    /// The output of a shared expert.
    Shared,
    /// What multiplies the output of a shared expert.
    SharedGate,
    /// What multiplies a result.
    Gate,
    /// What a gate is multiplied by.
    Up,
    /// Factors of rows.
    By,
    /// The rows whose magnitude is wanted.
    Like,
    /// Rates of decay.
    Rate,
    /// How much of a state stays.
    Decay,
    /// How much of a value is written.
    Beta,
    /// How much of a value passes by the state.
    Skip,
    /// Curvature above 0.
    Positive,
    /// Curvature below 0.
    Negative,
    /// The only matrix, or family of matrices.
    Weight,
    /// The only bias, or family of biases.
    Bias,
    /// A term of a sum.
    Term(usize),
    /// The matrix of a part.
    PartWeight(usize),
    /// The bias of a part.
    PartBias(usize),
    /// The gain of a norm.
    NormGain(NormAt),
    /// The bias of a norm.
    NormBias(NormAt),
}

/// Which of an operation's norms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NormAt {
    /// The operation is the norm.
    Itself,
    /// The one before, or of a recurrent operation the one after, everything else.
    Around,
    /// One that a part's results go through.
    Part {
        /// The part.
        part: usize,
        /// Its place among all that is done to the part.
        step: usize,
    },
}

/// What an operation reads an operand as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// Rows that another node has computed.
    Rows,
    /// Rows, or a vector that every row sees.
    RowsOrVector,
    /// f32, element after element, or in rows that follow each other.
    Vector,
    /// A matrix in any form.
    Matrix,
    /// A matrix of floats, by row and column.
    MatrixByHead,
    /// Rows of a matrix by their number.
    Table,
    /// Rows of whole numbers: positions, as an index lists them.
    Positions,
    /// Nothing: it orders what reads a state after what writes it.
    Order,
}

/// Gives the next operand of a walk.
pub(crate) type Take<'a, T> = &'a mut dyn FnMut(Role, Reads) -> T;

impl Role {
    /// Whether text forms leave the name out, since everyone knows it.
    pub fn is_plain(self) -> bool {
        matches!(
            self,
            Role::X | Role::A | Role::B | Role::Q | Role::K | Role::V | Role::P | Role::Table
        )
    }

    /// The same role in part `to(part)`, where it is one of a part.
    pub(crate) fn in_part(self, to: impl Fn(usize) -> usize) -> Role {
        match self {
            Role::PartWeight(part) => Role::PartWeight(to(part)),
            Role::PartBias(part) => Role::PartBias(to(part)),
            Role::NormGain(at) => Role::NormGain(at.in_part(to)),
            Role::NormBias(at) => Role::NormBias(at.in_part(to)),
            other => other,
        }
    }

    /// The same role, where it is one of a norm, of the norm at `at`.
    pub(crate) fn of_norm(self, at: NormAt) -> Role {
        match self {
            Role::NormGain(_) => Role::NormGain(at),
            Role::NormBias(_) => Role::NormBias(at),
            other => other,
        }
    }
}

impl NormAt {
    fn in_part(self, to: impl Fn(usize) -> usize) -> NormAt {
        match self {
            NormAt::Itself | NormAt::Around => self,
            NormAt::Part { part, step } => NormAt::Part {
                part: to(part),
                step,
            },
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::X => "x",
            Role::A => "a",
            Role::B => "b",
            Role::Q => "q",
            Role::K => "k",
            Role::V => "v",
            Role::P => "p",
            Role::Table => "table",
            Role::After => "after",
            Role::Angles => "angles",
            Role::Residual => "residual",
            Role::Sinks => "sinks",
            Role::Slopes => "slopes",
            Role::Relative => "relative",
            Role::Profiles => "profiles",
            Role::Picked => "picked",
            Role::Groups => "groups",
            Role::Scores => "scores",
            Role::Listed => "listed",
            Role::Correction => "correction",
            Role::ExpertScale => "expert_scale",
            Role::Shared => "shared",
            Role::SharedGate => "shared_gate",
            Role::Gate => "gate",
            Role::Up => "up",
            Role::By => "by",
            Role::Like => "like",
            Role::Rate => "rate",
            Role::Decay => "decay",
            Role::Beta => "beta",
            Role::Skip => "skip",
            Role::Positive => "positive",
            Role::Negative => "negative",
            Role::Weight => "w",
            Role::Bias => "bias",
            Role::Term(j) => return write!(f, "x{j}"),
            Role::PartWeight(i) => return write!(f, "w{i}"),
            Role::PartBias(i) => return write!(f, "bias{i}"),
            Role::NormGain(at) => return write!(f, "{at}gain"),
            Role::NormBias(at) => return write!(f, "{at}bias"),
        })
    }
}

impl fmt::Display for NormAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NormAt::Itself => Ok(()),
            NormAt::Around => f.write_str("norm."),
            NormAt::Part { part, step } => write!(f, "norm{part}.{step}."),
        }
    }
}

/// The operand of an operation that has one, `x`.
#[derive(Clone, Copy, Debug)]
pub struct Single<T> {
    /// The rows that are worked on.
    pub x: T,
}

/// The operands of an operation on two, `a` and `b`.
#[derive(Clone, Copy, Debug)]
pub struct Pair<T> {
    /// The left one.
    pub a: T,
    /// The right one.
    pub b: T,
}

impl<T> Single<T> {
    /// The walk.
    pub fn of(take: Take<T>) -> Self {
        Single {
            x: take(Role::X, Reads::Rows),
        }
    }
}

impl<T> Pair<T> {
    /// The walk of two values.
    pub fn of(take: Take<T>) -> Self {
        Pair {
            a: take(Role::A, Reads::Rows),
            b: take(Role::B, Reads::Rows),
        }
    }
}
