//! Choices that do not go with a model.

use std::path::PathBuf;

use graver_runtime::files::shown;

/// A choice that does not go with the model.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// Sizes for a model that has sizes.
    #[error("preset {preset}: {what} has sizes of its own; presets are for specs")]
    Preset {
        /// The preset.
        preset: String,
        /// What the model is.
        what: &'static str,
    },
    /// Sizes for a model that has sizes.
    #[error(
        "{}: {what} has sizes of its own; a configuration gives a spec its sizes",
        shown(config)
    )]
    Config {
        /// The file.
        config: PathBuf,
        /// What the model is.
        what: &'static str,
    },
    /// Two presets.
    #[error("preset {preset}: the model's name already has a preset, {name}; drop one of the two")]
    TwoPresets {
        /// The one that was named with the model.
        name: String,
        /// The other one.
        preset: String,
    },
    /// A seed for weights that are not random.
    #[error(
        "a seed for weights: {what} has weights of its own; a seed is for specs, whose weights are random"
    )]
    Seed {
        /// What the model is.
        what: &'static str,
    },
    /// A spec for what has none to choose.
    #[error(
        "spec {}: the model is {what}; a spec is chosen for checkpoint folders and GGUF files",
        shown(spec)
    )]
    Spec {
        /// The spec.
        spec: PathBuf,
        /// What the model is.
        what: &'static str,
    },
}
