//! Text to token ids and back, as a published `tokenizer.json` describes it.
//!
//! In: `tokenizer.json`, and `tokenizer_config.json` where there is one, as files or bytes. Out: a [`Tokenizer`], loaded on a
//! thread of its own ([`Tokenizer::load_in_background`]) while weights are mapped and code is compiled. The post-processor
//! in `tokenizer.json` decides which special tokens surround a prompt; `tokenizer_config.json` is asked only for a BOS token
//! that the post-processor leaves out, and for special tokens that `tokenizer.json` does not list as such. Truncation and
//! padding stored in the file are for training batches and are switched off.
//!
//! Nothing the library does with a bad file gets out: its errors and its panics become a [`TokenizerError`] that names the
//! file. (Where panics abort, as in the `artifact` profile, they end the program with the library's message.)

use std::any::Any;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use serde::Deserialize;
use tokenizers::{AddedToken, DecoderWrapper};

/// Where a tokenizer comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Files of a checkpoint folder.
    Files {
        /// `tokenizer.json`.
        tokenizer: PathBuf,
        /// `tokenizer_config.json`.
        config: Option<PathBuf>,
    },
    /// Bytes carried by an executable.
    Bytes {
        /// What messages call them.
        name: String,
        /// Contents of `tokenizer.json`.
        tokenizer: Cow<'static, [u8]>,
        /// Contents of `tokenizer_config.json`.
        config: Option<Cow<'static, [u8]>>,
    },
    /// There is none; asking for it is an error, not having it is not.
    Missing {
        /// Where it was looked for.
        place: String,
        /// A vocabulary in another format that lies there.
        instead: Option<String>,
    },
}

/// Why text could not be turned into ids, or ids into text.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// No tokenizer where one was looked for.
    #[error(
        "{place}: found no tokenizer.json{}, which text needs; put one there, or work on ids: --tokens 1,2,3 --print-tokens",
        .instead.as_ref().map(|file| format!(" (only {file}, which has to be converted to it)")).unwrap_or_default()
    )]
    Missing {
        /// Where it was looked for.
        place: String,
        /// A vocabulary in another format that lies there.
        instead: Option<String>,
    },
    /// A file that cannot be read.
    #[error("{}: cannot be read: {source}; without it, ids can be given with --tokens and printed with --print-tokens", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Bytes that are no tokenizer the library knows.
    #[error(
        "{name}: found no tokenizer this program can load ({message}); download the file again, or give ids with --tokens"
    )]
    Parse {
        /// The file.
        name: String,
        /// The library's words.
        message: String,
    },
    /// A `tokenizer_config.json` that is not what it should be.
    #[error(
        "{name}: expected a tokenizer configuration in JSON: {source}; mend or remove the file"
    )]
    Config {
        /// The file.
        name: String,
        /// Line, column and reason.
        source: serde_json::Error,
    },
    /// A BOS token that has no id.
    #[error(
        "{config}: bos_token {token:?} is to be added (add_bos_token) but is no token of {name}; the files do not belong together"
    )]
    UnknownBos {
        /// The configuration file.
        config: String,
        /// The tokenizer file.
        name: String,
        /// The token's text.
        token: String,
    },
    /// The library gave up on some text or ids.
    #[error(
        "{name}: the tokenizer failed {doing}: {message}; ids can be given with --tokens and printed with --print-tokens"
    )]
    Failed {
        /// The tokenizer file.
        name: String,
        /// `encoding the prompt`, `decoding 3 tokens`.
        doing: String,
        /// The library's words.
        message: String,
    },
    /// The system gave no thread to load it on.
    #[error("no thread to load the tokenizer on: {source}; raise the limit on processes")]
    Thread {
        /// What the system said.
        source: std::io::Error,
    },
}

/// A loaded tokenizer.
#[derive(Debug)]
pub struct Tokenizer {
    library: tokenizers::Tokenizer,
    name: String,
    /// Dropped from text.
    special: BTreeSet<u32>,
    /// Pieces such as `<0x0A>` stand for bytes.
    byte_fallback: bool,
    bos: Bos,
}

/// How a prompt gets its first token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bos {
    /// It gets none.
    None,
    /// The post-processor adds this id.
    ByPostProcessor(u32),
    /// The configuration wants this id and the post-processor does not add it.
    ByConfig(u32),
}

/// A tokenizer that is being loaded.
#[derive(Debug)]
pub struct Pending(JoinHandle<Result<Tokenizer, TokenizerError>>);

impl Pending {
    /// Waits for the tokenizer; not called, nothing about it is ever an error.
    pub fn wait(self) -> Result<Tokenizer, TokenizerError> {
        self.0.join().unwrap_or_else(|panic| {
            Err(TokenizerError::Failed {
                name: "tokenizer".into(),
                doing: "loading".into(),
                message: panic_text(&*panic),
            })
        })
    }
}

impl Tokenizer {
    /// Starts loading on a thread of its own.
    pub fn load_in_background(source: Source) -> Result<Pending, TokenizerError> {
        std::thread::Builder::new()
            .name("tokenizer".into())
            .spawn(move || Tokenizer::load(&source))
            .map(Pending)
            .map_err(|source| TokenizerError::Thread { source })
    }

    /// Loads on this thread.
    pub fn load(source: &Source) -> Result<Tokenizer, TokenizerError> {
        match source {
            Source::Files { tokenizer, config } => {
                let config = match config {
                    Some(path) => Some((path.display().to_string(), read(path)?)),
                    None => None,
                };
                let config = config
                    .as_ref()
                    .map(|(name, bytes)| (name.as_str(), bytes.as_slice()));
                from_bytes(&tokenizer.display().to_string(), &read(tokenizer)?, config)
            }
            Source::Bytes {
                name,
                tokenizer,
                config,
            } => {
                let config_name = format!("{name} (configuration)");
                from_bytes(
                    name,
                    tokenizer,
                    config.as_deref().map(|bytes| (config_name.as_str(), bytes)),
                )
            }
            Source::Missing { place, instead } => Err(TokenizerError::Missing {
                place: place.clone(),
                instead: instead.clone(),
            }),
        }
    }

    /// Ids of a prompt, with the special tokens that the files ask for. BOS stands at most once at its front, also where
    /// the text spells it out.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let mut ids = encode(&self.library, &self.name, text)?;
        match self.bos {
            Bos::ByPostProcessor(bos) if ids.starts_with(&[bos, bos]) => drop(ids.remove(0)),
            Bos::ByConfig(bos) if ids.first() != Some(&bos) => ids.insert(0, bos),
            Bos::None | Bos::ByPostProcessor(_) | Bos::ByConfig(_) => {}
        }
        Ok(ids)
    }

    /// Text of a whole sequence of ids, without special tokens; ids that stand for nothing are skipped.
    pub fn decode(&self, ids: &[u32]) -> Result<String, TokenizerError> {
        // Some decoders take the last token without asking whether there is one.
        if ids.iter().all(|&id| self.is_silent(id)) {
            return Ok(String::new());
        }
        let doing = || format!("decoding {} tokens", ids.len());
        guarded(&self.name, doing, || self.library.decode(ids, true))
    }

    /// Whether an id adds nothing to a text: a special token, or no token at all.
    pub fn is_silent(&self, id: u32) -> bool {
        self.special.contains(&id) || self.library.id_to_token(id).is_none()
    }

    /// The byte that a byte-fallback piece stands for.
    pub fn byte_of(&self, id: u32) -> Option<u8> {
        if !self.byte_fallback {
            return None;
        }
        let piece = self.library.id_to_token(id)?;
        let hex = piece.strip_prefix("<0x")?.strip_suffix('>')?;
        if hex.len() == 2 {
            u8::from_str_radix(hex, 16).ok()
        } else {
            None
        }
    }

    /// What messages call it: the file it came from.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// What is read of `tokenizer_config.json`.
#[derive(Default, Deserialize)]
struct ConfigFile {
    add_bos_token: Option<bool>,
    bos_token: Option<TokenText>,
    eos_token: Option<TokenText>,
    unk_token: Option<TokenText>,
    pad_token: Option<TokenText>,
    additional_special_tokens: Option<Vec<TokenText>>,
}

/// A token is written as its text, or as an object that holds it.
#[derive(Deserialize)]
#[serde(untagged)]
enum TokenText {
    Plain(String),
    Object { content: String },
}

impl TokenText {
    fn text(&self) -> &str {
        match self {
            TokenText::Plain(text) | TokenText::Object { content: text } => text,
        }
    }
}

impl ConfigFile {
    fn special(&self) -> impl Iterator<Item = &str> {
        let single = [
            &self.bos_token,
            &self.eos_token,
            &self.unk_token,
            &self.pad_token,
        ]
        .into_iter()
        .flatten();
        single
            .chain(self.additional_special_tokens.iter().flatten())
            .map(TokenText::text)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TokenizerError> {
    std::fs::read(path).map_err(|source| TokenizerError::Read {
        path: path.into(),
        source,
    })
}

/// `config` is a name for messages and the contents.
fn from_bytes(
    name: &str,
    bytes: &[u8],
    config: Option<(&str, &[u8])>,
) -> Result<Tokenizer, TokenizerError> {
    let file = match config {
        Some((name, bytes)) => {
            serde_json::from_slice(bytes).map_err(|source| TokenizerError::Config {
                name: name.into(),
                source,
            })?
        }
        None => ConfigFile::default(),
    };
    let mut library = catch_unwind(AssertUnwindSafe(|| {
        tokenizers::Tokenizer::from_bytes(bytes)
    }))
    .unwrap_or_else(|panic| Err(panic_text(&*panic).into()))
    .map_err(|error| TokenizerError::Parse {
        name: name.into(),
        message: error.to_string(),
    })?;
    prepare(name, &mut library, &file)?;
    let bos = find_bos(name, &library, &file, config.map(|(name, _)| name))?;
    let added = library.get_added_tokens_decoder();
    let special = added
        .iter()
        .filter(|(_, token)| token.special)
        .map(|(&id, _)| id)
        .collect();
    let byte_fallback = library.get_decoder().is_some_and(falls_back_to_bytes);
    Ok(Tokenizer {
        library,
        name: name.into(),
        special,
        byte_fallback,
        bos,
    })
}

/// Switches off what is meant for training batches, and marks special tokens that only the configuration knows of.
fn prepare(
    name: &str,
    library: &mut tokenizers::Tokenizer,
    config: &ConfigFile,
) -> Result<(), TokenizerError> {
    let added = library.get_added_tokens_decoder();
    let known: BTreeSet<&str> = added.values().map(|token| token.content.as_str()).collect();
    let missing: Vec<AddedToken> = config
        .special()
        // One without an id would get a new one, beyond the model's vocabulary.
        .filter(|&text| !known.contains(text) && library.token_to_id(text).is_some())
        .map(|text| AddedToken::from(text, true))
        .collect();
    guarded(
        name,
        || "reading its special tokens".into(),
        || {
            library.with_padding(None);
            library.add_special_tokens(&missing);
            library.with_truncation(None).map(drop)
        },
    )
}

fn find_bos(
    name: &str,
    library: &tokenizers::Tokenizer,
    config: &ConfigFile,
    config_name: Option<&str>,
) -> Result<Bos, TokenizerError> {
    // What stands before nothing and before something stands before everything.
    let front = encode(library, name, "")?.first().copied();
    let front =
        front.filter(|&id| encode(library, name, "a").is_ok_and(|ids| ids.first() == Some(&id)));
    let Some(token) = &config.bos_token else {
        return Ok(front.map_or(Bos::None, Bos::ByPostProcessor));
    };
    let wanted = config.add_bos_token == Some(true);
    match library.token_to_id(token.text()) {
        Some(id) if front == Some(id) => Ok(Bos::ByPostProcessor(id)),
        Some(id) if wanted => Ok(Bos::ByConfig(id)),
        None if wanted => Err(TokenizerError::UnknownBos {
            config: config_name.unwrap_or("tokenizer_config.json").into(),
            name: name.into(),
            token: token.text().into(),
        }),
        Some(_) | None => Ok(Bos::None),
    }
}

fn falls_back_to_bytes(decoder: &DecoderWrapper) -> bool {
    match decoder {
        DecoderWrapper::ByteFallback(_) => true,
        DecoderWrapper::Sequence(sequence) => {
            sequence.get_decoders().iter().any(falls_back_to_bytes)
        }
        DecoderWrapper::BPE(_)
        | DecoderWrapper::ByteLevel(_)
        | DecoderWrapper::WordPiece(_)
        | DecoderWrapper::Metaspace(_)
        | DecoderWrapper::CTC(_)
        | DecoderWrapper::Replace(_)
        | DecoderWrapper::Fuse(_)
        | DecoderWrapper::Strip(_) => false,
    }
}

fn encode(
    library: &tokenizers::Tokenizer,
    name: &str,
    text: &str,
) -> Result<Vec<u32>, TokenizerError> {
    let doing = || format!("encoding a prompt of {} bytes", text.len());
    guarded(name, doing, || {
        Ok(library.encode_fast(text, true)?.get_ids().to_vec())
    })
}

/// Runs the library with its errors and panics caught.
fn guarded<T>(
    name: &str,
    doing: impl Fn() -> String,
    call: impl FnOnce() -> tokenizers::Result<T>,
) -> Result<T, TokenizerError> {
    catch_unwind(AssertUnwindSafe(call))
        .unwrap_or_else(|panic| Err(panic_text(&*panic).into()))
        .map_err(|error| TokenizerError::Failed {
            name: name.into(),
            doing: doing(),
            message: error.to_string(),
        })
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("it panicked: {}", text.unwrap_or("no reason given"))
}

#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod tests;
