//! Which kernels of one instruction set are faster on which processors, among those that give the same bits.

use std::fmt::{self, Display, Formatter};

use serde::{Deserialize, Serialize};

/// Version of a record's file.
pub(crate) const FORMAT: u32 = 2;

/// How weights are asked for that are read once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ahead {
    /// The beginnings of pages to come; the processor finds the rest by itself.
    Pages,
    /// Every line, some KiB ahead of use; integers that meet few rows of activations in several streams.
    Lines,
}

/// Width of vectors, where the processor has both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Width {
    /// 256 bits.
    Narrow,
    /// 512 bits.
    Wide,
}

/// One kernel of each such group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Choices {
    /// For few rows of activations.
    pub ahead: Ahead,
    /// Products of many rows with floats by AVX-512.
    pub floats: Width,
}

impl Ahead {
    /// `pages` or `lines`.
    pub fn name(self) -> &'static str {
        match self {
            Ahead::Pages => "pages",
            Ahead::Lines => "lines",
        }
    }
}

impl Width {
    /// `narrow` or `wide`.
    pub fn name(self) -> &'static str {
        match self {
            Width::Narrow => "narrow",
            Width::Wide => "wide",
        }
    }
}

impl Display for Choices {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (ahead, floats) = (self.ahead.name(), self.floats.name());
        write!(f, "weights by {ahead}, floats {floats}")
    }
}

/// [`Choices`] for processors, as `graver tune` writes them to a file and as a manifest carries them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    format: u32,
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// As [`crate::cpu::model_name`] gives it.
    processor: String,
    /// Name of the instruction set.
    kernels: String,
    #[serde(flatten)]
    choices: Choices,
}

impl Default for Record {
    fn default() -> Record {
        Record {
            format: FORMAT,
            entries: vec![],
        }
    }
}

impl Record {
    /// Version of the file.
    pub(crate) fn format(&self) -> u32 {
        self.format
    }

    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// A line for each processor and instruction set.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let line = |e: &Entry| format!("{} with {}: {}", e.processor, e.kernels, e.choices);
        self.entries.iter().map(line)
    }

    /// The choices for a processor with an instruction set, where it was run there.
    pub fn find(&self, processor: &str, kernels: &str) -> Option<Choices> {
        let is_it = |e: &&Entry| e.processor == processor && e.kernels == kernels;
        self.entries.iter().find(is_it).map(|e| e.choices)
    }

    /// Puts in the choices for a processor, in place of those it had.
    pub fn set(&mut self, processor: &str, kernels: &str, choices: Choices) {
        let of = |e: &Entry| e.processor == processor && e.kernels == kernels;
        self.entries.retain(|e| !of(e));
        self.entries.push(Entry {
            processor: processor.into(),
            kernels: kernels.into(),
            choices,
        });
    }

    /// The file's text.
    pub fn text(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("strings and names");
        text.push('\n');
        text
    }
}
