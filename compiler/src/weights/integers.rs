//! Matrices of integers as they are published beside float checkpoints: which tensors hold codes, scales and zero points, and
//! whether these fit.
//!
//! A value is (code − zero point) · scale, with scale and zero point for each group of neighbouring inputs, or for all inputs of an
//! output, rounded once in float32 (Frantar et al. 2022, Lin et al. 2023). Codes of 4 or 8 bits fill words of 32 bits along the inputs or
//! the outputs. What the tensors are called and how words lie is data, in `published.json`; sizes are what `quantization_config` says.

use std::collections::BTreeMap;

use safetensors::Dtype as StoredDtype;
use serde::Deserialize;
use serde_json::Value;

use super::checkpoint::Checkpoint;
use super::error::WeightsError;
use super::header::weight_type;
use super::integer_matrix::{IntegerMatrix, Side};
use super::integer_rows::IntegerRows;

/// Ending of a matrix's name, in place of which the others stand.
const WEIGHT: &str = ".weight";
/// Bits of a word.
const WORD: usize = 32;

/// Names of the tensors that stand for a matrix, and how words of codes lie in them.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct IntegerForm {
    codes: String,
    scales: String,
    /// Zero points, in words along the outputs; half of the range without them.
    zeros: Option<String>,
    /// The group of each input, where they are not in order.
    order: Option<String>,
    /// Tensors that say nothing new.
    #[serde(default)]
    beside: Vec<String>,
    /// Whether tensors lie as `[in, out]`.
    in_first: bool,
    /// What the codes of a word are neighbours along.
    words_along: Side,
    /// Which of its places in a word each of eight neighbours has; in order without it.
    places: Option<[usize; 8]>,
    /// By how much a zero point is stored too small, by the name of the file's format; the first without a name.
    #[serde(default)]
    zero_less: BTreeMap<String, i32>,
}

/// How a checkpoint stores integers.
#[derive(Clone, Debug)]
pub(super) struct Integers {
    form: IntegerForm,
    bits: usize,
    /// Inputs that share a scale; all without it.
    group: Option<usize>,
    zero_less: i32,
}

impl Integers {
    /// Sizes from `quantization_config`, or from the groups in it, which have to agree.
    pub(super) fn of(form: IntegerForm, config: &Value) -> Result<Integers, WeightsError> {
        let groups = config["config_groups"].as_object();
        let mut all = groups.into_iter().flat_map(|groups| groups.values());
        let settings = all.next().map_or(config, |group| &group["weights"]);
        let whole = |group: &Value| &group["weights"] != settings;
        if let Some(other) = all.find(|group| whole(group)) {
            let found = other["weights"].to_string();
            return Err(unreadable(
                "config_groups",
                found,
                "groups whose weights are alike",
            ));
        }
        let kind = settings["type"].as_str().unwrap_or("int");
        if kind != "int" {
            return Err(unreadable("type", kind.into(), "int"));
        }
        let version = config["version"].as_str();
        if let Some(other) =
            version.filter(|v| form.places.is_some() && !v.eq_ignore_ascii_case("gemm"))
        {
            return Err(unreadable("version", other.into(), "gemm"));
        }
        let number = |names: [&str; 3]| names.into_iter().find_map(|name| settings[name].as_i64());
        let bits = number(["bits", "num_bits", "w_bit"]);
        let Some(bits) = bits.filter(|bits| [4, 8].contains(bits)) else {
            let found = bits.map_or("nothing".into(), |bits| bits.to_string());
            return Err(unreadable("bits", found, "4 or 8"));
        };
        if form
            .places
            .is_some_and(|places| places.len() != WORD / bits as usize)
        {
            return Err(unreadable("bits", bits.to_string(), "4"));
        }
        let group = number(["group_size", "q_group_size", "groupsize"]).filter(|n| *n > 0);
        Ok(Integers {
            zero_less: zero_less(&form, config)?,
            bits: bits as usize,
            group: group.and_then(|n| usize::try_from(n).ok()),
            form,
        })
    }

    /// The name of the tensor of codes of a matrix.
    pub(super) fn codes(&self, name: &str) -> Option<String> {
        Some(format!("{}{}", name.strip_suffix(WEIGHT)?, self.form.codes))
    }

    /// All names under which a checkpoint may have a part of the matrix.
    pub(super) fn names(&self, name: &str) -> Vec<String> {
        let Some(base) = name.strip_suffix(WEIGHT) else {
            return Vec::new();
        };
        let form = &self.form;
        let certain = [&form.codes, &form.scales].into_iter();
        let all = certain
            .chain(&form.zeros)
            .chain(&form.order)
            .chain(&form.beside);
        all.map(|end| format!("{base}{end}")).collect()
    }

    /// The tensors of a matrix of this shape, `[out, in]`, if they fit it.
    pub(super) fn matrix(
        &self,
        checkpoint: &Checkpoint,
        name: &str,
        shape: &[usize],
        slot: &str,
    ) -> Result<IntegerMatrix, WeightsError> {
        let form = &self.form;
        let base = name.strip_suffix(WEIGHT).unwrap_or(name);
        let named = |end: &str| format!("{base}{end}");
        let there =
            |end: &String| Some(named(end)).filter(|name| checkpoint.tensors.contains_key(name));
        let (zeros, order) = (
            form.zeros.as_ref().and_then(there),
            form.order.as_ref().and_then(there),
        );
        let fitting = |name: &str, of: &[StoredDtype], expected: Option<Vec<usize>>| {
            let found = checkpoint.tensors.get(name).map(|t| &t.header);
            let fits =
                found.filter(|h| of.contains(&h.dtype) && Some(&h.shape) == expected.as_ref());
            fits.map(|h| h.dtype).ok_or_else(|| WeightsError::Scales {
                tensor: name.into(),
                slot: slot.into(),
                found: found.map_or("nothing".into(), |h| format!("{} {:?}", h.dtype, h.shape)),
                expected: match expected {
                    Some(shape) => format!("{} {shape:?}", of[0]),
                    None => {
                        format!("a matrix whose sizes are multiples of its groups, not {shape:?}")
                    }
                },
            })
        };
        let &[rows, columns] = shape else {
            let name = named(&form.codes);
            return Err(fitting(&name, &[StoredDtype::I32], None).expect_err("nothing fits"));
        };
        let (per_word, group) = (WORD / self.bits, self.group.unwrap_or(columns));
        let words = |n: usize| n.is_multiple_of(per_word).then_some(n / per_word);
        let (words_out, words_in) = match form.words_along {
            Side::In => (Some(rows), words(columns)),
            Side::Out => (words(rows), Some(columns)),
        };
        let groups = columns.is_multiple_of(group).then_some(columns / group);
        let lie = |out: Option<usize>, inputs: Option<usize>| match form.in_first {
            true => Some(vec![inputs?, out?]),
            false => Some(vec![out?, inputs?]),
        };
        let (codes, scales) = (named(&form.codes), named(&form.scales));
        let integers = &[StoredDtype::I32][..];
        let floats = [StoredDtype::F16, StoredDtype::BF16, StoredDtype::F32];
        fitting(&codes, integers, lie(words_out, words_in))?;
        let scale_type = fitting(&scales, &floats, lie(Some(rows), groups))?;
        if let Some(zeros) = &zeros {
            fitting(zeros, integers, lie(words(rows), groups))?;
        }
        if let Some(order) = &order {
            fitting(order, integers, Some(vec![columns]))?;
        }
        let matrix = IntegerMatrix {
            codes,
            scales,
            zeros,
            order,
            rows,
            columns,
            bits: self.bits,
            group,
            zero_less: self.zero_less,
            in_first: form.in_first,
            words_along: form.words_along,
            places: form.places,
            scale_type: weight_type(scale_type).expect("a float"),
        };
        check_order(&matrix, checkpoint, slot)?;
        Ok(matrix)
    }
}

/// Groups of inputs have to be groups that there are.
fn check_order(
    matrix: &IntegerMatrix,
    checkpoint: &Checkpoint,
    slot: &str,
) -> Result<(), WeightsError> {
    match IntegerRows::of(checkpoint, matrix).odd_group() {
        None => Ok(()),
        Some((input, found)) => Err(WeightsError::Scales {
            tensor: matrix.order.clone().unwrap_or_default(),
            slot: slot.into(),
            found: format!("group {found} for input {input}"),
            expected: format!("0 to {}", matrix.groups() - 1),
        }),
    }
}

/// By how much zero points are stored too small.
fn zero_less(form: &IntegerForm, config: &Value) -> Result<i32, WeightsError> {
    let Some((_, usual)) = form.zero_less.first_key_value() else {
        return Ok(0);
    };
    let Some(format) = config["checkpoint_format"].as_str() else {
        return Ok(*usual);
    };
    form.zero_less.get(format).copied().ok_or_else(|| {
        let known: Vec<&str> = form.zero_less.keys().map(String::as_str).collect();
        unreadable("checkpoint_format", format.into(), &known.join(" or "))
    })
}

fn unreadable(key: &'static str, found: String, expected: &str) -> WeightsError {
    WeightsError::Quantization {
        key,
        found,
        expected: expected.into(),
    }
}
