//! An index as the plain graph has it: its projections, the write of its keys, their scores and what is picked by them.

use super::builder::Builder;
use crate::graph::dim::StateId;
use crate::graph::nodes::NodeId;
use crate::graph::ops::{Dest, Epilogue, IndexScores, Op, PickKeys};
use crate::spec::model;

impl Builder<'_> {
    pub(super) fn index(&mut self, i: &model::Index, x: NodeId, name: &str) -> NodeId {
        let at = |part: &str| format!("{name}.{part}");
        let from = i.q_from.as_ref().map_or(x, |value| self.value(value));
        let mut q = self.linear(&i.q, from, &at("q"));
        let mut k = self.linear(&i.k, x, &at("k"));
        let weigh = i.weigh.as_ref();
        let by = weigh.map(|w| self.linear(w, x, &at("weigh")));
        if let Some(norm) = &i.q_norm {
            q = self.norm(norm, i.dim, q, &at("q_norm"));
        }
        if let Some(norm) = &i.k_norm {
            k = self.norm(norm, i.dim, k, &at("k_norm"));
        }
        if let Some(r) = i.rope {
            q = self.rotated(r, q, i.dim, 0, &at("q_rope"));
            k = self.rotated(r, k, i.dim, 0, &at("k_rope"));
        }
        let state = self.state(&at("keys"));
        let written = self.graph.add(keys_alone(state, i.dim), &[k], &at("cache"));
        let scores = Op::IndexScores(IndexScores {
            heads: i.heads,
            dim: i.dim,
            apart: by.is_none(),
            state,
        });
        let operands: Vec<NodeId> = [q, written].into_iter().chain(by).collect();
        let scores = self.graph.add(scores, &operands, &at("scores"));
        let (listing, near) = (i.listing, i.near);
        let pick = Op::PickKeys(PickKeys { listing, near });
        self.graph.add(pick, &[scores], name)
    }
}

/// What writes keys that have no values.
fn keys_alone(state: StateId, dim: usize) -> Op {
    let part = Epilogue {
        dest: Dest::Keys(state),
        ..Epilogue::plain(dim)
    };
    Op::Epilogue { parts: vec![part] }
}
