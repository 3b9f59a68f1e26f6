//! What predictions assume of a machine.

use serde::Serialize;

/// A machine's limits, given or measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Machine {
    /// 10⁹ bytes from memory a second.
    pub gbps: f64,
    /// 10⁹ floating-point operations a second.
    pub gflops: f64,
}
