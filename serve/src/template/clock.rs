//! What time it is, as Python's `datetime.now().strftime(format)` says it: by the C library, in local time.

use std::ffi::{CString, c_char};
use std::time::{SystemTime, UNIX_EPOCH};

/// Longest text of a date, in bytes.
const LONGEST: usize = 1024;

/// The time of day, or one that never changes.
#[derive(Clone, Debug, Default)]
pub(super) struct Clock {
    /// Seconds since 1970, where it stands still.
    stands_at: Option<i64>,
}

impl Clock {
    /// A clock that stands still.
    pub(super) fn at(seconds: i64) -> Clock {
        Clock {
            stands_at: Some(seconds),
        }
    }

    /// The time in a format of `strftime`; nothing where it is longer than any date.
    pub(super) fn format(&self, format: &str) -> String {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let (seconds, micros) = match (self.stands_at, since) {
            (Some(seconds), _) => (seconds, 0),
            (None, Ok(since)) => (since.as_secs() as i64, since.subsec_micros()),
            (None, Err(_before_1970)) => (0, 0),
        };
        let Ok(format) = CString::new(own_fields(format, micros)) else {
            return String::new();
        };
        let mut out = vec![0u8; LONGEST];
        let seconds: libc::time_t = seconds;
        // SAFETY: `tm` is plain numbers, for which zeros are fine; `localtime_r` writes it from a valid pointer, and `strftime`
        // writes at most `LONGEST` bytes to `out`, which has as many, from a string that ends with a zero.
        let written = unsafe {
            let mut time: libc::tm = std::mem::zeroed();
            if libc::localtime_r(&raw const seconds, &raw mut time).is_null() {
                return String::new();
            }
            let to = out.as_mut_ptr().cast::<c_char>();
            libc::strftime(to, LONGEST, format.as_ptr(), &raw const time)
        };
        out.truncate(written);
        String::from_utf8_lossy(&out).into_owned()
    }
}

/// Fills in what Python does not leave to the C library: microseconds, and the time zone, which a naive time does not have.
fn own_fields(format: &str, micros: u32) -> String {
    let mut out = String::with_capacity(format.len());
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('f') => out.push_str(&format!("{micros:06}")),
            Some('z' | 'Z') => {}
            Some(other) => out.extend(['%', other]),
            None => out.push('%'),
        }
    }
    out
}
