//! SentencePiece's own file, `tokenizer.model`, which older checkpoint folders have in the place of a `tokenizer.json`.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use graver_runtime::files::{self, FileError, MAX_CONFIG, MAX_TOKENIZER, shown};
use graver_runtime::text::{LoadedText, TextError};
use graver_runtime::tokenizer::{Files, Missing, Source, names};
use serde_json::Value as Json;

use super::protobuf::{Fields, Value};
use super::vocabulary::{MAX_BYTES, MAX_TOKENS, Type, Vocabulary};
use super::write::{self, BLANK, Kind, Pieces};

const NAME: &str = "tokenizer.model";

/// Why a folder's text files could not be used.
#[derive(Debug, thiserror::Error)]
pub enum SentencePieceError {
    /// A file beside it.
    #[error(transparent)]
    Text(#[from] TextError),
    /// A file that cannot be read.
    #[error("{0}; fix or remove the file")]
    File(#[from] FileError),
    /// A file that is not what it should be.
    #[error(
        "{}: found {found}, expected a SentencePiece model; download the file again, or put a tokenizer.json beside it",
        shown(path)
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        found: &'static str,
    },
}

/// The tokenizer of a checkpoint folder, and the tokens that end a text: of `tokenizer.json` where there is one, else of
/// `tokenizer.model`.
///
/// # Errors
/// Files that cannot be read, or are not what they should be.
pub fn folder_text(folder: &Path) -> Result<LoadedText, SentencePieceError> {
    let found = LoadedText::find(folder)?;
    let path = folder.join(NAME);
    let is_missing = matches!(found.tokenizer, Source::Missing(Missing::Folder { .. }));
    if !is_missing || !files::is_there(&path) {
        return Ok(found);
    }
    let bytes = files::read(&path, MAX_TOKENIZER)?;
    let config = folder.join(names::CONFIG);
    let config = match files::is_there(&config) {
        true => Some(files::read(&config, MAX_CONFIG)?),
        false => None,
    };
    let made = tokenizer(&bytes, config.as_deref());
    let made = made.map_err(|found| SentencePieceError::Damaged { path, found })?;
    let files = Files {
        tokenizer: Cow::Owned(made.tokenizer),
        config: Some(Cow::Owned(config.unwrap_or(made.config))),
        special_tokens_map: None,
        added_tokens: None,
        table: made.table.map(Cow::Owned),
    };
    let place = shown(folder).to_string();
    let tokenizer = Source::Bytes { place, files };
    Ok(LoadedText { tokenizer, ..found })
}

/// What is made of a file.
pub(super) struct Made {
    pub(super) tokenizer: Vec<u8>,
    pub(super) table: Option<Vec<u8>>,
    pub(super) config: Vec<u8>,
}

/// A `tokenizer.json` of a file's bytes and the configuration beside it, or what is wrong with them.
pub(super) fn tokenizer(bytes: &[u8], config: Option<&[u8]>) -> Result<Made, &'static str> {
    let mut read = Read::default();
    for field in Fields::of(bytes) {
        match field.ok_or(ENDS)? {
            (1, Value::Bytes(piece)) => read.piece(piece)?,
            (2, Value::Bytes(training)) => read.training(training)?,
            (3, Value::Bytes(rules)) => read.rules(rules)?,
            (_, Value::Whole(_) | Value::Single(_) | Value::Bytes(_) | Value::Eight) => {}
        }
    }
    let (mut vocabulary, pieces) = read.finish()?;
    let config: Option<Json> = config.and_then(|text| serde_json::from_slice(text).ok());
    let flag = |key: &str| config.as_ref().and_then(|config| config[key].as_bool());
    vocabulary.adds_bos = flag("add_bos_token").unwrap_or(!pieces.likeliest);
    vocabulary.adds_eos = flag("add_eos_token").unwrap_or(pieces.likeliest);
    let kind = Kind::Pieces(pieces);
    let (tokenizer, table) = write::tokenizer(&vocabulary, &kind);
    Ok(Made {
        tokenizer,
        table,
        config: write::config(&vocabulary, None),
    })
}

const ENDS: &str = "a file that is damaged, or no such model";

/// What has been read of a file. Where it does not say, the format's own defaults hold.
struct Read<'a> {
    vocabulary: Vocabulary<'a>,
    bytes: usize,
    /// 1: the likeliest sequence. 2: pairs.
    model: u64,
    bos: i32,
    eos: i32,
    pieces: Pieces<'a>,
}

impl Default for Read<'_> {
    fn default() -> Self {
        Read {
            vocabulary: Vocabulary::default(),
            bytes: 0,
            model: 1,
            bos: 1,
            eos: 2,
            pieces: Pieces {
                prefix: true,
                squeeze: true,
                ..Pieces::default()
            },
        }
    }
}

impl<'a> Read<'a> {
    fn piece(&mut self, message: &'a [u8]) -> Result<(), &'static str> {
        let (mut text, mut score, mut kind) = ("", 0.0, Type::Normal);
        for field in Fields::of(message) {
            match field.ok_or(ENDS)? {
                (1, Value::Bytes(bytes)) => {
                    text = std::str::from_utf8(bytes).map_err(|_| "a piece that is not UTF-8")?;
                }
                (2, Value::Single(x)) => score = x,
                (3, Value::Whole(n)) => kind = Type::of(n.into()),
                (_, Value::Whole(_) | Value::Single(_) | Value::Bytes(_) | Value::Eight) => {}
            }
        }
        let v = &mut self.vocabulary;
        self.bytes += text.len();
        if v.tokens.len() == MAX_TOKENS || self.bytes > MAX_BYTES {
            return Err("more pieces than any vocabulary has");
        }
        if kind == Type::Unknown {
            v.unknown = Some(v.tokens.len() as u32);
        }
        // Those are found in the text itself, before its blanks are replaced.
        v.tokens.push(match kind {
            Type::UserDefined => Cow::Owned(text.replace(BLANK, " ")),
            _ => Cow::Borrowed(text),
        });
        v.scores.push(score);
        v.types.push(kind);
        Ok(())
    }

    fn training(&mut self, message: &'a [u8]) -> Result<(), &'static str> {
        for field in Fields::of(message) {
            match field.ok_or(ENDS)? {
                (3, Value::Whole(model)) => self.model = model,
                (24, Value::Whole(1)) => return Err("blanks that belong to the words before them"),
                (41, Value::Whole(id)) => self.bos = id as i32,
                (42, Value::Whole(id)) => self.eos = id as i32,
                (_, Value::Whole(_) | Value::Single(_) | Value::Bytes(_) | Value::Eight) => {}
            }
        }
        Ok(())
    }

    fn rules(&mut self, message: &'a [u8]) -> Result<(), &'static str> {
        for field in Fields::of(message) {
            match field.ok_or(ENDS)? {
                (2, Value::Bytes(map)) => {
                    self.pieces.characters = Some(map).filter(|m| !m.is_empty())
                }
                (3, Value::Whole(flag)) => self.pieces.prefix = flag != 0,
                (4, Value::Whole(flag)) => self.pieces.squeeze = flag != 0,
                (5, Value::Whole(0)) => return Err("blanks that are no part of pieces"),
                (_, Value::Whole(_) | Value::Single(_) | Value::Bytes(_) | Value::Eight) => {}
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(Vocabulary<'a>, Pieces<'a>), &'static str> {
        let count = self.vocabulary.tokens.len();
        if count == 0 {
            return Err("no pieces");
        }
        self.pieces.likeliest = match self.model {
            1 => true,
            2 => false,
            _ => return Err("a model of words or characters"),
        };
        let known = |id: i32| u32::try_from(id).ok().filter(|id| (*id as usize) < count);
        self.vocabulary.bos = known(self.bos);
        self.vocabulary.eos = known(self.eos);
        Ok((self.vocabulary, self.pieces))
    }
}
