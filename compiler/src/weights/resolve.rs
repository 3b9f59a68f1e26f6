//! Walks the weight slots of a model, and says what each reads inside a tensor of a given shape.

use super::error::WeightsError;
use super::view::{Tensor, View};
use crate::spec::model::Section;
use crate::spec::model::{Model, Range, Weight};
use crate::walk::{Slot, kind_slots, slots};
use graver_runtime::abi::quant::PANEL_ROWS;
use graver_runtime::abi::{Dtype, Encoding};

/// Hears of long work: bytes in all, bytes done since it was last called.
pub(super) type Progress<'a> = &'a (dyn Fn(usize, usize) + Sync);

/// Views of the embedding, of each layer, and of the head.
pub(super) type Walked = (Vec<View>, Vec<Vec<View>>, Vec<View>);

/// Which of several weights with one slot: of which layer, of which expert.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct At {
    pub(super) layer: Option<usize>,
    pub(super) expert: Option<usize>,
}

/// Calls `view(slot, label, at)` for every slot in order, and for every expert of a family; labels are for messages:
/// `layers.3.attention.q.weight`, `layers.3.moe.up.weight[17]`.
pub(super) fn walk(
    model: &Model,
    mut view: impl FnMut(&Slot<'_>, &str, At) -> Result<View, WeightsError>,
) -> Result<Walked, WeightsError> {
    let mut block = |slots: &[Slot<'_>], block: &str, layer: Option<usize>| {
        let mut views = Vec::with_capacity(slots.iter().map(|s| s.weight.count()).sum());
        for slot in slots {
            let label = format!("{block}.{}", slot.weight.slot);
            let Some(experts) = slot.weight.family else {
                let expert = None;
                views.push(view(slot, &label, At { layer, expert })?);
                continue;
            };
            let first = views.len();
            for e in 0..experts {
                let expert = Some(e);
                views.push(view(slot, &format!("{label}[{e}]"), At { layer, expert })?);
            }
            check_alike(&label, &views[first..])?;
        }
        Ok::<_, WeightsError>(views)
    };
    let embed = block(&slots(model, Section::Embed), "embed", None)?;
    let kinds = kind_slots(model);
    let layers = model.layers.iter().enumerate();
    let layers = layers
        .map(|(i, kind)| block(&kinds[*kind], &format!("layers.{i}"), Some(i)))
        .collect::<Result<_, _>>()?;
    let head = block(&slots(model, Section::Head), "head", None)?;
    Ok((embed, layers, head))
}

/// Generated code reads all experts of a family alike.
fn check_alike(label: &str, views: &[View]) -> Result<(), WeightsError> {
    let form = |v: &View| (v.encoding, v.row_stride_bytes, v.transposed);
    let odd = views.iter().find(|v| form(v) != form(&views[0]));
    odd.map_or(Ok(()), |odd| {
        Err(WeightsError::MixedFamily {
            slot: label.to_string(),
            first: (views[0].name.clone(), views[0].encoding),
            other: (odd.name.clone(), odd.encoding),
        })
    })
}

/// A tensor that may hold a weight.
#[derive(Clone, Debug)]
pub(super) struct Candidate<'w> {
    pub(super) name: String,
    /// The experts that such a tensor stacks, and which of them the weight is.
    pub(super) stack: Option<Stack>,
    /// How it is stored.
    pub(super) weight: &'w Weight,
}

/// All tensors that may hold a weight, in the order in which they are tried.
pub(super) fn candidates<'w>(model: &Model, weight: &'w Weight, at: At) -> Vec<Candidate<'w>> {
    let holds = |w: &&Weight| match (w.experts, at.expert) {
        (Some((first, count)), Some(expert)) => (first..first + count).contains(&expert),
        (_, _) => true,
    };
    let stored = weight
        .all_stored()
        .filter(holds)
        .flat_map(|w| w.tensors.iter().map(move |template| (w, template)));
    stored
        .flat_map(|(weight, template)| {
            let mut name = template.clone();
            if let Some(layer) = at.layer {
                name = name.replace("{i}", &layer.to_string());
            }
            let (first, count) = match (weight.experts, weight.family) {
                (Some((first, count)), _) => (first, Some(count)),
                (None, family) => (0, family),
            };
            let expert = at.expert.map(|expert| expert - first);
            let of = count.filter(|_| !template.contains("{e}"));
            if let Some(expert) = expert.filter(|_| of.is_none()) {
                name = name.replace("{e}", &expert.to_string());
            }
            let stack = of.zip(expert).map(|(of, expert)| Stack { expert, of });
            let names = with_prefixes(&model.prefixes, name);
            names.into_iter().map(move |name| Candidate {
                name,
                stack,
                weight,
            })
        })
        .collect()
}

/// A name, and the same with each of the other prefixes in place of the first.
pub(super) fn with_prefixes(prefixes: &[String], name: String) -> Vec<String> {
    let rest = prefixes
        .split_first()
        .and_then(|(first, others)| Some((name.strip_prefix(first.as_str())?, others)));
    let others: Vec<String> = match rest {
        Some((rest, others)) => others
            .iter()
            .map(|prefix| format!("{prefix}{rest}"))
            .collect(),
        None => Vec::new(),
    };
    std::iter::once(name).chain(others).collect()
}

/// One of several weights that a tensor stacks along its first dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stack {
    expert: usize,
    of: usize,
}

/// Shape, type and strides of what a slot reads inside a stored tensor.
pub(super) struct Layout {
    /// Shape the tensor has to have as stored.
    pub(super) stored: Vec<usize>,
    /// First row and column of the part, as the graph counts them.
    first: (usize, usize),
    stack: Option<Stack>,
}

impl Layout {
    pub(super) fn of(
        weight: &Weight,
        label: &str,
        layer: Option<usize>,
        stack: Option<Stack>,
    ) -> Result<Layout, WeightsError> {
        let bad = |problem| WeightsError::BadWeight {
            slot: label.to_string(),
            shape: weight.shape.clone(),
            problem,
        };
        let mut stored = weight.shape.clone();
        if stored.is_empty() {
            return Err(bad("a weight needs a dimension"));
        }
        if stored.contains(&0) {
            return Err(bad("no dimension can be zero"));
        }
        if weight.transposed && stored.len() > 2 {
            return Err(bad("only a matrix can be transposed"));
        }
        let by_head = |range: &Option<Range>| range.is_some_and(|r| r.heads > 1);
        if by_head(&weight.columns) || by_head(&weight.part) && stored.len() > 2 {
            return Err(bad(
                "only rows of a matrix and numbers of a vector can be taken by head",
            ));
        }
        if weight.scattered().is_some() && stack.is_some() {
            return Err(bad(
                "vectors that a tensor stacks for all experts cannot be taken by head",
            ));
        }
        if weight.columns.is_some() && stored.len() != 2 {
            return Err(bad("only a matrix has columns"));
        }
        let mut run = |range: Option<Range>, dimension: usize| {
            let Some(range) = range else { return Some(0) };
            let first = range.first_in(layer);
            let end = first.checked_add(stored[dimension] / range.heads)?;
            stored[dimension] = range.of.checked_mul(range.heads)?;
            (end <= range.of).then_some(first)
        };
        let first = run(weight.part, 0).zip(run(weight.columns, 1));
        let first = first.ok_or_else(|| bad("the part reaches beyond the whole"))?;
        if weight.transposed {
            stored.reverse();
        }
        stored.splice(0..0, stack.map(|s| s.of));
        Ok(Layout {
            stored,
            first,
            stack,
        })
    }

    /// First row of the part.
    pub(super) fn first_row(&self) -> usize {
        self.first.0
    }

    /// The panel that begins with the weight's first row, where all rows of the tensor are in panels; none if another row
    /// begins it, or the weight is not whole rows in the order in which they lie. What one expert has, all of its family have.
    pub(super) fn first_panel(&self, weight: &Weight) -> Option<usize> {
        let is_rows = weight.shape.len() == 2 && !weight.transposed;
        if !is_rows || weight.columns.is_some() || weight.blocks().is_some() {
            return None;
        }
        let (row, before) = (self.first.0, self.stack.map_or(0, |s| s.expert));
        let each = self.stack.map_or(0, |_| self.stored[1]);
        let begin_panels = [row, each].iter().all(|n| n.is_multiple_of(PANEL_ROWS));
        begin_panels.then_some((before * each + row) / PANEL_ROWS)
    }

    /// That of a vector whose numbers have been put together.
    pub(super) fn gathered(weight: &Weight) -> Layout {
        Layout {
            stored: weight.shape.clone(),
            first: (0, 0),
            stack: None,
        }
    }

    /// The view of a tensor that has the right shape, so that no product overflows.
    pub(super) fn view(&self, weight: &Weight, tensor: usize, held: &Tensor, dtype: Dtype) -> View {
        let is_transposed = weight.transposed && weight.shape.len() == 2;
        // What is stored of one expert.
        let stored = &self.stored[usize::from(self.stack.is_some())..];
        let (row, one_row) = (
            stored[1..].iter().product::<usize>(),
            weight.shape.len() == 1,
        );
        // Bytes between rows; a vector is a single row of its own length.
        let row_stride = if one_row { weight.shape[0] } else { row };
        let (part_row, part_column) = self.first;
        let rows = match weight.blocks() {
            Some(blocks) => blocks.place(weight.shape[0] - 1) + 1,
            None => weight.shape[0],
        };
        let (first, elements) = match (one_row, is_transposed) {
            (true, _) => (part_row, weight.shape[0]),
            (false, true) => (
                part_column * row_stride + part_row,
                (weight.shape[1] - 1) * row_stride + rows,
            ),
            (false, false) => (
                part_row * row_stride + part_column,
                (rows - 1) * row_stride + weight.shape[1],
            ),
        };
        let before = self.stack.map_or(0, |s| s.expert) * stored[0] * row;
        View {
            slot: weight.slot.clone(),
            name: held.name.clone(),
            tensor,
            blob: held.blob,
            offset_bytes: held.offset_bytes + (before + first) * dtype.size(),
            encoding: Encoding::Float(dtype),
            row_stride_bytes: row_stride * dtype.size(),
            bytes: elements * dtype.size(),
            transposed: is_transposed,
        }
    }
}
