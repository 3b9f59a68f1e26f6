//! A rule of graphs or programs that is broken.

/// A broken invariant.
#[derive(Debug, thiserror::Error)]
#[error("{node}: {what}")]
pub struct VerifyError {
    /// Printed name of the node, or what else of a program.
    pub node: String,
    /// What is wrong with it.
    pub what: String,
    /// The block that it is in, of a program.
    pub(super) block: Option<usize>,
}

impl VerifyError {
    pub(crate) fn new(node: impl Into<String>, what: impl Into<String>) -> VerifyError {
        VerifyError {
            node: node.into(),
            what: what.into(),
            block: None,
        }
    }
}
