//! Output that follows a JSON schema or a grammar.
//!
//! In: a tokenizer's tokens, once; then schemas and grammars. Out: [`Constraint`]s for the engine. A schema or grammar that would
//! take more than a bounded amount of work is refused when it is compiled, or ends its request when a step needs it.

use std::sync::Arc;

use graver_runtime::tokenizer::Tokenizer;
use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory};
use serde_json::{Value, json};

use crate::engine::{Constraint, ConstraintError, Mask, guarded};
use crate::gbnf;

mod bounds;

/// Bytes of the longest schema or grammar.
const LONGEST: usize = 1 << 20;

/// The most rules of a grammar. The library follows names from rule to rule, each of which takes some of the stack.
const MOST_RULES: usize = 2048;
/// The stack that grammars and schemas are compiled on.
const STACK: usize = 256 << 20;

/// Blanks where JSON may have them: as many as people write, so that a model cannot go on with blanks for ever.
pub(crate) const BLANKS: &str = r"[ \n\t]{0,16}";

/// Makes constraints for one model.
pub struct Guide {
    factory: ParserFactory,
}

impl Guide {
    /// For a model with `vocab` tokens, some of which end a text.
    pub fn new(tokenizer: &Tokenizer, vocab: usize, eos: &[u32]) -> Result<Guide, ConstraintError> {
        guarded(|| {
            let trie = trie(tokenizer, vocab, eos);
            let env: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
            let mut factory = ParserFactory::new_simple(&env).map_err(wrong)?;
            factory.quiet();
            *factory.limits_mut() = ParserLimits {
                verbose_errors: false,
                max_lexer_states: 50_000,
                ..ParserLimits::default()
            };
            Ok(Guide { factory })
        })
    }

    /// Output that is JSON of a schema.
    pub fn schema(&self, mut schema: Value) -> Result<Box<dyn Constraint>, ConstraintError> {
        if let Value::Object(fields) = &mut schema {
            let options = json!({"whitespace_pattern": BLANKS});
            fields.entry("x-guidance").or_insert(options);
        }
        check_length(schema.to_string().len())?;
        bounds::bound(&mut schema)?;
        self.compile(TopLevelGrammar::from_json_schema(schema))
    }

    /// Output that is any JSON object.
    pub fn object(&self) -> Result<Box<dyn Constraint>, ConstraintError> {
        self.schema(json!({"type": "object"}))
    }

    /// Output of a grammar, in Lark's notation or in GBNF.
    pub fn grammar(&self, grammar: &str) -> Result<Box<dyn Constraint>, ConstraintError> {
        check_length(grammar.len())?;
        let lark = match gbnf::is_gbnf(grammar) {
            true => gbnf::to_lark(grammar).map_err(wrong)?,
            false => {
                check_rules(grammar)?;
                grammar.to_owned()
            }
        };
        self.compile(TopLevelGrammar::from_lark(bounds::bound_in_lark(&lark)?))
    }

    fn compile(&self, grammar: TopLevelGrammar) -> Result<Box<dyn Constraint>, ConstraintError> {
        on_own_stack(|| {
            let parser = self.factory.create_parser(grammar).map_err(wrong)?;
            let mut matcher = Matcher::new(Ok(parser));
            match matcher.get_error() {
                Some(message) => Err(ConstraintError { message }),
                None => {
                    // What cannot be begun is refused before anything is read.
                    matcher.compute_mask().map_err(wrong)?;
                    Ok(Box::new(Guided { matcher }) as Box<dyn Constraint>)
                }
            }
        })
    }
}

/// One constraint at one place.
struct Guided {
    matcher: Matcher,
}

impl Constraint for Guided {
    fn mask(&mut self) -> Result<Mask, ConstraintError> {
        let mask = self.matcher.compute_mask_or_eos().map_err(wrong)?;
        Ok(Mask::from_words(mask.as_slice().to_vec()))
    }

    fn accept(&mut self, token: u32) -> Result<bool, ConstraintError> {
        self.matcher.consume_token(token).map_err(wrong)?;
        match self.matcher.get_error() {
            Some(message) => Err(ConstraintError { message }),
            None => Ok(self.matcher.is_stopped()),
        }
    }

    fn copy(&self) -> Box<dyn Constraint> {
        Box::new(Guided {
            matcher: self.matcher.deep_clone(),
        })
    }
}

/// All tokens by their bytes. Special ones are marked, so that no text is taken for them. One more token than the model has ends
/// texts of models that have none that does.
fn trie(tokenizer: &Tokenizer, vocab: usize, eos: &[u32]) -> TokTrie {
    let word = |id: u32| {
        let bytes = tokenizer.bytes_of(id).unwrap_or_default();
        match tokenizer.is_special(id) || eos.contains(&id) {
            true => [&[TokTrie::SPECIAL_TOKEN_MARKER], bytes.as_slice()].concat(),
            false => bytes,
        }
    };
    let mut words: Vec<Vec<u8>> = (0..vocab as u32).map(word).collect();
    words.push(b"\xff<|end of text|>".to_vec());
    let ends: Vec<u32> = eos
        .iter()
        .copied()
        .filter(|&id| (id as usize) < vocab)
        .collect();
    let ends = if ends.is_empty() {
        vec![vocab as u32]
    } else {
        ends
    };
    let info = TokRxInfo::new(words.len() as u32, ends[0]);
    TokTrie::from(&info, &words).with_eos_tokens(&ends)
}

/// Runs the library with a stack that is enough for all that is let through to it.
fn on_own_stack<T: Send>(
    work: impl FnOnce() -> Result<T, ConstraintError> + Send,
) -> Result<T, ConstraintError> {
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().stack_size(STACK);
        let thread = builder
            .spawn_scoped(scope, || guarded(work))
            .map_err(wrong)?;
        // Panics are caught within.
        thread
            .join()
            .unwrap_or_else(|_| Err(ConstraintError::fault()))
    })
}

/// Rules in Lark begin lines with their names.
fn check_rules(lark: &str) -> Result<(), ConstraintError> {
    let is_first = |c: char| c.is_ascii_alphabetic() || matches!(c, '!' | '?' | '_');
    let begins = |line: &&str| line.trim_start().starts_with(is_first) && line.contains(':');
    match lark.lines().filter(begins).count() > MOST_RULES {
        true => Err(ConstraintError {
            message: format!("it has more than {MOST_RULES} rules, the maximum"),
        }),
        false => Ok(()),
    }
}

fn check_length(bytes: usize) -> Result<(), ConstraintError> {
    match bytes > LONGEST {
        true => Err(ConstraintError {
            message: format!("it has {bytes} bytes, expected at most {LONGEST}"),
        }),
        false => Ok(()),
    }
}

fn wrong(error: impl std::fmt::Display) -> ConstraintError {
    let message = error.to_string();
    // Some messages go on with everything that was read.
    let end = message
        .char_indices()
        .nth(500)
        .map_or(message.len(), |(at, _)| at);
    ConstraintError {
        message: message[..end].to_owned(),
    }
}
