//! Tables of whole numbers, in f32.

use safetensors::Dtype;

use super::error::WeightsError;
use super::header::HeaderTensor;
use super::published::Widen;

/// A whole number with a sign, the lowest byte first.
pub(super) fn whole(bytes: &[u8]) -> i64 {
    let sign = if bytes.last().is_some_and(|b| b >> 7 == 1) {
        0xff
    } else {
        0
    };
    let mut all = [sign; 8];
    all[..bytes.len()].copy_from_slice(bytes);
    i64::from_le_bytes(all)
}

impl Widen {
    /// Whole numbers below `below` as f32, which holds all up to 2²⁴; a layer has fewer experts.
    pub(super) fn whole(
        header: &HeaderTensor,
        label: &str,
        below: usize,
    ) -> Result<Widen, WeightsError> {
        let bytes_each = match header.dtype {
            Dtype::I64 => 8,
            Dtype::I32 => 4,
            _ => {
                return Err(WeightsError::NotWhole {
                    tensor: header.name.clone(),
                    slot: label.to_string(),
                    found: header.dtype.to_string(),
                });
            }
        };
        Ok(Widen::Whole { bytes_each, below })
    }
}
