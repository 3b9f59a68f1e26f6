//! Loops over vectors in memory: each once.

use std::mem::offset_of;

use cranelift_codegen::ir::condcodes::FloatCC;
use cranelift_codegen::ir::types::F32;
use cranelift_codegen::ir::{InstBuilder, Value};
use graver_runtime::abi::{Dtype, KernelTable};

use super::writer::{Count, Writer, activation_kernel};
use crate::graph::{Activation, Binary};

/// `to[i] = scale · from[i]`.
pub(super) fn copy(e: &mut Writer, from: Value, to: Value, n: usize, scale: f32) {
    let factor = e.float(scale);
    e.each(Count::Known(n), |e, i, lanes| {
        let (from, to) = (e.add(from, i), e.add(to, i));
        let mut x = e.load(lanes, from, 0);
        if scale != 1.0 {
            let f = e.splat(lanes, factor);
            x = e.b.ins().fmul(x, f);
        }
        e.store(x, to, 0);
    });
}

/// `to[i] = factor · from[i]`.
pub(super) fn scaled_copy(e: &mut Writer, from: Value, to: Value, n: Count, factor: Value) {
    e.each(n, |e, i, lanes| {
        let (from, to) = (e.add(from, i), e.add(to, i));
        let (x, f) = (e.load(lanes, from, 0), e.splat(lanes, factor));
        let y = e.b.ins().fmul(x, f);
        e.store(y, to, 0);
    });
}

/// `x[i] *= factor`.
pub(super) fn scale_by(e: &mut Writer, at: Value, n: Count, factor: Value) {
    e.each(n, |e, i, lanes| {
        let to = e.add(at, i);
        let (x, f) = (e.load(lanes, to, 0), e.splat(lanes, factor));
        let y = e.b.ins().fmul(x, f);
        e.store(y, to, 0);
    });
}

/// `x[i] = value`.
pub(super) fn fill(e: &mut Writer, at: Value, n: Count, value: Value) {
    e.each(n, |e, i, lanes| {
        let (to, v) = (e.add(at, i), e.splat(lanes, value));
        e.store(v, to, 0);
    });
}

/// `to[i] = a[i] ∘ b[i]`.
pub(super) fn combine(e: &mut Writer, op: Binary, a: Value, b: Value, to: Value, n: Count) {
    e.each(n, |e, i, lanes| {
        let places = [a, b, to].map(|p| e.add(p, i));
        let (x, y) = (e.load(lanes, places[0], 0), e.load(lanes, places[1], 0));
        let z = match op {
            Binary::Add => e.b.ins().fadd(x, y),
            Binary::Mul => e.b.ins().fmul(x, y),
        };
        e.store(z, places[2], 0);
    });
}

/// `to[i] += w · from[i]`.
pub(super) fn add_weighted(e: &mut Writer, from: Value, to: Value, n: Count, w: Option<Value>) {
    e.each(n, |e, i, lanes| {
        let (from, to) = (e.add(from, i), e.add(to, i));
        let (mut x, y) = (e.load(lanes, from, 0), e.load(lanes, to, 0));
        if let Some(w) = w {
            let w = e.splat(lanes, w);
            x = e.b.ins().fmul(x, w);
        }
        let y = e.b.ins().fadd(y, x);
        e.store(y, to, 0);
    });
}

/// `x[i] += slope · (first + i)`, `first` being a whole number.
pub(super) fn add_ramp(e: &mut Writer, at: Value, n: Value, slope: Value, first: Value) {
    e.each(Count::Dynamic(n), |e, i, lanes| {
        let place = e.b.ins().ushr_imm_u(i, 2);
        let place = e.add(first, place);
        let place = e.b.ins().fcvt_from_sint(F32, place);
        let (at, place, slope) = (e.add(at, i), e.ramp(lanes, place), e.splat(lanes, slope));
        let (x, step) = (e.load(lanes, at, 0), e.b.ins().fmul(place, slope));
        let y = e.b.ins().fadd(x, step);
        e.store(y, at, 0);
    });
}

/// `to[i]`, cut off at both ends: `min(max(from[i], least), most)`.
pub(super) fn clamp(e: &mut Writer, from: Value, to: Value, n: usize, [least, most]: [f32; 2]) {
    let (least, most) = (e.float(least), e.float(most));
    e.each(Count::Known(n), |e, i, lanes| {
        let (from, to) = (e.add(from, i), e.add(to, i));
        let (least, most) = (e.splat(lanes, least), e.splat(lanes, most));
        let x = e.load(lanes, from, 0);
        let x = e.b.ins().fmax(x, least);
        let x = e.b.ins().fmin(x, most);
        e.store(x, to, 0);
    });
}

/// Applies an activation in place.
pub(super) fn activate(e: &mut Writer, a: Activation, at: Value, n: Value) {
    e.map(activation_kernel(a), at, n);
}

/// `n` f32 values at `from` to `to` in another type.
pub(super) fn narrow(e: &mut Writer, dtype: Dtype, from: Value, to: Value, n: usize) {
    let kernel = match dtype {
        Dtype::F32 => return copy(e, from, to, n, 1.0),
        Dtype::Bf16 => offset_of!(KernelTable, f32_to_bf16),
        Dtype::F16 => offset_of!(KernelTable, f32_to_f16),
    };
    let n = e.int(n);
    e.micro(kernel, &[from, n, to], None);
}

/// `n` values at `from` as f32 to `to`.
pub(super) fn widen(e: &mut Writer, dtype: Dtype, from: Value, to: Value, n: usize) {
    let kernel = match dtype {
        Dtype::F32 => return copy(e, from, to, n, 1.0),
        Dtype::Bf16 => offset_of!(KernelTable, bf16_to_f32),
        Dtype::F16 => offset_of!(KernelTable, f16_to_f32),
    };
    let n = e.int(n);
    e.micro(kernel, &[from, n, to], None);
}

pub(super) fn count(e: &mut Writer, n: Count) -> Value {
    match n {
        Count::Known(n) => e.int(n),
        Count::Dynamic(n) => n,
    }
}

pub(super) fn divide(e: &mut Writer, x: Value, by: usize) -> Value {
    let by = e.int(by);
    e.b.ins().udiv(x, by)
}

/// Length of the run of up to `width` rows of `rows` that begins at `first`.
pub(super) fn run_length(e: &mut Writer, rows: usize, width: usize, first: Value) -> Count {
    if rows.is_multiple_of(width) {
        return Count::Known(width);
    }
    let end = e.int(rows);
    let (left, most) = (e.sub(end, first), e.int(width));
    Count::Dynamic(e.min(left, most))
}

/// Whether a float is not 1.
pub(super) fn differs_from_one(e: &mut Writer, x: Value) -> Value {
    let one = e.float(1.0);
    e.b.ins().fcmp(FloatCC::NotEqual, x, one)
}
