//! What the user says: lines of a terminal, edited and remembered, or lines of a pipe.

use std::io::{self, BufRead, IsTerminal, Read};
use std::path::PathBuf;

use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{Config, Editor};

use super::error::ChatError;

/// Longest line that is read from a pipe, in bytes.
const LONGEST_LINE: u64 = 64 << 20;
/// What begins and ends a message of several lines.
const QUOTES: &str = "\"\"\"";

/// Where lines come from.
pub(super) enum Input {
    Terminal {
        editor: Box<Editor<(), FileHistory>>,
        /// Where lines are remembered from one conversation to the next, if anywhere.
        history: Option<PathBuf>,
    },
    Pipe(Box<dyn BufRead>),
}

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    Message(String),
    /// Ctrl-C at the prompt.
    Nothing,
    End,
}

impl Input {
    /// Standard input, whatever it is.
    pub(super) fn standard() -> Result<Input, ChatError> {
        if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            return Ok(Input::Pipe(Box::new(io::stdin().lock())));
        }
        let config = Config::builder().auto_add_history(false).build();
        let failed = |error| ChatError::Input(io::Error::other(error));
        let mut editor = Editor::with_config(config).map_err(failed)?;
        let history = history_file();
        if let Some(path) = &history {
            // There is none the first time.
            let _ = editor.load_history(path);
        }
        Ok(Input::Terminal {
            editor: Box::new(editor),
            history,
        })
    }

    pub(super) fn is_terminal(&self) -> bool {
        matches!(self, Input::Terminal { .. })
    }

    /// The next message: a line, or in a terminal several, where a line ends with a backslash or the message begins with three
    /// quotes, which then end it too.
    pub(super) fn next(&mut self) -> Result<Said, ChatError> {
        let mut message = match self.line("> ")? {
            Said::Message(line) => line,
            other => return Ok(other),
        };
        if self.is_terminal() {
            loop {
                if let Some(begun) = message.strip_suffix('\\') {
                    message = format!("{begun}\n");
                } else if is_open(&message) {
                    message.push('\n');
                } else {
                    break;
                }
                match self.line("… ")? {
                    Said::Message(line) => message.push_str(&line),
                    other => return Ok(other),
                }
            }
        }
        self.remember(&message);
        let quoted = message
            .strip_prefix(QUOTES)
            .and_then(|m| m.strip_suffix(QUOTES));
        let quoted = quoted.filter(|_| self.is_terminal());
        Ok(Said::Message(
            quoted.unwrap_or(&message).trim_matches('\n').to_owned(),
        ))
    }

    fn line(&mut self, prompt: &str) -> Result<Said, ChatError> {
        match self {
            Input::Terminal { editor, .. } => match editor.readline(prompt) {
                Ok(line) => Ok(Said::Message(line)),
                Err(ReadlineError::Interrupted) => Ok(Said::Nothing),
                Err(ReadlineError::Eof) => Ok(Said::End),
                Err(error) => Err(ChatError::Input(io::Error::other(error))),
            },
            Input::Pipe(from) => {
                let mut line = String::new();
                let mut limited = from.take(LONGEST_LINE);
                match limited.read_line(&mut line).map_err(ChatError::Input)? {
                    0 => Ok(Said::End),
                    _ if limited.limit() == 0 && !line.ends_with('\n') => {
                        let message = format!("a line is longer than {LONGEST_LINE} bytes");
                        let kind = io::ErrorKind::InvalidData;
                        Err(ChatError::Input(io::Error::new(kind, message)))
                    }
                    _ => Ok(Said::Message(
                        line.trim_end_matches(['\n', '\r']).to_owned(),
                    )),
                }
            }
        }
    }

    fn remember(&mut self, message: &str) {
        let Input::Terminal { editor, history } = self else {
            return;
        };
        let is_new = editor.add_history_entry(message).unwrap_or(false);
        if let Some(path) = history.as_ref().filter(|_| is_new) {
            // A history that cannot be kept is no reason to end a conversation.
            let _ = editor.save_history(path);
        }
    }
}

/// Whether a message has begun with three quotes and not ended with them.
fn is_open(message: &str) -> bool {
    let inside = message.trim_end().strip_prefix(QUOTES);
    inside.is_some_and(|inside| !inside.ends_with(QUOTES))
}

/// `graver/chat_history` in the folder that the system has for such files, which is made where it is missing.
fn history_file() -> Option<PathBuf> {
    let absolute = |name| {
        let folder = std::env::var_os(name).map(PathBuf::from);
        folder.filter(|folder| folder.is_absolute())
    };
    let state = absolute("XDG_STATE_HOME");
    let state = state.or_else(|| absolute("HOME").map(|home| home.join(".local/state")))?;
    let folder = state.join("graver");
    std::fs::create_dir_all(&folder).ok()?;
    Some(folder.join("chat_history"))
}

#[cfg(test)]
mod tests {
    use super::{Input, Said};

    #[test]
    fn a_pipe_has_a_message_on_each_line() {
        let text: &[u8] = b"one\r\ntwo\\\n\"\"\"three\n\nlast";
        let mut input = Input::Pipe(Box::new(text));
        let mut said = Vec::new();
        while let Said::Message(message) = input.next().expect("text") {
            said.push(message);
        }
        assert_eq!(said, ["one", "two\\", "\"\"\"three", "", "last"]);
    }

    #[test]
    fn what_is_not_text_is_an_error() {
        let text: &[u8] = b"\xff\xfe\n";
        assert!(Input::Pipe(Box::new(text)).next().is_err());
    }
}
