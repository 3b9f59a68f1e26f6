//! A gated delta network, and steps with a state of fixed size, as plain operations.

use super::builder::Builder;
use crate::graph::nodes::NodeId;
use crate::graph::ops::{Binary, DeltaRule, Op, Scan, ShortConv, Unary};
use crate::spec::model::{
    self, Activation, Convolved, DeltaNet, Forgetting, LowRank, Norm as ModelNorm, Projection,
};

impl Builder<'_> {
    pub(super) fn delta_net(&mut self, d: &DeltaNet, x: NodeId, name: &str) -> NodeId {
        let at = |part: &str| format!("{name}.{part}");
        let [q, k, v] = [("q", &d.q), ("k", &d.k), ("v", &d.v)]
            .map(|(part, c)| self.convolved(d, c, x, &at(part)));
        let decay = self.projection(&d.decay, x, &at("decay"));
        let (rate, bias) = (self.weight(&d.rate), self.weight(&d.decay_bias));
        let (heads, lower) = (d.value_heads, d.decay_lower);
        let decay = self.graph.add(
            Op::Decay { heads, lower },
            &[decay, rate, bias],
            &at("keep"),
        );
        let beta = self.linear(&d.beta, x, &at("beta"));
        let mut beta = self.activated(Activation::Sigmoid, beta, &at("beta_act"));
        if d.beta_scale != 1.0 {
            let scale = Op::Unary(Unary::Scale(d.beta_scale));
            beta = self.graph.add(scale, &[beta], &at("beta_scale"));
        }
        let gate = d.gate.as_ref().map(|g| {
            let gate = self.projection(g, x, &at("gate"));
            self.activated(d.gate_act, gate, &at("gate_act"))
        });
        let q = self.each_head(d.q_norm.as_ref(), d.key_dim, q, &at("q_norm"));
        let k = self.each_head(d.k_norm.as_ref(), d.key_dim, k, &at("k_norm"));
        let mut y = self.delta_rule(d, [q, k, v, decay, beta], name);
        y = self.each_head(d.norm.as_ref(), d.value_dim, y, &at("norm"));
        if let Some(gate) = gate {
            y = self.times(y, gate, &at("gated"));
        }
        self.linear(&d.o, y, &at("o"))
    }

    pub(super) fn short_conv(&mut self, c: &model::ShortConv, x: NodeId, name: &str) -> NodeId {
        let weight = self.weight(&c.weight);
        let mut y = self.convolution(c.taps, [x, weight], &format!("{name}.past"), name);
        if let Some(bias) = &c.bias {
            let (bias, add) = (self.weight(bias), Op::Binary(Binary::Add));
            y = self.graph.add(add, &[y, bias], &format!("{name}.bias"));
        }
        match c.act {
            Some(act) => self.activated(act, y, &format!("{name}.act")),
            None => y,
        }
    }

    pub(super) fn decay(&mut self, d: &model::Decay, x: NodeId, name: &str) -> NodeId {
        let (rate, bias) = (self.weight(&d.rate), self.weight(&d.bias));
        let (heads, lower) = (d.heads, d.lower);
        self.graph
            .add(Op::Decay { heads, lower }, &[x, rate, bias], name)
    }

    pub(super) fn recurrence(&mut self, r: &model::Recurrence, v: NodeId, name: &str) -> NodeId {
        let [q, k] = [&r.q, &r.k].map(|n| self.value(n));
        let write = self.operand(&r.write);
        let skip = r.skip.as_ref().map(|w| self.weight(w));
        let decay = match &r.decay {
            Forgetting::Factor(operand) => self.operand(operand),
            Forgetting::Rates(rate) => {
                let scan = Scan {
                    key_dim: r.key_dim,
                    skip: skip.is_some(),
                    state: self.recurrent(&format!("{name}.state")),
                };
                let operands = [q, k, v, write, self.weight(rate)];
                let operands: Vec<_> = operands.into_iter().chain(skip).collect();
                return self.graph.add(Op::Scan(scan), &operands, name);
            }
        };
        let rule = DeltaRule {
            heads: r.heads,
            key_heads: r.key_heads,
            in_turn: false,
            key_dim: r.key_dim,
            value_dim: r.value_dim,
            scale: r.scale,
            corrects: r.corrects,
            skip: skip.is_some(),
            norm: None,
            gated: false,
            state: self.recurrent(&format!("{name}.state")),
        };
        let operands: Vec<_> = [q, k, v, decay, write].into_iter().chain(skip).collect();
        self.graph.add(Op::DeltaRule(rule), &operands, name)
    }

    /// The convolution alone; its state is called `past`.
    fn convolution(
        &mut self,
        taps: usize,
        operands: [NodeId; 2],
        past: &str,
        name: &str,
    ) -> NodeId {
        let conv = ShortConv {
            taps,
            act: None,
            norm: None,
            state: self.recurrent(past),
        };
        self.graph.add(Op::ShortConv(conv), &operands, name)
    }

    fn convolved(&mut self, d: &DeltaNet, c: &Convolved, x: NodeId, name: &str) -> NodeId {
        let y = self.linear(&c.linear, x, name);
        let w = self.weight(&c.conv);
        let (past, at) = (format!("{name}_past"), format!("{name}_conv"));
        let y = self.convolution(d.taps, [y, w], &past, &at);
        match d.act {
            Some(act) => self.activated(act, y, &format!("{name}_act")),
            None => y,
        }
    }

    fn delta_rule(&mut self, d: &DeltaNet, operands: [NodeId; 5], name: &str) -> NodeId {
        let rule = DeltaRule {
            heads: d.value_heads,
            key_heads: d.key_heads,
            in_turn: d.in_turn,
            key_dim: d.key_dim,
            value_dim: d.value_dim,
            scale: d.scale,
            corrects: true,
            skip: false,
            norm: None,
            gated: false,
            state: self.recurrent(&format!("{name}.state")),
        };
        self.graph
            .add(Op::DeltaRule(rule), &operands, &format!("{name}.rule"))
    }

    fn each_head(&mut self, n: Option<&ModelNorm>, dim: usize, x: NodeId, name: &str) -> NodeId {
        n.map_or(x, |n| self.norm(n, dim, x, name))
    }

    fn projection(&mut self, p: &Projection, x: NodeId, name: &str) -> NodeId {
        match p {
            Projection::Direct(l) => self.linear(l, x, name),
            Projection::LowRank(LowRank { a, b }) => {
                let small = self.linear(a, x, &format!("{name}_a"));
                self.linear(b, small, &format!("{name}_b"))
            }
        }
    }
}
