//! Options of operations with recurrent state, as text.

use super::{Attr, AttrError, Words, flag, float, inner_norm, set};
use crate::graph::{DeltaRule, RecurrentId, ShortConv};

pub(super) fn short_conv(c: &ShortConv) -> Vec<Attr> {
    let mut out = vec![set("taps", c.taps)];
    out.extend(c.act.map(|a| set("act", a.name())));
    out.extend(c.norm.iter().map(inner_norm));
    out.push(set("state", c.state));
    out
}

pub(super) fn delta_rule(d: &DeltaRule) -> Vec<Attr> {
    let mut out = vec![
        set("heads", d.heads),
        set("key_heads", d.key_heads),
        set("key_dim", d.key_dim),
        set("value_dim", d.value_dim),
        float("scale", d.scale),
    ];
    out.extend(d.norm.iter().map(inner_norm));
    out.extend(d.gated.then(|| flag("gated")));
    out.push(set("state", d.state));
    out
}

impl Words<'_> {
    fn recurrent(&self) -> Result<RecurrentId, AttrError> {
        let word: String = self.get("state")?;
        let number = word.strip_prefix('r').and_then(|n| n.parse().ok());
        number
            .map(RecurrentId)
            .ok_or_else(|| self.bad("state", &word, "a recurrent state such as r0"))
    }

    pub(super) fn short_conv(&self) -> Result<ShortConv, AttrError> {
        Ok(ShortConv {
            taps: self.get("taps")?,
            act: self.act("act")?,
            norm: self.inner_norm()?,
            state: self.recurrent()?,
        })
    }

    pub(super) fn delta_rule(&self) -> Result<DeltaRule, AttrError> {
        Ok(DeltaRule {
            heads: self.get("heads")?,
            key_heads: self.get("key_heads")?,
            key_dim: self.get("key_dim")?,
            value_dim: self.get("value_dim")?,
            scale: self.get("scale")?,
            norm: self.inner_norm()?,
            gated: self.has("gated"),
            state: self.recurrent()?,
        })
    }
}
