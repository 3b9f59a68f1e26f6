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
use super::settings::Settings;

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
    /// Outputs and inputs, once more.
    shape: Option<String>,
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
    /// Whether there have to be zero points.
    needs_zeros: bool,
}

impl Integers {
    /// Sizes from `quantization_config`, or from the groups in it, which have to agree.
    pub(super) fn of(form: IntegerForm, config: &Value) -> Result<Integers, WeightsError> {
        let config = Settings::new(config);
        let settings = config.of_weights()?;
        settings.word("type", &["int"])?;
        let version = settings_version(&form, &config);
        if let Some(wrong) = version {
            return Err(wrong);
        }
        let (key, bits) = settings
            .whole(&["bits", "num_bits", "w_bit"])?
            .unwrap_or(("bits", 0));
        let Some(bits) = usize::try_from(bits).ok().filter(|b| [4, 8].contains(b)) else {
            return Err(settings.wrong(key, "4 or 8"));
        };
        if form
            .places
            .is_some_and(|places| places.len() != WORD / bits)
        {
            return Err(settings.wrong(key, "4"));
        }
        Ok(Integers {
            zero_less: zero_less(&form, &config)?,
            needs_zeros: needs_zeros(&settings)?,
            group: group(&settings)?,
            bits,
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
            .chain(&form.shape);
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
        let needed = form.zeros.as_ref().filter(|_| self.needs_zeros);
        if let Some(zeros) = zeros.clone().or_else(|| needed.map(|end| named(end))) {
            fitting(&zeros, integers, lie(words(rows), groups))?;
        }
        if let Some(said) = form.shape.as_ref().and_then(there) {
            check_shape(checkpoint, &said, shape, slot)?;
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

/// A tensor that says the shape once more has to say this one.
fn check_shape(
    checkpoint: &Checkpoint,
    name: &str,
    shape: &[usize],
    slot: &str,
) -> Result<(), WeightsError> {
    let stored = &checkpoint.tensors[name];
    let header = &stored.header;
    let bytes = checkpoint.files[stored.file].bytes(header);
    let sizes: Option<Vec<i64>> = match header.dtype {
        StoredDtype::I64 => Some(
            bytes
                .as_chunks()
                .0
                .iter()
                .map(|b| i64::from_le_bytes(*b))
                .collect(),
        ),
        StoredDtype::I32 => {
            let sizes = bytes
                .as_chunks()
                .0
                .iter()
                .map(|b| i32::from_le_bytes(*b).into());
            Some(sizes.collect())
        }
        _ => None,
    };
    let found = match &sizes {
        Some(sizes)
            if sizes
                .iter()
                .map(|n| usize::try_from(*n).ok())
                .eq(shape.iter().map(|n| Some(*n))) =>
        {
            return Ok(());
        }
        Some(sizes) if sizes.len() == shape.len() => format!("{sizes:?}"),
        Some(_) | None => format!("{} {:?}", header.dtype, header.shape),
    };
    Err(WeightsError::Scales {
        tensor: name.into(),
        slot: slot.into(),
        found,
        expected: format!("{shape:?}, the shape of the codes, in I64"),
    })
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

/// What is wrong with the version of a layout with places of its own.
fn settings_version(form: &IntegerForm, config: &Settings<'_>) -> Option<WeightsError> {
    let version = config.get("version").filter(|_| form.places.is_some())?;
    let is_known = version
        .as_str()
        .is_some_and(|v| v.eq_ignore_ascii_case("gemm"));
    (!is_known).then(|| config.wrong("version", "gemm"))
}

/// Inputs that share a scale; none where all do.
fn group(settings: &Settings<'_>) -> Result<Option<usize>, WeightsError> {
    let strategy = settings.word("strategy", &["channel", "group"])?;
    let found = settings.whole(&["group_size", "q_group_size", "groupsize"])?;
    let (key, size) = found.unwrap_or(("group_size", -1));
    let group = match size {
        -1 => None,
        1.. => usize::try_from(size).ok(),
        _ => return Err(settings.wrong(key, "at least 1, or -1 for one group of all inputs")),
    };
    match (strategy, group) {
        (Some("channel"), Some(_)) => Err(settings.wrong(key, "-1, as strategy is channel")),
        (Some("group"), None) => Err(settings.wrong(key, "at least 1, as strategy is group")),
        (_, group) => Ok(group),
    }
}

/// Whether the config says that zero points are not in the middle.
fn needs_zeros(settings: &Settings<'_>) -> Result<bool, WeightsError> {
    let is_symmetric = match settings.flag("symmetric")? {
        Some(flag) => Some(flag),
        None => settings.flag("sym")?,
    };
    Ok(is_symmetric == Some(false) || settings.flag("zero_point")? == Some(true))
}

/// By how much zero points are stored too small.
fn zero_less(form: &IntegerForm, config: &Settings<'_>) -> Result<i32, WeightsError> {
    let Some((_, usual)) = form.zero_less.first_key_value() else {
        return Ok(0);
    };
    let known: Vec<&str> = form.zero_less.keys().map(String::as_str).collect();
    let format = config.word("checkpoint_format", &known)?;
    let less = format.and_then(|format| form.zero_less.get(format));
    Ok(*less.unwrap_or(usual))
}
