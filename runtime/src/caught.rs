//! Panics of libraries that become errors.
//!
//! A library that panics on a file must not end the program, and whoever reports panics must not take it for a fault of the program:
//! the error says what is wrong with the file.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    /// How many calls of [`caught`] this thread is within.
    static CALLS: Cell<usize> = const { Cell::new(0) };
}

/// Calls a library, with its panic, if it panics, as a text. What `call` leaves behind when it panics must not be used any more.
///
/// # Errors
/// The panic's message.
pub fn caught<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    CALLS.set(CALLS.get() + 1);
    let outcome = catch_unwind(AssertUnwindSafe(call));
    CALLS.set(CALLS.get() - 1);
    outcome.map_err(|panic| text(&*panic))
}

/// Whether a panic on this thread would become an error: a panic hook then has nothing to report.
pub fn is_caught() -> bool {
    CALLS.try_with(Cell::get).is_ok_and(|calls| calls > 0)
}

/// What a panic says.
pub(crate) fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("it panicked: {}", text.unwrap_or("no reason given"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_text_and_known_to_be_caught() {
        assert!(!is_caught());
        assert_eq!(
            caught(|| (is_caught(), caught(is_caught))),
            Ok((true, Ok(true)))
        );
        let nested = caught(|| {
            let inner = caught(|| panic!("inner {}", 1));
            assert_eq!(inner, Err::<(), _>("it panicked: inner 1".into()));
            assert!(is_caught());
            panic!("outer")
        });
        assert_eq!(nested, Err::<(), _>("it panicked: outer".into()));
        assert!(!is_caught());
    }
}
