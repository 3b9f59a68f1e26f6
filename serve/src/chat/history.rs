//! What was said: messages as templates take them.

use std::path::Path;

use graver_runtime::files::{self, MAX_CONFIG};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::error::ChatError;

/// A conversation so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct History {
    /// What the model is told beforehand.
    pub(super) system: Option<String>,
    /// Messages of the user and of the model in turn.
    messages: Vec<Message>,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Message {
    role: String,
    content: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<String>,
}

/// A conversation as it is stored.
#[derive(Serialize, Deserialize)]
struct Stored {
    messages: Vec<Message>,
}

impl History {
    /// A conversation that has not begun.
    pub(super) fn told(system: Option<String>) -> History {
        History {
            system,
            messages: Vec::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// How many messages there are, without the system's.
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    /// Adds what the user said.
    pub(super) fn ask(&mut self, text: &str) {
        self.messages.push(Message {
            role: "user".into(),
            content: text.into(),
            reasoning_content: None,
        });
    }

    /// Adds what the model answered.
    pub(super) fn answer(&mut self, thinking: Option<String>, text: String) {
        self.messages.push(Message {
            role: "assistant".into(),
            content: text,
            reasoning_content: thinking,
        });
    }

    /// Forgets all messages, and keeps what the model is told beforehand.
    pub(super) fn reset(&mut self) {
        self.messages.clear();
    }

    /// Takes back the last question, with its answer if there is one.
    pub(super) fn undo(&mut self) -> bool {
        match self.messages.iter().rposition(|m| m.role == "user") {
            Some(last) => {
                self.messages.truncate(last);
                true
            }
            None => false,
        }
    }

    /// Leaves out the oldest question and what followed it, but never the latest question.
    pub(super) fn drop_oldest(&mut self) -> bool {
        let later = self.messages.iter().skip(1).position(|m| m.role == "user");
        match later {
            Some(at) => {
                self.messages.drain(..=at);
                true
            }
            None => false,
        }
    }

    /// Messages as a template takes them.
    pub(super) fn to_json(&self) -> Json {
        json!(self.stored().messages)
    }

    fn stored(&self) -> Stored {
        let system = self.system.as_ref().map(|system| Message {
            role: "system".into(),
            content: system.clone(),
            reasoning_content: None,
        });
        Stored {
            messages: system
                .into_iter()
                .chain(self.messages.iter().cloned())
                .collect(),
        }
    }

    /// Writes a conversation to a file.
    pub(super) fn save(&self, path: &Path) -> Result<(), ChatError> {
        let text = serde_json::to_string_pretty(&self.stored()).map_err(std::io::Error::from);
        let written = text.and_then(|text| std::fs::write(path, text + "\n"));
        written.map_err(|source| ChatError::Save {
            path: path.into(),
            source,
        })
    }

    /// Reads a conversation from a file.
    pub(super) fn load(path: &Path) -> Result<History, ChatError> {
        let bytes = files::read(path, MAX_CONFIG)?;
        let failed = |source| ChatError::NotConversation {
            path: path.into(),
            source,
        };
        let Stored { mut messages } = serde_json::from_slice(&bytes).map_err(failed)?;
        let has_system = messages.first().is_some_and(|m| m.role == "system");
        let system = has_system.then(|| messages.remove(0).content);
        Ok(History { system, messages })
    }
}
