//! Keeps only the latent of latent attention, and absorbs the two up-projections into queries and results.
//!
//! ```text
//! kv = matmul(latent, w); k = [kv's keys | shared]; v = kv's values; cache_write(k, v); y = attend(q)
//!   =>  epilogue(latent, shared -> keys); y = attend(q · w_k by head) · w_v by head
//! ```
//!
//! All heads then read one key per position, `[latent | shared]`, whose leading columns are the values too (DeepSeek-AI 2024,
//! DeepSeek-V2, section 2.1.2). The two products stay apart: multiplied beforehand they would be a larger matrix.
//!
//! Requires that keys and values are columns of one product, that latent and shared part are the two ends of one
//! projection, normalised and rotated, and that nothing else reads any of them. Both programs are rewritten alike, since
//! they share the state.

use super::candidate::Candidate;
use super::epilogue_steps::{Links, epilogue_steps, step_operands};
use super::rewrite::{Operands, matmul_of};
use crate::graph::{
    Attention, Dest, Epilogue, Graph, HeadColumns, HeadMatmul, KeysValues, NodeId, Op, Pair,
    ProgramKind, Role,
};

pub(super) fn run(graph: &mut Graph, _: ProgramKind) -> Vec<Candidate> {
    let writes = graph.all(|op| matches!(op, Op::CacheWrite { .. }));
    writes.into_iter().map(|w| fuse(graph, w)).collect()
}

fn fuse(graph: &mut Graph, write: NodeId) -> Candidate {
    let name = graph.node(write).name.clone();
    let expanded = match Expanded::find(graph, write) {
        Ok(e) => e,
        Err(why) => return Candidate::kept(&name, why),
    };
    let written = expanded.write_latent(graph, &name);
    expanded.absorb(graph, write, written);
    Candidate::fused(&name, "one latent for all heads")
}

/// Latent attention as the plain graph has it.
struct Expanded {
    /// The projection of which latent and shared part are the two ends.
    joined: NodeId,
    latent: Links,
    shared: Links,
    /// What expands the latent,
    product: NodeId,
    /// whose width is this.
    rank: usize,
    /// The weight that expands the latent, and each head's rows of it.
    weight: NodeId,
    key_rows: HeadColumns,
    value_rows: HeadColumns,
    /// Scores and mix.
    attention: [NodeId; 2],
    options: Attention,
}

impl Expanded {
    fn find(graph: &Graph, write: NodeId) -> Result<Expanded, &'static str> {
        let KeysValues { k, v } = graph.read(write, KeysValues::of);
        let &Op::HeadConcat(join) = graph.op(k) else {
            return Err("keys are not made of two parts");
        };
        let Pair { a: own, b: rotated } = graph.read(k, Pair::of);
        let (&Op::HeadSlice(key_rows), &Op::HeadSlice(value_rows)) = (graph.op(own), graph.op(v))
        else {
            return Err("keys and values are not columns of a common product");
        };
        let product = graph.input(own);
        let plain = matmul_of(graph, product).filter(|m| m.is_plain() && m.parts.len() == 1);
        let Some(plain) = plain.filter(|_| graph.input(v) == product) else {
            return Err("keys and values are not columns of a common product");
        };
        if graph.width(rotated) != join.right {
            return Err("each head has a rotated part of its own");
        }
        let operands = graph.read(product, |take| plain.operands(take));
        let (normed, weight) = (operands.x, operands.parts[0].weight);
        if graph.weight(weight).is_some_and(|w| w.blocks.is_some()) {
            return Err("the rows that expand the latent are a part of each head's");
        }
        let (latent_end, latent) = epilogue_steps(graph, normed);
        let (shared_end, shared) = epilogue_steps(graph, rotated);
        let joined = two_ends(graph, latent_end, shared_end)
            .ok_or("latent and shared part are not the two ends of one projection")?;
        let links = latent.iter().chain(&shared).map(|l| l.1);
        let between = [k, own, v, latent_end, shared_end].into_iter().chain(links);
        let (attention, options) = readers(graph, write)?;
        let mut between = between;
        if between.any(|id| graph.only_user(id).is_none()) || graph.users(product).len() != 2 {
            return Err("keys, values or their sources have other readers");
        }
        Ok(Expanded {
            joined,
            latent,
            shared,
            product,
            rank: graph.width(latent_end),
            weight,
            key_rows,
            value_rows,
            attention,
            options,
        })
    }

    /// Makes the state one of latents, and writes it.
    fn write_latent(&self, graph: &mut Graph, name: &str) -> NodeId {
        let state = self.options.state;
        let decl = &mut graph.states[state.0 as usize];
        decl.kv_heads = 1;
        decl.value_dim = self.rank;
        decl.head_dim = self.rank + self.options.head_dim - self.key_rows.len;
        decl.shared = true;
        let rest = decl.head_dim - self.rank;
        let part = |links: &Links, rows, start| Epilogue {
            rows,
            steps: links.iter().map(|l| l.0).collect(),
            dest: Dest::KeyColumns(state, start),
        };
        let parts = vec![
            part(&self.latent, self.rank, 0),
            part(&self.shared, rest, self.rank),
        ];
        let mut operands = Operands::default();
        operands.set(Role::X, self.joined);
        for (part, links) in [&self.latent, &self.shared].into_iter().enumerate() {
            operands.extend(step_operands(graph, links, part));
        }
        let op = Op::Epilogue { parts };
        graph.add(op.clone(), &operands.arranged(&op), name)
    }

    /// `q · w_k`, attention to the latents, and `· w_v`, in the place of the attention to keys and values.
    fn absorb(&self, graph: &mut Graph, write: NodeId, written: NodeId) {
        let [scores, mix] = self.attention;
        let (old, rest) = (self.options, self.options.head_dim - self.key_rows.len);
        let latent_key = self.rank + rest;
        let columns = |width, len| HeadColumns {
            heads: old.heads,
            width,
            start: 0,
            len,
        };
        let name = graph.node(mix).name.trim_end_matches(".mix").to_string();
        let by_head = |columns, rows, over_columns, keep| {
            Op::HeadMatmul(HeadMatmul {
                columns,
                rows,
                over_columns,
                keep,
            })
        };
        let queries = by_head(
            columns(old.head_dim, self.key_rows.len),
            self.key_rows,
            false,
            rest,
        );
        let q = graph.input(scores);
        let q = graph.add(queries, &[q, self.weight], &format!("{name}.absorb_k"));
        let options = Attention {
            kv_heads: 1,
            head_dim: latent_key,
            value_dim: self.rank,
            ..old
        };
        let at = |part: &str| format!("{name}.{part}");
        let scores = graph.add(Op::Scores(options), &[q, written], &at("scores"));
        let [old_scores, old_mix] = self.attention;
        let old_softmax = graph.input(old_mix);
        let picked = graph
            .read(old_softmax, |take| options.softmax_operands(take))
            .picked;
        let read: Vec<NodeId> = std::iter::once(scores).chain(picked).collect();
        let p = graph.add(Op::Softmax(options), &read, &at("softmax"));
        let latents = graph.add(Op::Mix(options), &[p, written], &at("mix"));
        let results = by_head(columns(self.rank, self.rank), self.value_rows, true, 0);
        let y = graph.add(results, &[latents, self.weight], &at("absorb_v"));
        let expands = self.product;
        for (new, old) in [
            (q, expands),
            (scores, old_scores),
            (p, old_softmax),
            (latents, old_mix),
            (y, expands),
        ] {
            graph.credit(new, &[old]);
        }
        graph.replace(write, written);
        graph.replace(old_mix, y);
    }
}

/// The value of which `first` and `last` are the leading and the trailing columns, all of them.
fn two_ends(graph: &Graph, first: NodeId, last: NodeId) -> Option<NodeId> {
    let (Op::Slice { start: 0, len }, Op::Slice { start, .. }) = (graph.op(first), graph.op(last))
    else {
        return None;
    };
    let joined = graph.input(first);
    let whole = graph.input(last) == joined
        && start == len
        && graph.width(first) + graph.width(last) == graph.width(joined);
    whole.then_some(joined)
}

/// Scores, softmax and mix after a cache write.
fn readers(graph: &Graph, write: NodeId) -> Result<([NodeId; 2], Attention), &'static str> {
    let why = "its reader is not one plain attention";
    let users = graph.users(write);
    let find = |want: fn(&Op) -> bool| users.iter().find(|(u, _)| want(graph.op(*u))).map(|u| u.0);
    let scores = find(|op| matches!(op, Op::Scores(_))).ok_or(why)?;
    let mix = find(|op| matches!(op, Op::Mix(_))).ok_or(why)?;
    let softmax = graph.input(mix);
    let &Op::Scores(options) = graph.op(scores) else {
        return Err(why);
    };
    let chained = users.len() == 2
        && graph.only_user(scores) == Some(softmax)
        && graph.only_user(softmax) == Some(mix)
        && options.kv_heads == options.heads
        && !options.sinks
        && !options.by_distance();
    chained.then_some(([scores, mix], options)).ok_or(why)
}
