//! From a bound spec to the plain graph: one operation for each thing a step does, nothing fused.

mod latent;

use graver_runtime::abi::{Dtype, Encoding};

mod moe;

use super::op::*;
use super::{Block, Graph, NodeId, Program, ProgramKind, StateDecl, WeightDecl};
use crate::spec::model::{self, Item, Model, Step, StepOp, Weight};

/// How a weight lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Storage {
    /// How elements are encoded.
    pub encoding: Encoding,
    /// Bytes between stored rows or panels; `None` where they are dense.
    pub row_stride: Option<usize>,
}

/// Builds a program; `storage` says how a block's weight is stored and `cache` what keys and values are kept in.
pub fn build(
    model: &Model,
    kind: ProgramKind,
    cache: Dtype,
    storage: &dyn Fn(&str, &Weight) -> Storage,
) -> Program {
    let block = |name: &str| Builder {
        graph: Graph::default(),
        model,
        block: name.to_string(),
        cache,
        storage,
    };
    let mut blocks = vec![block("embed").embed()];
    blocks.extend(model.kinds.iter().map(|k| block(&k.name).layer(&k.items)));
    blocks.push(block("head").head());
    Program {
        kind,
        blocks,
        layers: model.layers.iter().map(|k| k + 1).collect(),
        ropes: model.ropes.clone(),
    }
}

struct Builder<'a> {
    graph: Graph,
    model: &'a Model,
    block: String,
    cache: Dtype,
    storage: &'a dyn Fn(&str, &Weight) -> Storage,
}

impl Builder<'_> {
    fn embed(mut self) -> Block {
        let mut h = None;
        for s in &self.model.embed {
            h = Some(self.step(s, h));
        }
        let h = h.expect("a bound model embeds something");
        self.graph.outputs.push(("h".into(), h));
        for (i, r) in self.model.ropes.iter().enumerate() {
            let op = Op::RopeAngles {
                rope: i,
                rotary_dim: r.rotary_dim(),
            };
            let angles = self.graph.add(op, &[], &format!("rope.{}", r.name));
            self.graph.outputs.push((rope_input(i), angles));
        }
        Block {
            name: self.block,
            graph: self.graph,
        }
    }

    fn layer(mut self, items: &[Item]) -> Block {
        let mut h = self.stream();
        for item in items {
            h = match item {
                Item::Plain(steps) => self.steps(steps, h),
                Item::Residual { before, branches } => {
                    let start = self.steps(before, h);
                    let ends: Vec<_> = branches.iter().map(|b| self.steps(b, start)).collect();
                    ends.into_iter()
                        .zip(branches)
                        .fold(h, |sum, (end, branch)| {
                            let add = Op::Binary(Binary::Add);
                            self.graph.add(add, &[sum, end], &residual_name(branch))
                        })
                }
            };
        }
        self.graph.outputs.push(("h".into(), h));
        Block {
            name: self.block,
            graph: self.graph,
        }
    }

    fn head(mut self) -> Block {
        let h = self.stream();
        let rows = self.graph.add(Op::GatherRows, &[h], "rows");
        let logits = self.steps(&self.model.head, rows);
        self.graph.outputs.push(("logits".into(), logits));
        Block {
            name: self.block,
            graph: self.graph,
        }
    }

    fn stream(&mut self) -> NodeId {
        self.graph
            .add_input("h", vec![Dim::Tokens, Dim::Const(self.model.hidden)])
    }

    fn steps(&mut self, steps: &[Step], x: NodeId) -> NodeId {
        steps.iter().fold(x, |x, s| self.step(s, Some(x)))
    }

    fn step(&mut self, step: &Step, x: Option<NodeId>) -> NodeId {
        let name = step.name.as_str();
        let here = || x.expect("a bound model's first step embeds");
        match &step.op {
            StepOp::Embed { table, scale } => {
                let table = self.weight(table);
                self.graph.add(Op::Embed { scale: *scale }, &[table], name)
            }
            StepOp::PositionEmbed { table, offset } => {
                let table = self.weight(table);
                let rows = self
                    .graph
                    .add(Op::PositionRows { offset: *offset }, &[table], name);
                self.graph
                    .add(Op::Binary(Binary::Add), &[here(), rows], name)
            }
            StepOp::Norm(n) => {
                let group = self.graph.width(here());
                self.norm(n, group, here(), name)
            }
            StepOp::Linear(l) => self.linear(l, here(), name),
            StepOp::Scale(c) => self.graph.add(Op::Unary(Unary::Scale(*c)), &[here()], name),
            StepOp::Softcap(c) => self
                .graph
                .add(Op::Unary(Unary::Softcap(*c)), &[here()], name),
            StepOp::Attention(a) => self.attention(a, here(), name),
            StepOp::LatentAttention(a) => self.latent_attention(a, here(), name),
            StepOp::Mlp(m) => self.mlp(m, here(), name),
            StepOp::Moe(m) => self.moe(m, here(), name),
        }
    }

    fn weight(&mut self, w: &Weight) -> NodeId {
        let s = (self.storage)(&self.block, w);
        let dense = WeightDecl {
            slot: w.slot.clone(),
            shape: w.shape.clone(),
            encoding: s.encoding,
            row_stride: 0,
            // Panels are the same whichever way the floats lay.
            transposed: w.transposed && s.encoding.quant().is_none(),
            count: w.count(),
        };
        let row_stride = s.row_stride.unwrap_or_else(|| dense.dense_stride());
        self.graph.add_weight(WeightDecl {
            row_stride,
            ..dense
        })
    }

    fn norm(&mut self, n: &model::Norm, group: usize, x: NodeId, name: &str) -> NodeId {
        let (gain, bias) = (n.gain.is_some(), n.bias.is_some());
        let mut operands = vec![x];
        operands.extend(n.gain.as_ref().map(|w| self.weight(w)));
        operands.extend(n.bias.as_ref().map(|w| self.weight(w)));
        let op = Norm {
            kind: n.kind,
            eps: n.eps,
            group,
            gain,
            bias,
            unit_offset: n.unit_offset,
        };
        self.graph.add(Op::Norm(op), &operands, name)
    }

    fn linear(&mut self, l: &model::Linear, x: NodeId, name: &str) -> NodeId {
        let w = self.weight(&l.weight);
        let x = self.input_of(w, x);
        let y = self
            .graph
            .add(Op::Matmul(Matmul::plain(l.weight.shape[0])), &[x, w], name);
        match &l.bias {
            Some(b) => {
                let b = self.weight(b);
                self.graph
                    .add(Op::Binary(Binary::Add), &[y, b], &format!("{name}.bias"))
            }
            None => y,
        }
    }

    /// What a matmul with weight `w` reads: `x`, rounded to int8 where the weight is quantised. Matmuls share it.
    fn input_of(&mut self, w: NodeId, x: NodeId) -> NodeId {
        let quantized = self
            .graph
            .weight(w)
            .is_some_and(|d| d.encoding.quant().is_some());
        if !quantized {
            return x;
        }
        let users = self.graph.users(x).into_iter().map(|u| u.0);
        let there = users.into_iter().find(|u| self.graph.is_quantized(*u));
        there.unwrap_or_else(|| {
            let name = format!("{}.int8", self.graph.node(x).name);
            self.graph.add(Op::Quantize { norm: None }, &[x], &name)
        })
    }

    fn attention(&mut self, a: &model::Attention, x: NodeId, name: &str) -> NodeId {
        let at = |part: &str| format!("{name}.{part}");
        let mut q = self.linear(&a.q, x, &at("q"));
        let mut k = self.linear(&a.k, x, &at("k"));
        let v = self.linear(&a.v, x, &at("v"));
        let first = a.qk_norm.as_ref().filter(|n| !n.after_rope);
        let last = a.qk_norm.as_ref().filter(|n| n.after_rope);
        (q, k) = self.qk_norm(first, a.head_dim, (q, k), name);
        if let Some(r) = a.rope {
            q = self.rotated(r, q, a.head_dim, 0, &at("q_rope"));
            k = self.rotated(r, k, a.head_dim, 0, &at("k_rope"));
        }
        (q, k) = self.qk_norm(last, a.head_dim, (q, k), name);
        if let Some(p) = a.position_scale {
            let scale = Op::PositionScale(p);
            q = self.graph.add(scale, &[q], &at("q_scale"));
        }
        let op = Attention {
            heads: a.heads,
            kv_heads: a.kv_heads,
            head_dim: a.head_dim,
            value_dim: a.v.weight.shape[0] / a.kv_heads,
            scale: a.scale,
            softcap: a.softcap,
            reach: a.reach,
            sinks: a.sinks.is_some(),
            state: StateId(self.graph.states.len() as u32),
        };
        let sinks = a.sinks.as_ref().map(|w| self.weight(w));
        let mix = self.attend(op, [q, k, v], sinks, name);
        self.linear(&a.o, mix, &at("o"))
    }

    /// Rotates each head of `x`, from component `start` on, by rotary embedding `rope`.
    fn rotated(
        &mut self,
        rope: usize,
        x: NodeId,
        head_dim: usize,
        start: usize,
        name: &str,
    ) -> NodeId {
        let r = &self.model.ropes[rope];
        let (rotary_dim, interleaved) = (r.rotary_dim(), r.interleaved);
        let angles = self.angles(rope, rotary_dim);
        let op = Rope {
            head_dim,
            start,
            rotary_dim,
            interleaved,
        };
        self.graph.add(Op::Rope(op), &[x, angles], name)
    }

    /// Declares the state that `op` names as the next one, writes keys and values to it, and attends to it.
    fn attend(
        &mut self,
        op: Attention,
        [q, k, v]: [NodeId; 3],
        sinks: Option<NodeId>,
        name: &str,
    ) -> NodeId {
        let at = |part: &str| format!("{name}.{part}");
        let state = op.state;
        self.graph.states.push(StateDecl {
            name: at("kv"),
            kv_heads: op.kv_heads,
            head_dim: op.head_dim,
            value_dim: op.value_dim,
            shared: false,
            dtype: self.cache,
            ring: op.reach.limit(),
        });
        let written = self
            .graph
            .add(Op::CacheWrite { state }, &[k, v], &at("cache"));
        let scores = self.graph.add(Op::Scores(op), &[q, written], &at("scores"));
        let operands: Vec<NodeId> = std::iter::once(scores).chain(sinks).collect();
        let p = self.graph.add(Op::Softmax(op), &operands, &at("softmax"));
        self.graph.add(Op::Mix(op), &[p, written], &at("mix"))
    }

    fn qk_norm(
        &mut self,
        norms: Option<&model::QkNorm>,
        head_dim: usize,
        (q, k): (NodeId, NodeId),
        name: &str,
    ) -> (NodeId, NodeId) {
        let Some(n) = norms else { return (q, k) };
        let group = |g: &Graph, id| if n.per_head { head_dim } else { g.width(id) };
        let (of_q, of_k) = (group(&self.graph, q), group(&self.graph, k));
        (
            self.norm(&n.q, of_q, q, &format!("{name}.q_norm")),
            self.norm(&n.k, of_k, k, &format!("{name}.k_norm")),
        )
    }

    fn angles(&mut self, rope: usize, rotary_dim: usize) -> NodeId {
        let name = rope_input(rope);
        let there = self
            .graph
            .order()
            .into_iter()
            .find(|id| *self.graph.op(*id) == Op::Input(name.clone()));
        there.unwrap_or_else(|| {
            self.graph
                .add_input(&name, vec![Dim::Tokens, Dim::Const(rotary_dim)])
        })
    }

    fn mlp(&mut self, m: &model::Mlp, x: NodeId, name: &str) -> NodeId {
        let at = |part: &str| format!("{name}.{part}");
        let act = Op::Unary(Unary::Act(m.act));
        let inner = match &m.gate {
            Some(gate) => {
                let gate = self.linear(gate, x, &at("gate"));
                let up = self.linear(&m.up, x, &at("up"));
                let gate = self.graph.add(act, &[gate], &at("act"));
                self.graph
                    .add(Op::Binary(Binary::Mul), &[gate, up], &at("gated"))
            }
            None => {
                let up = self.linear(&m.up, x, &at("up"));
                self.graph.add(act, &[up], &at("act"))
            }
        };
        self.linear(&m.down, inner, &at("down"))
    }
}

/// A residual's place in the spec: that of what it adds, which is the branch's first step that is no norm.
fn residual_name(branch: &[Step]) -> String {
    let is_norm = |s: &&Step| matches!(s.op, StepOp::Norm(_));
    let main = branch.iter().find(|s| !is_norm(s)).or(branch.first());
    main.map_or("residual".into(), |s| format!("{}.residual", s.name))
}

/// Name under which the angles of a rotary embedding are handed to the layers.
fn rope_input(rope: usize) -> String {
    format!("rope{rope}")
}
