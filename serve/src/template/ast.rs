//! A template as it was read: statements and expressions, each as deep as can be walked without care for the stack.

use std::sync::Arc;

use super::error::{Fault, Limit, Outcome};

/// The deepest expression, and the deepest block, that is read.
pub(super) const MAX_DEPTH: usize = 120;

/// A statement and its line.
#[derive(Debug)]
pub(super) struct Statement {
    pub(super) line: u32,
    pub(super) kind: StatementKind,
}

/// Statements in order.
pub(super) type Body = Vec<Statement>;

#[derive(Debug)]
pub(super) enum StatementKind {
    /// Text as it is.
    Data(String),
    /// `{{ expression }}`
    Print(Expr),
    /// Conditions with their bodies; the last may have none.
    If(Vec<(Option<Expr>, Body)>),
    For(Arc<For>),
    /// `{% set target = value %}`
    Set(Target, Expr),
    /// `{% set target | filters %} body {% endset %}`
    Capture(Target, Vec<FilterCall>, Body),
    Macro(Arc<MacroDef>),
    /// `{% call(parameters) call %} body {% endcall %}`
    Call(Arc<MacroDef>, Expr),
    /// `{% filter filters %} body {% endfilter %}`
    Filter(Vec<FilterCall>, Body),
    /// `{% with target = value, … %} body {% endwith %}`
    With(Vec<(Target, Expr)>, Body),
    /// A body whose variables are its own: `{% generation %}`, `{% block %}`.
    Scope(Body),
    Break,
    Continue,
}

/// A loop.
#[derive(Debug)]
pub(super) struct For {
    pub(super) target: Target,
    pub(super) over: Expr,
    pub(super) condition: Option<Expr>,
    pub(super) recursive: bool,
    pub(super) body: Body,
    /// For when there was nothing to loop over.
    pub(super) otherwise: Body,
}

/// A macro, or the body of a `call` block.
#[derive(Debug)]
pub(super) struct MacroDef {
    pub(super) name: Arc<str>,
    pub(super) parameters: Vec<(Arc<str>, Option<Expr>)>,
    pub(super) body: Body,
}

/// What a value is given to.
#[derive(Debug)]
pub(super) enum Target {
    Name(Arc<str>),
    /// A field of a namespace.
    Field(Arc<str>, Arc<str>),
    Tuple(Vec<Target>),
}

/// A filter and its arguments.
#[derive(Debug)]
pub(super) struct FilterCall {
    pub(super) name: Arc<str>,
    pub(super) arguments: Arguments,
}

/// Arguments of a call.
#[derive(Debug, Default)]
pub(super) struct Arguments {
    pub(super) positional: Vec<Expr>,
    pub(super) named: Vec<(Arc<str>, Expr)>,
}

/// An expression that knows how deep it is.
#[derive(Debug)]
pub(super) struct Expr {
    pub(super) kind: ExprKind,
    depth: usize,
}

#[derive(Debug)]
pub(super) enum ExprKind {
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(Arc<str>),
    Name(Arc<str>),
    List(Vec<Expr>),
    Tuple(Vec<Expr>),
    Dict(Vec<(Expr, Expr)>),
    Attribute(Box<Expr>, Arc<str>),
    Item(Box<Expr>, Box<Expr>),
    Slice(Box<Expr>, [Option<Box<Expr>>; 3]),
    Call(Box<Expr>, Arguments),
    Filter(Box<Expr>, Box<FilterCall>),
    Test(Box<Expr>, Box<FilterCall>),
    Not(Box<Expr>),
    Negate(Box<Expr>),
    Positive(Box<Expr>),
    Binary(Binary, Box<Expr>, Box<Expr>),
    /// Comparisons in a chain: `a < b <= c`.
    Compare(Box<Expr>, Vec<(Compare, Expr)>),
    /// `a ~ b ~ c`
    Concat(Vec<Expr>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    /// `then if condition else otherwise`
    If(Box<[Expr; 2]>, Option<Box<Expr>>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binary {
    Add,
    Subtract,
    Multiply,
    Divide,
    FloorDivide,
    Remainder,
    Power,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compare {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    NotIn,
}

impl Expr {
    /// An expression, unless it is too deep.
    pub(super) fn new(kind: ExprKind) -> Outcome<Expr> {
        let depth = 1 + kind.deepest();
        match depth <= MAX_DEPTH {
            true => Ok(Expr { kind, depth }),
            false => Err(Fault::limit(Limit::Depth(MAX_DEPTH))),
        }
    }
}

impl Arguments {
    fn deepest(&self) -> usize {
        let named = self.named.iter().map(|(_, expr)| expr.depth);
        deepest(self.positional.iter()).max(named.max().unwrap_or(0))
    }
}

fn deepest<'a>(of: impl Iterator<Item = &'a Expr>) -> usize {
    of.map(|expr| expr.depth).max().unwrap_or(0)
}

impl ExprKind {
    /// Depth of the deepest expression within.
    fn deepest(&self) -> usize {
        use ExprKind as E;
        match self {
            E::None | E::Bool(_) | E::Int(_) | E::Float(_) | E::Text(_) | E::Name(_) => 0,
            E::List(items) | E::Tuple(items) | E::Concat(items) => deepest(items.iter()),
            E::Dict(entries) => deepest(entries.iter().flat_map(|(key, value)| [key, value])),
            E::Attribute(of, _) | E::Not(of) | E::Negate(of) | E::Positive(of) => of.depth,
            E::Item(a, b) | E::Binary(_, a, b) | E::And(a, b) | E::Or(a, b) => a.depth.max(b.depth),
            E::Slice(of, bounds) => of
                .depth
                .max(deepest(bounds.iter().flatten().map(|bound| &**bound))),
            E::Call(of, arguments) => of.depth.max(arguments.deepest()),
            E::Filter(of, call) | E::Test(of, call) => of.depth.max(call.arguments.deepest()),
            E::Compare(first, rest) => first.depth.max(deepest(rest.iter().map(|(_, e)| e))),
            E::If(both, otherwise) => {
                deepest(both.iter()).max(otherwise.as_ref().map_or(0, |expr| expr.depth))
            }
        }
    }
}
