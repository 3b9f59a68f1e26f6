//! Checks of the numbers in a manifest, and the sizes of what a session reserves.
//!
//! A manifest may come from a damaged file: every product and sum is checked, and nothing is allocated here.

use crate::abi::{ABI_VERSION, Manifest, ProgramInfo};
use crate::cpu;
use crate::error::Error;
use crate::memory::{PAGE, round_up};
use crate::session::DEFAULT_CONTEXT;

/// The most tokens per step a manifest may ask for: a bound on what a damaged one makes us allocate.
const MAX_STEP_TOKENS: usize = 1 << 16;

/// Checks what a manifest says that no later step checks by itself.
pub(crate) fn check_manifest(manifest: &Manifest) -> Result<(), Error> {
    if manifest.abi != ABI_VERSION {
        return Err(Error::Abi {
            found: manifest.abi,
            expected: ABI_VERSION,
        });
    }
    let missing = cpu::missing_features(&manifest.features);
    if !missing.is_empty() {
        return Err(Error::Processor {
            target: manifest.target.clone(),
            missing,
        });
    }
    let within = |field, found: usize, most: usize| match (1..=most).contains(&found) {
        true => Ok(()),
        false => Err(Error::Manifest {
            field,
            found,
            expected: format!("1 to {most}"),
        }),
    };
    within("vocab", manifest.vocab, u32::MAX as usize)?;
    within("output", manifest.width(), u32::MAX as usize)?;
    within("context", manifest.context, u32::MAX as usize)?;
    within(
        "decode.max_tokens",
        manifest.decode.max_tokens,
        MAX_STEP_TOKENS,
    )?;
    within(
        "decode.query_tile",
        manifest.decode.query_tile,
        MAX_STEP_TOKENS,
    )?;
    within(
        "prefill.max_tokens",
        manifest.prefill.max_tokens,
        MAX_STEP_TOKENS,
    )?;
    within(
        "prefill.query_tile",
        manifest.prefill.query_tile,
        MAX_STEP_TOKENS,
    )
}

pub(crate) fn context(manifest: &Manifest, asked: Option<usize>) -> Result<usize, Error> {
    let max = manifest.context;
    match asked {
        None => Ok(max.min(DEFAULT_CONTEXT)),
        Some(context) if (1..=max).contains(&context) => Ok(context),
        Some(found) => Err(Error::Context { found, max }),
    }
}

/// Bytes between two threads' scratch areas: whole pages, so that threads share none.
pub(crate) fn scratch_stride(manifest: &Manifest) -> Result<usize, Error> {
    let bytes = manifest
        .decode
        .scratch_bytes
        .max(manifest.prefill.scratch_bytes);
    sized("scratch", round_up(bytes.max(1), PAGE))
}

/// Where an arena's buffers that grow with the context begin.
fn grown_offset(info: &ProgramInfo) -> Option<usize> {
    round_up(info.arena_bytes, 64)
}

/// Bytes of an arena that serves either program.
pub(crate) fn arena_bytes(manifest: &Manifest, context: usize) -> Result<usize, Error> {
    let of = |info| program_arena_bytes(info, context);
    Ok(of(&manifest.decode)?.max(of(&manifest.prefill)?))
}

/// Bytes of the arena that one program uses.
pub(crate) fn program_arena_bytes(info: &ProgramInfo, context: usize) -> Result<usize, Error> {
    let grown = info.arena_bytes_per_position.checked_mul(context);
    let bytes = grown.and_then(|grown| grown_offset(info)?.checked_add(grown));
    sized("activations", bytes)
}

/// A size that was computed with overflow checks.
pub(crate) fn sized(what: &'static str, bytes: Option<usize>) -> Result<usize, Error> {
    bytes
        .filter(|bytes| *bytes <= isize::MAX as usize)
        .ok_or(Error::Overflow { what })
}
