//! Every function of a program as text: Cranelift's intermediate form and machine code, for people to read.

use cranelift_module::{ModuleError, default_libcall_names};
use cranelift_object::{ObjectBuilder, ObjectModule};

use crate::codegen::{self, Listing, Planned, Target, TargetError};

/// Why there is no listing.
#[derive(Debug, thiserror::Error)]
pub enum ListingError {
    /// The processor.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// Cranelift.
    #[error("code generation failed: {0}")]
    Module(#[from] Box<ModuleError>),
}

/// Compiles a program for `target` and keeps nothing but the text of its functions.
///
/// # Errors
/// Processors that code cannot be made for, and what Cranelift reports.
pub(crate) fn listings(planned: &Planned, target: &Target) -> Result<Vec<Listing>, ListingError> {
    let builder = ObjectBuilder::new(target.isa(true)?, "listing", default_libcall_names());
    let mut module = ObjectModule::new(builder.map_err(Box::new)?);
    let mut out = vec![];
    codegen::emit(&mut module, planned, "graver", Some(&mut out))?;
    Ok(out)
}
