//! Operations that treat each row alone, and the matmul.

use graver_runtime::abi::quant::{GROUP, TINY};

use super::attend;
use super::values::{Rows, Scene};
use half::bf16;

use crate::graph::{
    Activation, Binary, Dest, Epilogue, EpilogueOperands, EpilogueStep, Join, Matmul,
    MatmulOperands, Norm, NormKind, NormVectors, PositionScale, Rope, Unary,
};

pub(super) fn positions<'a>(scene: &Scene<'a>) -> impl Iterator<Item = usize> + use<'a> {
    scene.start..scene.start + scene.tokens.len()
}

pub(super) fn embed(table: &Rows, rows: impl Iterator<Item = usize>, scale: f32) -> Rows {
    let row = |r: usize| {
        table.data[r * table.width..(r + 1) * table.width]
            .iter()
            .map(|v| v * scale)
    };
    Rows::new(
        rows.flat_map(|r| row(r).collect::<Vec<_>>()).collect(),
        table.width,
    )
}

pub(super) fn rope_angles(scene: &Scene, rope: usize) -> Rows {
    let r = &scene.program.ropes[rope];
    let length = scene.start + scene.tokens.len();
    let freqs = match &r.long {
        Some(long) if length > long.above => &long.freqs,
        Some(_) | None => &r.freqs,
    };
    let row = |p: usize| {
        let angle = move |f: &f32| p as f32 * f;
        let cos = freqs.iter().map(move |f| angle(f).cos() * r.scale);
        cos.chain(freqs.iter().map(move |f| angle(f).sin() * r.scale))
    };
    Rows::new(positions(scene).flat_map(row).collect(), r.rotary_dim())
}

pub(super) fn norm(n: &Norm, x: &Rows, vectors: NormVectors<&Rows>) -> Rows {
    let data = x
        .data
        .chunks_exact(n.group)
        .flat_map(|g| norm_group(n, g, vectors))
        .collect();
    Rows::new(data, x.width)
}

fn norm_group(n: &Norm, x: &[f32], vectors: NormVectors<&Rows>) -> Vec<f32> {
    let NormVectors { gain, bias } = vectors;
    let count = x.len() as f32;
    let mean = match n.kind {
        NormKind::Rms | NormKind::L2 => 0.0,
        NormKind::Layer => x.iter().sum::<f32>() / count,
    };
    let squares = x.iter().map(|v| (v - mean) * (v - mean)).sum::<f32>();
    let square = match n.kind {
        NormKind::Rms | NormKind::Layer => squares / count,
        NormKind::L2 => squares,
    };
    let inverse = 1.0 / (square + n.eps).sqrt();
    let offset = if n.unit_offset { 1.0 } else { 0.0 };
    let at = |i: usize, v: &f32| {
        let y = (v - mean) * inverse * gain.map_or(1.0, |g| g.data[i] + offset);
        y + bias.map_or(0.0, |b| b.data[i])
    };
    x.iter().enumerate().map(|(i, v)| at(i, v)).collect()
}

pub(super) fn map(x: &Rows, f: impl Fn(f32) -> f32) -> Rows {
    Rows::new(x.data.iter().map(|v| f(*v)).collect(), x.width)
}

pub(super) fn binary(op: Binary, a: &Rows, b: &Rows) -> Rows {
    let apply = |(x, y): (&f32, &f32)| match op {
        Binary::Add => x + y,
        Binary::Mul => x * y,
    };
    Rows::new(
        a.data
            .iter()
            .zip(b.data.iter().cycle())
            .map(apply)
            .collect(),
        a.width,
    )
}

pub(super) fn unary(op: Unary, x: f32) -> f32 {
    match op {
        Unary::Act(a) => activate(a, x),
        Unary::Scale(c) => x * c,
        Unary::Softcap(c) => (x / c).tanh() * c,
        Unary::Clamp { least, .. } if x < least => least,
        Unary::Clamp { most, .. } if x > most => most,
        Unary::Clamp { .. } => x,
    }
}

/// The non-linearities, in f64 inside so that they are the definition rather than one rounding of it.
pub(crate) fn activate(a: Activation, x: f32) -> f32 {
    let v = f64::from(x);
    let y = match a {
        Activation::Silu => v / (1.0 + (-v).exp()),
        Activation::Gelu => 0.5 * v * (1.0 + erf(v / std::f64::consts::SQRT_2)),
        Activation::GeluTanh => {
            0.5 * v
                * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (v + 0.044715 * v * v * v)).tanh())
        }
        Activation::Relu => v.max(0.0),
        Activation::Relu2 => v.max(0.0) * v.max(0.0),
        Activation::Sigmoid => 1.0 / (1.0 + (-v).exp()),
        Activation::Tanh => v.tanh(),
        Activation::Softplus => softplus(v),
    };
    y as f32
}

/// `ln(1 + eᵛ)`; above 20 that is `v` to all digits of f32.
pub(super) fn softplus(v: f64) -> f64 {
    if v > 20.0 { v } else { v.exp().ln_1p() }
}

/// erf by its Maclaurin series near zero and the continued fraction of erfc beyond (Abramowitz & Stegun 7.1.5, 7.1.14).
fn erf(x: f64) -> f64 {
    let a = x.abs();
    if a > 6.0 {
        return x.signum();
    }
    if a < 2.5 {
        let (mut term, mut sum) = (x, x);
        for n in 1..60 {
            let n = f64::from(n);
            term *= -x * x / n;
            sum += term / (2.0 * n + 1.0);
        }
        return sum * 2.0 / std::f64::consts::PI.sqrt();
    }
    let fraction = (1..=60).rev().fold(a, |f, n| a + f64::from(n) / 2.0 / f);
    x.signum() * (1.0 - (-a * a).exp() / (fraction * std::f64::consts::PI.sqrt()))
}

pub(super) fn rotate(r: &Rope, x: &Rows, angles: &Rows) -> Rows {
    let mut out = x.clone();
    let half = r.rotary_dim / 2;
    for (row, angle) in out.data.chunks_exact_mut(x.width).zip(angles.iter()) {
        for head in row.chunks_exact_mut(r.head_dim) {
            let head = &mut head[r.start..];
            for i in 0..half {
                let (a, b) = if r.interleaved {
                    (2 * i, 2 * i + 1)
                } else {
                    (i, i + half)
                };
                let (cos, sin, u, v) = (angle[i], angle[half + i], head[a], head[b]);
                head[a] = u * cos - v * sin;
                head[b] = v * cos + u * sin;
            }
        }
    }
    out
}

pub(super) fn position_scale(scene: &Scene, p: &PositionScale, x: &Rows) -> Rows {
    let factor = |position| 1.0 + p.scale * p.grown(position).ln();
    let rows = x.iter().zip(positions(scene));
    let scaled = rows.flat_map(|(row, at)| row.iter().map(move |v| v * factor(at)));
    Rows::new(scaled.collect(), x.width)
}

pub(super) fn slice(x: &Rows, start: usize, len: usize) -> Rows {
    Rows::new(
        x.iter()
            .flat_map(|row| row[start..start + len].to_vec())
            .collect(),
        len,
    )
}

pub(super) fn matmul(scene: &mut Scene, m: &Matmul, o: &MatmulOperands<&Rows>) -> Rows {
    let mut input = o.x.clone();
    if let Some(n) = &m.norm {
        input = norm(n, &input, o.norm);
    }
    if m.quantize_x {
        input = to_int8(&input);
    }
    let mut outs = vec![];
    for (p, own) in m.parts.iter().zip(&o.parts) {
        let mut y = product(&input, own.weight);
        if let Some(bias) = own.bias {
            y = binary(Binary::Add, &y, bias);
        }
        outs.extend(epilogue(scene, &p.epilogue, y, &own.norms, o.angles));
    }
    let mut y = match m.join {
        Join::Concat => concat(&outs, input.data.len() / input.width.max(1)),
        Join::Gated(a) => binary(Binary::Mul, &map(&outs[0], |v| activate(a, v)), &outs[1]),
    };
    if let Some(a) = m.act {
        y = map(&y, |v| activate(a, v));
    }
    if let Some(c) = m.scale {
        y = map(&y, |v| v * c);
    }
    if let Some(residual) = o.residual {
        y = binary(Binary::Add, &y, residual);
    }
    if m.quantize_y { to_int8(&y) } else { y }
}

/// Values moved to the nearest multiple of their group's scale, which is the group's largest magnitude over 127.
pub(super) fn to_int8(x: &Rows) -> Rows {
    let round = |group: &[f32]| {
        let largest = group.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let inverse = if largest < TINY { 0.0 } else { 127.0 / largest };
        let value = move |v: &f32| (v * inverse).round_ties_even() * (largest / 127.0);
        group.iter().map(value).collect::<Vec<_>>()
    };
    let data = x
        .iter()
        .flat_map(|row| row.chunks(GROUP).flat_map(round))
        .collect();
    Rows::new(data, x.width)
}

pub(super) fn product(x: &Rows, w: &Rows) -> Rows {
    let rounded = w.rounded.then(|| map(x, |v| bf16::from_f32(v).to_f32()));
    let x = rounded.as_ref().unwrap_or(x);
    let dot = |a: &[f32], b: &[f32]| {
        a.iter()
            .zip(b)
            .map(|(x, y)| f64::from(*x) * f64::from(*y))
            .sum::<f64>() as f32
    };
    let data = x
        .iter()
        .flat_map(|row| w.iter().map(move |col| dot(row, col)))
        .collect();
    Rows::new(data, w.data.len() / w.width.max(1))
}

fn concat(parts: &[Rows], rows: usize) -> Rows {
    let width = parts.iter().map(|p| p.width).sum();
    let row = |r: usize| {
        parts
            .iter()
            .flat_map(move |p| p.data[r * p.width..(r + 1) * p.width].iter().copied())
    };
    Rows::new((0..rows).flat_map(row).collect(), width)
}

pub(super) fn joined_epilogues(
    scene: &mut Scene,
    parts: &[Epilogue],
    o: &EpilogueOperands<&Rows>,
) -> Rows {
    let rows = o.x.data.len() / o.x.width.max(1);
    let (mut start, mut outs) = (0, vec![]);
    for (p, norms) in parts.iter().zip(&o.norms) {
        let y = slice(o.x, start, p.rows);
        outs.extend(epilogue(scene, p, y, norms, o.angles));
        start += p.rows;
    }
    concat(&outs, rows)
}

/// Steps in order, with the vectors of those that are norms.
fn epilogue(
    scene: &mut Scene,
    f: &Epilogue,
    mut y: Rows,
    norms: &[NormVectors<&Rows>],
    angles: Option<&Rows>,
) -> Option<Rows> {
    for (step, vectors) in f.steps.iter().zip(norms) {
        y = match step {
            EpilogueStep::Norm(n) => norm(n, &y, *vectors),
            EpilogueStep::Rope(r) => rotate(r, &y, angles.expect("a rotation has angles")),
            EpilogueStep::PositionScale(p) => position_scale(scene, p, &y),
            EpilogueStep::Scale(by) => map(&y, |v| v * by),
        };
    }
    if f.dest == Dest::Output {
        return Some(y);
    }
    attend::write(scene, f.dest, &y);
    None
}
