//! The expressions of specs: `head_dim ?? hidden_size / num_attention_heads`.
//!
//! Text goes in, a JSON value comes out. Names are looked up by the caller ([`Scope`]). Whole numbers stay whole: `/`
//! between them has to come out even. `a ?? b` is `b` where `a` is missing or null. There are no loops, no side effects
//! and no way to build what grows (`concat` has a limit), so that evaluation takes time in the length of the text.

mod access;
mod arithmetic;
mod call;
mod evaluate;
pub(super) mod function;
mod parse;
mod tree;

pub(super) use evaluate::{Scope, evaluate};
pub(super) use parse::parse;
pub(super) use tree::Expr;

#[cfg(test)]
mod tests;
