//! Why a spec could not be loaded or bound.

use graver_runtime::files::FileError;

use super::super::json::JsonError;
use super::fault::Fault;
use super::kind::Kind;
use super::names::{hint, list};

/// Why a spec could not be loaded or bound.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file is not JSON.
    #[error("{file}: {source}")]
    Json {
        /// The file.
        file: String,
        /// Where and why.
        source: JsonError,
    },
    /// Something at a place of a spec.
    #[error("{file}: {path}: {fault}")]
    At {
        /// File of the spec in which the place stands.
        file: String,
        /// JSON path; steps are addressed by their names.
        path: String,
        /// What is wrong.
        fault: Fault,
    },
    /// No built-in spec has this name.
    #[error(
        "no built-in spec named `{name}`{}; known are {}; a spec file is given by its path",
        hint(nearest),
        list(known)
    )]
    UnknownSpec {
        /// The name asked for.
        name: String,
        /// Names of the built-in specs.
        known: Vec<String>,
        /// The most similar of them.
        nearest: Option<String>,
    },
    /// No built-in spec takes this kind of model.
    #[error(
        "config.json: model_type: no built-in spec takes `{found}`{}; known are {}; `--spec FILE` takes a spec from a file",
        hint(nearest),
        list(known)
    )]
    UnknownModelType {
        /// `model_type` of the config.
        found: String,
        /// The model types of all built-in specs.
        known: Vec<String>,
        /// The most similar of them.
        nearest: Option<String>,
    },
    /// No built-in spec takes this architecture of GGUF files.
    #[error(
        "general.architecture: no built-in spec takes `{found}`{}; known are {}; `--spec FILE` takes a spec from a file",
        hint(nearest),
        list(known)
    )]
    UnknownArchitecture {
        /// What the file says.
        found: String,
        /// The architectures of all built-in specs.
        known: Vec<String>,
        /// The most similar of them.
        nearest: Option<String>,
    },
    /// A spec that says nothing about GGUF files.
    #[error(
        "spec `{name}`: no `gguf` section, which maps the names and metadata of GGUF files; add one, or use the model's safetensors files"
    )]
    NoGguf {
        /// The spec's name.
        name: String,
    },
    /// The config does not say what kind of model it is.
    #[error(
        "config.json: model_type: {found}, expected the name of a model type ({}); `--spec FILE` takes a spec from a file",
        list(known)
    )]
    NoModelType {
        /// What stands there instead.
        found: Kind,
        /// The model types of all built-in specs.
        known: Vec<String>,
    },
    /// The spec has no sizes at all.
    #[error(
        "{file}: presets: none in this spec or those it extends; pass sizes with --config FILE (a config.json), or add a preset"
    )]
    NoPresets {
        /// The spec's file.
        file: String,
    },
    /// The spec has no such preset.
    #[error(
        "{file}: presets: no preset `{name}`{}; there are {}",
        hint(nearest),
        list(known)
    )]
    UnknownPreset {
        /// The spec's file.
        file: String,
        /// The name asked for.
        name: String,
        /// The spec's presets.
        known: Vec<String>,
        /// The most similar of them.
        nearest: Option<String>,
    },
}
