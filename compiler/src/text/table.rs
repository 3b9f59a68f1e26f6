//! What names of pre-tokenizers stand for, and which tokens end a text: `table.json`, with the values that files use.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::{Value, json};

/// The table.
#[derive(Deserialize)]
pub(super) struct Table {
    /// Expressions that several steps have, by name.
    expressions: BTreeMap<String, String>,
    cuts: Vec<Cuts>,
    ends: Vec<String>,
    /// Those that are common texts as well, and end one only where the vocabulary says that they are more than text.
    control_ends: Vec<String>,
    not_ends: Vec<NotEnd>,
}

/// How a text is cut before byte pairs are joined.
#[derive(Deserialize)]
pub(super) struct Cuts {
    names: Vec<String>,
    steps: Vec<Step>,
    /// As a `tokenizer.json` has it.
    #[serde(default)]
    pub(super) normalizer: Value,
    /// Whether what is a token as a whole is taken as such.
    #[serde(default)]
    pub(super) whole_words: bool,
    /// Whether a text begins with BOS, where the file does not say.
    #[serde(default)]
    pub(super) bos: bool,
}

/// An expression, by name or itself, whose matches stand alone; or a step as a `tokenizer.json` has it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Step {
    Expression(String),
    Own(Value),
}

/// A token that ends no text where others are there.
#[derive(Deserialize)]
struct NotEnd {
    token: String,
    beside: Vec<String>,
}

pub(super) static TABLE: LazyLock<Table> = LazyLock::new(|| {
    serde_json::from_str(include_str!("table.json")).expect("table.json is a table")
});

impl Table {
    /// What a name stands for.
    pub(super) fn cuts(&self, name: &str) -> Option<&Cuts> {
        let mut all = self.cuts.iter();
        all.find(|cuts| cuts.names.iter().any(|n| n == name))
    }

    /// All names.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let all = self.cuts.iter().flat_map(|cuts| &cuts.names);
        all.map(String::as_str)
    }

    /// The pre-tokenizer: the steps, and then bytes as characters, unless a step does that.
    pub(super) fn pre_tokenizer(&self, cuts: &Cuts) -> Value {
        let mut steps: Vec<Value> = cuts.steps.iter().map(|step| self.step(step)).collect();
        if !steps.iter().any(|step| step["type"] == "ByteLevel") {
            steps.push(byte_level());
        }
        json!({"type": "Sequence", "pretokenizers": steps})
    }

    fn step(&self, step: &Step) -> Value {
        match step {
            Step::Own(own) => own.clone(),
            Step::Expression(text) => {
                let regex = self.expressions.get(text).unwrap_or(text);
                json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false})
            }
        }
    }

    /// All tokens that [`Table::ends`] asks for.
    pub(super) fn names_of_ends(&self) -> BTreeSet<&str> {
        let rules = self.not_ends.iter();
        let named = rules.flat_map(|rule| rule.beside.iter().chain([&rule.token]));
        let all = self.ends.iter().chain(&self.control_ends).chain(named);
        all.map(String::as_str).collect()
    }

    /// Which of a vocabulary's tokens end a text by what they are called; `controls` are those of them that are more than text.
    pub(super) fn ends(
        &self,
        has: impl Fn(&str) -> bool,
        controls: impl Fn(&str) -> bool,
    ) -> Vec<&str> {
        let is_none = |end: &String| {
            let mut rules = self.not_ends.iter().filter(|rule| &rule.token == end);
            rules.any(|rule| rule.beside.iter().all(|other| has(other)))
        };
        let ends = self.ends.iter().filter(|end| has(end) && !is_none(end));
        let control = self.control_ends.iter().filter(|end| controls(end));
        ends.chain(control).map(String::as_str).collect()
    }
}

/// Bytes as characters, without cutting.
fn byte_level() -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false})
}
