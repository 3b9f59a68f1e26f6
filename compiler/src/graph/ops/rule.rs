//! What shape rules are made of: an operand's shape, what it may be asked, and why it does not fit.

use super::operand::Role;
use crate::graph::decl::{RecurrentDecl, StateDecl, WeightDecl};
use crate::graph::dim::{Dim, RecurrentId, Shape, StateId, shape_text};

/// Why operands do not fit an operation.
#[derive(Debug, thiserror::Error)]
pub(in crate::graph) enum ShapeError {
    /// Wrong number of operands.
    #[error("{op} takes {expected} operands ({roles}), found {found}")]
    Arity {
        /// Operation.
        op: &'static str,
        /// Roles it wants.
        roles: String,
        /// How many it wants.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// Wrong size.
    #[error("{op}: {what} is {found}, expected {expected}")]
    Size {
        /// Operation.
        op: &'static str,
        /// Which operand or option.
        what: String,
        /// What it is.
        found: String,
        /// What it has to be.
        expected: String,
    },
}

/// An operand as shape rules see it.
#[derive(Clone, Copy)]
pub(in crate::graph) struct Given<'a> {
    pub(in crate::graph) role: Role,
    pub(in crate::graph) shape: &'a Shape,
    /// Its declaration, where it is a weight.
    pub(in crate::graph) weight: Option<&'a WeightDecl>,
}

/// The operation whose rule is applied, and the states that it may name.
#[derive(Clone, Copy)]
pub(in crate::graph) struct Rule<'a> {
    pub(in crate::graph) op: &'static str,
    pub(in crate::graph) states: &'a [StateDecl],
    pub(in crate::graph) recurrent: &'a [RecurrentDecl],
}

type Fits = Result<(), ShapeError>;

impl<'a> Rule<'a> {
    pub(super) fn check(
        &self,
        what: &str,
        ok: bool,
        found: impl ToString,
        expected: impl ToString,
    ) -> Fits {
        if ok {
            return Ok(());
        }
        let (found, expected) = (found.to_string(), expected.to_string());
        Err(ShapeError::Size {
            op: self.op,
            what: what.into(),
            found,
            expected,
        })
    }

    fn rows(&self, x: Given) -> Result<Dim, ShapeError> {
        let rank = x.shape.len();
        self.check(&format!("rank of {}", x.role), rank > 0, rank, 1)?;
        Ok(x.shape[0])
    }

    /// Columns of a `[rows, n]` operand.
    pub(super) fn width(&self, x: Given) -> Result<usize, ShapeError> {
        match x.shape.as_slice() {
            [_, Dim::Const(n)] => Ok(*n),
            other => Err(ShapeError::Size {
                op: self.op,
                what: format!("shape of {}", x.role),
                found: shape_text(other),
                expected: "[rows, n]".into(),
            }),
        }
    }

    /// That the operand is rows of `n` columns.
    pub(super) fn has_width(&self, x: Given, n: usize) -> Fits {
        let found = self.width(x)?;
        self.check(&format!("width of {}", x.role), found == n, found, n)
    }

    /// The shape of rows, whatever they are.
    pub(super) fn as_it_is(&self, x: Given) -> Result<Shape, ShapeError> {
        self.width(x)?;
        Ok(x.shape.clone())
    }

    /// That the operand is `n` numbers.
    pub(super) fn vector(&self, x: Given, n: usize) -> Fits {
        let ok = matches!(x.shape.as_slice(), [Dim::Const(m)] if *m == n);
        let (what, expected) = (format!("size of {}", x.role), format!("[{n}]"));
        self.check(&what, ok, shape_text(x.shape), expected)
    }

    /// That the operand is a matrix of that size.
    pub(super) fn matrix(&self, x: Given, rows: usize, columns: usize) -> Fits {
        self.same_shape(x, &[Dim::Const(rows), Dim::Const(columns)])
    }

    pub(super) fn same_shape(&self, x: Given, expected: &[Dim]) -> Fits {
        let (found, wanted) = (shape_text(x.shape), shape_text(expected));
        self.check(&x.role.to_string(), x.shape == expected, found, wanted)
    }

    /// That one operand has as many rows as another: code goes through them with one counter.
    pub(super) fn same_rows(&self, x: Given, as_many: Given) -> Fits {
        let (found, expected) = (self.rows(x)?, self.rows(as_many)?);
        self.has_rows(x, found, expected)
    }

    /// That the operand has a row for each token of the step: what goes by positions, slots or segments has.
    pub(super) fn of_tokens(&self, x: Given) -> Fits {
        self.has_rows(x, self.rows(x)?, Dim::Tokens)
    }

    fn has_rows(&self, x: Given, found: Dim, expected: Dim) -> Fits {
        let what = format!("number of rows of {}", x.role);
        self.check(&what, found == expected, found, expected)
    }

    /// That the operand is a weight of that shape for each of `count` experts.
    pub(super) fn family(&self, x: Given, count: usize, shape: &[usize]) -> Fits {
        let decl = |d: &WeightDecl| format!("{} of {:?}", d.count, d.shape);
        let found = x.weight.map_or("not a weight".to_string(), decl);
        let expected = format!("{count} of {shape:?}");
        self.check(&x.role.to_string(), found == expected, &found, &expected)
    }

    pub(super) fn state(&self, s: StateId) -> Result<&'a StateDecl, ShapeError> {
        let found = self.states.get(s.0 as usize);
        found.ok_or_else(|| ShapeError::Size {
            op: self.op,
            what: "state".into(),
            found: s.to_string(),
            expected: format!("one of {}", self.states.len()),
        })
    }

    /// That the recurrent state is declared as `[heads, rows, columns]`.
    pub(super) fn recurrent(&self, id: RecurrentId, shape: [usize; 3]) -> Fits {
        let found = self.recurrent.get(id.0 as usize);
        let found = found.map(|d| [d.heads, d.rows, d.columns]);
        let missing = || format!("missing among {}", self.recurrent.len());
        let text = found.map_or_else(missing, |s| format!("{s:?}"));
        let (what, expected) = (format!("state {id}"), format!("{shape:?}"));
        self.check(&what, found == Some(shape), text, expected)
    }
}
