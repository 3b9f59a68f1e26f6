//! What the reader of expressions expected.

use super::super::expr::function::function_names;

/// What an expression's reader expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Syntax {
    /// A value.
    #[error("expected a name, a number, a 'string' or `(`")]
    Value,
    /// Nothing more.
    #[error("expected an operator or the end")]
    Operator,
    /// The other bracket.
    #[error("expected `)`")]
    Paren,
    /// The other bracket.
    #[error("expected `]`")]
    Bracket,
    /// The other half of `c ? a : b`.
    #[error("expected `:`")]
    Colon,
    /// A key.
    #[error("expected a name after `.`")]
    Field,
    /// The other quote.
    #[error("the string is not closed")]
    Quote,
    /// A number.
    #[error("not a number")]
    Number,
    /// A function.
    #[error("no such function; there are {}", function_names())]
    Function,
    /// Arguments of a function.
    #[error("wrong number of arguments")]
    Arguments,
    /// An expression of unreasonable length.
    #[error("the expression is too long or nested too deep")]
    Length,
}
