//! Processors that code can be made for: this machine's architecture, at one of its levels or with all that this one has.

use std::sync::Arc;

use cranelift_codegen::isa::{Builder, OwnedTargetIsa};
use cranelift_codegen::settings::{self, Configurable};

/// A processor: a name, and the features that generated code may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// `native`, `x86-64-v3`.
    pub name: String,
    /// Rust names of the features that the code needs.
    pub features: Vec<String>,
}

/// A processor that code cannot be made for.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// No such name.
    #[error("unknown target processor `{name}`; expected native{}", levels())]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// Cranelift cannot generate code for it.
    #[error("cannot generate code for this machine: {0}")]
    Unsupported(String),
}

/// The target of artifacts where none is named: what most machines in use have.
#[cfg(target_arch = "x86_64")]
pub const DEFAULT_TARGET: &str = "x86-64-v3";
/// The target of artifacts where none is named.
#[cfg(target_arch = "aarch64")]
pub const DEFAULT_TARGET: &str = "aarch64";

/// Features: Rust's name, Cranelift's flag, and the first level that has it. Cranelift's own presets for the levels leave
/// some out (`has_avx` among them), so that features are set one by one.
#[cfg(target_arch = "x86_64")]
const FEATURES: &[(&str, &str, Option<usize>)] = &[
    ("cmpxchg16b", "has_cmpxchg16b", Some(1)),
    ("sse3", "has_sse3", Some(1)),
    ("ssse3", "has_ssse3", Some(1)),
    ("sse4.1", "has_sse41", Some(1)),
    ("sse4.2", "has_sse42", Some(1)),
    ("popcnt", "has_popcnt", Some(1)),
    ("avx", "has_avx", Some(2)),
    ("avx2", "has_avx2", Some(2)),
    ("bmi1", "has_bmi1", Some(2)),
    ("bmi2", "has_bmi2", Some(2)),
    ("fma", "has_fma", Some(2)),
    ("lzcnt", "has_lzcnt", Some(2)),
    ("avx512f", "has_avx512f", Some(3)),
    ("avx512dq", "has_avx512dq", Some(3)),
    ("avx512vl", "has_avx512vl", Some(3)),
    ("avx512bitalg", "has_avx512bitalg", None),
    ("avx512vbmi", "has_avx512vbmi", None),
    ("avx512vnni", "has_avx512vnni", None),
    ("avxvnni", "has_avx_vnni", None),
];
#[cfg(target_arch = "x86_64")]
const LEVELS: &[&str] = &["x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4"];

#[cfg(target_arch = "aarch64")]
const FEATURES: &[(&str, &str, Option<usize>)] = &[
    ("lse", "has_lse", None),
    ("paca", "has_pauth", None),
    ("fp16", "has_fp16", None),
    ("dotprod", "has_dotprod", None),
    ("i8mm", "has_i8mm", None),
];
#[cfg(target_arch = "aarch64")]
const LEVELS: &[&str] = &["aarch64"];

impl Target {
    /// The target called `name`: `native`, or a level of this architecture.
    ///
    /// # Errors
    /// Unknown names, and machines that Cranelift does not know.
    pub fn named(name: &str) -> Result<Target, TargetError> {
        let features = if name == "native" {
            native_features()?
        } else {
            let level = LEVELS.iter().position(|level| *level == name);
            let level = level.ok_or_else(|| TargetError::Unknown { name: name.into() })?;
            let has = |first: Option<usize>| first.is_some_and(|first| first <= level);
            FEATURES
                .iter()
                .filter(|f| has(f.2))
                .map(|f| f.0.to_string())
                .collect()
        };
        Ok(Target {
            name: name.into(),
            features,
        })
    }

    /// Cranelift's description; `pic` for objects.
    ///
    /// # Errors
    /// Machines that Cranelift does not know.
    pub fn isa(&self, pic: bool) -> Result<OwnedTargetIsa, TargetError> {
        self.isa_with(pic, cfg!(debug_assertions))
    }

    /// The same, with Cranelift's verifier on or off.
    ///
    /// # Errors
    /// Machines that Cranelift does not know.
    pub(crate) fn isa_with(
        &self,
        pic: bool,
        verifier: bool,
    ) -> Result<OwnedTargetIsa, TargetError> {
        let mut builder = host(false)?;
        let flags = FEATURES
            .iter()
            .filter(|f| self.features.iter().any(|name| name == f.0));
        for (_, flag, _) in flags {
            builder.enable(flag).map_err(unsupported)?;
        }
        finish(builder, pic, verifier)
    }
}

fn levels() -> String {
    LEVELS.iter().map(|level| format!(", {level}")).collect()
}

/// What Cranelift finds on this machine and has a use for.
fn native_features() -> Result<Vec<String>, TargetError> {
    let isa = finish(host(true)?, false, false)?;
    let set: Vec<_> = isa
        .isa_flags()
        .into_iter()
        .filter(|flag| flag.as_bool() == Some(true))
        .collect();
    let is_set = |flag: &str| set.iter().any(|value| value.name == flag);
    Ok(FEATURES
        .iter()
        .filter(|f| is_set(f.1))
        .map(|f| f.0.to_string())
        .collect())
}

fn host(infer_features: bool) -> Result<Builder, TargetError> {
    cranelift_native::builder_with_options(infer_features).map_err(unsupported)
}

fn finish(builder: Builder, pic: bool, verifier: bool) -> Result<OwnedTargetIsa, TargetError> {
    let mut flags = settings::builder();
    let text = |on: bool| if on { "true" } else { "false" };
    let wanted = [
        ("opt_level", "speed"),
        ("is_pic", text(pic)),
        ("enable_verifier", text(verifier)),
        ("log2_min_function_alignment", "6"),
        ("preserve_frame_pointers", "true"),
    ];
    for (key, value) in wanted {
        flags.set(key, value).map_err(unsupported)?;
    }
    let isa = builder.finish(settings::Flags::new(flags));
    isa.map(|isa| Arc::clone(&isa)).map_err(unsupported)
}

fn unsupported(error: impl std::fmt::Display) -> TargetError {
    TargetError::Unsupported(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_feature_that_code_may_use_is_known_and_checked_at_start() {
        let isa = finish(host(false).unwrap(), false, false).unwrap();
        for flag in isa.isa_flags() {
            let known = FEATURES.iter().any(|f| f.1 == flag.name);
            assert!(known || !flag.name.starts_with("has_"), "{}", flag.name);
        }
    }

    #[test]
    fn a_target_has_the_features_of_its_isa() {
        for name in LEVELS.iter().chain(&["native"]) {
            let target = Target::named(name).unwrap();
            let flags = target.isa(true).unwrap().isa_flags();
            let on = |flag: &str| {
                flags
                    .iter()
                    .any(|f| f.name == flag && f.as_bool() == Some(true))
            };
            for (feature, flag, _) in FEATURES {
                assert_eq!(
                    target.features.iter().any(|f| f == feature),
                    on(flag),
                    "{name}: {feature}"
                );
            }
        }
        assert!(Target::named(LEVELS[0]).unwrap().features.is_empty());
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn unknown_targets_are_named() {
        let message = Target::named("x86-64-v9").unwrap_err().to_string();
        assert_eq!(
            message,
            "unknown target processor `x86-64-v9`; expected native, x86-64, x86-64-v2, x86-64-v3, x86-64-v4"
        );
    }
}
