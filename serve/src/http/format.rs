//! How a model marks, in its text, what it thinks and which tools it calls; read off its chat template.

use crate::marks::{Marks, REASONING};
use crate::template::TemplateFiles;

/// The marks of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChatFormat {
    /// Around what it thinks.
    pub(super) reasoning: Option<Marks>,
    /// Of calls.
    pub(super) calls: Option<CallMarks>,
}

/// How calls are marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallMarks {
    /// Each call is between two marks.
    Between(Marks),
    /// All that follows a mark is calls.
    After(&'static str),
    /// An answer that is an object with a name is a call.
    Bare,
}

/// Marks around calls that templates name.
const BETWEEN: [Marks; 1] = [Marks {
    open: "<tool_call>",
    close: "</tool_call>",
}];

/// Marks before calls that templates name.
const AFTER: [&str; 1] = ["[TOOL_CALLS]"];

/// What templates say whose models answer with a bare object: `"parameters": dictionary of argument name and its value`.
const BARE: &str = "\"parameters\": ";

impl ChatFormat {
    /// The marks that templates name.
    pub fn of(files: &TemplateFiles) -> ChatFormat {
        let named = |mark: &str| files.templates.iter().any(|t| t.template.contains(mark));
        let between = BETWEEN.into_iter().find(|marks| named(marks.open));
        let after = AFTER.into_iter().find(|mark| named(mark));
        let bare = named(BARE).then_some(CallMarks::Bare);
        ChatFormat {
            reasoning: REASONING.into_iter().find(|marks| named(marks.close)),
            calls: between
                .map(CallMarks::Between)
                .or(after.map(CallMarks::After))
                .or(bare),
        }
    }

    /// All marks, some of which are special tokens that texts do not show.
    pub(super) fn marks(&self) -> Vec<&'static str> {
        let mut all = Vec::new();
        if let Some(Marks { open, close }) = self.reasoning {
            all.extend([open, close]);
        }
        match self.calls {
            Some(CallMarks::Between(Marks { open, close })) => all.extend([open, close]),
            Some(CallMarks::After(mark)) => all.extend([mark, ARGUMENTS]),
            Some(CallMarks::Bare) | None => {}
        }
        all
    }
}

/// Between a name and its arguments, after some marks.
pub(super) const ARGUMENTS: &str = "[ARGS]";
