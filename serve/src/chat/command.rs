//! Commands: lines that begin with a slash.

use std::path::PathBuf;

use super::error::ChatError;

/// What a line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// Something for the model.
    Say(String),
    /// Shows what the model is told beforehand, or tells it something else.
    System(Option<String>),
    Reset,
    Undo,
    Save(PathBuf),
    Load(PathBuf),
    Tokens,
    Help,
    Quit,
}

/// What `/help` says.
pub(super) const HELP: &str = "\
/system TEXT   tell the model how to behave, and begin anew (without TEXT: show it)
/reset         forget the conversation
/undo          take back the last message and its answer
/save FILE     write the conversation to a file, as JSON
/load FILE     go on with a conversation from a file
/tokens        how full the context is, and how fast the last answer came
/help          this
/quit          end, as Ctrl-D does
Ctrl-C stops an answer. A line that ends with \\ goes on; \"\"\" begins and ends several lines. // begins a message with a slash.";

/// Reads a line.
pub(super) fn parse(line: &str) -> Result<Command, ChatError> {
    let Some(command) = line.strip_prefix('/') else {
        return Ok(Command::Say(line.into()));
    };
    if command.starts_with('/') {
        return Ok(Command::Say(command.into()));
    }
    let (name, rest) = command
        .split_once(char::is_whitespace)
        .unwrap_or((command, ""));
    let rest = rest.trim();
    let file = |name| match rest {
        "" => Err(ChatError::NoFile(name)),
        path => Ok(PathBuf::from(path)),
    };
    Ok(match name {
        "system" => Command::System((!rest.is_empty()).then(|| rest.into())),
        "reset" => Command::Reset,
        "undo" => Command::Undo,
        "save" => Command::Save(file("/save")?),
        "load" => Command::Load(file("/load")?),
        "tokens" => Command::Tokens,
        "help" | "?" => Command::Help,
        "quit" | "exit" | "bye" => Command::Quit,
        _unknown => return Err(ChatError::UnknownCommand(format!("/{name}"))),
    })
}

#[cfg(test)]
mod tests {
    use super::{Command, parse};

    #[test]
    fn lines_that_begin_with_a_slash_are_commands() {
        let read = |line| parse(line).expect(line);
        assert_eq!(read("Hi /reset"), Command::Say("Hi /reset".into()));
        assert_eq!(read("//bin/sh"), Command::Say("/bin/sh".into()));
        assert_eq!(
            read("/system  Be terse. "),
            Command::System(Some("Be terse.".into()))
        );
        assert_eq!(read("/system"), Command::System(None));
        assert_eq!(read("/save a b.json"), Command::Save("a b.json".into()));
        assert!(
            parse("/save")
                .unwrap_err()
                .to_string()
                .contains("needs a file name")
        );
        assert!(
            parse("/nonsense")
                .unwrap_err()
                .to_string()
                .contains("\"/nonsense\"")
        );
    }
}
