//! Where a model's chat templates are: in a checkpoint's folder, or given as text.
//!
//! In: a folder. Out: [`TemplateFiles`], the templates by name and the texts of special tokens, small enough to be put into an
//! artifact as JSON. `chat_template.jinja` and `additional_chat_templates/` go before `chat_template.json`, and that before
//! what `tokenizer_config.json` has, as the reference has it.

use std::path::Path;

use graver_runtime::files::{self, MAX_CONFIG};
use graver_runtime::tokenizer::{SPECIAL_TOKENS, Source};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::error::TemplateError;

/// The name of the template for everything that has none of its own.
const DEFAULT: &str = "default";

/// Special tokens, and templates where they are not in files of their own.
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
/// What is expected of it, in messages.
const CONFIG_EXPECTED: &str =
    "an object with chat_template as a string or a list of names and templates";

/// Templates as they are stored, and what special tokens read as.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateFiles {
    /// Templates by name; one alone is called `default`.
    pub templates: Vec<Named>,
    /// Texts of special tokens by what templates call them: `bos_token`.
    pub tokens: Map<String, Json>,
}

/// A template with a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// Its name: `default`, `tool_use`.
    pub name: String,
    /// Its text, Jinja.
    pub template: String,
}

impl TemplateFiles {
    /// A single template that is at hand.
    pub fn of(template: &str, tokens: Map<String, Json>) -> TemplateFiles {
        TemplateFiles {
            templates: vec![named(DEFAULT, template)],
            tokens,
        }
    }

    /// What stands beside a tokenizer: in its folder, or in the configuration that comes with it where it is in a GGUF file or in an artifact.
    ///
    /// # Errors
    /// A file that cannot be read or is not what it should be.
    pub fn of_tokenizer(source: &Source) -> Result<TemplateFiles, TemplateError> {
        match source {
            Source::Files(files) => {
                TemplateFiles::find(files.tokenizer.parent().unwrap_or(Path::new("")))
            }
            Source::Bytes { place, files } => {
                let at = Path::new(place).join(TOKENIZER_CONFIG);
                let config = files.config.as_deref();
                let config = config.map(|bytes| parse(&at, CONFIG_EXPECTED, bytes));
                Ok(TemplateFiles::of_config(
                    config.transpose()?.unwrap_or_default(),
                ))
            }
            Source::Recipe(_) => TemplateFiles::of_tokenizer(&source.clone().made()?),
            Source::Missing(_) => Ok(TemplateFiles::default()),
        }
    }

    /// What a checkpoint's folder has; no templates where there are none.
    ///
    /// # Errors
    /// A file that cannot be read or is not what it should be.
    pub fn find(folder: &Path) -> Result<TemplateFiles, TemplateError> {
        let config = read_json(&folder.join(TOKENIZER_CONFIG), CONFIG_EXPECTED)?;
        let mut found = TemplateFiles::of_config(config.unwrap_or_default());
        let jinja = jinja_files(folder)?;
        let path = folder.join("chat_template.json");
        if !jinja.is_empty() {
            found.templates = jinja;
        } else if let Some(file) = read_json::<Config>(&path, CONFIG_EXPECTED)? {
            let own = file.templates();
            if !own.is_empty() {
                found.templates = own;
            }
        }
        Ok(found)
    }

    fn of_config(config: Config) -> TemplateFiles {
        let mut tokens = Map::new();
        for name in SPECIAL_TOKENS {
            let text = match config.rest.get(name) {
                Some(Json::String(text)) => Some(text.as_str()),
                Some(Json::Object(token)) => token.get("content").and_then(Json::as_str),
                Some(_) | None => None,
            };
            if let Some(text) = text {
                tokens.insert(name.into(), text.into());
            }
        }
        let templates = config.templates();
        TemplateFiles { templates, tokens }
    }
}

#[derive(Default, Deserialize)]
struct Config {
    chat_template: Option<OneOrNamed>,
    #[serde(flatten)]
    rest: Map<String, Json>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrNamed {
    One(String),
    Named(Vec<Named>),
}

impl Config {
    fn templates(self) -> Vec<Named> {
        match self.chat_template {
            None => Vec::new(),
            Some(OneOrNamed::One(template)) => vec![named(DEFAULT, &template)],
            Some(OneOrNamed::Named(all)) => all,
        }
    }
}

fn named(name: &str, template: &str) -> Named {
    Named {
        name: name.into(),
        template: template.into(),
    }
}

fn read_json<T: for<'de> Deserialize<'de>>(
    path: &Path,
    expected: &'static str,
) -> Result<Option<T>, TemplateError> {
    if !files::is_there(path) {
        return Ok(None);
    }
    parse(path, expected, &files::read(path, MAX_CONFIG)?).map(Some)
}

fn parse<T: for<'de> Deserialize<'de>>(
    path: &Path,
    expected: &'static str,
    bytes: &[u8],
) -> Result<T, TemplateError> {
    serde_json::from_slice(bytes).map_err(|source| TemplateError::Json {
        path: path.into(),
        expected,
        source,
    })
}

/// `chat_template.jinja` and the files of `additional_chat_templates/`, by name.
fn jinja_files(folder: &Path) -> Result<Vec<Named>, TemplateError> {
    let mut found = Vec::new();
    let main = folder.join("chat_template.jinja");
    if files::is_there(&main) {
        found.push(named(DEFAULT, &read_text(&main)?));
    }
    let Ok(more) = std::fs::read_dir(folder.join("additional_chat_templates")) else {
        return Ok(found);
    };
    let mut paths: Vec<_> = more.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "jinja"));
    paths.sort();
    for path in paths {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        found.push(named(&stem, &read_text(&path)?));
    }
    Ok(found)
}

fn read_text(path: &Path) -> Result<String, TemplateError> {
    let bytes = files::read(path, MAX_CONFIG)?;
    let not_text = |_| TemplateError::NotText { path: path.into() };
    String::from_utf8(bytes).map_err(not_text)
}
