//! How models mark what they think and which tools they call: the entries of `marks.json`.

use std::sync::LazyLock;

use serde::Deserialize;

use super::marks::Marks;

/// All entries.
pub(crate) static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let read = serde_json::from_str(include_str!("marks.json"));
    read.expect("marks.json is a table of marks")
});

/// What models are known to write.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Table {
    /// Marks around what a model thinks before it answers.
    reasoning: Vec<Thoughts>,
    /// How calls are written. The first entry that fits a template counts.
    pub(crate) calls: Vec<CallFormat>,
    /// Answers that are messages, each with a header.
    pub(crate) channels: Vec<ChannelFormat>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Thoughts {
    open: String,
    close: String,
}

/// How calls of tools are written within an answer.
#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct CallFormat {
    /// All of them are in templates of models that write so.
    in_template: Vec<String>,
    /// Before a call. Without it, an answer that is an object with a name is a call.
    #[serde(default)]
    open: Option<String>,
    /// After it. Without it, all that follows is calls.
    #[serde(default)]
    close: Option<String>,
    /// Around all calls, and no part of any.
    #[serde(default)]
    around: Vec<String>,
    /// Within calls.
    #[serde(default)]
    inside: Vec<String>,
    /// What stands before a name, between it and its arguments, and after them, where a call is not JSON.
    #[serde(default)]
    pub(crate) shape: Option<Shape>,
    /// An answer of one call: `{name}`, `{quoted}` (the name as JSON) and `{arguments}` stand for what they say.
    pub(crate) written: String,
}

/// Texts around a name and its arguments.
#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Shape {
    pub(crate) before: String,
    pub(crate) between: String,
    pub(crate) after: String,
}

/// How messages are written of which an answer consists.
#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChannelFormat {
    /// All of them are in templates of models that write so.
    in_template: Vec<String>,
    /// Marks in headers.
    headers: Vec<String>,
    /// The one before the name of a channel.
    pub(crate) channel: String,
    /// The channel of thoughts.
    pub(crate) thoughts: String,
    /// Before whom a message is for, in a header.
    pub(crate) recipient: String,
    /// Before the name of a function, there.
    pub(crate) functions: String,
    /// After a header.
    pub(crate) message: String,
    /// After a message.
    ends: Vec<String>,
    /// As in [`CallFormat::written`].
    pub(crate) written: String,
}

impl CallFormat {
    /// The mark before a call.
    pub(crate) fn open(&'static self) -> Option<&'static str> {
        self.open.as_deref()
    }

    /// The marks around a call, where it has both.
    pub(crate) fn marks(&'static self) -> Option<Marks> {
        let (open, close) = (self.open.as_deref()?, self.close.as_deref()?);
        Some(Marks { open, close })
    }

    /// What is around all calls, and no part of any.
    pub(crate) fn around(&'static self) -> impl Iterator<Item = &'static str> + Clone {
        self.around.iter().map(String::as_str)
    }

    /// All marks.
    pub(crate) fn all(&'static self) -> impl Iterator<Item = &'static str> {
        let own = self.open.iter().chain(&self.close);
        own.chain(&self.around)
            .chain(&self.inside)
            .map(String::as_str)
    }
}

impl ChannelFormat {
    /// Marks in headers.
    pub(crate) fn headers(&'static self) -> impl Iterator<Item = &'static str> {
        self.headers.iter().map(String::as_str)
    }

    /// Marks after a message.
    pub(crate) fn ends(&'static self) -> impl Iterator<Item = &'static str> + Clone {
        self.ends.iter().map(String::as_str)
    }

    /// All marks.
    pub(crate) fn all(&'static self) -> impl Iterator<Item = &'static str> {
        self.headers()
            .chain(self.ends())
            .chain([self.message.as_str()])
    }
}

impl Table {
    /// Marks around what models think.
    pub(crate) fn reasoning(&'static self) -> impl Iterator<Item = Marks> + Clone {
        self.reasoning
            .iter()
            .map(|Thoughts { open, close }| Marks { open, close })
    }

    /// How calls are written by models that have such templates.
    pub(crate) fn calls_of(&'static self, templates: &[&str]) -> Option<&'static CallFormat> {
        let fits = |format: &&CallFormat| all_in(&format.in_template, templates);
        self.calls.iter().find(fits)
    }

    /// How messages are written, likewise.
    pub(crate) fn channels_of(&'static self, templates: &[&str]) -> Option<&'static ChannelFormat> {
        let fits = |format: &&ChannelFormat| all_in(&format.in_template, templates);
        self.channels.iter().find(fits)
    }
}

/// Whether one of the templates has all of these.
fn all_in(marks: &[String], templates: &[&str]) -> bool {
    let has_all = |template: &&str| marks.iter().all(|mark| template.contains(mark.as_str()));
    templates.iter().any(has_all)
}

#[cfg(test)]
mod tests {
    use super::TABLE;

    /// Marks that are looked for are in what is forced, so that it is found again.
    #[test]
    fn what_is_written_has_its_marks_and_its_holes() {
        assert!(!TABLE.reasoning.is_empty());
        for format in &TABLE.calls {
            let written = &format.written;
            assert!(written.contains("{arguments}"), "{written}");
            assert_eq!(
                written.matches("{name}").count() + written.matches("{quoted}").count(),
                1
            );
            for mark in format
                .open
                .iter()
                .chain(&format.close)
                .chain(&format.around)
            {
                assert!(written.contains(mark), "{mark}: {written}");
            }
        }
        for format in &TABLE.channels {
            assert!(
                format.written.contains(&format.message)
                    && format.headers.contains(&format.channel)
            );
        }
    }
}
