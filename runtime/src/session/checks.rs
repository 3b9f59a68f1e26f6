//! What a checked session has that others have not: a checker, weights and state with guards, state that is filled.

use std::sync::Arc;

use super::{Program, SessionOptions};
use crate::abi::Manifest;
use crate::checked::{CheckOptions, Checked, Checker, GuardedWeights, POISON};
use crate::error::Error;
use crate::state::{Layout, States};

/// The checker of a session of `program`; where weights are to have guards, `pointers` then point to copies.
pub(super) fn checker(
    program: &Program,
    options: CheckOptions,
    of: &Checked<'_>,
    pointers: &mut Vec<*const u8>,
) -> Result<Box<Checker>, Error> {
    let access = program.checks.as_ref().ok_or(Error::NoChecks)?;
    let mut guarded = None;
    if options.guards {
        // SAFETY: every pointer was made for a slot of so many bytes.
        let copies = unsafe { GuardedWeights::copy(pointers, &of.manifest.weights) }?;
        *pointers = copies.pointers().to_vec();
        guarded = Some(copies);
    }
    let checker = Checker::new(Arc::clone(access), options, of, guarded)?;
    Ok(Box::new(checker))
}

/// The state of a session's sequences, as its options want it laid out and filled.
pub(super) fn states(
    manifest: &Manifest,
    context: usize,
    options: &SessionOptions,
) -> Result<States, Error> {
    let checks = options.checks;
    let layout = match checks.is_some_and(|c| c.guards) {
        true => Layout::guarded(manifest, context)?,
        false => Layout::new(manifest, context)?,
    };
    let states = States::new(layout, options.slots)?;
    Ok(match checks.is_some_and(|c| c.poison) {
        true => states.poisoned(POISON),
        false => states,
    })
}
