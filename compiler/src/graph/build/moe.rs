//! A mixture of experts as plain operations.

use super::builder::Builder;
use crate::graph::nodes::NodeId;
use crate::graph::ops::{Activate, Binary, Form, GroupedMatmul, Grouping, Op, Unary};
use crate::spec::model::{self, Activation, Inner};

impl Builder<'_> {
    pub(super) fn moe(&mut self, m: &model::Moe, x: NodeId, name: &str) -> NodeId {
        let at = |part: &str| format!("{name}.{part}");
        let model::Route { experts, top_k, .. } = m.route;
        let grouping = Grouping {
            experts,
            top_k,
            identity: m.identity,
            own: None,
        };
        let routed_by = m.routed_by.as_ref().map_or(x, |name| self.value(name));
        let mut scores = self.linear(&m.router, routed_by, &at("router"));
        if let Some(cap) = m.softcap {
            let cap = Op::Unary(Unary::Softcap(cap));
            scores = self.graph.add(cap, &[scores], &at("softcap"));
        }
        let listed = m.listed.as_ref().map(|table| {
            let (scale, limit) = (1.0, None);
            let table = self.weight(table);
            self.graph
                .add(Op::Embed { scale, limit }, &[table], &at("listed"))
        });
        let each = m.correction.iter().chain(&m.expert_scale);
        let each: Vec<_> = each.map(|w| self.weight(w)).collect();
        let rows = std::iter::once(scores).chain(listed);
        let operands: Vec<_> = rows.chain(each).collect();
        let routes = self.graph.add(Op::Route(m.route), &operands, &at("route"));
        let groups = self
            .graph
            .add(Op::GroupByExpert(grouping), &[routes], &at("groups"));
        let weighted = m.weigh_input;
        let gather = Op::GatherTokens { grouping, weighted };
        let rows = self.graph.add(gather, &[x, groups], &at("gather"));
        let inner = self.inner(m, grouping, rows, groups, name);
        let down = self.grouped(&m.down, grouping, inner, groups, &at("down"));
        let weighted = !m.weigh_input;
        let combine = Op::Combine { grouping, weighted };
        let mut routed = self.graph.add(combine, &[down, groups], &at("combine"));
        if m.identity > 0 {
            let weight = Op::IdentityWeight(grouping);
            let weight = self.graph.add(weight, &[routes], &at("identity.weight"));
            let own = self.graph.add(Op::ScaleRows, &[x, weight], &at("identity"));
            let add = Op::Binary(Binary::Add);
            routed = self.graph.add(add, &[routed, own], &at("with_identity"));
        }
        match &m.shared {
            Some(mlp) => {
                let shared = self.shared(mlp, m.shared_gate.as_ref(), x, &at("shared"));
                self.graph
                    .add(Op::Binary(Binary::Add), &[routed, shared], &at("sum"))
            }
            None => routed,
        }
    }

    fn inner(
        &mut self,
        m: &model::Moe,
        grouping: Grouping,
        x: NodeId,
        groups: NodeId,
        name: &str,
    ) -> NodeId {
        let at = |part: &str| format!("{name}.{part}");
        let (form, products) = match &m.inner {
            Inner::Plain(up) => {
                let up = self.grouped(up, grouping, x, groups, &at("up"));
                (Form::Plain, vec![up])
            }
            Inner::Gated(gate, up) => {
                let gate = self.grouped(gate, grouping, x, groups, &at("gate"));
                let up = self.grouped(up, grouping, x, groups, &at("up"));
                (Form::Gated, vec![gate, up])
            }
            Inner::Paired(pairs) => {
                let pairs = self.grouped(pairs, grouping, x, groups, &at("pairs"));
                (Form::Paired, vec![pairs])
            }
        };
        let gating = m.gating;
        let op = Op::Activate(Activate { form, gating });
        self.graph.add(op, &products, &at("act"))
    }

    fn grouped(
        &mut self,
        l: &model::Linear,
        grouping: Grouping,
        x: NodeId,
        groups: NodeId,
        name: &str,
    ) -> NodeId {
        let weight = self.weight(&l.weight);
        let mut operands = vec![self.input_of(weight, x), groups, weight];
        operands.extend(l.bias.as_ref().map(|b| self.weight(b)));
        let (rows, bias) = (l.weight.shape[0], l.bias.is_some());
        let op = GroupedMatmul {
            grouping,
            rows,
            bias,
        };
        self.graph.add(Op::GroupedMatmul(op), &operands, name)
    }

    fn shared(
        &mut self,
        mlp: &model::Mlp,
        gate: Option<&model::Linear>,
        x: NodeId,
        name: &str,
    ) -> NodeId {
        let y = self.mlp(mlp, x, name);
        let Some(gate) = gate else { return y };
        let gate = self.linear(gate, x, &format!("{name}.weigh"));
        let gate = self.activated(Activation::Sigmoid, gate, &format!("{name}.sigmoid"));
        self.graph
            .add(Op::ScaleRows, &[y, gate], &format!("{name}.weighed"))
    }
}
