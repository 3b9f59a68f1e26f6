//! Numbers and widths of heads, as all steps that have some read them.

use super::error::{Fault, Read};
use super::limits::{MAX_HEADS, MAX_WIDTH};
use super::read::{Fields, Node};

/// A number of heads that divides another, and is that other where the key is absent or null.
pub(super) fn dividing(
    fields: &Fields<'_, '_>,
    key: &str,
    (name, of): (&'static str, usize),
) -> Read<usize> {
    let divisor = |node: &Node<'_, '_>| {
        let value = node.whole(1, MAX_HEADS)?;
        match of.is_multiple_of(value) {
            true => Ok(value),
            false => Err(node.fault(Fault::NotADivisor { value, name, of })),
        }
    };
    Ok(fields.value(key, divisor)?.unwrap_or(of))
}

/// Width of so many heads together.
pub(super) fn width_of(node: &Node<'_, '_>, heads: usize, dim: usize) -> Read<usize> {
    match heads * dim {
        width if width <= MAX_WIDTH => Ok(width),
        _ => Err(node.fault(Fault::Range {
            found: format!("{heads} heads of {dim} components"),
            expected: format!("at most {MAX_WIDTH} components together"),
        })),
    }
}
