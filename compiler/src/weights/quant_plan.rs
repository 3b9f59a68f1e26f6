//! What each matrix is rounded to: a type for all, and rules for those whose names fit a pattern.

use graver_runtime::abi::Quant;

/// Types of quantised weights: those of [`ROUNDED_TO`], or [`Quant::Q4`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuantChoice {
    /// Matrices of the layers.
    pub layers: Quant,
    /// The embedding and the head.
    pub head: Quant,
}

/// What each matrix is rounded to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuantPlan {
    /// Where no rule says otherwise.
    pub usual: QuantChoice,
    /// The last one that fits counts.
    pub rules: Vec<QuantRule>,
    /// A text that the model reads before it is rounded, so that errors count most where they do most harm; nothing is known of that
    /// where there is none.
    pub calibration: Vec<u32>,
}

/// Another type for some matrices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuantRule {
    /// What their names look like, or the name of what they lie in (`layers.3.mlp.down`, `layers.3`, `head`); names of the checkpoint's tensors
    /// will do as well. `*` stands for anything.
    pub pattern: String,
    /// Their type; they stay as they are where this is none.
    pub quant: Option<Quant>,
}

/// What matrices can be rounded to, by the names that users have for it; `none` leaves them as they are.
pub const ROUNDED_TO: [(&str, Option<Quant>); 3] = [
    ("q8", Some(Quant::Q8)),
    ("q4", Some(Quant::Q4Super)),
    ("none", None),
];

/// What a name among [`ROUNDED_TO`] stands for.
pub fn rounded_to(name: &str) -> Option<Option<Quant>> {
    let found = ROUNDED_TO.into_iter().find(|(known, _)| *known == name);
    found.map(|(_, quant)| quant)
}

/// Text that is no rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}`: expected a pattern and a type, as in `layers.*.mlp.down=q8`; types are q8, q4 and none"
)]
pub struct NoRule(String);

impl From<QuantChoice> for QuantPlan {
    fn from(usual: QuantChoice) -> QuantPlan {
        QuantPlan {
            usual,
            rules: vec![],
            calibration: vec![],
        }
    }
}

impl From<Quant> for QuantPlan {
    fn from(quant: Quant) -> QuantPlan {
        let (layers, head) = (quant, quant);
        QuantChoice { layers, head }.into()
    }
}

impl std::str::FromStr for QuantRule {
    type Err = NoRule;

    fn from_str(text: &str) -> Result<QuantRule, NoRule> {
        let rule = text.rsplit_once('=').and_then(|(pattern, name)| {
            let quant = rounded_to(name)?;
            (!pattern.is_empty()).then(|| QuantRule {
                pattern: pattern.into(),
                quant,
            })
        });
        rule.ok_or_else(|| NoRule(text.into()))
    }
}

impl QuantPlan {
    /// The last rule that fits one of the names, by its place in the list.
    pub(super) fn rule(&self, names: &[String]) -> Option<usize> {
        let fits = |rule: &QuantRule| names.iter().any(|name| rule.fits(name));
        self.rules.iter().rposition(fits)
    }
}

impl QuantRule {
    /// Whether the pattern is a name, or what it lies in: `layers.3` fits `layers.3.mlp.down.weight`.
    fn fits(&self, name: &str) -> bool {
        let mut outer = name.match_indices('.').map(|(end, _)| &name[..end]);
        self.is(name) || outer.any(|outer| self.is(outer))
    }

    fn is(&self, name: &str) -> bool {
        let mut pieces = self.pattern.split('*');
        let Some(mut rest) = pieces.next().and_then(|first| name.strip_prefix(first)) else {
            return false;
        };
        let pieces: Vec<&str> = pieces.collect();
        // What stands between two stars is looked for as early as it can be, which leaves most to those after it.
        let Some((last, between)) = pieces.split_last() else {
            return rest.is_empty();
        };
        for piece in between {
            match rest.find(piece) {
                Some(at) => rest = &rest[at + piece.len()..],
                None => return false,
            }
        }
        rest.ends_with(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_anything() {
        for (pattern, name, fits) in [
            ("layers.3.mlp.down", "layers.3.mlp.down", true),
            ("layers.3.mlp.down", "layers.3.mlp.down.weight", true),
            ("layers.3.mlp", "layers.3.mlp.down.weight", true),
            ("layers.3", "layers.33.mlp.down.weight", false),
            ("layers.*.down", "layers.3.mlp.down_proj", false),
            ("layers.*.down", "layers.12.mlp.down", true),
            ("layers.1*", "layers.2.mlp.down", false),
            ("*.mlp.*", "layers.1.mlp.down", true),
            ("*a*a*", "banana", true),
            ("*a*a", "ab", false),
            ("*", "", true),
            ("a*a", "a", false),
        ] {
            let rule = QuantRule {
                pattern: pattern.into(),
                quant: None,
            };
            assert_eq!(rule.fits(name), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn a_rule_is_a_pattern_and_a_type() {
        let rule: QuantRule = "head=q8".parse().unwrap();
        assert_eq!(
            (rule.pattern.as_str(), rule.quant),
            ("head", Some(Quant::Q8))
        );
        let rule: QuantRule = "*.down=q4".parse().unwrap();
        assert_eq!(rule.quant, Some(Quant::Q4Super));
        assert_eq!("a=none".parse::<QuantRule>().unwrap().quant, None);
        for text in ["head", "=q8", "head=", "head=q4m", "head=q9"] {
            assert!(text.parse::<QuantRule>().is_err(), "{text}");
        }
    }
}
