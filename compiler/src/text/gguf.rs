//! The tokenizer in the metadata of a GGUF file.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use graver_runtime::files::shown;
use graver_runtime::text::LoadedText;
use graver_runtime::tokenizer::{Contents, Files, Missing, Recipe, Source};

use super::table::TABLE;
use super::vocabulary::{MAX_BYTES, MAX_TOKENS, Type, Vocabulary};
use super::write::{self, Kind, Pieces};
use crate::weights::{GgufError, GgufFile, GgufModel, Item, List, Scalar, WeightsError};

/// The tokenizer of a GGUF file, and the tokens that end a text.
///
/// # Errors
/// A file that cannot be read, and metadata that are not what they should be.
pub fn gguf_text(path: &Path) -> Result<LoadedText, WeightsError> {
    let model = Arc::new(GgufModel::open(path)?);
    text_of(&model).map_err(|problem| at(&model.files[0], problem))
}

/// What kind of tokenizer a GGUF file has, in words.
///
/// # Errors
/// Metadata that are not what they should be.
pub fn gguf_tokenizer(file: &GgufFile) -> Result<String, WeightsError> {
    let described = || {
        let Some(model) = text(file, "model")? else {
            return Ok("none".into());
        };
        let tokens = list(file, "tokens")?.map_or(0, |tokens| tokens.len());
        let pre = match model {
            "gpt2" => format!(", cut as `{}`", text(file, "pre")?.unwrap_or("default")),
            _ => String::new(),
        };
        let template = file.header.metadata.text(&file.bytes, TEMPLATE)?;
        let chat = if template.is_some() {
            ", with a chat template"
        } else {
            ""
        };
        let unread = match kind(file)? {
            Ok(_) => "",
            Err(_) => " (not read)",
        };
        Ok(format!("`{model}`, {tokens} tokens{pre}{chat}{unread}"))
    };
    described().map_err(|problem| at(file, problem))
}

fn at(file: &GgufFile, problem: GgufError) -> WeightsError {
    WeightsError::Gguf {
        path: file.path.clone(),
        problem,
    }
}

const TEMPLATE: &str = "tokenizer.chat_template";
/// What writers put where there is no such token: -1 in 32 bits.
const NO_TOKEN: u32 = u32::MAX;

fn text_of(model: &Arc<GgufModel>) -> Result<LoadedText, GgufError> {
    let file = &model.files[0];
    let place = shown(&file.path).to_string();
    let kind = match kind(file)? {
        Ok(kind) => kind,
        Err(why) => {
            let tokenizer = Source::Missing(Missing::Gguf { place, why });
            return Ok(LoadedText {
                tokenizer,
                eos: vec![],
            });
        }
    };
    let eos = vocabulary(file, &kind)?.all_ends();
    // Merges are searched for, and the whole is written, beside whatever else is being loaded.
    let model = model.clone();
    let make = move || files_of(&model.files[0]).map_err(|problem| problem.to_string())?;
    Ok(LoadedText {
        tokenizer: Source::Recipe(Recipe::new(place, make)),
        eos,
    })
}

/// The files of a tokenizer, or why there is none that is known.
fn files_of(file: &GgufFile) -> Result<Result<Contents, String>, GgufError> {
    let kind = match kind(file)? {
        Ok(kind) => kind,
        // It was known before: somebody writes to the file.
        Err(why) => return Ok(Err(why)),
    };
    let vocabulary = vocabulary(file, &kind)?;
    let template = file.header.metadata.text(&file.bytes, TEMPLATE)?;
    let (tokenizer, table) = write::tokenizer(&vocabulary, &kind);
    Ok(Ok(Files {
        tokenizer: Cow::Owned(tokenizer),
        config: Some(Cow::Owned(write::config(&vocabulary, template))),
        special_tokens_map: None,
        added_tokens: None,
        table: table.map(Cow::Owned),
    }))
}

/// The kind of a file's tokenizer, or why it has none that is known.
fn kind(file: &GgufFile) -> Result<Result<Kind<'_>, String>, GgufError> {
    let Some(model) = text(file, "model")? else {
        return Ok(Err("the file has no tokenizer".into()));
    };
    let pieces = |likeliest| {
        Ok::<_, GgufError>(Pieces {
            likeliest,
            prefix: flag(file, "add_space_prefix")?.unwrap_or(!likeliest),
            squeeze: flag(file, "remove_extra_whitespaces")?.unwrap_or(false),
            // An empty map is none.
            characters: list(file, "precompiled_charsmap")?
                .and_then(|map| map.bytes())
                .filter(|map| !map.is_empty()),
        })
    };
    Ok(Ok(match model {
        "llama" => Kind::Pieces(pieces(false)?),
        "t5" => Kind::Pieces(pieces(true)?),
        "gpt2" => {
            let pre = text(file, "pre")?.unwrap_or("default");
            let Some(cuts) = TABLE.cuts(pre) else {
                let known: Vec<&str> = TABLE.names().collect();
                let known = known.join(", ");
                return Ok(Err(format!(
                    "its tokenizer cuts text as `{pre}` does, and known are {known}"
                )));
            };
            let merges = merges(file)?;
            Kind::Bytes { cuts, merges }
        }
        other => {
            return Ok(Err(format!(
                "its tokenizer is of the kind `{other}`, and known are gpt2, llama and t5"
            )));
        }
    }))
}

/// The pairs of a file, in the order in which they are joined.
fn merges<'a>(file: &'a GgufFile) -> Result<Vec<(&'a str, &'a str)>, GgufError> {
    // The left one may be a blank itself, but is not empty.
    let pair = |merge: &'a str| {
        let at = merge.char_indices().skip(1).find(|(_, c)| *c == ' ')?.0;
        Some((&merge[..at], &merge[at + 1..]))
    };
    let pairs = texts(file, "merges", pair)?;
    let pairs = pairs.ok_or(GgufError::MissingKey { key: key("merges") })?;
    Ok(pairs.into_iter().flatten().collect())
}

fn vocabulary<'a>(file: &'a GgufFile, kind: &Kind<'_>) -> Result<Vocabulary<'a>, GgufError> {
    let tokens = texts(file, "tokens", Cow::Borrowed)?;
    let tokens = tokens.ok_or(GgufError::MissingKey { key: key("tokens") })?;
    let id = |name: &str| {
        let Some(id) = file.header.metadata.whole(&file.bytes, &key(name))? else {
            return Ok(None);
        };
        match u32::try_from(id) {
            Ok(NO_TOKEN) => Ok(None),
            Ok(id) if (id as usize) < tokens.len() => Ok(Some(id)),
            Ok(_) | Err(_) => Err(no_token(name, &id.to_string())),
        }
    };
    let ends = ["eot_token_id", "eom_token_id"].map(id);
    let ends = ends.into_iter().collect::<Result<Vec<_>, _>>()?;
    let (bos, eos) = (id("bos_token_id")?, id("eos_token_id")?);
    let (has_bos, has_eos) = match kind {
        Kind::Bytes { cuts, .. } => (cuts.bos, false),
        Kind::Pieces(own) => (!own.likeliest, own.likeliest),
    };
    let adds_bos = flag(file, "add_bos_token")?.unwrap_or(has_bos);
    let adds_eos = flag(file, "add_eos_token")?.unwrap_or(has_eos);
    for (adds, id, name) in [
        (adds_bos, bos, "bos_token_id"),
        (adds_eos, eos, "eos_token_id"),
    ] {
        let is_said = || file.header.metadata.get(&file.bytes, &key(name)).is_some();
        if adds && id.is_none() && is_said() {
            return Err(no_token(name, &NO_TOKEN.to_string()));
        }
    }
    let types = numbers(file, "token_type", tokens.len(), kind_of)?;
    let scores = numbers(file, "scores", tokens.len(), float)?;
    if let Some(odd) = scores.iter().flatten().find(|score| !score.is_finite()) {
        return Err(GgufError::WrongType {
            key: key("scores"),
            found: format!("{odd}"),
            expected: "a finite number for each token",
        });
    }
    if matches!(kind, Kind::Pieces(_)) && scores.is_none() {
        return Err(GgufError::MissingKey { key: key("scores") });
    }
    Ok(Vocabulary {
        types: types.unwrap_or_else(|| vec![Type::Normal; tokens.len()]),
        scores: scores.unwrap_or_default(),
        bos,
        eos,
        unknown: id("unknown_token_id")?,
        adds_bos,
        adds_eos,
        ends: ends.into_iter().flatten().collect(),
        tokens,
    })
}

fn no_token(name: &str, found: &str) -> GgufError {
    GgufError::WrongType {
        key: key(name),
        found: found.into(),
        expected: "the number of one of the tokens",
    }
}

fn kind_of(number: Scalar) -> Type {
    match number {
        Scalar::Whole(n) => Type::of(n),
        Scalar::Single(_) | Scalar::Double(_) | Scalar::Flag(_) => Type::Normal,
    }
}

fn float(number: Scalar) -> f32 {
    match number {
        Scalar::Whole(n) => n as f32,
        Scalar::Single(x) => x,
        Scalar::Double(x) => x as f32,
        Scalar::Flag(_) => 0.0,
    }
}

fn key(name: &str) -> String {
    format!("tokenizer.ggml.{name}")
}

fn text<'a>(file: &'a GgufFile, name: &str) -> Result<Option<&'a str>, GgufError> {
    file.header.metadata.text(&file.bytes, &key(name))
}

fn flag(file: &GgufFile, name: &str) -> Result<Option<bool>, GgufError> {
    file.header.metadata.flag(&file.bytes, &key(name))
}

fn list<'a>(file: &'a GgufFile, name: &str) -> Result<Option<List<'a>>, GgufError> {
    file.header.metadata.list(&file.bytes, &key(name))
}

/// What is made of the texts of a list, all of which have to be UTF-8, and not more than any vocabulary has.
fn texts<'a, T>(
    file: &'a GgufFile,
    name: &str,
    to: impl Fn(&'a str) -> T,
) -> Result<Option<Vec<T>>, GgufError> {
    let Some(list) = list(file, name)? else {
        return Ok(None);
    };
    let at_most = |what: &str, found: usize, limit: usize| match found <= limit {
        true => Ok(()),
        false => Err(GgufError::TooMany {
            what: format!("{what} of key {:?}", key(name)),
            found: found as u64,
            limit: limit as u64,
        }),
    };
    at_most("elements", list.len(), MAX_TOKENS)?;
    let mut texts = Vec::with_capacity(list.len());
    let mut bytes = 0;
    for item in list.items() {
        let Item::Text(text) = item else {
            return Err(item.wrong(&key(name), "a list of texts"));
        };
        let Ok(text) = std::str::from_utf8(text) else {
            return Err(item.wrong(&key(name), "texts in UTF-8"));
        };
        bytes += text.len();
        texts.push(to(text));
    }
    at_most("bytes", bytes, MAX_BYTES)?;
    Ok(Some(texts))
}

/// What is made of the numbers of a list, one for each token.
fn numbers<T>(
    file: &GgufFile,
    name: &str,
    tokens: usize,
    to: impl Fn(Scalar) -> T,
) -> Result<Option<Vec<T>>, GgufError> {
    let Some(list) = list(file, name)? else {
        return Ok(None);
    };
    let wrong = || Item::List(list).wrong(&key(name), "a number for each token");
    if list.len() != tokens {
        return Err(wrong());
    }
    let mut numbers = Vec::with_capacity(tokens);
    for item in list.items() {
        let Item::Scalar(scalar) = item else {
            return Err(wrong());
        };
        numbers.push(to(scalar));
    }
    Ok(Some(numbers))
}
