//! Multi-head latent attention as the plain graph has it: keys and values of every head expanded and cached.

use super::attention::Beside;
use super::builder::Builder;
use crate::graph::nodes::NodeId;
use crate::graph::ops::{Attention, HeadColumns, HeadConcat, Op, Unary};
use crate::spec::model::{LatentAttention, LatentQuery, Reach};

impl Builder<'_> {
    pub(super) fn latent_attention(
        &mut self,
        a: &LatentAttention,
        x: NodeId,
        name: &str,
    ) -> NodeId {
        let at = |part: &str| format!("{name}.{part}");
        let from = a.q_from.as_ref().map_or(x, |value| self.value(value));
        let mut q = self.latent_query(&a.q, from, name);
        let joined = self.linear(&a.kv_a, x, &at("kv_a"));
        let slice = |start, len| Op::Slice { start, len };
        let latent = self.graph.add(slice(0, a.rank), &[joined], &at("latent"));
        let mut latent = self.norm(&a.kv_norm, a.rank, latent, &at("kv_norm"));
        if a.latent_scale != 1.0 {
            let scale = Op::Unary(Unary::Scale(a.latent_scale));
            latent = self.graph.add(scale, &[latent], &at("latent_scale"));
        }
        let mut shared = self
            .graph
            .add(slice(a.rank, a.rope_dim), &[joined], &at("k_pe"));
        if let Some(r) = a.rope {
            q = self.rotated(r, q, a.head_dim(), a.nope_dim, &at("q_rope"));
            shared = self.rotated(r, shared, a.rope_dim, 0, &at("k_rope"));
        }
        let expanded = self.linear(&a.kv_b, latent, &at("kv_b"));
        let columns = |start, len| {
            let (heads, width) = (a.heads, a.nope_dim + a.value_dim);
            Op::HeadSlice(HeadColumns {
                heads,
                width,
                start,
                len,
            })
        };
        let own = self
            .graph
            .add(columns(0, a.nope_dim), &[expanded], &at("k_nope"));
        let v = self
            .graph
            .add(columns(a.nope_dim, a.value_dim), &[expanded], &at("v"));
        let join = HeadConcat {
            heads: a.heads,
            left: a.nope_dim,
            right: a.rope_dim,
        };
        let k = self
            .graph
            .add(Op::HeadConcat(join), &[own, shared], &at("k"));
        let picked = a.picked.as_ref().map(|p| self.value(&p.value));
        let beside = Beside {
            picked,
            ..Beside::default()
        };
        let mix = self.attend(self.latent_options(a, name), q, Some((k, v)), beside, name);
        let gate = a.gate.as_ref();
        let gate = gate.map(|g| (self.linear(&g.linear, x, &at("gate")), g.act));
        let mix = self.gated(mix, gate, name);
        self.linear(&a.o, mix, &at("o"))
    }

    fn latent_query(&mut self, q: &LatentQuery, x: NodeId, name: &str) -> NodeId {
        match q {
            LatentQuery::Direct(q) => self.linear(q, x, &format!("{name}.q")),
            LatentQuery::Compressed { a, norm, b } => {
                let small = self.linear(a, x, &format!("{name}.q_a"));
                let group = self.graph.width(small);
                let small = self.norm(norm, group, small, &format!("{name}.q_norm"));
                self.linear(b, small, &format!("{name}.q_b"))
            }
        }
    }

    fn latent_options(&self, a: &LatentAttention, name: &str) -> Attention {
        Attention {
            heads: a.heads,
            kv_heads: a.heads,
            head_dim: a.head_dim(),
            value_dim: a.value_dim,
            scale: a.scale,
            softcap: None,
            reach: Reach::Full,
            sinks: false,
            slopes: false,
            relative: None,
            picked: a.picked.as_ref().map(|p| p.listing),
            state: self.cache(name),
        }
    }
}
