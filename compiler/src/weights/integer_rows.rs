//! The values of a matrix of published integers, as floats or in panels that hold the same.

use graver_runtime::abi::quant::{GROUP, PANEL_ROWS};
use graver_runtime::abi::{Dtype, Quant};
use rayon::prelude::*;

use super::checkpoint::Checkpoint;
use super::integer_matrix::{IntegerMatrix, Side};
use super::lane::{Lanes, Misfit, Nested};

/// Bytes of a word.
const WORD_BYTES: usize = 4;

/// The outputs of a matrix, one after the other.
#[derive(Clone, Copy)]
pub(super) struct IntegerRows<'a> {
    m: &'a IntegerMatrix,
    codes: &'a [u8],
    scales: &'a [u8],
    zeros: Option<&'a [u8]>,
    order: Option<&'a [u8]>,
}

impl<'a> IntegerRows<'a> {
    pub(super) fn of(checkpoint: &'a Checkpoint, m: &'a IntegerMatrix) -> IntegerRows<'a> {
        let read = |name: &str| {
            let stored = &checkpoint.tensors[name];
            checkpoint.files[stored.file].bytes(&stored.header)
        };
        IntegerRows {
            m,
            codes: read(&m.codes),
            scales: read(&m.scales),
            zeros: m.zeros.as_deref().map(read),
            order: m.order.as_deref().map(read),
        }
    }

    pub(super) fn columns(self) -> usize {
        self.m.columns
    }

    /// An input whose group is none, and that group.
    pub(super) fn odd_group(self) -> Option<(usize, i32)> {
        let groups = self
            .order?
            .chunks_exact(WORD_BYTES)
            .map(|b| word(b, 0) as i32);
        let is_odd = |found: i32| usize::try_from(found).map_or(true, |g| g >= self.m.groups());
        groups.enumerate().find(|(_, found)| is_odd(*found))
    }

    /// The packed layout that holds the same values, if any does: groups have to be whole ones of the layout, and in order. One
    /// of many that have to be alike goes into a layout that does not depend on its zero points.
    pub(super) fn packable(self, is_one_of_many: bool) -> Option<Quant> {
        let m = self.m;
        let is_whole = m.group.is_multiple_of(GROUP) && m.columns.is_multiple_of(GROUP);
        let in_order = self.order.is_none() || (0..m.columns).all(|i| self.group(i) == i / m.group);
        if !is_whole || !in_order {
            return None;
        }
        let is_middle = || {
            let mut all = (0..m.rows).flat_map(|row| (0..m.groups()).map(move |g| (row, g)));
            all.all(|(row, g)| self.zero(row, g) == self.middle())
        };
        Some(match (m.bits, m.scale_type) {
            (4, Dtype::F16) if !is_one_of_many && is_middle() => Quant::Q4,
            // Scale and zero point have 15 bits together, so that their product and every sum with it is exact.
            (4, Dtype::F16 | Dtype::Bf16) => Quant::Q4Min,
            (_, _) if !self.is_in(Quant::Q8.range()) => return None,
            (_, Dtype::F16) => Quant::Q8,
            (_, Dtype::Bf16 | Dtype::F32) => Quant::Q8Half,
        })
    }

    /// Whether all codes less their zero points are in a range.
    fn is_in(self, (low, high): (i32, i32)) -> bool {
        (0..self.m.rows).into_par_iter().all(|row| {
            let integers = (0..self.m.columns).map(|column| self.integer(row, column));
            integers.into_iter().all(|q| (low..=high).contains(&q))
        })
    }

    /// Writes the values from row `first` on to `out` as f32.
    pub(super) fn floats(self, first: usize, out: &mut [u8]) -> Result<(), Misfit> {
        let columns = self.m.columns;
        for (i, out) in out.chunks_exact_mut(columns * 4).enumerate() {
            for (column, out) in out.chunks_exact_mut(4).enumerate() {
                let row = first + i;
                let value = self.integer(row, column) as f32 * self.scale(row, self.group(column));
                if !value.is_finite() {
                    return Err((row * columns + column, value));
                }
                out.copy_from_slice(&value.to_le_bytes());
            }
        }
        Ok(())
    }

    /// Writes the panels from panel `first` on to `out`; `quant` is what the matrix [is packable](IntegerRows::packable) in.
    pub(super) fn panels(self, first: usize, quant: Quant, out: &mut [u8]) -> Result<(), Misfit> {
        let panels = out.chunks_exact_mut(quant.panel_bytes(self.m.columns));
        for (i, panel) in panels.enumerate() {
            for g in 0..self.m.columns / GROUP {
                let rows = std::array::from_fn(|lane| (first + i) * PANEL_ROWS + lane);
                self.put(rows, g, quant, panel)?;
            }
        }
        Ok(())
    }

    /// Puts the values of group `g` of rows into a panel; rows beyond the last are zeros.
    fn put(
        self,
        rows: [usize; PANEL_ROWS],
        g: usize,
        quant: Quant,
        panel: &mut [u8],
    ) -> Result<(), Misfit> {
        let parts = rows.map(|row| match row < self.m.rows {
            true => self.parts(row, g, quant),
            false => ([0; GROUP], 0.0, 0.0),
        });
        let values = Lanes {
            integers: parts.each_ref().map(|(integers, ..)| integers),
            scales: parts.map(|(_, scale, _)| [scale; 2]),
            minima: parts.map(|(.., minimum)| minimum),
            nested: [Nested::NONE; PANEL_ROWS],
        };
        let first = |lane: usize| rows[lane] * self.m.columns + g * GROUP;
        let misfit = |(lane, (i, found))| (first(lane) + i, found);
        values.put(quant, panel, g).map_err(misfit)
    }

    /// The integers of group `g` of a row, their scale, and their minimum, of which the zero point is a part where the
    /// layout has one.
    fn parts(self, row: usize, g: usize, quant: Quant) -> ([i8; GROUP], f32, f32) {
        let column = g * GROUP;
        let of = column / self.m.group;
        let (scale, zero) = (self.scale(row, of), self.zero(row, of));
        let (less, minimum) = match quant.has_minima() {
            true => (0, -(zero as f32 * scale)),
            false => (zero, 0.0),
        };
        let integers = std::array::from_fn(|i| (self.code(row, column + i) - less) as i8);
        (integers, scale, minimum)
    }

    fn integer(self, row: usize, column: usize) -> i32 {
        self.code(row, column) - self.zero(row, self.group(column))
    }

    /// The group of an input.
    fn group(self, column: usize) -> usize {
        match self.order {
            Some(order) => word(order, column) as usize,
            None => column / self.m.group,
        }
    }

    fn code(self, row: usize, column: usize) -> i32 {
        self.in_words(self.codes, self.m.words_along, row, column, self.m.columns)
    }

    fn zero(self, row: usize, group: usize) -> i32 {
        match self.zeros {
            Some(zeros) => {
                let groups = self.m.groups();
                self.in_words(zeros, Side::Out, row, group, groups) + self.m.zero_less
            }
            None => self.middle(),
        }
    }

    /// The zero point of what has none.
    fn middle(self) -> i32 {
        1 << (self.m.bits - 1)
    }

    fn scale(self, row: usize, group: usize) -> f32 {
        let index = match self.m.in_first {
            true => group * self.m.rows + row,
            false => row * self.m.groups() + group,
        };
        let size = self.m.scale_type.size();
        self.m.scale_type.read(&self.scales[index * size..][..size])
    }

    /// A code for an output and an input, or group of them, of `inputs`, in words of neighbours along one side.
    fn in_words(self, bytes: &[u8], along: Side, out: usize, input: usize, inputs: usize) -> i32 {
        let per_word = 8 * WORD_BYTES / self.m.bits;
        let ((out, outs), (input, inputs), place) = match along {
            Side::In => (
                (out, self.m.rows),
                (input / per_word, inputs / per_word),
                input % per_word,
            ),
            Side::Out => (
                (out / per_word, self.m.rows / per_word),
                (input, inputs),
                out % per_word,
            ),
        };
        let index = match self.m.in_first {
            true => input * outs + out,
            false => out * inputs + input,
        };
        let place = self
            .m
            .places
            .map_or(place, |places| places[place % places.len()]);
        let mask = (1 << self.m.bits) - 1;
        (word(bytes, index) >> (place * self.m.bits) & mask) as i32
    }
}

fn word(bytes: &[u8], index: usize) -> u32 {
    let bytes = &bytes[index * WORD_BYTES..][..WORD_BYTES];
    u32::from_le_bytes(bytes.try_into().expect("four bytes"))
}
