//! Attention as the plain graph has it: projections, norms and rotations, cache write, scores, softmax, mix.

use super::builder::Builder;
use crate::graph::dim::Dim;
use crate::graph::nodes::{Graph, NodeId};
use crate::graph::ops::{Attention, Op, RelativeOperands, Rope, Unary};
use crate::graph::program::rope_input;
use crate::spec::model::{self, Activation, KeyValue};

/// What attention reads beside queries and state.
#[derive(Clone, Copy, Default)]
pub(super) struct Beside {
    /// Logits that the sums of the softmax start with.
    pub(super) sinks: Option<NodeId>,
    /// What scores fall by with the distance.
    pub(super) slopes: Option<NodeId>,
    /// What is added to scores by distance.
    pub(super) relative: Option<RelativeOperands<NodeId>>,
    /// Positions that queries attend to.
    pub(super) picked: Option<NodeId>,
}

impl Builder<'_> {
    pub(super) fn attention(&mut self, a: &model::Attention, x: NodeId, name: &str) -> NodeId {
        let at = |part: &str| format!("{name}.{part}");
        let q = self.clipped(a, &a.q, x, &at("q"));
        let kv = match &a.kv {
            KeyValue::Own(k, v) => Some((
                self.clipped(a, k, x, &at("k")),
                self.clipped(a, v, x, &at("v")),
            )),
            KeyValue::Named(k, v) => {
                let [k, v] = [k, v].map(|name| self.value(name));
                Some((self.cut_off(a, k, &at("k")), self.cut_off(a, v, &at("v"))))
            }
            KeyValue::Shared(_) => None,
        };
        let gate = a.gate.as_ref();
        let gate = gate.map(|g| (self.linear(&g.linear, x, &at("gate")), g.act));
        let ([q, k], v) = self.normed(a, [Some(q), kv.map(|kv| kv.0)], kv.map(|kv| kv.1), name);
        let mut q = q.expect("attention has queries");
        let mut relative = a.relative.as_ref().map(|n| RelativeOperands {
            r: self.linear(&n.r, x, &at("r")),
            profiles: self.weight(&n.profiles),
        });
        if let Some(p) = a.position_scale {
            let scale = Op::PositionScale(p);
            q = self.graph.add(scale.clone(), &[q], &at("q_scale"));
            if let Some(o) = &mut relative {
                o.r = self.graph.add(scale, &[o.r], &at("r_scale"));
            }
        }
        let op = Attention {
            heads: a.heads,
            kv_heads: a.kv_heads,
            head_dim: a.head_dim,
            value_dim: a.value_dim,
            scale: a.scale,
            softcap: a.softcap,
            reach: a.reach,
            sinks: a.sinks.is_some(),
            slopes: a.slopes.is_some(),
            relative: a.relative.as_ref().map(|r| r.size),
            picked: a.picked.as_ref().map(|p| p.listing),
            state: self.cache(name),
        };
        let [sinks, slopes] = [&a.sinks, &a.slopes].map(|w| w.as_ref().map(|w| self.weight(w)));
        let picked = a.picked.as_ref().map(|p| self.value(&p.value));
        let beside = Beside {
            sinks,
            slopes,
            relative,
            picked,
        };
        let mut mix = self.attend(op, q, k.zip(v), beside, name);
        if a.value_scale != 1.0 {
            // A sum of scaled values is a scaled sum of values, which no cache write has to wait for.
            let scale = Op::Unary(Unary::Scale(a.value_scale));
            mix = self.graph.add(scale, &[mix], &at("value_scale"));
        }
        mix = self.gated(mix, gate, name);
        self.linear(&a.o, mix, &at("o"))
    }

    /// What attention gives, multiplied by a gate's product with its activation, where there is one.
    pub(super) fn gated(
        &mut self,
        mix: NodeId,
        gate: Option<(NodeId, Activation)>,
        name: &str,
    ) -> NodeId {
        let Some((gate, act)) = gate else { return mix };
        let open = self.activated(act, gate, &format!("{name}.gate_act"));
        let name = format!("{name}.gated");
        match self.graph.width(open) == self.graph.width(mix) {
            true => self.times(mix, open, &name),
            false => self.graph.add(Op::ScaleRows, &[mix, open], &name),
        }
    }

    /// A projection, cut off where the attention says so.
    fn clipped(
        &mut self,
        a: &model::Attention,
        l: &model::Linear,
        x: NodeId,
        name: &str,
    ) -> NodeId {
        let y = self.linear(l, x, name);
        self.cut_off(a, y, name)
    }

    fn cut_off(&mut self, a: &model::Attention, y: NodeId, name: &str) -> NodeId {
        a.clip.map_or(y, |c| {
            let clamp = Op::Unary(Unary::Clamp { least: -c, most: c });
            self.graph.add(clamp, &[y], &format!("{name}_clip"))
        })
    }

    /// Norms and rotation of queries and keys, and the norm of values.
    fn normed(
        &mut self,
        a: &model::Attention,
        mut qk: [Option<NodeId>; 2],
        mut v: Option<NodeId>,
        name: &str,
    ) -> ([Option<NodeId>; 2], Option<NodeId>) {
        let norms = a.qk_norm.as_ref();
        let group = |g: &Graph, n: &model::QkNorm, (id, dim)| match n.per_head {
            true => dim,
            false => g.width(id),
        };
        let normalise = |b: &mut Self, x: &mut Option<NodeId>, norm: Option<&model::Norm>, part| {
            if let (Some(n), Some(id), Some(norm)) = (norms, *x, norm) {
                let dim = if part == "v_norm" {
                    a.value_dim
                } else {
                    a.head_dim
                };
                let group = group(&b.graph, n, (id, dim));
                *x = Some(b.norm(norm, group, id, &format!("{name}.{part}")));
            }
        };
        let of_qk = [
            (norms.map(|n| &n.q), "q_norm", "q_rope"),
            (norms.and_then(|n| n.k.as_ref()), "k_norm", "k_rope"),
        ];
        let after = norms.is_some_and(|n| n.after_rope);
        for norms_now in [!after, after] {
            for (x, (norm, part, _)) in qk.iter_mut().zip(of_qk).filter(|_| norms_now) {
                normalise(self, x, norm, part);
            }
            let rotates = norms_now != after;
            for (x, (_, _, part)) in qk.iter_mut().zip(of_qk).filter(|_| rotates) {
                if let (Some(r), Some(id)) = (a.rope, *x) {
                    *x = Some(self.rotated(r, id, a.head_dim, 0, &format!("{name}.{part}")));
                }
            }
        }
        normalise(self, &mut v, norms.and_then(|n| n.v.as_ref()), "v_norm");
        (qk, v)
    }

    /// Rotates each head of `x`, from component `start` on, by rotary embedding `rope`.
    pub(super) fn rotated(
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

    /// Writes keys and values to the state that `op` names, where there are any (an earlier layer has written them otherwise),
    /// and attends to it.
    pub(super) fn attend(
        &mut self,
        op: Attention,
        q: NodeId,
        kv: Option<(NodeId, NodeId)>,
        beside: Beside,
        name: &str,
    ) -> NodeId {
        let at = |part: &str| format!("{name}.{part}");
        let state = op.state;
        let written = match kv {
            Some((k, v)) => {
                let write = Op::CacheWrite { state };
                self.graph.add(write, &[k, v], &at("cache"))
            }
            None => self.graph.add(Op::CacheRead { state }, &[], &at("cache")),
        };
        let relative = beside.relative.into_iter();
        let added = beside
            .slopes
            .into_iter()
            .chain(relative.flat_map(|o| o.in_order()));
        let operands: Vec<NodeId> = [q, written].into_iter().chain(added).collect();
        let scores = self.graph.add(Op::Scores(op), &operands, &at("scores"));
        let read = beside.sinks.into_iter().chain(beside.picked);
        let operands: Vec<NodeId> = std::iter::once(scores).chain(read).collect();
        let p = self.graph.add(Op::Softmax(op), &operands, &at("softmax"));
        self.graph.add(Op::Mix(op), &[p, written], &at("mix"))
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
}
