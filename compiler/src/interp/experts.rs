//! Operations on experts: routing, grouping, a matrix for each expert, and the way back to tokens.
//!
//! Indices are held as the numbers they are; a table of groups is laid out for the tokens of the step.

use super::rows::{activate, binary, map, norm, product, softplus, to_int8};
use super::values::Rows;
use crate::graph::{
    Activate, Binary, ExpertMatrix, ExpertsIn, ExpertsInOperands, ExpertsOut, ExpertsOutOperands,
    Form, Gating, GroupedMatmul, Grouping, Route, RouteOperands, Routing, ScaledRows, Score,
};

/// For each row of scores the weights of its experts, and which they are.
pub(super) fn route(r: &Route, o: RouteOperands<&Rows>) -> Rows {
    let each = [o.correction, o.expert_scale].map(|c| c.map(|c| c.data.as_slice()));
    let rows = o.scores.iter().enumerate();
    let data = rows
        .flat_map(|(t, row)| route_row(r, row, o.listed.map(|l| l.row(t)), each))
        .collect();
    Rows::new(data, 2 * r.top_k)
}

fn route_row(
    r: &Route,
    logits: &[f32],
    listed: Option<&[f32]>,
    [correction, expert_scale]: [Option<&[f32]>; 2],
) -> Vec<f32> {
    let scores = if r.after || r.near.is_some() {
        logits.to_vec()
    } else {
        score(r.score, logits)
    };
    let open = r.experts - r.always;
    let mut choice: Vec<f32> = (0..open)
        .map(|e| scores[e] + correction.map_or(0.0, |c| c[e]))
        .map(|v| if v.is_nan() { f32::NEG_INFINITY } else { v })
        .collect();
    if let Some(g) = r.groups {
        let each = choice.len() / g.count;
        let worth: Vec<f32> = choice.chunks_exact(each).map(|c| best(c, g.best)).collect();
        let kept = top(&worth, g.top);
        for (e, v) in choice.iter_mut().enumerate() {
            if !kept.contains(&(e / each)) {
                *v = f32::NEG_INFINITY;
            }
        }
    }
    let mut chosen = match listed {
        Some(listed) => listed
            .iter()
            .map(|e| (*e as usize).min(r.experts - 1))
            .collect(),
        None => top(&choice, r.top_k - r.always),
    };
    chosen.extend(open..r.experts);
    let mut weights: Vec<f32> = chosen.iter().map(|e| scores[*e]).collect();
    if r.after {
        weights = score(r.score, &weights);
    }
    if let Some(near) = r.near {
        weights = one_by_one(&choice, &chosen, near);
    }
    let sum: f32 = weights.iter().sum();
    let divisor = r.renormalise.map_or(1.0, |eps| sum + eps);
    let factor = |e: usize| expert_scale.map_or(r.scale, |s| s[e] * r.scale);
    let weights = weights
        .iter()
        .zip(&chosen)
        .map(|(w, e)| w / divisor * factor(*e));
    weights.chain(chosen.iter().map(|e| *e as f32)).collect()
}

/// The weight of each choice among those that are left where it is made, and near it.
fn one_by_one(scores: &[f32], chosen: &[usize], near: f32) -> Vec<f32> {
    let mut left: Vec<usize> = (0..scores.len()).collect();
    let mut weights = vec![0.0; chosen.len()];
    for _ in chosen {
        let best = *left
            .iter()
            .reduce(|a, b| if scores[*b] > scores[*a] { b } else { a })
            .expect("no more are chosen than there are");
        let most = scores[best];
        let is_near = |e: &&usize| {
            let s = scores[**e];
            let apart = (most - s) / s.abs().max(most) > near;
            **e == best || !apart
        };
        let terms = left.iter().filter(is_near);
        let sum: f64 = terms.map(|e| f64::from(scores[*e] - most).exp()).sum();
        let place = chosen.iter().position(|e| *e == best);
        weights[place.expect("the best are chosen")] = (1.0 / sum) as f32;
        left.retain(|e| *e != best);
    }
    weights
}

fn score(kind: Score, x: &[f32]) -> Vec<f32> {
    match kind {
        Score::Sigmoid => x
            .iter()
            .map(|v| (1.0 / (1.0 + (-f64::from(*v)).exp())) as f32)
            .collect(),
        Score::SqrtSoftplus => x
            .iter()
            .map(|v| softplus(f64::from(*v)).sqrt() as f32)
            .collect(),
        Score::Softmax => {
            let max = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let e: Vec<f64> = x.iter().map(|v| f64::from(v - max).exp()).collect();
            let sum: f64 = e.iter().sum();
            e.iter().map(|v| (v / sum) as f32).collect()
        }
    }
}

/// Sum of the best values.
fn best(values: &[f32], count: usize) -> f32 {
    let order = top(values, count);
    order.iter().map(|i| values[*i]).sum()
}

/// Indices of the largest values, the lower first among equals, in ascending order.
fn top(values: &[f32], count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*b].partial_cmp(&values[*a]).expect("no NaN"));
    order.truncate(count);
    order.sort_unstable();
    order
}

/// The table of groups; see [`Grouping`].
pub(super) fn group(g: &Grouping, routes: &Rows) -> Rows {
    let n = routes.data.len() / routes.width.max(1);
    let mut rows: Vec<(usize, usize, f32)> = vec![]; // run, token, weight
    for (t, route) in routes.iter().enumerate() {
        let (weights, experts) = route.split_at(g.top_k);
        rows.extend((0..g.top_k).map(|j| (g.run_of(experts[j] as usize), t, weights[j])));
    }
    rows.sort_by_key(|r| r.0);
    let start = |e: usize| rows.partition_point(|r| r.0 < e);
    let active: Vec<usize> = (0..g.here())
        .filter(|e| start(*e) < start(*e + 1))
        .collect();
    let mut table = vec![0.0; 2 * g.runs() + 2 + 3 * n * g.top_k];
    for e in 0..=g.runs() {
        table[Grouping::OFFSETS + e] = start(e) as f32;
    }
    for (i, e) in active.iter().enumerate() {
        table[g.active() + i] = *e as f32;
    }
    table[g.n_active()] = active.len() as f32;
    let mut seen = vec![0; n];
    for (i, (_, t, weight)) in rows.iter().enumerate() {
        table[g.tokens() + i] = *t as f32;
        table[g.weights(n) + i] = *weight;
        table[g.places(n) + t * g.top_k + seen[*t]] = i as f32;
        seen[*t] += 1;
    }
    Rows::new(table, 1)
}

/// For each token the sum of the weights of its experts without matrices.
pub(super) fn identity_weight(g: &Grouping, routes: &Rows) -> Rows {
    let of_token = |route: &[f32]| {
        let (weights, experts) = route.split_at(g.top_k);
        let each = weights.iter().zip(experts);
        let identity = each.filter(|(_, e)| **e as usize >= g.with_matrices());
        identity.map(|(w, _)| w).sum()
    };
    Rows::new(routes.iter().map(of_token).collect(), 1)
}

/// A view of the table.
struct Groups<'a> {
    grouping: &'a Grouping,
    table: &'a [f32],
    /// Tokens that it is laid out for.
    tokens: usize,
}

impl<'a> Groups<'a> {
    fn of(grouping: &'a Grouping, table: &'a Rows) -> Self {
        let rows = (table.data.len() - 2 * grouping.runs() - 2) / 3;
        Groups {
            grouping,
            table: &table.data,
            tokens: rows / grouping.top_k,
        }
    }

    fn rows(&self) -> usize {
        self.tokens * self.grouping.top_k
    }

    fn token(&self, row: usize) -> usize {
        self.table[self.grouping.tokens() + row] as usize
    }

    fn weight(&self, row: usize) -> f32 {
        self.table[self.grouping.weights(self.tokens) + row]
    }

    /// The expert of a row, if it is here.
    fn expert(&self, row: usize) -> Option<usize> {
        let offsets = &self.table[..=self.grouping.runs()];
        let run = offsets.partition_point(|o| *o as usize <= row) - 1;
        Some(run).filter(|run| *run < self.grouping.here())
    }

    fn places(&self, token: usize) -> impl Iterator<Item = usize> + '_ {
        let k = self.grouping.top_k;
        let first = self.grouping.places(self.tokens) + token * k;
        self.table[first..first + k].iter().map(|p| *p as usize)
    }
}

/// `[rows, n]` from `[tokens, n]`.
pub(super) fn gather(g: &Grouping, weighted: bool, x: &Rows, table: &Rows) -> Rows {
    let groups = Groups::of(g, table);
    let row = |i: usize| {
        let token = &x.data[groups.token(i) * x.width..][..x.width];
        let w = if weighted { groups.weight(i) } else { 1.0 };
        token.iter().map(move |v| v * w)
    };
    Rows::new((0..groups.rows()).flat_map(row).collect(), x.width)
}

/// Each row through its expert's matrix.
pub(super) fn grouped_matmul(
    m: &GroupedMatmul,
    x: &Rows,
    table: &Rows,
    matrix: ExpertMatrix<&Rows>,
) -> Rows {
    let ExpertMatrix { weight: w, bias } = matrix;
    let groups = Groups::of(&m.grouping, table);
    let size = m.rows * w.width;
    let mut data = vec![];
    for (i, row) in x.iter().enumerate() {
        let Some(e) = groups.expert(i) else {
            // Another rank has what comes of it.
            data.extend(vec![0.0; m.rows]);
            continue;
        };
        let mut own = Rows::new(w.data[e * size..(e + 1) * size].to_vec(), w.width);
        own.rounded = w.rounded;
        let mut y = product(&Rows::new(row.to_vec(), x.width), &own);
        if let Some(b) = bias {
            let own = Rows::new(b.data[e * m.rows..(e + 1) * m.rows].to_vec(), m.rows);
            y = binary(Binary::Add, &y, &own);
        }
        data.extend(y.data);
    }
    Rows::new(data, m.rows)
}

/// `act(α g) / α · (u + offset)`.
pub(super) fn activated(a: &Activate, x: &Rows, other: Option<&Rows>) -> Rows {
    let pair = |g: f32, u: f32| gated(&a.gating, g) * up(&a.gating, u);
    match (a.form, other) {
        (Form::Gated, Some(other)) => {
            let both = x.data.iter().zip(&other.data);
            Rows::new(both.map(|(g, u)| pair(*g, *u)).collect(), x.width)
        }
        (Form::Paired, _) => {
            let pairs = x.data.chunks_exact(2);
            Rows::new(pairs.map(|p| pair(p[0], p[1])).collect(), x.width / 2)
        }
        (Form::Plain | Form::Gated, _) => map(x, |v| gated(&a.gating, v)),
    }
}

fn gated(g: &Gating, x: f32) -> f32 {
    let limited = |x: f32| g.limit.map_or(x, |l| x.min(l));
    match g.after {
        true => limited(activate(g.act, x * g.alpha) / g.alpha),
        false => activate(g.act, limited(x) * g.alpha) / g.alpha,
    }
}

fn up(g: &Gating, x: f32) -> f32 {
    g.limit.map_or(x, |l| x.clamp(-l, l)) + g.offset
}

/// Each token's rows, summed in the order of its experts.
pub(super) fn combine(g: &Grouping, weighted: bool, x: &Rows, table: &Rows) -> Rows {
    let groups = Groups::of(g, table);
    let mut data = vec![0.0; groups.tokens * x.width];
    for (t, out) in data.chunks_exact_mut(x.width).enumerate() {
        for i in groups.places(t) {
            let w = if weighted { groups.weight(i) } else { 1.0 };
            let row = &x.data[i * x.width..(i + 1) * x.width];
            out.iter_mut().zip(row).for_each(|(y, v)| *y += v * w);
        }
    }
    Rows::new(data, x.width)
}

/// Each row multiplied by its number.
pub(super) fn scale_rows(o: ScaledRows<&Rows>) -> Rows {
    let ScaledRows { x, by } = o;
    let each = x.width / by.width;
    let heads = x.data.chunks_exact(each).zip(&by.data);
    let data = heads.flat_map(|(head, s)| head.iter().map(move |v| v * s));
    Rows::new(data.collect(), x.width)
}

/// The table of groups: made before, or from scores.
fn groups(g: &Grouping, r: Option<&Route>, routing: Routing<&Rows>) -> Rows {
    match (routing, r) {
        (Routing::Own(o), Some(r)) => group(g, &route(r, o)),
        (Routing::Groups(table), _) => table.clone(),
        (Routing::Own(_), None) => unreachable!("threads route where there is a route"),
    }
}

pub(super) fn experts_in(e: &ExpertsIn, o: &ExpertsInOperands<&Rows>) -> Rows {
    let mut input = o.x.clone();
    if let Some(n) = &e.norm {
        input = norm(n, &input, o.norm);
    }
    let table = groups(&e.grouping, e.route.as_ref(), o.routing);
    let mut rows = gather(&e.grouping, e.weighted, &input, &table);
    if e.quantize_x {
        rows = to_int8(&rows);
    }
    let m = GroupedMatmul {
        grouping: e.grouping,
        rows: e.ffn * e.activate.form.rows_each(),
        bias: e.bias,
    };
    let product = |matrix: &ExpertMatrix<&Rows>| grouped_matmul(&m, &rows, &table, *matrix);
    let products: Vec<Rows> = o.matrices.iter().map(product).collect();
    let y = activated(&e.activate, &products[0], products.get(1));
    if e.quantize_y { to_int8(&y) } else { y }
}

pub(super) fn experts_out(e: &ExpertsOut, o: &ExpertsOutOperands<&Rows>) -> Rows {
    let table = groups(&e.grouping, e.route.as_ref(), o.routing);
    let m = GroupedMatmul {
        grouping: e.grouping,
        rows: e.rows,
        bias: e.bias,
    };
    let products = grouped_matmul(&m, o.x, &table, o.matrix);
    let mut y = combine(&e.grouping, e.weighted, &products, &table);
    if let Some(shared) = o.shared {
        let shared = match o.shared_gate {
            Some(by) => scale_rows(ScaledRows { x: shared, by }),
            None => shared.clone(),
        };
        y = binary(Binary::Add, &y, &shared);
    }
    match o.residual {
        Some(residual) => binary(Binary::Add, &y, residual),
        None => y,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two of five experts, weighed as DeepSeek V4 does.
    fn square_roots() -> Route {
        Route {
            experts: 5,
            top_k: 2,
            always: 0,
            score: Score::SqrtSoftplus,
            after: false,
            correction: false,
            groups: None,
            listed: false,
            renormalise: Some(1e-20),
            scale: 1.5,
            expert_scale: false,
            near: None,
        }
    }

    /// What `DeepseekV4TopKRouter` of transformers 5.24 gives in float64.
    #[test]
    fn square_roots_of_softplus_choose_and_weigh_as_the_reference_has_it() {
        let route_of = Route {
            correction: true,
            ..square_roots()
        };
        let scores = [0.3, -1.2, 0.1, 30.0, -40.0, 2.0, -20.0, -3.0, 1.0, 0.0];
        let scores = Rows::new(scores.to_vec(), 5);
        let correction = Rows::new(vec![0.0, 0.0, 0.5, 0.0, 0.0], 5);
        let found = route(
            &route_of,
            RouteOperands {
                scores: &scores,
                listed: None,
                correction: Some(&correction),
                expert_scale: None,
            },
        );
        let expected = [
            0.204_128_45,
            1.295_871_6,
            2.0,
            3.0,
            0.839_970_6,
            0.660_029_4,
            0.0,
            3.0,
        ];
        for (i, (a, b)) in found.data.iter().zip(expected).enumerate() {
            assert!((a - b).abs() < 1e-6, "{i}: {a}, expected {b}");
        }
        let least = score(Score::SqrtSoftplus, &[-40.0])[0];
        assert!((least / 2.061_153_6e-9 - 1.0).abs() < 1e-6, "{least}");
    }

    /// What `DeepseekV4HashRouter` of transformers 5.24 gives in float64, for a table of which one row lists an expert twice.
    #[test]
    fn listed_experts_are_weighed_by_their_scores() {
        let route_of = Route {
            listed: true,
            ..square_roots()
        };
        let scores = [
            [2.0, -20.0, -3.0, 1.0, 0.0],
            [0.3, -1.2, 0.1, 30.0, -40.0],
            [1.0, 2.0, 3.0, 4.0, 5.0],
        ];
        let scores = Rows::new(scores.concat(), 5);
        let listed = Rows::new(vec![3.0, 1.0, 0.0, 4.0, 2.0, 2.0], 2);
        let operands = RouteOperands {
            scores: &scores,
            listed: Some(&listed),
            correction: None,
            expert_scale: None,
        };
        let found = route(&route_of, operands);
        let expected = [
            [1.499_940_6, 5.942_286_6e-5, 3.0, 1.0],
            [1.5, 3.344_894_1e-9, 0.0, 4.0],
            [0.75, 0.75, 2.0, 2.0],
        ];
        for (i, (a, b)) in found.data.iter().zip(expected.concat()).enumerate() {
            assert!((a - b).abs() <= 1e-6 * b, "{i}: {a}, expected {b}");
        }
    }
}
