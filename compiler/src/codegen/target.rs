//! Processors that code can be made for.

use std::sync::Arc;

use cranelift_codegen::isa::{self, OwnedTargetIsa};
use cranelift_codegen::settings::{self, Configurable};

/// A processor: a name, and the features that generated code uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// `native`, `x86-64`, `x86-64-v3`.
    pub name: String,
    /// Rust names of the features that the code needs.
    pub features: Vec<String>,
}

/// A processor that code cannot be made for.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// No such name.
    #[error("no target processor is called `{name}`; use native, x86-64, x86-64-v2 or x86-64-v3")]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// Cranelift cannot generate code for it.
    #[error("cannot generate code for this machine: {0}")]
    Unsupported(String),
}

/// Feature names: Rust's, and Cranelift's flag.
const FEATURES: &[(&str, &str)] = &[
    ("sse3", "has_sse3"),
    ("ssse3", "has_ssse3"),
    ("sse4.1", "has_sse41"),
    ("sse4.2", "has_sse42"),
    ("popcnt", "has_popcnt"),
    ("avx", "has_avx"),
    ("avx2", "has_avx2"),
    ("bmi1", "has_bmi1"),
    ("bmi2", "has_bmi2"),
    ("fma", "has_fma"),
    ("lzcnt", "has_lzcnt"),
];

impl Target {
    /// The target called `name`.
    ///
    /// # Errors
    /// Unknown names.
    pub fn named(name: &str) -> Result<Target, TargetError> {
        let count = match name {
            "x86-64" => 0,
            "x86-64-v2" => 5,
            "x86-64-v3" => FEATURES.len(),
            "native" => {
                return Ok(Target {
                    name: name.into(),
                    features: vec![],
                });
            }
            _ => return Err(TargetError::Unknown { name: name.into() }),
        };
        Ok(Target {
            name: name.into(),
            features: FEATURES[..count].iter().map(|f| f.0.to_string()).collect(),
        })
    }

    /// Cranelift's description; `pic` for objects.
    ///
    /// # Errors
    /// Machines that Cranelift does not know.
    pub fn isa(&self, pic: bool) -> Result<OwnedTargetIsa, TargetError> {
        let mut flags = settings::builder();
        let unsupported = |e: &dyn std::fmt::Display| TargetError::Unsupported(e.to_string());
        let verify = if cfg!(debug_assertions) {
            "true"
        } else {
            "false"
        };
        let wanted = [
            ("opt_level", "speed"),
            ("is_pic", if pic { "true" } else { "false" }),
            ("enable_verifier", verify),
            ("log2_min_function_alignment", "6"),
            ("preserve_frame_pointers", "true"),
        ];
        for (key, value) in wanted {
            flags.set(key, value).map_err(|e| unsupported(&e))?;
        }
        let flags = settings::Flags::new(flags);
        let isa = if self.name == "native" {
            cranelift_native::builder()
                .map_err(|e| unsupported(&e))?
                .finish(flags)
        } else {
            let mut b =
                isa::lookup_by_name("x86_64-unknown-linux-gnu").map_err(|e| unsupported(&e))?;
            for (name, flag) in FEATURES {
                if self.features.iter().any(|f| f == name) {
                    b.enable(flag).map_err(|e| unsupported(&e))?;
                }
            }
            b.finish(flags)
        };
        isa.map(|i| Arc::clone(&i)).map_err(|e| unsupported(&e))
    }
}
