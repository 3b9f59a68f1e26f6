//! What is asked of an artifact's writer, and what it answers.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

use graver_runtime::tokenizer::Files;

/// Name of the runtime's archive beside an object.
pub const ARCHIVE: &str = "libgraver_runtime.a";

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArtifactKind {
    /// A program with the command line of `graver run`.
    Executable,
    /// A shared library with the interface of `graver.h`.
    SharedLibrary,
    /// An object for somebody else's linker, with the runtime as an archive.
    Object,
}

/// Where weights go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// After the code, in the same file.
    Embedded,
    /// In a file of their own beside it, `NAME.weights`.
    External,
}

/// What an executable can do besides continuing a prompt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Modes {
    /// A conversation in a terminal, `--chat`.
    pub chat: bool,
    /// A server that speaks OpenAI's API, `--serve`.
    pub serve: bool,
}

impl Modes {
    /// Whether there is one.
    pub fn any(self) -> bool {
        self.chat || self.serve
    }
}

/// Choices of how an artifact is written.
#[derive(Clone, Debug)]
pub struct WriteOptions<'a> {
    /// The main file; others lie beside it and share its name.
    pub out: &'a Path,
    /// What it is.
    pub kind: ArtifactKind,
    /// Where weights go; an object's are always in a file of their own.
    pub weights: Placement,
    /// Contents of the tokenizer's files, which the artifact carries; without them it takes token ids only.
    pub tokenizer: Option<&'a Files<Cow<'static, [u8]>>>,
    /// What an executable can do in addition.
    pub with: Modes,
    /// The model's chat templates, JSON, for an executable with modes.
    pub templates: Option<&'a Cow<'static, [u8]>>,
}

/// Hears how many more bytes are written, and how many weights there are in all; its error ends the writing.
pub(crate) type Progress<'a> = &'a mut dyn FnMut(usize, usize) -> io::Result<()>;

/// A file that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Where.
    pub path: PathBuf,
    /// Length in bytes.
    pub bytes: u64,
}
