//! Frequencies of rotary embeddings: `θ_i = base^(−2i/dim)`, stretched as the config says.
//!
//! Frequencies are float32 computed from float32 (the exponent is rounded before the power is taken), because the
//! reference does so: at position 2,000 a frequency rounded otherwise has turned measurably further.

use std::borrow::Cow;
use std::f64::consts::PI;

use serde_json::{Map, Value};

use super::error::{Fault, Kind, Located, Read};
use super::form;
use super::json::{flag, number};
use super::limits::MAX_CONTEXT;
use super::model::{LongFreqs, Rope};
use super::read::{Fields, Node, whole};
use super::tables::{self, Scaling, scaling};

/// Widest rotated part of a head.
const MAX_DIM: usize = 1 << 16;

/// Reads one entry of `ropes`. `context` is the longest context of the model.
pub(super) fn rope(name: &str, node: &Node<'_, '_>, context: usize) -> Read<Rope> {
    let fields = node.object(form::ROPE)?;
    let dim_node = fields.required("dim")?;
    let dim = dim_node.whole(2, MAX_DIM)?;
    if dim % 2 != 0 {
        let expected = "an even number: components rotate in pairs".into();
        return Err(dim_node.fault(Fault::Range {
            found: dim.to_string(),
            expected,
        }));
    }
    let theta = fields.value("theta", positive)?;
    let outer_original = fields.value("original_context", |n| n.whole(1, MAX_CONTEXT))?;
    let table = Table::read(node, &fields)?;
    let base = table.number("rope_theta")?.or(theta);
    let base = base.ok_or_else(|| node.fault(Fault::MissingKey("theta")))?;
    let original = match outer_original {
        Some(original) => original,
        None => table
            .whole("original_max_position_embeddings")?
            .unwrap_or(context),
    };
    let plain = Plain {
        base,
        dim,
        original: original as f64,
        context: context as f64,
    };
    let rule = table.scaling()?;
    let (mut freqs, scale, mut long) = plain.scaled(rule, &table)?;
    if fields.flag("backwards")? {
        let long = long.iter_mut().flat_map(|l| &mut l.freqs);
        freqs.iter_mut().chain(long).for_each(|f| *f = -*f);
    }
    let all = freqs.iter().chain(long.iter().flat_map(|l| &l.freqs));
    let scale = scale as f32;
    if let Some(bad) = all.chain([&scale]).find(|f| !f.is_finite()) {
        let expected = "frequencies, and a scale on them, within float32".into();
        return Err(node.fault(Fault::Range {
            found: bad.to_string(),
            expected,
        }));
    }
    Ok(Rope {
        name: name.into(),
        theta: base,
        scaling: (rule != Scaling::None).then(|| table.rule().unwrap_or_default().into()),
        freqs,
        scale,
        interleaved: fields.flag("interleaved")?,
        long,
    })
}

fn positive(node: &Node<'_, '_>) -> Read<f64> {
    let value = node.eval()?;
    let found = number(&value).ok_or_else(|| node.unexpected(&value, "a number"))?;
    match within_float32(found) {
        true => Ok(found),
        false => Err(node.out_of_range(&value, POSITIVE)),
    }
}

const POSITIVE: &str = "a number above 0 within float32";

/// Frequencies are computed in float32.
fn within_float32(number: f64) -> bool {
    number as f32 > 0.0 && (number as f32).is_finite()
}

/// The config's object of scaling parameters.
struct Table<'s, 'a> {
    at: Node<'s, 'a>,
    map: Cow<'a, Value>,
}

impl<'s, 'a> Table<'s, 'a> {
    /// Reads `parameters` of a rope, whose keys all have to be known.
    fn read(rope: &Node<'s, 'a>, fields: &Fields<'s, 'a>) -> Read<Table<'s, 'a>> {
        let given = fields.value("parameters", |n| n.eval().map(|v| (n.clone(), v)))?;
        let empty = || (rope.clone(), Cow::Owned(Value::Object(Map::new())));
        let (at, map) = given.unwrap_or_else(empty);
        let Some(keys) = map.as_object().map(|m| m.keys().map(String::as_str)) else {
            return Err(at.unexpected(&map, "an object"));
        };
        let elsewhere = match fields.raw("elsewhere") {
            Some(list) => list
                .elements()?
                .iter()
                .map(|n| n.literal("a key of `parameters`"))
                .collect::<Read<Vec<_>>>()?,
            None => Vec::new(),
        };
        for key in keys.filter(|key| !elsewhere.contains(key)) {
            tables::rope_key(key).map_err(|f| at.fault_of(&map, f))?;
        }
        Ok(Table { at, map })
    }

    /// What the config calls the scaling. Older ones call the key `type`.
    fn rule(&self) -> Option<&str> {
        self.get("rope_type").or(self.get("type"))?.as_str()
    }

    fn scaling(&self) -> Read<Scaling> {
        let Some(value) = self.get("rope_type").or(self.get("type")) else {
            return Ok(Scaling::None);
        };
        let name = value
            .as_str()
            .ok_or_else(|| self.wrong("rope_type", value, "a string"))?;
        match scaling(name).map_err(|f| self.at.fault_of(value, f))? {
            // Early configs call scaling by lists of factors by the name of the rule that it grew from.
            Scaling::Yarn if self.get("long_factor").is_some() => Ok(Scaling::ByLength),
            other => Ok(other),
        }
    }

    fn get(&self, key: &str) -> Option<&Value> {
        self.map.get(key).filter(|v| !v.is_null())
    }

    /// A fault of the value of a key: by its place in the config, or in the spec where that has the parameters.
    fn fault_of(&self, key: &str, value: &Value, fault: Fault) -> Located {
        let mut located = self.at.fault_of(value, fault);
        if located.path == self.at.path {
            located.path = format!("{}.{key}", self.at.path);
        }
        located
    }

    fn wrong(&self, key: &str, value: &Value, expected: &'static str) -> Located {
        let found = Kind::of(value);
        self.fault_of(key, value, Fault::WrongType { found, expected })
    }

    /// A number above zero.
    fn number(&self, key: &'static str) -> Read<Option<f64>> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let found = number(value).ok_or_else(|| self.wrong(key, value, "a number"))?;
        match within_float32(found) {
            true => Ok(Some(found)),
            false => Err(self.wrong(key, value, POSITIVE)),
        }
    }

    /// A number of positions.
    fn whole(&self, key: &'static str) -> Read<Option<usize>> {
        let read = |v| whole(v, 1, MAX_CONTEXT).map_err(|f| self.fault_of(key, v, f));
        self.get(key).map(read).transpose()
    }

    /// A number that may be zero, where zero stands for "not given".
    fn number_or_zero(&self, key: &'static str) -> Read<Option<f64>> {
        if self.get(key).and_then(number) == Some(0.0) {
            Ok(None)
        } else {
            self.number(key)
        }
    }

    fn required(&self, key: &'static str) -> Read<f64> {
        self.number(key)?
            .ok_or_else(|| self.at.fault_of(&self.map, Fault::MissingKey(key)))
    }

    /// `n` numbers above zero.
    fn numbers(&self, key: &'static str, n: usize) -> Read<Vec<f32>> {
        let missing = || self.at.fault_of(&self.map, Fault::MissingKey(key));
        let value = self.get(key).ok_or_else(missing)?;
        let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
        let found: Vec<f32> = list
            .iter()
            .filter_map(number)
            .filter(|x| within_float32(*x))
            .map(|x| x as f32)
            .collect();
        if found.len() == n && list.len() == n {
            return Ok(found);
        }
        let fault = Fault::Range {
            found: format!("{} with {} numbers above 0", Kind::of(value), found.len()),
            expected: format!("{n}, one for each pair of components"),
        };
        Err(self.fault_of(key, value, fault))
    }

    /// A flag; null is false, as everywhere in Python.
    fn flag(&self, key: &'static str) -> Read<Option<bool>> {
        let read = |v: &Value| match v.is_null() {
            true => Ok(false),
            false => flag(v).ok_or_else(|| self.wrong(key, v, "true or false")),
        };
        self.map.get(key).map(read).transpose()
    }
}

type Scaled = (Vec<f32>, f64, Option<LongFreqs>);

/// What every kind of scaling starts from.
struct Plain {
    base: f64,
    dim: usize,
    /// Context of the first training, in positions.
    original: f64,
    context: f64,
}

impl Plain {
    /// Frequencies, the factor on cos and sin, and the frequencies of long sequences.
    fn scaled(&self, scaling: Scaling, table: &Table<'_, '_>) -> Read<Scaled> {
        let (freqs, scale) = match scaling {
            Scaling::None => (self.freqs(), 1.0),
            Scaling::Linear => {
                let factor = table.required("factor")? as f32;
                (self.freqs().iter().map(|f| f / factor).collect(), 1.0)
            }
            Scaling::DynamicBase => (self.with_dynamic_base(table.required("factor")?), 1.0),
            Scaling::ByWavelength => (self.by_wavelength(table)?, 1.0),
            Scaling::Proportional => (self.proportional(table)?, 1.0),
            Scaling::ByLength => return self.by_length(table),
            Scaling::Yarn => self.yarn(table)?,
        };
        Ok((freqs, scale, None))
    }

    /// Frequencies of the whole width, of which those beyond a part are 0.
    fn proportional(&self, table: &Table<'_, '_>) -> Read<Vec<f32>> {
        let factor = table.number("factor")?.unwrap_or(1.0) as f32;
        let part = table.number("partial_rotary_factor")?.unwrap_or(1.0);
        let turning = (part * self.dim as f64) as usize / 2;
        let freq = |(i, f): (usize, f32)| if i < turning { f / factor } else { 0.0 };
        Ok(self.freqs().into_iter().enumerate().map(freq).collect())
    }

    fn by_length(&self, table: &Table<'_, '_>) -> Read<Scaled> {
        let stretched = |key| {
            let factors = table.numbers(key, self.dim / 2)?;
            let pairs = factors.iter().zip(self.powers());
            Ok(pairs.map(|(f, power)| 1.0 / (f * power)).collect())
        };
        let long = LongFreqs {
            above: self.original as usize,
            freqs: stretched("long_factor")?,
        };
        let factor = table
            .number("factor")?
            .unwrap_or(self.context / self.original);
        let grown = match factor > 1.0 {
            // A first context of one position has no logarithm to divide by.
            true if self.original < 2.0 => {
                return Err(table.at.fault(Fault::Range {
                    found: "an original context of 1 position".into(),
                    expected: "at least 2, which the scale is computed from".into(),
                }));
            }
            true => (1.0 + factor.ln() / self.original.ln()).sqrt(),
            false => 1.0,
        };
        let scale = match (table.number("short_mscale")?, table.number("long_mscale")?) {
            (None, None) => table.number("attention_factor")?.unwrap_or(grown),
            (Some(short), Some(long)) if short == long => short,
            (short, long) => {
                let name = |scale: Option<f64>| scale.map_or("none".into(), |s| s.to_string());
                let (short, long) = (name(short), name(long));
                return Err(table.at.fault(Fault::Range {
                    found: format!("short_mscale = {short} and long_mscale = {long}"),
                    expected: "the same scale for short and long sequences".into(),
                }));
            }
        };
        let short: Vec<f32> = stretched("short_factor")?;
        // Where both lists are the same, nothing changes with the length.
        let long = (long.freqs != short).then_some(long);
        Ok((short, scale, long))
    }

    /// `base^(2i/dim)` for each pair `i`.
    fn powers(&self) -> impl Iterator<Item = f32> {
        // The power is taken in float64 of operands rounded to float32: the nearest float32 to what a float32 power means.
        let base = f64::from(self.base as f32);
        let dim = self.dim as f32;
        (0..self.dim)
            .step_by(2)
            .map(move |i| base.powf(f64::from(i as f32 / dim)) as f32)
    }

    fn freqs(&self) -> Vec<f32> {
        self.powers().map(|p| 1.0 / p).collect()
    }

    /// NTK-aware scaling grows the base with the length of the sequence; up to the trained length that is a growth by one.
    fn with_dynamic_base(&self, factor: f64) -> Vec<f32> {
        let growth = factor * self.context / self.context - (factor - 1.0);
        let dim = self.dim as f64;
        // With one pair the exponent is infinite and the only frequency is 1, whatever the base.
        let base = if self.dim == 2 {
            self.base
        } else {
            self.base * growth.powf(dim / (dim - 2.0))
        };
        Plain { base, ..*self }.freqs()
    }

    fn by_wavelength(&self, table: &Table<'_, '_>) -> Read<Vec<f32>> {
        let factor = table.required("factor")? as f32;
        let (low, high) = (
            table.required("low_freq_factor")?,
            table.required("high_freq_factor")?,
        );
        if high < low {
            let expected = format!("a number of at least low_freq_factor = {low}");
            return Err(table.at.fault(Fault::Range {
                found: format!("high_freq_factor = {high}"),
                expected,
            }));
        }
        let longest = (self.original / low) as f32;
        let shortest = (self.original / high) as f32;
        let stretch = |freq: f32| {
            let wavelength = (1.0 / freq) * (2.0 * PI) as f32;
            if wavelength > longest {
                freq / factor
            } else if wavelength < shortest || low == high {
                freq
            } else {
                let smooth =
                    ((1.0 / wavelength) * self.original as f32 - low as f32) / (high - low) as f32;
                (1.0 - smooth) * freq / factor + smooth * freq
            }
        };
        Ok(self.freqs().into_iter().map(stretch).collect())
    }

    fn yarn(&self, table: &Table<'_, '_>) -> Read<(Vec<f32>, f64)> {
        let factor = table
            .number("factor")?
            .unwrap_or(self.context / self.original);
        let scale = yarn_scale(factor, table)?;
        let fast = table.number_or_zero("beta_fast")?.unwrap_or(32.0);
        let slow = table.number_or_zero("beta_slow")?.unwrap_or(1.0);
        let (mut low, mut high) = (self.turning(fast), self.turning(slow));
        if table.flag("truncate")?.unwrap_or(true) {
            (low, high) = (low.floor(), high.ceil());
        }
        let (low, mut high) = (low.max(0.0), high.min(self.dim as f64 - 1.0));
        if low == high {
            high += 0.001;
        }
        let span = (high - low) as f32;
        let blend = |(i, power): (usize, f32)| {
            let ramp = ((i as f32 - low as f32) / span).clamp(0.0, 1.0);
            let kept = 1.0 - ramp;
            let stretched = 1.0 / (factor as f32 * power);
            stretched * (1.0 - kept) + (1.0 / power) * kept
        };
        Ok((self.powers().enumerate().map(blend).collect(), scale))
    }

    /// The pair (not rounded) that turns `rotations` times over the original context.
    fn turning(&self, rotations: f64) -> f64 {
        (self.dim as f64 * (self.original / (rotations * 2.0 * PI)).ln()) / (2.0 * self.base.ln())
    }
}

/// YaRN's factor on cos and sin: given, or `0.1 ln(factor) + 1`, weighted by `mscale` where the config has both weights.
fn yarn_scale(factor: f64, table: &Table<'_, '_>) -> Read<f64> {
    let grown = |weight: f64| {
        if factor <= 1.0 {
            1.0
        } else {
            0.1 * weight * factor.ln() + 1.0
        }
    };
    if let Some(given) = table.number("attention_factor")? {
        return Ok(given);
    }
    Ok(
        match (
            table.number_or_zero("mscale")?,
            table.number_or_zero("mscale_all_dim")?,
        ) {
            (Some(some), Some(all)) => grown(some) / grown(all),
            _ => grown(1.0),
        },
    )
}
