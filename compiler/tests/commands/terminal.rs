//! `graver chat` in a terminal: a pseudo-terminal whose other end types what people do.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// A template for models that were made for none.
const PLAIN: &str = "{% for m in messages %}{{ m.content }}{% endfor %}";

const CTRL_C: &str = "\x03";
const CTRL_D: &str = "\x04";
const UP: &str = "\x1b[A";
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A conversation in a terminal.
struct Terminal {
    child: Child,
    keys: File,
    pieces: Receiver<Vec<u8>>,
    /// Everything that has been shown.
    shown: Vec<u8>,
}

impl Terminal {
    /// Begins one, whose history is in `folder`, and waits for its prompt.
    fn open(folder: &Path, args: &[&str]) -> Terminal {
        let template = folder.join("template.jinja");
        if !template.exists() {
            fs::write(&template, PLAIN).expect("a template");
        }
        let (keys, other_end) = pseudo_terminal();
        let mut command = Command::new(env!("CARGO_BIN_EXE_graver"));
        command
            .args(["chat", "--temp", "0", "--template"])
            .arg(&template)
            .args(args)
            .env("XDG_STATE_HOME", folder)
            .env("TERM", "xterm")
            .stdin(other_end.try_clone().expect("a descriptor"))
            .stdout(other_end.try_clone().expect("a descriptor"))
            .stderr(other_end);
        // SAFETY: both calls are allowed between fork and exec; descriptor 0 is the terminal.
        unsafe {
            command.pre_exec(|| {
                libc::setsid();
                libc::ioctl(0, libc::TIOCSCTTY, 0);
                Ok(())
            });
        }
        let child = command.spawn().expect("graver runs");
        // The command holds the other end, which is to close with the child.
        drop(command);
        let (sender, pieces) = channel();
        let mut screen = keys.try_clone().expect("a descriptor");
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = screen.read(&mut buffer) {
                if sender.send(buffer[..n].to_vec()).is_err() {
                    return;
                }
            }
        });
        let shown = Vec::new();
        let mut terminal = Terminal {
            child,
            keys,
            pieces,
            shown,
        };
        terminal.until(0, |text| text.ends_with("> "));
        terminal
    }

    /// What has been shown since `from`, without what moves the cursor and colours.
    fn text(&self, from: usize) -> String {
        let text = String::from_utf8_lossy(&self.shown[from..]).replace('\r', "");
        let mut parts = text.split("\x1b[");
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |text, part| {
            let end = part.find(|c: char| c.is_ascii_alphabetic());
            text + end.map_or("", |end| &part[end + 1..])
        })
    }

    /// Waits until what has been shown since `from` is as wanted, and gives it.
    fn until(&mut self, from: usize, wanted: impl Fn(&str) -> bool) -> String {
        let begun = Instant::now();
        loop {
            let text = self.text(from);
            if wanted(&text) {
                return text;
            }
            let left = PATIENCE.saturating_sub(begun.elapsed());
            match self.pieces.recv_timeout(left) {
                Ok(piece) => self.shown.extend(piece),
                Err(error) => panic!("{error}: {text:?}"),
            }
        }
    }

    /// Presses keys, and gives where what is shown after them begins.
    fn press(&mut self, keys: &str) -> usize {
        let from = self.shown.len();
        self.keys.write_all(keys.as_bytes()).expect("it listens");
        from
    }

    /// Types a line, and waits for the next prompt; gives what is between.
    fn say(&mut self, line: &str) -> String {
        let from = self.press(&format!("{line}\r"));
        let text = self.until(from, |text| text.contains('\n') && text.ends_with("\n> "));
        let (_, answer) = text.split_once('\n').expect("a line");
        answer.trim_end_matches("> ").trim_end().to_owned()
    }

    /// Waits for its end.
    fn end(mut self) -> (Option<i32>, String) {
        let begun = Instant::now();
        while self.child.try_wait().expect("a child").is_none() {
            assert!(begun.elapsed() < PATIENCE, "{:?}", self.text(0));
            std::thread::sleep(Duration::from_millis(5));
        }
        self.shown.extend(self.pieces.try_iter().flatten());
        let code = self.child.wait().expect("it has ended").code();
        (code, self.text(0))
    }
}

impl Drop for Terminal {
    /// A test that fails leaves nothing behind.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Both ends of a new one: that of keys and screen, and that of programs.
fn pseudo_terminal() -> (File, File) {
    // SAFETY: each call gets the descriptor that the first has opened, which nobody else has; the name is copied into a buffer whose
    // length is passed.
    unsafe {
        let first = libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC);
        assert!(first >= 0 && libc::grantpt(first) == 0 && libc::unlockpt(first) == 0);
        let first = File::from_raw_fd(first);
        let mut name = [0; 128];
        let named = libc::ptsname_r(first.as_raw_fd(), name.as_mut_ptr(), name.len());
        assert_eq!(named, 0);
        let name = std::ffi::CStr::from_ptr(name.as_ptr());
        let name = name.to_str().expect("a path");
        let second = OpenOptions::new().read(true).write(true).open(name);
        (first, second.expect("the other end"))
    }
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

#[test]
fn commands_go_back_and_forth() {
    let folder = folder();
    let mut terminal = Terminal::open(folder.path(), &["-n", "8"]);
    let first = terminal.say("And God said");
    assert!(!first.is_empty());
    let second = terminal.say(" unto him");
    assert!(terminal.say("/tokens").contains("in 4 messages"));
    assert_eq!(terminal.say("/undo"), "");
    assert!(terminal.say("/tokens").contains("in 2 messages"));
    assert_eq!(terminal.say(" unto him"), second);
    let saved = folder.path().join("chat.json");
    terminal.say(&format!("/save {}", saved.display()));
    let messages: Value = serde_json::from_slice(&fs::read(&saved).expect("saved")).expect("JSON");
    assert_eq!(
        messages["messages"][1]["content"].as_str().map(str::trim),
        Some(first.trim())
    );
    terminal.say("/reset");
    assert!(terminal.say("/tokens").contains("in 0 messages"));
    // Mistakes are told, and the conversation goes on.
    assert!(terminal.say("/undo").contains("error: nothing to undo"));
    terminal.say(&format!("/load {}", saved.display()));
    terminal.say("/undo");
    assert_eq!(terminal.say(" unto him"), second);
    terminal.press("/quit\r");
    assert_eq!(terminal.end().0, Some(0));
}

#[test]
fn ctrl_c_stops_an_answer_and_not_the_program() {
    let folder = folder();
    let template = "{% for m in messages %}{{ m.content }}{% endfor %}";
    fs::write(folder.path().join("template.jinja"), template).expect("a template");
    // An answer without an end.
    let mut terminal = Terminal::open(folder.path(), &["--on-full", "shift"]);
    let from = terminal.press("In the beginning\r");
    terminal.until(from, |text| text.len() > 300);
    let from = terminal.press(CTRL_C);
    let text = terminal.until(from, |text| text.ends_with("\n> "));
    assert!(text.contains("(stopped)"), "{text:?}");
    // What had been said stays.
    assert!(terminal.say("/tokens").contains("in 2 messages"));
    let from = terminal.press(CTRL_C);
    terminal.until(from, |text| {
        text.contains("Ctrl-C again") && text.ends_with("\n> ")
    });
    // Anything else in between, and it is asked again.
    assert!(terminal.say("/tokens").contains("in 2 messages"));
    let from = terminal.press(CTRL_C);
    terminal.until(from, |text| {
        text.contains("Ctrl-C again") && text.ends_with("\n> ")
    });
    terminal.press(CTRL_C);
    assert_eq!(terminal.end().0, Some(0));
}

#[test]
fn lines_are_remembered_in_and_between_conversations() {
    let folder = folder();
    let mut terminal = Terminal::open(folder.path(), &["-n", "6"]);
    let answer = terminal.say("And it came to pass");
    terminal.say("/reset");
    assert_eq!(terminal.say(&format!("{UP}{UP}")), answer);
    terminal.press(CTRL_D);
    assert_eq!(terminal.end().0, Some(0));
    let history = folder.path().join("graver/chat_history");
    let history = fs::read_to_string(history).expect("a history");
    assert!(
        history.contains("And it came to pass\n/reset\n"),
        "{history}"
    );
    let mut again = Terminal::open(folder.path(), &["-n", "6"]);
    assert_eq!(again.say(UP), answer);
    again.press(CTRL_D);
    assert_eq!(again.end().0, Some(0));
}

#[test]
fn messages_can_have_several_lines() {
    let folder = folder();
    let mut terminal = Terminal::open(folder.path(), &["-n", "3"]);
    for keys in ["one\\\r", "\"\"\"two\r"] {
        let from = terminal.press(keys);
        terminal.until(from, |text| text.ends_with("… "));
        terminal.say(if keys.starts_with('o') {
            "more"
        } else {
            "\"quoted\"\"\"\""
        });
    }
    let saved = folder.path().join("chat.json");
    terminal.say(&format!("/save {}", saved.display()));
    let saved: Value = serde_json::from_slice(&fs::read(&saved).expect("saved")).expect("JSON");
    assert_eq!(saved["messages"][0]["content"], "one\nmore");
    assert_eq!(saved["messages"][2]["content"], "two\n\"quoted\"");
    terminal.press(CTRL_D);
    assert_eq!(terminal.end().0, Some(0));
}

/// Full contexts end answers, refuse messages or make room, and say so; nothing ends the conversation.
#[test]
fn a_full_context_is_told_and_left() {
    let folder = folder();
    let mut terminal = Terminal::open(folder.path(), &["--context", "48", "--on-full", "stop"]);
    let answer = terminal.say("And it came to pass");
    assert!(
        answer.contains("(stopped: the context of 48 tokens is full;"),
        "{answer}"
    );
    let refused = terminal.say(" and he said");
    assert!(refused.contains("error: the conversation has"), "{refused}");
    assert!(terminal.say("/tokens").contains("in 2 messages"));
    terminal.press(CTRL_D);
    assert_eq!(terminal.end().0, Some(0));
    for on_full in ["shift", "drop-oldest"] {
        let args = ["--context", "48", "-n", "40", "--on-full", on_full];
        let mut terminal = Terminal::open(folder.path(), &args);
        for line in ["And it came to pass", " and he said", " and he went"] {
            let answer = terminal.say(line);
            assert!(
                !answer.contains("error") && !answer.contains("(stopped"),
                "{on_full}: {answer}"
            );
        }
        assert!(terminal.say("/tokens").contains("40 written"));
        terminal.press(CTRL_D);
        assert_eq!(terminal.end().0, Some(0));
    }
}

/// Thoughts are dimmed, and with an option not there.
#[test]
fn thoughts_are_told_from_answers() {
    let folder = folder();
    let template = format!("{PLAIN}<think>");
    fs::write(folder.path().join("template.jinja"), template).expect("a template");
    let mut terminal = Terminal::open(folder.path(), &["-n", "6"]);
    let from = terminal.shown.len();
    let thought = terminal.say("In the beginning");
    let raw = String::from_utf8_lossy(&terminal.shown[from..]).into_owned();
    assert!(
        !thought.is_empty() && raw.contains("\x1b[2m") && raw.contains("\x1b[0m"),
        "{raw:?}"
    );
    terminal.press(CTRL_D);
    assert_eq!(terminal.end().0, Some(0));
    let mut hidden = Terminal::open(folder.path(), &["-n", "6", "--hide-thinking"]);
    assert_eq!(hidden.say("In the beginning"), "");
    hidden.press(CTRL_D);
    assert_eq!(hidden.end().0, Some(0));
}
