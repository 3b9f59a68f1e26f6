//! Grammars in GBNF, as texts in the Lark notation that the library for constraints reads.
//!
//! In: a grammar such as `root ::= "yes" | "no"`. Out: Lark of the same language, or an error with its line and column.
//!
//! The two differ in more than notation. GBNF is about characters; in Lark rules are about lexemes, and a lexeme takes as many characters
//! as it can, whatever the rules make of that: `[a-z]* "s"` has no words there. A grammar of one lexeme for each character would say the same,
//! and would be slow for texts. So regular parts become lexemes (`regular`), all but those in which it would matter that a lexeme ends
//! earlier than it could (`boundaries`).

mod boundaries;
mod class;
mod error;
mod node;
mod read;
mod regular;
mod text;
mod write;

use error::GbnfError;

/// Whether a grammar is in GBNF: the first thing in it is a name with `::=` after it.
pub(crate) fn is_gbnf(grammar: &str) -> bool {
    let mut lines = grammar.lines().map(str::trim_start);
    let first = lines.find(|line| !line.is_empty() && !line.starts_with(['#', '/']));
    let name = first.map(|line| line.trim_start_matches(text::is_in_name));
    name.is_some_and(|rest| rest.trim_start().starts_with("::="))
}

/// The same grammar in Lark.
///
/// # Errors
/// Where it is not GBNF, says what was expected there.
pub(crate) fn to_lark(grammar: &str) -> Result<String, GbnfError> {
    let mut rules = read::read(grammar)?;
    regular::prepare(&mut rules);
    boundaries::settle(&mut rules);
    write::lark(&rules)
}

#[cfg(test)]
mod tests;
