//! Short convolution, the gated delta rule and the selective scan, token after token, as they are defined.

use super::rows::{activate, norm, softplus};
use super::values::{Rows, Scene};
use crate::graph::{
    DecayOperands, DeltaOperands, DeltaRule, NormVectors, Scan, ScanOperands, ShortConv,
    ShortConvOperands,
};

/// The last rows of earlier steps stand before those of this one.
pub(super) fn short_conv(scene: &mut Scene, c: &ShortConv, o: ShortConvOperands<&Rows>) -> Rows {
    let ShortConvOperands { x, weight: w } = o;
    let past = &mut scene.memories[c.state.0 as usize];
    let (n, mut all) = (x.width, past.clone());
    all.extend(&x.data);
    *past = all[all.len() - past.len()..].to_vec();
    let sum = |t: usize, channel: usize| {
        let term = |j: usize| {
            let seen = all[(t + j) * n + channel];
            f64::from(w.data[channel * c.taps + j]) * f64::from(seen)
        };
        let sum = (0..c.taps).map(term).sum::<f64>() as f32;
        c.act.map_or(sum, |a| activate(a, sum))
    };
    let sums = (0..x.data.len()).map(|i| sum(i / n, i % n)).collect();
    let out = Rows::new(sums, n);
    match &c.norm {
        Some(n) => norm(n, &out, NormVectors::NONE),
        None => out,
    }
}

/// `exp(−exp(rate[h]) · softplus(x + bias))`.
pub(super) fn decay(heads: usize, lower: Option<f32>, o: DecayOperands<&Rows>) -> Rows {
    let DecayOperands { x, rate, bias } = o;
    let each = |(i, v): (usize, &f32)| {
        let column = i % x.width;
        let rate = f64::from(rate.data[column / (x.width / heads)]).exp();
        let v = f64::from(*v) + f64::from(bias.data[column]);
        let log = match lower {
            Some(lower) => f64::from(lower) / (1.0 + (-rate * v).exp()),
            None => -rate * softplus(v),
        };
        log.exp() as f32
    };
    Rows::new(x.data.iter().enumerate().map(each).collect(), x.width)
}

pub(super) fn delta_rule(scene: &mut Scene, d: &DeltaRule, o: &DeltaOperands<&Rows>) -> Rows {
    let state = &mut scene.memories[d.state.0 as usize];
    let tokens = o.q.data.len() / o.q.width;
    let mut out = vec![];
    for t in 0..tokens {
        for (h, state) in state.chunks_exact_mut(d.key_dim * d.value_dim).enumerate() {
            out.extend(token(d, state, Inputs::of(d, o, t, h)));
        }
    }
    let mut out = Rows::new(out, d.heads * d.value_dim);
    if let Some(n) = &d.norm {
        out = norm(n, &out, o.norm);
    }
    if let Some(gate) = o.gate {
        let pairs = out.data.iter_mut().zip(&gate.data);
        pairs.for_each(|(y, g)| *y *= g);
    }
    out
}

/// What one head sees of one token.
struct Inputs<'a> {
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    decay: &'a [f32],
    beta: f32,
    skip: f32,
}

impl<'a> Inputs<'a> {
    fn of(d: &DeltaRule, o: &DeltaOperands<&'a Rows>, t: usize, h: usize) -> Inputs<'a> {
        let head = |rows: &'a Rows, h: usize, dim: usize| {
            // Every token sees a vector.
            let row = t % (rows.data.len() / rows.width);
            &rows.data[row * rows.width + h * dim..][..dim]
        };
        Inputs {
            q: head(o.q, d.key_head(h), d.key_dim),
            k: head(o.k, d.key_head(h), d.key_dim),
            v: head(o.v, h, d.value_dim),
            decay: head(o.decay, h, o.decay.width / d.heads),
            beta: head(o.beta, h, 1)[0],
            skip: o.skip.map_or(0.0, |s| s.data[h]),
        }
    }
}

/// One head's state after a token, and what comes out.
fn token(d: &DeltaRule, state: &mut [f32], x: Inputs) -> Vec<f32> {
    for (i, row) in state.chunks_exact_mut(d.value_dim).enumerate() {
        row.iter_mut()
            .for_each(|s| *s *= x.decay[i % x.decay.len()]);
    }
    let product = |state: &[f32], by: &[f32], j: usize| {
        let term = |(i, b): (usize, &f32)| f64::from(state[i * d.value_dim + j]) * f64::from(*b);
        by.iter().enumerate().map(term).sum::<f64>() as f32
    };
    for j in 0..d.value_dim {
        let found = match d.corrects {
            true => product(state, x.k, j),
            false => 0.0,
        };
        let change = x.beta * (x.v[j] - found);
        for (i, k) in x.k.iter().enumerate() {
            state[i * d.value_dim + j] += k * change;
        }
    }
    let out = (0..d.value_dim).map(|j| d.scale * product(state, x.q, j) + x.skip * x.v[j]);
    out.collect()
}

pub(super) fn scan(scene: &mut Scene, c: &Scan, o: &ScanOperands<&Rows>) -> Rows {
    let state = &mut scene.memories[c.state.0 as usize];
    let channels = o.v.width;
    let mut out = vec![];
    for (t, v) in o.v.iter().enumerate() {
        let row = |rows: &Rows| rows.data[t * rows.width..][..rows.width].to_vec();
        let [q, k, write] = [o.q, o.k, o.write].map(row);
        for (i, v) in v.iter().enumerate() {
            let mut sum = o.skip.map_or(0.0, |skip| f64::from(skip.data[i] * v));
            for j in 0..c.key_dim {
                let rate = f64::from(o.rate.data[i * c.key_dim + j]).exp();
                let decay = (-rate * f64::from(write[i])).exp() as f32;
                let s = &mut state[j * channels + i];
                *s = *s * decay + k[j] * write[i] * v;
                sum += f64::from(*s) * f64::from(q[j]);
            }
            out.push(sum as f32);
        }
    }
    Rows::new(out, channels)
}
