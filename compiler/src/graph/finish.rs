//! What happens to a projection before it is handed on: norms, rotations and scalings in order, and where it goes.
//!
//! The list is in the order in which they apply, so that a norm before RoPE and one after it, or a norm with nothing else, are
//! the same mechanism. Each works on rows in runs of its own *grain*, which is a head's width or less unless a norm runs over
//! the whole projection.

use super::op::{Norm, PositionScale, StateId, roles};

/// What happens to a projection.
#[derive(Clone, Debug, PartialEq)]
pub struct Finish {
    /// Width of the projection.
    pub rows: usize,
    /// What is done to it, in order.
    pub touches: Vec<Touch>,
    /// Where it goes.
    pub dest: Dest,
}

/// One thing done to a projection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Touch {
    /// Normalised in groups. Operands: its gain and bias.
    Norm(Norm),
    /// Each head is rotated. Operand: the angles, which all rotations of a node share.
    Rope(Rope),
    /// Multiplied by a factor of the row's position.
    PositionScale(PositionScale),
}

/// Options of a rotation. Operands: `x`, the angles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rope {
    /// Width of a head.
    pub head_dim: usize,
    /// First component that rotates; those before it and behind the last stay.
    pub start: usize,
    /// Components that rotate.
    pub rotary_dim: usize,
    /// Pairs are neighbours rather than half a rotation apart.
    pub interleaved: bool,
}

/// Where a projection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dest {
    /// Into the result.
    Output,
    /// Into the keys of a state.
    Keys(StateId),
    /// Into the values of a state.
    Values(StateId),
    /// Into the one key head of a state, from a column on: what several projections make a key of.
    KeyColumns(StateId, usize),
}

impl Dest {
    /// The state, where it is one.
    pub fn state(self) -> Option<StateId> {
        match self {
            Dest::Output => None,
            Dest::Keys(s) | Dest::Values(s) | Dest::KeyColumns(s, _) => Some(s),
        }
    }
}

impl Finish {
    /// A projection that goes into the result as it is.
    pub fn plain(rows: usize) -> Finish {
        Finish {
            rows,
            touches: vec![],
            dest: Dest::Output,
        }
    }

    /// The width that has to be finished at once: a head, or the widest norm's group.
    pub fn grain(&self) -> usize {
        self.touches.iter().map(Touch::grain).max().unwrap_or(1)
    }

    /// Whether something rotates, so that there is an angles operand.
    pub fn has_rope(&self) -> bool {
        self.touches.iter().any(|t| matches!(t, Touch::Rope(_)))
    }

    /// Roles of the operands that the touches of part `part` have, in order, the angles not among them.
    pub(super) fn roles(&self, part: usize) -> Vec<String> {
        let of = |(i, touch): (usize, &Touch)| match touch {
            Touch::Norm(n) => n.roles(&touch_role(part, i)),
            Touch::Rope(_) | Touch::PositionScale(_) => vec![],
        };
        self.touches.iter().enumerate().flat_map(of).collect()
    }
}

impl Touch {
    /// The width it works on at once.
    pub fn grain(&self) -> usize {
        match self {
            Touch::Norm(n) => n.group,
            Touch::Rope(r) => r.head_dim,
            Touch::PositionScale(_) => 1,
        }
    }
}

/// What comes before `gain` and `bias` in the roles of touch `touch` of part `part`.
pub fn touch_role(part: usize, touch: usize) -> String {
    format!("norm{part}.{touch}.")
}

/// Roles of the operands of joined projections that are finished by themselves.
pub(super) fn joined_roles(parts: &[Finish]) -> Vec<String> {
    let mut out = roles(&["x"]);
    out.extend(parts.iter().enumerate().flat_map(|(i, p)| p.roles(i)));
    if parts.iter().any(Finish::has_rope) {
        out.push("angles".into());
    }
    out
}
