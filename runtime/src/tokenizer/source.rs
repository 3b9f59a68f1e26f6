//! Where a tokenizer comes from: the files of a checkpoint folder, bytes carried by a program, or nowhere.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{TokenizerError, prepare};
use crate::files::{self, MAX_CONFIG, MAX_TOKENIZER};

/// Names of the files, in folders and in artifacts.
pub mod names {
    /// Vocabulary, merges, and what is done before and after.
    pub const TOKENIZER: &str = "tokenizer.json";
    /// Special tokens, and tokens added to the vocabulary.
    pub const CONFIG: &str = "tokenizer_config.json";
    /// Special tokens, in older folders.
    pub(crate) const SPECIAL_TOKENS_MAP: &str = "special_tokens_map.json";
    /// Tokens added to the vocabulary, in older folders.
    pub(crate) const ADDED_TOKENS: &str = "added_tokens.json";
    /// The vocabulary of a `tokenizer.json` that has none, in artifacts.
    pub(crate) const TABLE: &str = "tokenizer.table";
}

/// The files that describe a tokenizer: their paths, or their contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files<T> {
    /// `tokenizer.json`.
    pub tokenizer: T,
    /// `tokenizer_config.json`.
    pub config: Option<T>,
    /// `special_tokens_map.json`.
    pub special_tokens_map: Option<T>,
    /// `added_tokens.json`.
    pub added_tokens: Option<T>,
    /// The vocabulary and merges of a `tokenizer.json` from which they were taken ([`Source::prepared`]).
    pub table: Option<T>,
}

impl<T> Files<T> {
    /// A file for every name that `find` has one for, if it has the first.
    ///
    /// # Errors
    /// What `find` reports.
    pub fn find<E>(
        mut find: impl FnMut(&'static str) -> Result<Option<T>, E>,
    ) -> Result<Option<Files<T>>, E> {
        let Some(tokenizer) = find(names::TOKENIZER)? else {
            return Ok(None);
        };
        Ok(Some(Files {
            tokenizer,
            config: find(names::CONFIG)?,
            special_tokens_map: find(names::SPECIAL_TOKENS_MAP)?,
            added_tokens: find(names::ADDED_TOKENS)?,
            table: find(names::TABLE)?,
        }))
    }

    /// The files that are there, with their names.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, &T)> {
        let others = [
            (names::CONFIG, &self.config),
            (names::SPECIAL_TOKENS_MAP, &self.special_tokens_map),
            (names::ADDED_TOKENS, &self.added_tokens),
            (names::TABLE, &self.table),
        ];
        let others = others.into_iter();
        std::iter::once((names::TOKENIZER, &self.tokenizer))
            .chain(others.filter_map(|(name, file)| Some((name, file.as_ref()?))))
    }

    /// The file of that name.
    fn get(&self, name: &str) -> Option<&T> {
        self.all().find(|(n, _)| *n == name).map(|(_, file)| file)
    }
}

/// Files that are made when somebody asks for them, which takes long enough to be done beside other work.
#[derive(Clone)]
pub struct Recipe {
    /// What they are made of, for messages.
    place: String,
    make: Arc<dyn Fn() -> Result<Contents, String> + Send + Sync>,
}

/// Files by their contents.
pub type Contents = Files<Cow<'static, [u8]>>;

impl Recipe {
    /// Files made of what lies at `place`. An error of `make` says what is wrong there.
    pub fn new(
        place: String,
        make: impl Fn() -> Result<Contents, String> + Send + Sync + 'static,
    ) -> Recipe {
        let make = Arc::new(make);
        Recipe { place, make }
    }

    fn source(self) -> Result<Source, TokenizerError> {
        match (self.make)() {
            Ok(files) => Ok(Source::Bytes {
                place: self.place,
                files,
            }),
            Err(message) => Err(TokenizerError::Failed {
                name: self.place,
                doing: "reading the tokenizer".into(),
                message,
            }),
        }
    }
}

/// One recipe is equal to its copies alone.
impl PartialEq for Recipe {
    fn eq(&self, other: &Recipe) -> bool {
        self.place == other.place && Arc::ptr_eq(&self.make, &other.make)
    }
}

impl Eq for Recipe {}

impl fmt::Debug for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Recipe").field(&self.place).finish()
    }
}

/// Where a tokenizer comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// What a file in another format is made into.
    Recipe(Recipe),
    /// Files of a checkpoint folder.
    Files(Files<PathBuf>),
    /// Bytes carried by an executable, or read before.
    Bytes {
        /// Where they are from, for messages.
        place: String,
        /// Their contents.
        files: Contents,
    },
    /// There is none; asking for it is an error, not having it is not.
    Missing(Missing),
}

/// Why there is no tokenizer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// A checkpoint folder without one.
    Folder {
        /// The folder.
        place: String,
        /// A vocabulary in another format that lies there.
        instead: Option<String>,
    },
    /// A GGUF file without one that is known.
    Gguf {
        /// The file.
        place: String,
        /// What it has instead, as a sentence.
        why: String,
    },
    /// A spec with random weights.
    Spec {
        /// The spec.
        name: String,
    },
    /// An artifact that was compiled without one.
    Artifact {
        /// The file.
        place: String,
    },
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Missing::Folder { place, instead } => {
                write!(f, "{place}: found no tokenizer.json")?;
                match instead {
                    Some(file) => write!(f, " (only {file}, which must be converted)"),
                    None => Ok(()),
                }
            }
            Missing::Gguf { place, why } => write!(f, "{place}: {why}"),
            Missing::Spec { name } => write!(f, "{name}: specs have no tokenizer"),
            Missing::Artifact { place } => write!(f, "{place}: compiled without a tokenizer"),
        }
    }
}

impl Missing {
    /// What to do about it.
    pub(super) fn remedy(&self) -> &'static str {
        match self {
            Missing::Folder { .. } => "put one there",
            Missing::Gguf { .. } => "use another file of the model",
            Missing::Spec { .. } => "use a checkpoint folder that has one",
            Missing::Artifact { .. } => "compile it again from a folder with a tokenizer.json",
        }
    }
}

impl Source {
    /// The tokenizer of a checkpoint folder. Files are not read yet; a link to nothing counts as a file, so that reading it
    /// says what is wrong.
    pub fn in_folder(folder: &Path) -> Source {
        let at = |name| {
            let path = folder.join(name);
            let is_there = name != names::TABLE && files::is_there(&path);
            Ok::<_, std::convert::Infallible>(is_there.then_some(path))
        };
        match Files::find(at) {
            Ok(Some(files)) => Source::Files(files),
            Ok(None) => Source::Missing(Missing::Folder {
                place: files::shown(folder).to_string(),
                instead: OTHER_FORMATS
                    .into_iter()
                    .find(|name| folder.join(name).exists())
                    .map(String::from),
            }),
        }
    }

    /// The same, with files by their contents in the place of a [`Recipe`] for them.
    ///
    /// # Errors
    /// A file of which no tokenizer can be made.
    pub fn made(self) -> Result<Source, TokenizerError> {
        match self {
            Source::Recipe(recipe) => recipe.source(),
            other @ (Source::Files(_) | Source::Bytes { .. } | Source::Missing(_)) => Ok(other),
        }
    }

    /// The same with its files read or made, and the vocabulary of byte pairs as a table, with which it loads in no time: what artifacts
    /// carry.
    ///
    /// # Errors
    /// A file that cannot be read, or of which no tokenizer can be made. Loading finds what is wrong with its contents.
    pub fn prepared(self) -> Result<Source, TokenizerError> {
        let mut source = self.read()?;
        if let Source::Bytes { files, .. } = &mut source
            && files.table.is_none()
            && let Ok(Some((tokenizer, table))) = prepare::split(&files.tokenizer)
        {
            files.tokenizer = Cow::Owned(tokenizer);
            files.table = Some(Cow::Owned(table));
        }
        Ok(source)
    }

    /// The same with its files read, none of which is larger than such a file can be, or made.
    ///
    /// # Errors
    /// A file that cannot be read, or of which no tokenizer can be made.
    pub fn read(self) -> Result<Source, TokenizerError> {
        let files = match self {
            Source::Files(files) => files,
            Source::Recipe(recipe) => return recipe.source(),
            other @ (Source::Bytes { .. } | Source::Missing(_)) => return Ok(other),
        };
        let place = files.tokenizer.parent().unwrap_or(Path::new(""));
        let place = files::shown(place).to_string();
        let read = |name| {
            let limit = match name == names::TOKENIZER {
                true => MAX_TOKENIZER,
                false => MAX_CONFIG,
            };
            let contents = files.get(name).map(|path| files::read(path, limit));
            Ok::<_, TokenizerError>(contents.transpose()?.map(Cow::Owned))
        };
        Ok(match Files::find(read)? {
            Some(files) => Source::Bytes { place, files },
            None => unreachable!("`Files` has the file that is asked for first"),
        })
    }
}

/// Vocabularies in other formats, named in the error for a missing `tokenizer.json`.
const OTHER_FORMATS: [&str; 4] = ["tokenizer.model", "spiece.model", "vocab.json", "vocab.txt"];
