//! Attention over a cache of all positions: scores, softmax, mix, as three plain loops. What is cached is rounded as it will be.

use graver_runtime::abi::cache::cache_scale;
use graver_runtime::abi::quant::TINY;

use super::values::{Rows, Scene};
use crate::graph::{Attention, AttentionOperands, Dest, StateDecl, StateId};

/// Appends a row for each token of the step.
pub(super) fn write(scene: &mut Scene, dest: Dest, x: &Rows) {
    let (s, is_key) = match dest {
        Dest::Output => return,
        Dest::Keys(s) => (s, true),
        Dest::Values(s) => (s, false),
        Dest::KeyColumns(s, start) => return write_columns(scene, s, start, x),
    };
    let decl = &scene.graph.states[s.0 as usize];
    let cache = &mut scene.caches[s.0 as usize];
    let (rows, dim) = match is_key {
        true => (&mut cache.keys, decl.head_dim),
        false => (&mut cache.values, decl.value_dim),
    };
    rows.extend(x.iter().map(|row| kept(decl, row, dim)));
}

/// Heads of `dim` components as the state keeps them.
fn kept(decl: &StateDecl, row: &[f32], dim: usize) -> Vec<f32> {
    let heads = row.chunks(dim);
    match decl.dtype.float() {
        Some(dtype) => row.iter().map(|v| dtype.round(*v)).collect(),
        None => heads
            .flat_map(|head| head.chunks(decl.group()).flat_map(in_integers))
            .collect(),
    }
}

/// A group of values as integers of their scale.
fn in_integers(group: &[f32]) -> Vec<f32> {
    let largest = group.iter().fold(0f32, |most, v| v.abs().max(most));
    if largest < TINY {
        return vec![0.0; group.len()];
    }
    let scale = cache_scale(largest).to_f32();
    let inverse = 1.0 / scale;
    let rounded = |v: &f32| (v * inverse).round_ties_even() * scale;
    group.iter().map(rounded).collect()
}

/// Some columns of the step's keys; whoever comes first makes room for all.
fn write_columns(scene: &mut Scene, s: StateId, start: usize, x: &Rows) {
    let decl = &scene.graph.states[s.0 as usize];
    let keys = &mut scene.caches[s.0 as usize].keys;
    keys.resize(scene.start + scene.tokens.len(), vec![0.0; decl.head_dim]);
    for (key, part) in keys[scene.start..].iter_mut().zip(x.iter()) {
        key[start..start + part.len()].copy_from_slice(&kept(decl, part, part.len()));
    }
}

/// Positions that the query of row `t` sees.
fn visible(scene: &Scene, a: &Attention, t: usize) -> std::ops::Range<usize> {
    let position = scene.start + t;
    a.reach.start(position)..position + 1
}

/// `[heads, T, keys]`.
pub(super) fn scores(scene: &Scene, a: &Attention, o: &AttentionOperands<&Rows>) -> Rows {
    let keys = &scene.caches[a.state.0 as usize].keys;
    let score = |h: usize, (t, query): (usize, &[f32]), s: usize| {
        let g = h / a.group() * a.head_dim;
        let head = &query[h * a.head_dim..(h + 1) * a.head_dim];
        let dot: f64 = head
            .iter()
            .zip(&keys[s][g..])
            .map(|(x, y)| f64::from(*x) * f64::from(*y))
            .sum();
        let v = dot as f32 * a.scale;
        let v = a.softcap.map_or(v, |c| (v / c).tanh() * c);
        let distance = (scene.start + t) as f32 - s as f32;
        let v = o.slopes.map_or(v, |slopes| v - slopes.data[h] * distance);
        v + by_distance(a, o, (h, t), (scene.start + t).checked_sub(s))
    };
    let mut data = vec![];
    for h in 0..a.heads {
        for query in o.q.iter().enumerate() {
            data.extend((0..keys.len()).map(|s| score(h, query, s)));
        }
    }
    Rows::new(data, keys.len())
}

/// What is added to the score that head `h` of the query of row `t` has for a key at that distance.
fn by_distance(
    a: &Attention,
    o: &AttentionOperands<&Rows>,
    (h, t): (usize, usize),
    distance: Option<usize>,
) -> f32 {
    let (Some(p), Some(o)) = (a.relative, &o.relative) else {
        return 0.0;
    };
    let Some(d) = distance.filter(|d| *d < p.extent) else {
        return 0.0;
    };
    let r = &o.r.row(t)[h * p.dim..][..p.dim];
    let term = |(c, r): (usize, &f32)| f64::from(*r) * f64::from(o.profiles.data[c * p.extent + d]);
    r.iter().enumerate().map(term).sum::<f64>() as f32
}

/// The same shape; keys that are invisible, or not picked, get 0. A sink is one more logit of its head, whose weight nobody reads.
pub(super) fn softmax(
    scene: &Scene,
    a: &Attention,
    scores: &Rows,
    (sinks, picked): (Option<&Rows>, Option<&Rows>),
) -> Rows {
    let n = scene.tokens.len();
    let mut out = scores.clone();
    for (i, row) in out.data.chunks_exact_mut(scores.width).enumerate() {
        let seen: Vec<usize> = match picked {
            None => visible(scene, a, i % n).collect(),
            Some(picked) => positions(scene, a, picked, (i / n, i % n)),
        };
        let sink = sinks.map(|s| s.data[i / n]);
        let logits = || seen.iter().map(|s| row[*s]).chain(sink);
        let max = logits().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = logits().map(|v| f64::from(v - max).exp()).sum();
        let mut weights = vec![0.0; scores.width];
        for s in seen {
            weights[s] = (f64::from(row[s] - max).exp() / sum) as f32;
        }
        row.copy_from_slice(&weights);
    }
    out
}

/// The positions up to its own that are listed for head `h` of the query of row `t`.
fn positions(scene: &Scene, a: &Attention, picked: &Rows, (h, t): (usize, usize)) -> Vec<usize> {
    let l = a.picked.expect("a listing is of something");
    let set = h / a.group() * l.sets / a.kv_heads;
    let listed = &picked.row(t)[set * l.count..][..l.count];
    // Where there are fewer blocks than are picked, they come first.
    let blocks = listed.iter().take((scene.start + t + 1).div_ceil(l.block));
    let all = blocks.flat_map(|b| (*b as usize * l.block..).take(l.block));
    all.filter(|p| *p <= scene.start + t).collect()
}

/// `[T, heads · value_dim]`.
pub(super) fn mix(scene: &Scene, a: &Attention, p: &Rows) -> Rows {
    let (n, cache) = (scene.tokens.len(), &scene.caches[a.state.0 as usize]);
    let values = match scene.graph.states[a.state.0 as usize].shared {
        true => &cache.keys,
        false => &cache.values,
    };
    let mut data = vec![0.0; n * a.heads * a.value_dim];
    for h in 0..a.heads {
        let g = h / a.group() * a.value_dim;
        for t in 0..n {
            let weights = &p.data[(h * n + t) * p.width..][..p.width];
            for d in 0..a.value_dim {
                let sum: f64 = weights
                    .iter()
                    .zip(values)
                    .map(|(w, v)| f64::from(*w) * f64::from(v[g + d]))
                    .sum();
                data[(t * a.heads + h) * a.value_dim + d] = sum as f32;
            }
        }
    }
    Rows::new(data, a.heads * a.value_dim)
}
