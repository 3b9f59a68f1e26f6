//! Makes floats of matrices as they are published; every value stays exact, or is refused.
//!
//! A scale that is not a number, or with which a number of its block becomes none, is an error that names the place: a sum
//! with it would be none either, or be hidden where it is rounded.

mod small_floats;

use std::collections::BTreeSet;

use graver_runtime::abi::{Dtype, Quant};
use rayon::prelude::*;

use self::small_floats::{Blocks, check_group, fill_group};
use super::blocked::Rows;
use super::checkpoint::Checkpoint;
use super::error::{TensorPlace, WeightsError};
use super::header::weight_type;
use super::integer_rows::IntegerRows;
use super::joined::{self, Joints};
use super::published::{GROUP, Widen, plane};
use super::resolve::Progress;
use super::whole::whole;
use crate::spec::model;

/// Bytes of the result that are made in one piece: the grain of parallel work.
const PIECE: usize = 1 << 20;

/// Pieces between which memory is given back.
const AT_ONCE: usize = 32;

/// A tensor to be converted.
#[derive(Clone, Debug)]
pub(super) struct Conversion {
    /// Name of the tensor that holds the values.
    pub(super) name: String,
    pub(super) how: Widen,
    /// Where the result goes.
    pub(super) offset_bytes: usize,
    pub(super) bytes: usize,
}

/// Part of a conversion: what begins with grain number `first` goes into `out`.
struct Piece<'a> {
    conversion: &'a Conversion,
    source: Source<'a>,
    first: usize,
    out: &'a mut [u8],
}

/// Makes all conversions, each into its place in `memory`, which they fill in order. Some pieces are made at a time, so that what they were made
/// of need not stay in memory, not even all of one tensor.
///
/// # Errors
/// The first number that is not finite once it is scaled.
pub(super) fn convert(
    checkpoint: &Checkpoint,
    conversions: &[Conversion],
    memory: &mut [u8],
    progress: Progress<'_>,
) -> Result<(), WeightsError> {
    let total = conversions.iter().map(|c| c.bytes).sum();
    let mut pieces = pieces(checkpoint, conversions, memory);
    while !pieces.is_empty() {
        let rest = pieces.split_off(pieces.len().min(AT_ONCE));
        let some = std::mem::replace(&mut pieces, rest);
        let read: BTreeSet<&str> = some.iter().map(|p| p.conversion.name.as_str()).collect();
        let misfits = some.into_par_iter().map(|piece| {
            let made = piece.source.fill(piece.first, piece.out);
            progress(total, piece.out.len());
            made.err()
                .map(|misfit| misfit.refuse(checkpoint, piece.conversion))
        });
        misfits
            .find_map_first(|misfit| misfit)
            .map_or(Ok(()), Err)?;
        read.into_iter().for_each(|name| checkpoint.release(name));
    }
    Ok(())
}

fn pieces<'a>(
    checkpoint: &'a Checkpoint,
    conversions: &'a [Conversion],
    memory: &'a mut [u8],
) -> Vec<Piece<'a>> {
    let (mut rest, mut end) = (memory, 0);
    let mut pieces = vec![];
    for c in conversions {
        let (_, from) = std::mem::take(&mut rest).split_at_mut(c.offset_bytes - end);
        let (own, after) = from.split_at_mut(c.bytes);
        (rest, end) = (after, c.offset_bytes + c.bytes);
        let source = Source::of(checkpoint, c);
        let grain = source.grain_bytes();
        let size = (PIECE / grain).max(1) * grain;
        pieces.extend(own.chunks_mut(size).enumerate().map(|(i, out)| Piece {
            conversion: c,
            source,
            first: i * size / grain,
            out,
        }));
    }
    pieces
}

/// A number that is not finite once it is scaled.
enum Misfit {
    /// One of few bits.
    Small(small_floats::Misfit),
    /// What the value with this index is.
    Float { index: usize, found: f32 },
    /// What a value of one of several tensors is.
    Joined(joined::Misfit),
    /// A whole number that is not below what it should be.
    Whole { index: usize, found: i64 },
}

impl Misfit {
    fn of((index, found): (usize, f32)) -> Misfit {
        Misfit::Float { index, found }
    }

    fn refuse(&self, checkpoint: &Checkpoint, c: &Conversion) -> WeightsError {
        let place = |name: &str, columns: usize, index: usize| TensorPlace {
            tensor: name.to_string(),
            row: index / columns.max(1),
            column: index % columns.max(1),
        };
        match *self {
            Misfit::Small(small_floats::Misfit::Scale { index, found }) => {
                let scales = c.how.scales().expect("only scaled values do not fit");
                let (_, columns) = plane(&checkpoint.tensors[scales].header.shape);
                WeightsError::NotFinite {
                    place: place(scales, columns, index),
                    found,
                }
            }
            Misfit::Joined((part, index, found)) => {
                let Widen::Joined(joints) = &c.how else {
                    unreachable!("only joined tensors are several")
                };
                let name = &joints.parts[part].name;
                let (_, columns) = plane(&checkpoint.tensors[name].header.shape);
                WeightsError::NotFinite {
                    place: place(name, columns, index),
                    found,
                }
            }
            Misfit::Whole { index, found } => {
                let header = &checkpoint.tensors[&c.name].header;
                let Widen::Whole { below, .. } = c.how else {
                    unreachable!("only whole numbers are counted")
                };
                WeightsError::NoExpert {
                    place: place(&header.name, plane(&header.shape).1, index),
                    found,
                    below,
                }
            }
            Misfit::Float { index, found } => {
                let columns = match &c.how {
                    Widen::Integers(matrix, _) => matrix.columns,
                    Widen::Float(_)
                    | Widen::Logarithm(_)
                    | Widen::Gathered { .. }
                    | Widen::Joined(_)
                    | Widen::Whole { .. }
                    | Widen::Blocks { .. }
                    | Widen::Packed { .. }
                    | Widen::Blocked(_)
                    | Widen::Panels(..) => plane(&checkpoint.tensors[&c.name].header.shape).1,
                };
                let place = place(&checkpoint.tensors[&c.name].header.name, columns, index);
                WeightsError::NotFinite { place, found }
            }
            Misfit::Small(small_floats::Misfit::Value {
                index,
                value,
                scale,
            }) => {
                let shape = &checkpoint.tensors[&c.name].header.shape;
                let columns = match c.how {
                    // The last two dimensions are the groups of a row, and the bytes of a group.
                    Widen::Packed { .. } => shape[shape.len() - 2] * GROUP,
                    Widen::Float(_)
                    | Widen::Logarithm(_)
                    | Widen::Gathered { .. }
                    | Widen::Joined(_)
                    | Widen::Whole { .. }
                    | Widen::Blocks { .. }
                    | Widen::Blocked(_)
                    | Widen::Panels(..)
                    | Widen::Integers(..) => plane(shape).1,
                };
                WeightsError::Overflow {
                    place: place(&c.name, columns, index),
                    value,
                    scale,
                }
            }
        }
    }
}

/// What a conversion reads.
#[derive(Clone, Copy)]
enum Source<'a> {
    Float {
        bytes: &'a [u8],
        dtype: Dtype,
    },
    Logarithm {
        bytes: &'a [u8],
        dtype: Dtype,
    },
    Gathered {
        bytes: &'a [u8],
        dtype: Dtype,
        first: usize,
        blocks: model::Blocks,
    },
    Whole {
        bytes: &'a [u8],
        bytes_each: usize,
        below: usize,
    },
    Joined(&'a Checkpoint, &'a Joints),
    Blocks(Blocks<'a>),
    Packed {
        bytes: &'a [u8],
        scales: &'a [u8],
        to: Dtype,
    },
    Blocked(Rows<'a>),
    Panels(Rows<'a>, Quant),
    Integers(IntegerRows<'a>, Option<Quant>),
}

impl<'a> Source<'a> {
    fn of(checkpoint: &'a Checkpoint, c: &'a Conversion) -> Source<'a> {
        let read = |name: &str| {
            let stored = &checkpoint.tensors[name];
            (
                checkpoint.files[stored.file].bytes(&stored.header),
                &stored.header,
            )
        };
        let (bytes, header) = read(&c.name);
        match &c.how {
            Widen::Float(dtype) => Source::Float {
                bytes,
                dtype: *dtype,
            },
            Widen::Logarithm(dtype) => Source::Logarithm {
                bytes,
                dtype: *dtype,
            },
            Widen::Gathered {
                dtype,
                first,
                blocks,
            } => Source::Gathered {
                bytes,
                dtype: *dtype,
                first: *first,
                blocks: *blocks,
            },
            Widen::Joined(joints) => Source::Joined(checkpoint, joints),
            Widen::Whole { bytes_each, below } => Source::Whole {
                bytes,
                bytes_each: *bytes_each,
                below: *below,
            },
            Widen::Blocks { scales, block } => {
                let (scales, of) = read(scales);
                let (rows, columns) = plane(&header.shape);
                Source::Blocks(Blocks {
                    bytes,
                    plane: (rows, columns),
                    // One that is larger than the matrix ends with it.
                    block: [block[0].min(rows), block[1].min(columns)],
                    scales,
                    scale_type: weight_type(of.dtype).expect("checked"),
                })
            }
            Widen::Packed { scales, to } => Source::Packed {
                bytes,
                scales: read(scales).0,
                to: *to,
            },
            Widen::Blocked(storage) => Source::Blocked(Rows::of(storage, bytes, &header.shape)),
            Widen::Panels(storage, quant) => {
                Source::Panels(Rows::of(storage, bytes, &header.shape), *quant)
            }
            Widen::Integers(matrix, quant) => {
                Source::Integers(IntegerRows::of(checkpoint, matrix), *quant)
            }
        }
    }

    /// Bytes of the result that are made from the same scales, so that pieces hold whole ones.
    fn grain_bytes(self) -> usize {
        match self {
            Source::Float { .. }
            | Source::Logarithm { .. }
            | Source::Gathered { .. }
            | Source::Whole { .. } => 4,
            Source::Joined(_, joints) => joints.head_bytes(),
            Source::Blocks(blocks) => blocks.plane.1 * 4,
            Source::Packed { to, .. } => GROUP * to.size(),
            Source::Blocked(rows) => rows.storage.block * 4,
            Source::Panels(rows, quant) => quant.panel_bytes(rows.columns),
            Source::Integers(rows, Some(quant)) => quant.panel_bytes(rows.columns()),
            Source::Integers(rows, None) => rows.columns() * 4,
        }
    }

    /// Makes a piece that begins with grain number `first`.
    fn fill(self, first: usize, out: &mut [u8]) -> Result<(), Misfit> {
        match self {
            Source::Float { bytes, dtype } => {
                joined::floats(dtype, &bytes[first * dtype.size()..], out);
                Ok(())
            }
            Source::Logarithm { bytes, dtype } => {
                let values = bytes[first * dtype.size()..].chunks_exact(dtype.size());
                let mut pairs = out.chunks_exact_mut(4).zip(values).enumerate();
                pairs.try_for_each(|(i, (out, value))| {
                    let found = (-dtype.read(value)).ln();
                    out.copy_from_slice(&found.to_le_bytes());
                    match found.is_finite() {
                        true => Ok(()),
                        false => Err(Misfit::of((first + i, found))),
                    }
                })
            }
            Source::Gathered {
                bytes,
                dtype,
                first: start,
                blocks,
            } => {
                for (i, out) in out.chunks_exact_mut(4).enumerate() {
                    let at = (start + blocks.place(first + i)) * dtype.size();
                    let value = dtype.read(&bytes[at..at + dtype.size()]);
                    out.copy_from_slice(&value.to_le_bytes());
                }
                Ok(())
            }
            Source::Whole {
                bytes,
                bytes_each,
                below,
            } => {
                let values = bytes[first * bytes_each..].chunks_exact(bytes_each);
                let mut pairs = out.chunks_exact_mut(4).zip(values).enumerate();
                pairs.try_for_each(|(i, (out, value))| {
                    let found = whole(value);
                    let (index, fits) = (first + i, (0..below as i64).contains(&found));
                    out.copy_from_slice(&(found as f32).to_le_bytes());
                    match fits {
                        true => Ok(()),
                        false => Err(Misfit::Whole { index, found }),
                    }
                })
            }
            Source::Joined(checkpoint, joints) => {
                let made = joints.floats(checkpoint, first, out);
                made.map_err(Misfit::Joined)
            }
            Source::Blocks(blocks) => {
                let mut rows = out.chunks_exact_mut(blocks.plane.1 * 4).enumerate();
                rows.try_for_each(|(i, out)| blocks.fill_row(first + i, out))
                    .map_err(Misfit::Small)
            }
            Source::Packed { bytes, scales, to } => {
                let groups = out.chunks_exact_mut(GROUP * to.size());
                let values = bytes[first * GROUP / 2..].chunks_exact(GROUP / 2);
                let mut groups = groups.zip(values).zip(&scales[first..]).enumerate();
                groups.try_for_each(|(i, ((out, pairs), scale))| {
                    fill_group(pairs, *scale, to, out);
                    check_group(pairs, *scale, first + i).map_err(Misfit::Small)
                })
            }
            Source::Blocked(rows) => rows.floats(first, out).map_err(Misfit::of),
            Source::Panels(rows, quant) => rows.panels(first, quant, out).map_err(Misfit::of),
            Source::Integers(rows, Some(quant)) => {
                rows.panels(first, quant, out).map_err(Misfit::of)
            }
            Source::Integers(rows, None) => rows.floats(first, out).map_err(Misfit::of),
        }
    }
}
