//! Text to token ids and back, as a published `tokenizer.json` describes it.
//!
//! In: `tokenizer.json`, and the files beside it that say something about tokens ([`Files`]), as paths or bytes. Out: a
//! [`Tokenizer`], loaded on a thread of its own ([`Tokenizer::load_in_background`]) while weights are mapped and code is
//! compiled. The post-processor in `tokenizer.json` decides which special tokens surround a prompt; the other files add
//! tokens (`declared`), and `tokenizer_config.json` may ask for a BOS token that the post-processor leaves out. Truncation
//! and padding stored in the file are for training batches and are switched off.
//!
//! Nothing the library does with a bad file gets out: its errors and its panics become a [`TokenizerError`] that names the
//! file. (Where panics abort, as in the `artifact` profile, they end the program with the library's message.)

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use tokenizers::{AddedToken, DecoderWrapper};

mod declared;
mod error;
mod lazy;
mod library;
mod limits;
mod pairs;
mod pieces;
mod prepare;
mod source;
mod table;

pub use declared::SPECIAL_TOKENS;
use declared::{Beside, Declarations, Declared};
pub use error::TokenizerError;
use library::{Library, Parts};
pub use pairs::PairOptions;
pub use prepare::empty as empty_model;
pub use source::{Contents, Files, Missing, Recipe, Source, names};
pub use table::Ids;

/// Texts longer than this, in bytes, become tokens one at a time.
const LONG_TEXT: usize = 64 << 10;

/// A loaded tokenizer.
#[derive(Debug)]
pub struct Tokenizer {
    library: Library,
    name: String,
    /// Dropped from text.
    special: BTreeSet<u32>,
    /// Pieces such as `<0x0A>` stand for bytes.
    byte_fallback: bool,
    /// Pieces are written in an alphabet of bytes.
    byte_level: bool,
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

/// A tokenizer that is being loaded, or that nobody will probably ask for.
#[derive(Debug)]
pub struct Pending(Loading);

#[derive(Debug)]
enum Loading {
    Begun(JoinHandle<Result<Tokenizer, TokenizerError>>),
    Put(Source),
}

impl Pending {
    /// One that is loaded when it is waited for.
    pub fn when_asked_for(source: Source) -> Pending {
        Pending(Loading::Put(source))
    }

    /// Waits for the tokenizer; not called, nothing about it is ever an error.
    pub fn wait(self) -> Result<Tokenizer, TokenizerError> {
        let thread = match self.0 {
            Loading::Begun(thread) => thread,
            Loading::Put(source) => return Tokenizer::load(&source),
        };
        thread.join().unwrap_or_else(|panic| {
            Err(TokenizerError::Failed {
                name: "tokenizer".into(),
                doing: "loading".into(),
                message: crate::caught::text(&*panic),
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
            .map(|thread| Pending(Loading::Begun(thread)))
            .map_err(|source| TokenizerError::Thread { source })
    }

    /// Loads on this thread.
    ///
    /// # Errors
    /// Files that cannot be read, are not a tokenizer, or do not fit each other; no tokenizer at all.
    pub fn load(source: &Source) -> Result<Tokenizer, TokenizerError> {
        match source {
            Source::Files(_) | Source::Recipe(_) => Tokenizer::load(&source.clone().read()?),
            Source::Bytes { place, files } => from_bytes(place, files),
            Source::Missing(missing) => Err(TokenizerError::Missing(missing.clone())),
        }
    }

    /// Ids of a prompt, with the special tokens that the files ask for. BOS stands at most once at its front, also where
    /// the text spells it out.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let mut ids = encode(&self.library, &self.name, text, true)?;
        match self.bos {
            Bos::ByPostProcessor(bos) if ids.starts_with(&[bos, bos]) => drop(ids.remove(0)),
            Bos::ByConfig(bos) if ids.first() != Some(&bos) => ids.insert(0, bos),
            Bos::None | Bos::ByPostProcessor(_) | Bos::ByConfig(_) => {}
        }
        Ok(ids)
    }

    /// Ids of a text that has the special tokens it wants, as conversations do that a template has rendered: none is added.
    pub fn encode_plain(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        encode(&self.library, &self.name, text, false)
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
        pairs::byte_of(&self.library.id_to_token(id)?)
    }

    /// What messages call it: the file it came from.
    pub fn name(&self) -> &str {
        &self.name
    }
}

fn from_bytes(place: &str, files: &Files<Cow<'static, [u8]>>) -> Result<Tokenizer, TokenizerError> {
    let at = |name: &str| format!("{name} of {place}");
    let beside = [
        (&files.config, names::CONFIG),
        (&files.special_tokens_map, names::SPECIAL_TOKENS_MAP),
        (&files.added_tokens, names::ADDED_TOKENS),
    ];
    let called = beside.map(|(_, name)| at(name));
    let parse = |i: usize| {
        let contents = beside[i].0.as_deref();
        let parsed = contents.map(|bytes| Beside::parse(&called[i], bytes));
        parsed.transpose()
    };
    let declarations = Declarations {
        config: parse(0)?,
        special_tokens_map: parse(1)?,
        added_tokens: parse(2)?,
    };
    let name = at(names::TOKENIZER);
    let (mut library, added) = parse_library(&name, &files.tokenizer, files.table.clone())?;
    let bos = prepare(&name, &mut library, &added, &declarations)?;
    let added = library.get_added_vocabulary();
    let special = added.get_added_tokens_decoder().iter();
    let special = special
        .filter(|(_, token)| token.special || added.is_special_token(&token.content))
        .map(|(&id, _)| id)
        .collect();
    let decodes = |is| {
        library
            .get_decoder()
            .is_some_and(|d| pieces::any_decoder(d, is))
    };
    let byte_fallback = decodes(|d| matches!(d, DecoderWrapper::ByteFallback(_)));
    let byte_level = decodes(|d| matches!(d, DecoderWrapper::ByteLevel(_)));
    Ok(Tokenizer {
        library,
        name,
        special,
        byte_fallback,
        byte_level,
        bos,
    })
}

fn parse_library(
    name: &str,
    bytes: &[u8],
    table: Option<Cow<'static, [u8]>>,
) -> Result<(Library, Vec<AddedToken>), TokenizerError> {
    let failed = |message: String| TokenizerError::Parse {
        name: name.into(),
        message,
    };
    // The library reads some models itself.
    let parts = caught(|| Ok(Parts::read(bytes)?));
    let parts = parts.map_err(|error| failed(error.to_string()))?;
    limits::check_file(name, &parts)?;
    let made = caught(|| parts.into_tokenizer(table));
    let (mut library, added) = made.map_err(|error| failed(error.to_string()))?;
    limits::check_added(name, library.get_normalizer(), added.iter())?;
    caught(|| Ok(library.add_tokens(&added))).map_err(|error| failed(error.to_string()))?;
    Ok((library, added))
}

/// Switches off what is meant for training batches, adds what stands in the other files only, and finds how a prompt begins.
fn prepare(
    name: &str,
    library: &mut Library,
    in_file: &[AddedToken],
    files: &Declarations<'_>,
) -> Result<Bos, TokenizerError> {
    let added: BTreeMap<u32, AddedToken> = library.get_added_tokens_decoder().into_iter().collect();
    let declared = Declared::read(files, &added)?;
    let known = added.values().map(|token| token.content.as_str()).collect();
    let mut tokens = declared.to_add(&known);
    let is_there: HashSet<&AddedToken> = added.values().collect();
    tokens.retain(|token| !is_there.contains(token));
    if !tokens.is_empty() {
        let all = in_file.iter().chain(&tokens);
        limits::check_added(name, library.get_normalizer(), all)?;
    }
    // One that no file gives an id gets a new one, which the model cannot know.
    let bos = declared.named("bos_token").map(|text| NamedBos {
        text,
        has_id: library.token_to_id(text).is_some() || declared.lists(text),
    });
    guarded(
        name,
        || "adding its special tokens".into(),
        || {
            library.with_padding(None);
            // Whatever it adds, it prepares its search for all of them anew.
            if !tokens.is_empty() {
                library.add_tokens(&tokens);
            }
            library.with_truncation(None).map(drop)
        },
    )?;
    let config = files.config.as_ref();
    if config.is_some_and(|config| config.is_on("split_special_tokens")) {
        library.set_encode_special_tokens(true);
    }
    find_bos(name, library, bos, config)
}

/// What the files say about BOS.
struct NamedBos<'a> {
    text: &'a str,
    /// Whether a file gives it an id.
    has_id: bool,
}

fn find_bos(
    name: &str,
    library: &Library,
    bos: Option<NamedBos<'_>>,
    config: Option<&Beside<'_>>,
) -> Result<Bos, TokenizerError> {
    // What stands before nothing and before something stands before everything.
    let front = encode(library, name, "", true)?.first().copied();
    let front = front
        .filter(|&id| encode(library, name, "a", true).is_ok_and(|ids| ids.first() == Some(&id)));
    let Some(NamedBos { text, has_id }) = bos else {
        return Ok(front.map_or(Bos::None, Bos::ByPostProcessor));
    };
    let wanted = config.is_some_and(|config| config.is_on("add_bos_token"));
    match library.token_to_id(text).filter(|_| has_id) {
        Some(id) if front == Some(id) => Ok(Bos::ByPostProcessor(id)),
        Some(id) if wanted => Ok(Bos::ByConfig(id)),
        None if wanted => Err(TokenizerError::UnknownBos {
            config: config.map_or(names::CONFIG, Beside::name).into(),
            name: name.into(),
            token: text.into(),
        }),
        Some(_) | None => Ok(Bos::None),
    }
}

fn encode(
    library: &Library,
    name: &str,
    text: &str,
    with_special: bool,
) -> Result<Vec<u32>, TokenizerError> {
    let doing = || format!("encoding a prompt of {} bytes", text.len());
    // The library takes over a hundred bytes for each of a text: long ones go to it one after the other, whoever asks.
    static LONG: Mutex<()> = Mutex::new(());
    let is_long = text.len() > LONG_TEXT;
    let _turn = is_long.then(|| LONG.lock().unwrap_or_else(PoisonError::into_inner));
    guarded(name, doing, || {
        Ok(library.encode_fast(text, with_special)?.get_ids().to_vec())
    })
}

/// Runs the library with its errors and panics caught.
fn guarded<T>(
    name: &str,
    doing: impl Fn() -> String,
    call: impl FnOnce() -> tokenizers::Result<T>,
) -> Result<T, TokenizerError> {
    caught(call).map_err(|error| TokenizerError::Failed {
        name: name.into(),
        doing: doing(),
        message: error.to_string(),
    })
}

/// Runs the library with its panics as errors.
fn caught<T>(call: impl FnOnce() -> tokenizers::Result<T>) -> tokenizers::Result<T> {
    crate::caught::caught(call).unwrap_or_else(|panic| Err(panic.into()))
}

#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod tests;
