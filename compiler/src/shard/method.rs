//! Ways in which ranks share a model.

use std::fmt;

/// How ranks share a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// All share every product: heads, columns, and some columns of each expert.
    #[default]
    Tensor,
    /// The same, but experts are dealt out whole.
    Expert,
    /// Each has some layers, and hands on what comes of them; all share the head.
    Pipeline,
}

/// How many ranks share a model, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Division {
    /// How many.
    pub ranks: usize,
    /// How.
    pub method: Method,
}

impl Method {
    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Method::Tensor => "tensor",
            Method::Expert => "expert",
            Method::Pipeline => "pipeline",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl From<usize> for Division {
    /// So many ranks, in the usual way.
    fn from(ranks: usize) -> Division {
        Division {
            ranks,
            method: Method::Tensor,
        }
    }
}
