//! The value of an operation, by what it is.

use super::rows::{
    binary, embed, joined_epilogues, map, matmul, norm, position_scale, positions, rope_angles,
    rotate, slice, to_int8, unary,
};
use super::values::{Rows, Scene};
use super::{attend, experts, heads, index, recurrent, streams};
use crate::graph::{
    Attention, AttentionOperands, DecayOperands, Dest, EpilogueOperands, GroupedRows, HeadMatmul,
    HeadMatmulOperands, KeysValues, LatentAttention, LatentOperands, LookUp, MatchedRows, Norm,
    NormOperands, Op, Pair, Reads, Role, RouteOperands, Scaled, ScaledRows, Single,
    SoftmaxOperands, XieluOperands,
};

/// The value of an operation.
pub(super) fn evaluate(scene: &mut Scene, op: &Op, operands: &[&Rows]) -> Rows {
    let mut operands = operands.iter().copied();
    let o = &mut |_: Role, _: Reads| operands.next().expect("an operation has its operands");
    match op {
        Op::Input(_) | Op::Weight(_) => unreachable!("named, not computed"),
        Op::Collective(_) => unreachable!("where all ranks meet"),
        Op::Embed { scale, limit } => by_token(scene, LookUp::of(o).table, *scale, *limit),
        Op::PositionRows { offset } => {
            let rows = positions(scene).map(|p| p + offset);
            embed(LookUp::of(o).table, rows, 1.0)
        }
        Op::Sinusoids {
            offset,
            step,
            width,
        } => sinusoids(scene, *offset, *step, *width),
        Op::RopeAngles { rope, .. } => rope_angles(scene, *rope),
        Op::Norm(n) => {
            let NormOperands { x, norm: vectors } = n.operands(o);
            norm(n, x, vectors)
        }
        Op::Matmul(m) => matmul(scene, m, &m.operands(o)),
        Op::Quantize { norm } => {
            quantized(norm.as_ref(), NormOperands::of_quantize(norm.as_ref(), o))
        }
        Op::Binary(op) => {
            let Pair { a, b } = op.operands(o);
            binary(*op, a, b)
        }
        Op::Unary(u) => map(Single::of(o).x, |v| unary(*u, v)),
        Op::Rope(r) => {
            let o = r.operands(o);
            rotate(r, o.x, o.angles)
        }
        Op::PositionScale(p) => position_scale(scene, p, Single::of(o).x),
        Op::CacheWrite { state } => {
            let KeysValues { k, v } = KeysValues::of(o);
            attend::write(scene, Dest::Keys(*state), k);
            attend::write(scene, Dest::Values(*state), v);
            Rows::default()
        }
        Op::CacheRead { .. } => Rows::default(),
        Op::Epilogue { parts } => joined_epilogues(scene, parts, &EpilogueOperands::of(parts, o)),
        Op::Scores(a) => {
            let o = a.scores_operands(o);
            attend::scores(scene, a, &o)
        }
        Op::Softmax(a) => {
            let SoftmaxOperands { x, sinks, picked } = a.softmax_operands(o);
            attend::softmax(scene, a, x, (sinks, picked))
        }
        Op::Mix(a) => attend::mix(scene, a, a.mix_operands(o).p),
        Op::Attention(a) => attention(scene, a, a.operands(o)),
        Op::LatentAttention(l) => latent_attention(scene, l, l.operands(o)),
        Op::IndexScores(i) => index::scores(scene, i, &i.operands(o)),
        Op::PickKeys(p) => index::pick(scene, p, Single::of(o).x),
        Op::GatherRows | Op::Copy => Single::of(o).x.clone(),
        Op::Slice { start, len } => slice(Single::of(o).x, *start, *len),
        Op::HeadSlice(c) => heads::slice(c, Single::of(o).x),
        Op::HeadConcat(c) => heads::concat(c, Pair::of(o)),
        Op::HeadMatmul(m) => heads::matmul(m, m.operands(o)),
        Op::Route(r) => experts::route(r, RouteOperands::of(r, o)),
        Op::GroupByExpert(g) => experts::group(g, Single::of(o).x),
        Op::GatherTokens { grouping, weighted } => {
            let GroupedRows { x, groups } = GroupedRows::of(o);
            experts::gather(grouping, *weighted, x, groups)
        }
        Op::GroupedMatmul(m) => {
            let o = m.operands(o);
            experts::grouped_matmul(m, o.x, o.groups, o.matrix)
        }
        Op::Activate(a) => {
            let o = a.operands(o);
            experts::activated(a, o.x, o.up)
        }
        Op::Combine { grouping, weighted } => {
            let GroupedRows { x, groups } = GroupedRows::of(o);
            experts::combine(grouping, *weighted, x, groups)
        }
        Op::IdentityWeight(g) => experts::identity_weight(g, Single::of(o).x),
        Op::ScaleRows => experts::scale_rows(ScaledRows::of(o)),
        Op::ScaleBy => {
            let Scaled { x, by } = Scaled::of(o);
            map(x, |v| v * by.data[0])
        }
        Op::WeightedSum(w) => streams::weighted_sum(w, &w.operands(o)),
        Op::MatchRms { least } => streams::match_rms(*least, MatchedRows::of(o)),
        Op::Cutoff { by } => streams::cutoff(*by, Single::of(o).x),
        Op::ShortConv(c) => recurrent::short_conv(scene, c, c.operands(o)),
        Op::Decay { heads, lower } => recurrent::decay(*heads, *lower, DecayOperands::of(o)),
        Op::Xielu(x) => streams::xielu(x, XieluOperands::of(o)),
        Op::Scan(c) => recurrent::scan(scene, c, &c.operands(o)),
        Op::DeltaRule(d) => recurrent::delta_rule(scene, d, &d.operands(o)),
        Op::ExpertsIn(e) => experts::experts_in(e, &e.operands(o)),
        Op::ExpertsOut(e) => experts::experts_out(e, &e.operands(o)),
    }
}

fn latent_attention(scene: &Scene, l: &LatentAttention, o: LatentOperands<&Rows>) -> Rows {
    let by_head = |m: &HeadMatmul, x: &Rows| {
        let weight = o.weight;
        heads::matmul(m, HeadMatmulOperands { x, weight })
    };
    let bare = AttentionOperands {
        q: &by_head(&l.queries, o.q),
        after: o.after,
        slopes: None,
        relative: None,
        sinks: None,
        picked: None,
    };
    let sums = attention(scene, &l.attention, bare);
    by_head(&l.results, &sums)
}

fn attention(scene: &Scene, a: &Attention, o: AttentionOperands<&Rows>) -> Rows {
    let scores = attend::scores(scene, a, &o);
    let weights = attend::softmax(scene, a, &scores, (o.sinks, o.picked));
    attend::mix(scene, a, &weights)
}

fn by_token(scene: &Scene, table: &Rows, scale: f32, limit: Option<usize>) -> Rows {
    let row = |&t: &u32| match limit {
        Some(limit) if t as usize >= limit => 0,
        _ => t as usize,
    };
    embed(table, scene.tokens.iter().map(row), scale)
}

fn quantized(before: Option<&Norm>, o: NormOperands<&Rows>) -> Rows {
    match before {
        Some(n) => to_int8(&norm(n, o.x, o.norm)),
        None => to_int8(o.x),
    }
}

fn sinusoids(scene: &Scene, offset: usize, step: f32, width: usize) -> Rows {
    let freqs: Vec<f32> = (0..width / 2).map(|i| (i as f32 * -step).exp()).collect();
    let row = |p: usize| {
        let angle = move |f: &f32| (p + offset) as f32 * f;
        let sin = freqs.iter().map(move |f| angle(f).sin());
        sin.chain(freqs.iter().map(move |f| angle(f).cos()))
    };
    Rows::new(positions(scene).flat_map(row).collect(), width)
}

#[cfg(test)]
mod tests {
    use crate::graph::{Block, Program, ProgramKind, parse};
    use crate::interp::Interpreter;

    /// `r · P[:, d]` on scores, and nothing from the extent on, over two steps.
    #[test]
    fn a_bias_by_distance_ends_with_its_profiles() {
        let block = |name: &str, text: &str| Block {
            name: name.into(),
            graph: parse(text).unwrap_or_else(|e| panic!("{name}: {e}")),
        };
        // Queries and keys are zero, so that scores are the bias alone; values are the sinusoids.
        let embed = "%h = sinusoids {offset=0 step=1.0 dim=4}\n\
            %g = head_concat %h, %h {heads=1 left=4 right=4}\noutput h = %h\noutput g = %g";
        let options =
            "heads=2 kv_heads=1 head_dim=2 value_dim=4 scale=1.0 relative(dim=2 extent=3) state=s0";
        let layer = format!(
            "weight @r: f32[4, 4]\nweight @p: f32[2, 3]\nweight @q: f32[4, 4]\nstate kv: f32 heads=1 key=2 value=4\n\
            %h = input: [T, 4]\n%q = matmul %h, w0=@q {{part(rows=4)}}\n%r = matmul %h, w0=@r {{part(rows=4)}}\n\
            %k = slice %q {{start=0 len=2}}\n%cache = cache_write %k, %h {{state=s0}}\n\
            %s = scores %q, after=%cache, relative=%r, profiles=@p {{{options}}}\n\
            %w = softmax %s {{{options}}}\n%y = mix %w, after=%cache {{{options}}}\n\
            output h = %h\noutput g = %y"
        );
        let head = "%g = input: [T, 8]\n%rows = gather_rows %g\noutput logits = %rows";
        let program = Program {
            kind: ProgramKind::Decode,
            blocks: vec![
                block("embed", embed),
                block("layer", &layer),
                block("head", head),
            ],
            layers: vec![1],
            sources: vec![None],
            ropes: vec![],
        };
        program.verify().unwrap_or_else(|e| panic!("{e}"));
        let (r, p) = (
            [0.5f32, -1.0, 2.0, 0.25],
            [0.75f32, -0.5, 1.5, 2.0, 1.0, -1.25],
        );
        // Row `i` of the matrix for `r` takes component `i` of its input, times `r[i]`.
        let diagonal: Vec<f32> = (0..16)
            .map(|i| if i % 5 == 0 { r[i / 5] } else { 0.0 })
            .collect();
        let bytes = |v: &[f32]| v.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
        let weights = [bytes(&diagonal), bytes(&p), bytes(&[0.0; 16])];
        let slots: Vec<&[u8]> = weights.iter().map(Vec::as_slice).collect();
        let mut interpreter = Interpreter::new(&program, &slots);
        let found = [interpreter.step(&[0, 0, 0, 0]), interpreter.step(&[0])].concat();
        let row = |t: usize| [0.0, 1.0].map(|i: f64| t as f64 * (-i).exp());
        let h = |t: usize| [row(t).map(f64::sin), row(t).map(f64::cos)].concat();
        assert_eq!(found.len(), 5 * 8);
        for t in 0..5 {
            for head in 0..2 {
                let own: Vec<f64> = (0..2)
                    .map(|c| h(t)[2 * head + c] * f64::from(r[2 * head + c]))
                    .collect();
                let score = |s: usize| match t - s {
                    d @ 0..3 => own[0] * f64::from(p[d]) + own[1] * f64::from(p[3 + d]),
                    _ => 0.0,
                };
                let sum: f64 = (0..=t).map(|s| score(s).exp()).sum();
                for c in 0..4 {
                    let y: f64 = (0..=t).map(|s| score(s).exp() / sum * h(s)[c]).sum();
                    let x = f64::from(found[t * 8 + head * 4 + c]);
                    assert!((x - y).abs() < 1e-6, "{t} {head} {c}: {x}, expected {y}");
                }
            }
        }
    }

    #[test]
    fn sinusoids_go_on_from_the_position_reached() {
        let block = |name: &str, text: &str| Block {
            name: name.into(),
            graph: parse(text).unwrap_or_else(|e| panic!("{name}: {e}")),
        };
        let embed = "%h = sinusoids {offset=2 step=0.75 dim=6}\noutput h = %h";
        let head = "%h = input: [T, 6]\n%rows = gather_rows %h\noutput logits = %rows";
        let program = Program {
            kind: ProgramKind::Decode,
            blocks: vec![block("embed", embed), block("head", head)],
            layers: vec![],
            sources: vec![],
            ropes: vec![],
        };
        program.verify().unwrap_or_else(|e| panic!("{e}"));
        let no_weights: Vec<&[u8]> = vec![];
        let mut interpreter = Interpreter::new(&program, &no_weights);
        let found = [interpreter.step(&[5, 5, 5]), interpreter.step(&[5])].concat();
        let freqs = [1.0, (-0.75f64).exp(), (-1.5f64).exp()];
        let expected = (2..6).flat_map(|p| {
            let angles = freqs.map(|f| f64::from(p) * f);
            [angles.map(f64::sin), angles.map(f64::cos)].concat()
        });
        assert_eq!(found.len(), 24);
        for (i, (a, b)) in found.iter().zip(expected).enumerate() {
            assert!((f64::from(*a) - b).abs() < 1e-6, "{i}: {a}, expected {b}");
        }
    }
}
