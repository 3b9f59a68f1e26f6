//! A gated delta network as plain operations.

use super::builder::Builder;
use crate::graph::nodes::NodeId;
use crate::graph::ops::{DeltaRule, Op, ShortConv};
use crate::spec::model::{Activation, Convolved, DeltaNet, LowRank, Norm as ModelNorm, Projection};

impl Builder<'_> {
    pub(super) fn delta_net(&mut self, d: &DeltaNet, x: NodeId, name: &str) -> NodeId {
        let at = |part: &str| format!("{name}.{part}");
        let [q, k, v] = [("q", &d.q), ("k", &d.k), ("v", &d.v)]
            .map(|(part, c)| self.convolved(d, c, x, &at(part)));
        let decay = self.projection(&d.decay, x, &at("decay"));
        let (rate, bias) = (self.weight(&d.rate), self.weight(&d.decay_bias));
        let heads = d.value_heads;
        let decay = self
            .graph
            .add(Op::Decay { heads }, &[decay, rate, bias], &at("keep"));
        let beta = self.linear(&d.beta, x, &at("beta"));
        let beta = self.activated(Activation::Sigmoid, beta, &at("beta_act"));
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

    fn convolved(&mut self, d: &DeltaNet, c: &Convolved, x: NodeId, name: &str) -> NodeId {
        let y = self.linear(&c.linear, x, name);
        let w = self.weight(&c.conv);
        let state = self.recurrent(&format!("{name}_past"));
        let conv = ShortConv {
            taps: d.taps,
            act: None,
            norm: None,
            state,
        };
        let conv = Op::ShortConv(conv);
        let y = self.graph.add(conv, &[y, w], &format!("{name}_conv"));
        match d.act {
            Some(act) => self.activated(act, y, &format!("{name}_act")),
            None => y,
        }
    }

    fn delta_rule(&mut self, d: &DeltaNet, operands: [NodeId; 5], name: &str) -> NodeId {
        let rule = DeltaRule {
            heads: d.value_heads,
            key_heads: d.key_heads,
            key_dim: d.key_dim,
            value_dim: d.value_dim,
            scale: d.scale,
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
