//! Named values that attention reads beside its input: what its queries are made from, and the keys that they are limited to.

use super::at::At;
use super::error::{Fault, Read};
use super::model::Picked;
use super::read::Fields;

/// The value that queries are made from, and the width of what they are made from: the step's input if `q_from` names none.
pub(super) fn queries_from(
    at: &At<'_, '_, '_>,
    fields: &Fields<'_, '_>,
) -> Read<(Option<String>, usize)> {
    let Some(node) = fields.optional("q_from")? else {
        return Ok((None, at.width()?));
    };
    let name = node.literal("the name of a value")?;
    let width = at.seen.width(name).map_err(|f| node.fault(f))?;
    Ok((Some(name.into()), width))
}

/// `picked`: the name of what an `index` gave, with lists for `kv_heads` key heads.
pub(super) fn picked(
    at: &At<'_, '_, '_>,
    fields: &Fields<'_, '_>,
    kv_heads: usize,
) -> Read<Option<Picked>> {
    let Some(node) = fields.optional("picked")? else {
        return Ok(None);
    };
    let value = node.literal("the name of a value")?;
    let listing = at.seen.listing(value).map_err(|f| node.fault(f))?;
    if !kv_heads.is_multiple_of(listing.sets) {
        return Err(node.fault(Fault::Range {
            found: format!("`{value}`, which has {} lists", listing.sets),
            expected: format!("one list, or a number that divides the {kv_heads} key heads"),
        }));
    }
    let value = value.into();
    Ok(Some(Picked { value, listing }))
}
