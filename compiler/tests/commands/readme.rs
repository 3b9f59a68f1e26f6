//! The README followed word for word: every command that it shows, in its order, on a machine whose `~/models` has stand-ins where the models
//! that it names are not there. `GRAVER` names another program than the one just built: that which the README's install line gives, with which
//! `.ci/run` follows it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use tempfile::TempDir;

use super::repository;

/// Models that the README names, each with what `GRAVER_MODELS` may have for it.
const MODELS: [&str; 3] = ["llama", "stories260k", "SmolLM2-135M-Instruct.Q4_1.gguf"];
/// What needs a file that is made with PyTorch; the tests of `verify` cover it.
const NOT_HERE: &str = "--golden golden.safetensors";
/// What takes minutes, and is followed only with the program that `GRAVER` names: each has tests of its own.
const SLOW: [&str; 3] = ["graver verify", "graver bench", "graver tune"];
/// What stands for anything in an output.
const ANYTHING: &str = "[…]";

/// A command, and the lines that the README shows after it.
struct Shown<'t> {
    command: &'t str,
    after: Vec<&'t str>,
}

/// All commands of a page: after `$ ` in its consoles, and alone on lines that are set in.
fn commands(page: &str) -> Vec<Shown<'_>> {
    let mut all: Vec<Shown<'_>> = Vec::new();
    let mut in_console = false;
    for line in page.lines() {
        let alone = line.strip_prefix("    ");
        let alone = alone.filter(|line| {
            ["graver ", "source ", "echo "]
                .iter()
                .any(|word| line.starts_with(word))
        });
        let command = match in_console {
            true => line.strip_prefix("$ "),
            false => alone,
        };
        match (line.starts_with("```"), command) {
            (true, _) => in_console = line == "```console",
            (false, Some(command)) => all.push(Shown {
                // Comments are for people; a shell would take them as such only before an option is added.
                command: command.split("  #").next().unwrap_or(command).trim_end(),
                after: Vec::new(),
            }),
            (false, None) if in_console => {
                all.last_mut().expect("a command first").after.push(line)
            }
            (false, None) => {}
        }
    }
    all
}

/// Whoever follows.
struct Reader {
    home: TempDir,
    /// Where `graver` is.
    programs: String,
    port: u16,
    /// With what it has to say, which it could not go on without somewhere to write it to.
    server: Option<(Child, BufReader<ChildStdout>)>,
    real: Vec<&'static str>,
    is_installed: bool,
}

impl Reader {
    fn new() -> Reader {
        let home = tempfile::tempdir().expect("a folder");
        let given = std::env::var_os("GRAVER").map(PathBuf::from);
        let is_installed = given.is_some();
        let program = given.unwrap_or_else(|| env!("CARGO_BIN_EXE_graver").into());
        let folder = program.parent().expect("a folder").display();
        let path = std::env::var("PATH").unwrap_or_default();
        let models = home.path().join("models");
        fs::create_dir(&models).expect("a folder");
        let found = std::env::var_os("GRAVER_MODELS").map(PathBuf::from);
        let mut real = Vec::new();
        for name in MODELS {
            let source = found
                .as_ref()
                .map(|models| models.join(name))
                .filter(|path| path.exists());
            match source {
                Some(source) => {
                    std::os::unix::fs::symlink(source, models.join(name)).expect("a link");
                    real.push(name);
                }
                None => stand_in(&models.join(name)),
            }
        }
        Reader {
            programs: format!("{folder}:{path}"),
            port: free_port(),
            server: None,
            home,
            real,
            is_installed,
        }
    }

    fn shell(&self, line: &str) -> Command {
        let mut command = Command::new("bash");
        command
            .args(["-c", line])
            .current_dir(self.home.path())
            .env("HOME", self.home.path())
            .env("PATH", &self.programs)
            .env_remove("GRAVER_API_KEY")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn follow(&mut self, shown: &Shown<'_>) {
        let line = shown.command.replace("MODEL", "~/models/llama");
        let is_slow = SLOW.iter().any(|verb| line.starts_with(verb));
        if line.contains(NOT_HERE) || is_slow && !self.is_installed {
            return;
        }
        if ["graver serve", "graver explore"]
            .iter()
            .any(|verb| line.starts_with(verb))
        {
            return self.start(&line, shown);
        }
        let line = line.replace("8080", &self.port.to_string());
        let mut child = self.shell(&line).spawn().expect("bash runs");
        let mut keys = child.stdin.take().expect("a pipe");
        let is_talk = line.starts_with("graver chat");
        for said in shown
            .after
            .iter()
            .filter(|_| is_talk)
            .filter_map(|line| line.strip_prefix("> "))
        {
            writeln!(keys, "{said}").expect("it listens");
        }
        drop(keys);
        let output = child.wait_with_output().expect("it ends");
        let [out, err] = [output.stdout, output.stderr]
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        assert!(output.status.success(), "{line}\n{out}{err}");
        if !is_talk && self.is_as_shown(&line) {
            compare(&line, &shown.after, &format!("{err}{out}"));
        }
    }

    /// Whether no stand-in stands in.
    fn is_as_shown(&self, line: &str) -> bool {
        let named = MODELS
            .iter()
            .filter(|name| line.contains(&format!("models/{name}")));
        let mut missing = named.filter(|name| !self.real.contains(name));
        missing.next().is_none() && !line.contains("lily")
    }

    /// Starts what runs until it is ended, and waits until it says where it listens.
    fn start(&mut self, line: &str, shown: &Shown<'_>) {
        self.end();
        self.port = free_port();
        let mut shell = self.shell(&format!("exec {line} --port {} 2>&1", self.port));
        let mut child = shell.spawn().expect("bash runs");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut said = String::new();
        while !said.contains(&format!("127.0.0.1:{}", self.port)) {
            let read = lines.read_line(&mut said).expect("text");
            assert!(read > 0, "{line} has ended: {said}");
        }
        let expected: Vec<String> = shown
            .after
            .iter()
            .map(|l| l.replace("8080", &self.port.to_string()))
            .collect();
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        if self.is_as_shown(line) {
            compare(line, &expected, &said);
        }
        self.server = Some((child, lines));
    }

    fn end(&mut self) {
        if let Some((mut child, _said)) = self.server.take() {
            child.kill().expect("it runs");
            child.wait().expect("it has ended");
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.end();
    }
}

fn free_port() -> u16 {
    let bound = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    bound.local_addr().expect("an address").port()
}

/// The small model, which talks.
fn stand_in(folder: &Path) {
    fs::create_dir(folder).expect("a folder");
    let model = repository("compiler/model");
    for name in [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ] {
        fs::copy(model.join(name), folder.join(name)).expect("a copy");
    }
    let template = "{% for m in messages %}{{ m.content }} {% endfor %}";
    fs::write(folder.join("chat_template.jinja"), template).expect("a template");
}

/// Each line that is shown comes, in order, with anything where it says so.
fn compare(line: &str, shown: &[&str], found: &str) {
    let mut rest = found;
    for part in shown
        .iter()
        .flat_map(|line| line.split(ANYTHING))
        .map(str::trim)
    {
        let place = rest.find(part);
        let place = place.unwrap_or_else(|| panic!("{line}\nshows {part:?}, found\n{found}"));
        rest = &rest[place + part.len()..];
    }
}

#[test]
fn every_command_of_the_readme_does_what_it_shows() {
    let page = fs::read_to_string(repository("README.md")).expect("a page");
    let all = commands(&page);
    assert!(all.len() > 20, "{}", all.len());
    let has_curl = Command::new("curl").arg("--version").output().is_ok();
    if !has_curl {
        eprintln!("skipped: commands with curl, which is not there");
    }
    let mut reader = Reader::new();
    for shown in all
        .iter()
        .filter(|shown| has_curl || !shown.command.starts_with("curl"))
    {
        reader.follow(shown);
    }
}
