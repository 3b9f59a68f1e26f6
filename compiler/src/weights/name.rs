//! Names and shapes out of files, as messages show them.

use std::fmt;

/// A name out of a file: quoted, escaped, and cut where it is absurdly long.
pub(super) struct Name<'a>(pub(super) &'a str);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LONGEST: usize = 200;
        match self.0.char_indices().nth(LONGEST) {
            None => write!(f, "{:?}", self.0),
            Some((cut, _)) => write!(f, "{:?}… ({} bytes)", &self.0[..cut], self.0.len()),
        }
    }
}

/// A shape out of a file, cut where it has absurdly many dimensions.
pub(super) struct Shape<'a>(pub(super) &'a [usize]);

impl fmt::Display for Shape<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MOST: usize = 8;
        if self.0.len() <= MOST {
            return write!(f, "{:?}", self.0);
        }
        write!(f, "{:?}… ({} dimensions)", &self.0[..MOST], self.0.len())
    }
}

/// Names, with something between them.
pub(super) fn list(names: &[String], between: &str) -> String {
    names
        .iter()
        .map(|name| Name(name).to_string())
        .collect::<Vec<_>>()
        .join(between)
}
