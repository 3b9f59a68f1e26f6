//! What commands print. All of a command's result goes through [`print`], at once, and a result that is lost is an error;
//! notes and errors go through [`say`], and failing to print them is not a failure.

use std::borrow::Cow;
use std::fmt::Display;
use std::fs::File;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use clap::builder::Styles;
use graver_runtime::stdout;
use serde::Serialize;

/// A result that nobody gets.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the output: {0}; free some space, or redirect it elsewhere")]
pub(crate) struct OutputLost(#[from] io::Error);

/// Prints a command's result.
pub(crate) fn print(text: impl Display) -> Result<(), OutputLost> {
    match open()?.write_all(harmless(&text.to_string()).as_bytes()) {
        // The reader has read enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

/// A result as JSON, for [`print`].
pub(crate) fn json(value: &impl Serialize) -> serde_json::Result<String> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

/// Standard output, for what comes piece by piece.
pub(crate) fn open() -> Result<File, OutputLost> {
    if WAS_CLOSED.load(Ordering::Relaxed) {
        return Err(io::Error::from_raw_os_error(libc::EBADF).into());
    }
    Ok(stdout::open()?)
}

/// Prints a line to standard error.
pub(crate) fn say(line: impl Display) {
    let _ = writeln!(io::stderr(), "{}", harmless(&line.to_string()));
}

/// Prints what went wrong to standard error, its first word coloured as the parser of the command line colours it: for a terminal, and
/// where the environment does not forbid it (`NO_COLOR`).
pub(crate) fn say_error(message: impl Display) {
    let _ = write_error(&mut anstream::stderr(), message);
}

fn write_error(out: &mut dyn Write, message: impl Display) -> io::Result<()> {
    let style = Styles::styled();
    let style = style.get_error();
    let message = message.to_string();
    writeln!(out, "{style}error:{style:#} {}", harmless(&message))
}

/// The text with control characters written out: names come from files, and a terminal would do what they say.
fn harmless(text: &str) -> Cow<'_, str> {
    let is_harmful = |c: char| c.is_control() && c != '\n' && c != '\t';
    if !text.contains(is_harmful) {
        return Cow::Borrowed(text);
    }
    let written_out = text.chars().map(|c| match is_harmful(c) {
        true => c.escape_default().to_string(),
        false => c.into(),
    });
    Cow::Owned(written_out.collect())
}

/// Whether the program was started without a standard output. Before `main`, Rust's start opens `/dev/null` in its place, and
/// there is no telling any more.
static WAS_CLOSED: AtomicBool = AtomicBool::new(false);

extern "C" fn note_closed() {
    // SAFETY: the call only asks about a number, which need not be open.
    let is_closed = unsafe { libc::fcntl(1, libc::F_GETFD) } == -1;
    WAS_CLOSED.store(is_closed, Ordering::Relaxed);
}

// SAFETY: the loader calls what this section lists with the C convention before `main`; the function needs nothing of the
// standard library's start.
#[used]
#[unsafe(link_section = ".init_array")]
static NOTE_CLOSED: extern "C" fn() = note_closed;

#[cfg(test)]
mod tests {
    use anstream::StripStream;

    use super::*;

    #[test]
    fn errors_are_coloured_as_those_of_the_command_line() {
        let mut coloured = vec![];
        write_error(&mut coloured, "no \u{1b}[2J model").unwrap();
        let text = String::from_utf8(coloured).unwrap();
        let parsed = clap::Command::new("graver").try_get_matches_from(["graver", "--nothing"]);
        let parsed = parsed.unwrap_err().render().ansi().to_string();
        let word = "error:\u{1b}[0m";
        let begin = |text: &str| text[..text.find(word).expect(word)].to_string();
        assert_eq!(begin(&text), begin(&parsed));
        assert!(text.ends_with(" no \\u{1b}[2J model\n"), "{text:?}");
        let mut plain = vec![];
        write_error(&mut StripStream::new(&mut plain), "no model").unwrap();
        assert_eq!(String::from_utf8(plain).unwrap(), "error: no model\n");
    }
}
