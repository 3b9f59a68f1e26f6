//! How a command ends.

use std::error::Error;
use std::process::ExitCode;

/// A command's exit code, or what went wrong.
pub(super) type Outcome = Result<ExitCode, Box<dyn Error>>;
