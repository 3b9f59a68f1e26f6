//! What stands between C and this library: arrays are looked at before they are used, and errors and panics become a text that the
//! caller can ask for. `SAFETY` comments call what callers have to keep to the header's rules.

use std::cell::RefCell;
use std::ffi::{CString, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    pub(super) static LAST_ERROR: RefCell<CString> = RefCell::default();
}

/// A call that makes no sense.
#[derive(Debug, thiserror::Error)]
pub(super) enum Misuse {
    #[error("{function}: {argument} is NULL; expected a pointer as graver.h describes it")]
    Null {
        function: &'static str,
        argument: &'static str,
    },
    #[error(
        "{function}: {argument} has {found} elements at address {address:#x}; expected an address that such an array can have"
    )]
    Array {
        function: &'static str,
        argument: &'static str,
        found: usize,
        address: usize,
    },
    #[error(
        "graver_open: options.size is {found}; expected 0, or sizeof(graver_options), which is {expected} for this library: compile the program with the header that was written with the library"
    )]
    Size { found: usize, expected: usize },
    #[error(
        "graver_generate: sampling.size is {found}; expected 0, or sizeof(graver_sampling), which is {expected} for this library: compile the program with the header that was written with the library"
    )]
    SamplingSize { found: usize, expected: usize },
    #[error("{function}: the text is not UTF-8: {source}")]
    Utf8 {
        function: &'static str,
        source: std::str::Utf8Error,
    },
    #[error("{function}: wanted is {found}; expected GRAVER_NONE, GRAVER_LAST or GRAVER_ALL")]
    Wanted {
        function: &'static str,
        found: c_int,
    },
    #[error("{function}: an internal error, described on stderr; please report it")]
    Panic { function: &'static str },
}

pub(super) type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// An array of the caller's; no elements need no address.
///
/// # Safety
/// `data`, if it is an address that `n` elements can have, is that of `n` elements that live and stay as they are for as long as
/// the result is used.
pub(super) unsafe fn slice<'a, T>(
    function: &'static str,
    argument: &'static str,
    data: *const T,
    n: usize,
) -> Result<&'a [T], Misuse> {
    if n == 0 {
        return Ok(&[]);
    }
    if data.is_null() {
        return Err(Misuse::Null { function, argument });
    }
    let bytes = n.checked_mul(size_of::<T>());
    let end = bytes.and_then(|bytes| data.addr().checked_add(bytes));
    if !data.is_aligned() || end.is_none() || bytes.is_none_or(|b| b > isize::MAX as usize) {
        return Err(Misuse::Array {
            function,
            argument,
            found: n,
            address: data.addr(),
        });
    }
    // SAFETY: the caller promises `n` elements that live and stay as they are; the address is aligned, and the length is one of memory
    // (checked).
    Ok(unsafe { std::slice::from_raw_parts(data, n) })
}

pub(super) fn not_null<T>(
    function: &'static str,
    argument: &'static str,
    value: Option<T>,
) -> Result<T, Misuse> {
    value.ok_or(Misuse::Null { function, argument })
}

pub(super) fn status(function: &'static str, call: impl FnOnce() -> Outcome<()>) -> c_int {
    guarded(function, call).map_or(-1, |()| 0)
}

/// The call's result; `None`, and a text for `graver_error`, where it fails or panics.
pub(super) fn guarded<T>(function: &'static str, call: impl FnOnce() -> Outcome<T>) -> Option<T> {
    let outcome = catch_unwind(AssertUnwindSafe(call));
    let error = match outcome {
        Ok(Ok(value)) => return Some(value),
        Ok(Err(error)) => error.to_string(),
        Err(_) => Misuse::Panic { function }.to_string(),
    };
    // A name in a file may hold zeros, with which C's texts end.
    let error = CString::new(error.replace('\0', "\\0")).unwrap_or_default();
    // A thread that is about to end may have no place for it any more.
    let _ = LAST_ERROR.try_with(|last| last.replace(error));
    None
}
