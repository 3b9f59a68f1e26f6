//! The plain graph of one block, step by step.

use std::collections::BTreeMap;

use graver_runtime::abi::{CacheType, Encoding};

use crate::graph::decl::{RecurrentDecl, StateDecl, WeightDecl};
use crate::graph::dim::{Dim, RecurrentId, StateId};
use crate::graph::nodes::{Graph, NodeId};
use crate::graph::ops::{
    Activate, Binary, Form, HeadConcat, Matmul, Norm, Op, Unary, WeightedSum, Xielu,
};
use crate::graph::program::{Block, rope_input};
use crate::spec::model::{self, Activation, Item, Model, Operand, Section, Step, StepOp, Weight};
use crate::walk::{self, Kept, State};

/// How a weight lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Storage {
    /// How elements are encoded.
    pub encoding: Encoding,
    /// Bytes between stored rows or panels; `None` where they are dense.
    pub row_stride: Option<usize>,
    /// Stored as `[in, out]`.
    pub transposed: bool,
    /// What it is multiplied with is rounded to bf16.
    pub rounded: bool,
}

pub(super) struct Builder<'a> {
    pub(super) graph: Graph,
    pub(super) model: &'a Model,
    section: Section,
    /// Nodes of the section's weights, by slot.
    weights: BTreeMap<&'a str, NodeId>,
    /// Named values made so far in this block.
    values: BTreeMap<String, NodeId>,
}

impl<'a> Builder<'a> {
    /// Nothing of the section yet; `storage` and `cache` as for a program.
    pub(super) fn new(
        model: &'a Model,
        section: Section,
        cache: CacheType,
        storage: &dyn Fn(Section, &Weight) -> Storage,
    ) -> Self {
        let mut builder = Builder {
            graph: Graph::default(),
            model,
            section,
            weights: BTreeMap::new(),
            values: BTreeMap::new(),
        };
        for slot in walk::slots(model, section) {
            let storage = storage(section, slot.weight);
            builder.declare_weight(slot.weight, storage);
        }
        for state in walk::states(model, section) {
            builder.declare_state(state, cache);
        }
        builder
    }

    fn declare_weight(&mut self, w: &'a Weight, s: Storage) {
        let dense = WeightDecl {
            slot: w.slot.clone(),
            shape: w.shape.clone(),
            encoding: s.encoding,
            row_stride: 0,
            // Panels are the same whichever way the floats lay.
            transposed: s.transposed && s.encoding.quant().is_none(),
            rounded: s.rounded,
            // Panels are made of the part alone.
            blocks: w.blocks().filter(|_| s.encoding.quant().is_none()),
            count: w.count(),
        };
        let row_stride = s.row_stride.unwrap_or_else(|| dense.dense_stride());
        let id = self.graph.add_weight(WeightDecl {
            row_stride,
            ..dense
        });
        self.weights.insert(&w.slot, id);
    }

    fn declare_state(&mut self, state: State, cache: CacheType) {
        match state.kept {
            Kept::KeysValues {
                heads,
                key_dim,
                value_dim,
                reach,
            } => self.graph.states.push(StateDecl {
                name: state.name,
                kv_heads: heads,
                head_dim: key_dim,
                value_dim,
                shared: false,
                dtype: cache,
                ring: reach.limit(),
            }),
            Kept::Keys { dim } => self.graph.states.push(StateDecl {
                name: state.name,
                kv_heads: 1,
                head_dim: dim,
                value_dim: dim,
                shared: true,
                dtype: cache,
                ring: None,
            }),
            Kept::Fixed([heads, rows, columns]) => self.graph.recurrent.push(RecurrentDecl {
                name: state.name,
                heads,
                rows,
                columns,
            }),
        }
    }

    /// The keys and values that step `name` keeps.
    pub(super) fn cache(&self, name: &str) -> StateId {
        self.state(&format!("{name}.kv"))
    }

    /// A state of keys by its name.
    pub(super) fn state(&self, name: &str) -> StateId {
        let at = self.graph.states.iter().position(|s| s.name == name);
        StateId(at.expect("the walk gives the state of every attention") as u32)
    }

    /// A state of fixed size by its name.
    pub(super) fn recurrent(&self, name: &str) -> RecurrentId {
        let at = self.graph.recurrent.iter().position(|s| s.name == name);
        RecurrentId(at.expect("the walk gives the states of every step that keeps one") as u32)
    }

    pub(super) fn embed(mut self) -> Block {
        let mut h = None;
        for s in &self.model.embed {
            h = Some(self.step(s, h));
        }
        let h = h.expect("a bound model embeds something");
        self.graph.outputs.push(("h".into(), h));
        self.hand_on();
        for (i, r) in self.model.ropes.iter().enumerate() {
            let op = Op::RopeAngles {
                rope: i,
                rotary_dim: r.rotary_dim(),
            };
            let angles = self.graph.add(op, &[], &format!("rope.{}", r.name));
            self.graph.outputs.push((rope_input(i), angles));
        }
        self.finish()
    }

    pub(super) fn layer(mut self, items: &[Item]) -> Block {
        let mut h = self.stream();
        for item in items {
            self.values.insert("h".into(), h);
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
        self.hand_on();
        self.finish()
    }

    pub(super) fn head(mut self) -> Block {
        let h = self.stream();
        let rows = self.graph.add(Op::GatherRows, &[h], "rows");
        self.values.insert("h".into(), rows);
        let logits = self.steps(&self.model.head, rows);
        self.graph.outputs.push(("logits".into(), logits));
        self.finish()
    }

    fn finish(self) -> Block {
        let name = match self.section {
            Section::Embed => "embed",
            Section::Kind(kind) => &self.model.kinds[kind].name,
            Section::Head => "head",
        };
        Block {
            name: name.into(),
            graph: self.graph,
        }
    }

    pub(super) fn stream(&mut self) -> NodeId {
        self.graph
            .add_input("h", vec![Dim::Tokens, Dim::Const(self.model.hidden)])
    }

    pub(super) fn steps(&mut self, steps: &[Step], x: NodeId) -> NodeId {
        steps.iter().fold(x, |x, s| self.step(s, Some(x)))
    }

    /// A named value: made in this block, or handed to it; in the head at the rows whose logits are wanted.
    pub(super) fn value(&mut self, name: &str) -> NodeId {
        if let Some(id) = self.values.get(name) {
            return *id;
        }
        let carried = self.model.carried.iter().find(|(n, _)| n == name);
        let (_, width) = carried.expect("a bound model names only values that exist");
        let shape = vec![Dim::Tokens, Dim::Const(*width)];
        let mut id = self.graph.add_input(name, shape);
        if self.section == Section::Head {
            id = self.graph.add(Op::GatherRows, &[id], name);
        }
        self.values.insert(name.into(), id);
        id
    }

    /// Makes outputs of the carried values that this block has changed.
    fn hand_on(&mut self) {
        for (name, _) in &self.model.carried {
            let Some(mut id) = self.values.get(name).copied() else {
                continue;
            };
            if *self.graph.op(id) == Op::Input(name.clone()) {
                continue;
            }
            // What is handed on under two names has to lie in two places.
            if self.graph.is_output(id) {
                id = self.graph.add(Op::Copy, &[id], name);
            }
            self.graph.outputs.push((name.clone(), id));
        }
    }

    pub(super) fn step(&mut self, step: &Step, x: Option<NodeId>) -> NodeId {
        let x = match &step.from {
            Some(name) => Some(self.value(name)),
            None => x,
        };
        let y = self.apply(step, x);
        if let Some(name) = &step.keep {
            self.values.insert(name.clone(), y);
        }
        y
    }

    fn apply(&mut self, step: &Step, x: Option<NodeId>) -> NodeId {
        let name = step.name.as_str();
        let here = || x.expect("a bound model's first step embeds");
        match &step.op {
            StepOp::Embed {
                table,
                scale,
                limit,
            } => {
                let table = self.weight(table);
                let (scale, limit) = (*scale, *limit);
                self.graph.add(Op::Embed { scale, limit }, &[table], name)
            }
            StepOp::PositionEmbed { table, offset } => {
                let table = self.weight(table);
                let rows = self
                    .graph
                    .add(Op::PositionRows { offset: *offset }, &[table], name);
                self.graph
                    .add(Op::Binary(Binary::Add), &[here(), rows], name)
            }
            StepOp::Sinusoids { offset, step } => {
                let x = here();
                let (offset, step, width) = (*offset, *step, self.graph.width(x));
                let op = Op::Sinusoids {
                    offset,
                    step,
                    width,
                };
                let rows = self.graph.add(op, &[], name);
                self.graph.add(Op::Binary(Binary::Add), &[x, rows], name)
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
            StepOp::Clamp { least, most } => {
                let (least, most) = (*least, *most);
                let clamp = Op::Unary(Unary::Clamp { least, most });
                self.graph.add(clamp, &[here()], name)
            }
            StepOp::Xielu(x) => {
                let (beta, eps) = (x.beta, x.eps);
                let operands = [here(), self.weight(&x.positive), self.weight(&x.negative)];
                self.graph
                    .add(Op::Xielu(Xielu { beta, eps }), &operands, name)
            }
            StepOp::Concat(value) => {
                let (left, right) = (here(), self.value(value));
                let join = HeadConcat {
                    heads: 1,
                    left: self.graph.width(left),
                    right: self.graph.width(right),
                };
                self.graph.add(Op::HeadConcat(join), &[left, right], name)
            }
            StepOp::Pick => here(),
            StepOp::Act(a) => self.activated(*a, here(), name),
            StepOp::Add(o) => {
                let other = self.operand(o);
                self.graph
                    .add(Op::Binary(Binary::Add), &[here(), other], name)
            }
            StepOp::Mul(o) => {
                let other = self.operand(o);
                match o {
                    Operand::Scalar(_) => self.graph.add(Op::ScaleBy, &[here(), other], name),
                    Operand::Value(_) | Operand::Vector(_) => self.times(here(), other, name),
                }
            }
            StepOp::WeightedSum { values, start } => {
                let (start, count) = (*start, values.len());
                let terms: Vec<_> = values.iter().map(|v| self.value(v)).collect();
                let operands: Vec<_> = std::iter::once(here()).chain(terms).collect();
                let op = Op::WeightedSum(WeightedSum { start, count });
                self.graph.add(op, &operands, name)
            }
            StepOp::MatchRms { like, least } => {
                let like = self.value(like);
                let op = Op::MatchRms { least: *least };
                self.graph.add(op, &[here(), like], name)
            }
            StepOp::Attention(a) => self.attention(a, here(), name),
            StepOp::LatentAttention(a) => self.latent_attention(a, here(), name),
            StepOp::Index(i) => self.index(i, here(), name),
            StepOp::DeltaNet(d) => self.delta_net(d, here(), name),
            StepOp::ShortConv(c) => self.short_conv(c, here(), name),
            StepOp::Decay(d) => self.decay(d, here(), name),
            StepOp::Recurrence(r) => self.recurrence(r, here(), name),
            StepOp::Mlp(m) => self.mlp(m, here(), name),
            StepOp::Moe(m) => self.moe(m, here(), name),
        }
    }

    pub(super) fn operand(&mut self, o: &Operand) -> NodeId {
        match o {
            Operand::Value(name) => self.value(name),
            Operand::Vector(w) | Operand::Scalar(w) => self.weight(w),
        }
    }

    pub(super) fn weight(&self, w: &Weight) -> NodeId {
        self.weights[w.slot.as_str()]
    }

    pub(super) fn norm(&mut self, n: &model::Norm, group: usize, x: NodeId, name: &str) -> NodeId {
        let group = n.group.unwrap_or(group);
        let is_shared = |w: &&Weight| w.shape.iter().product::<usize>() == group;
        let gain = n.gain.as_ref().filter(is_shared);
        let bias = n.bias.as_ref().filter(is_shared);
        let mut operands = vec![x];
        operands.extend(gain.map(|w| self.weight(w)));
        operands.extend(bias.map(|w| self.weight(w)));
        let op = Norm {
            kind: n.kind,
            eps: n.eps,
            group,
            gain: gain.is_some(),
            bias: bias.is_some(),
            unit_offset: n.unit_offset,
        };
        let mut y = self.graph.add(Op::Norm(op), &operands, name);
        // Gains and biases that groups do not share belong to whole rows.
        if let Some(w) = n.gain.as_ref().filter(|w| !is_shared(w)) {
            y = self.times(y, self.weight(w), &format!("{name}.gain"));
        }
        if let Some(w) = n.bias.as_ref().filter(|w| !is_shared(w)) {
            let operands = [y, self.weight(w)];
            let name = format!("{name}.bias");
            y = self.graph.add(Op::Binary(Binary::Add), &operands, &name);
        }
        y
    }

    pub(super) fn activated(&mut self, act: Activation, x: NodeId, name: &str) -> NodeId {
        self.graph.add(Op::Unary(Unary::Act(act)), &[x], name)
    }

    pub(super) fn times(&mut self, x: NodeId, y: NodeId, name: &str) -> NodeId {
        self.graph.add(Op::Binary(Binary::Mul), &[x, y], name)
    }

    pub(super) fn linear(&mut self, l: &model::Linear, x: NodeId, name: &str) -> NodeId {
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

    /// What a product with weight `w` reads: `x`, rounded to int8 where the weight is quantised. Products share it.
    pub(super) fn input_of(&mut self, w: NodeId, x: NodeId) -> NodeId {
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

    /// What gate and up of an MLP become together.
    fn gate_and_up(&mut self, m: &model::Mlp, gate: NodeId, up: NodeId, name: &str) -> NodeId {
        let gated = format!("{name}.gated");
        if let Some(gating) = m.gating {
            let form = Form::Gated;
            let op = Op::Activate(Activate { form, gating });
            return self.graph.add(op, &[gate, up], &gated);
        }
        let gate = self.activated(m.act, gate, &format!("{name}.act"));
        self.times(gate, up, &gated)
    }

    pub(super) fn mlp(&mut self, m: &model::Mlp, x: NodeId, name: &str) -> NodeId {
        let at = |part: &str| format!("{name}.{part}");
        let inner = match &m.gate {
            Some(gate) => {
                let mut gate = self.linear(gate, x, &at("gate"));
                if let Some(by) = m.cutoff {
                    gate = self.graph.add(Op::Cutoff { by }, &[gate], &at("cutoff"));
                }
                let up = self.linear(&m.up, x, &at("up"));
                self.gate_and_up(m, gate, up, name)
            }
            None => {
                let up = self.linear(&m.up, x, &at("up"));
                self.activated(m.act, up, &at("act"))
            }
        };
        self.linear(&m.down, inner, &at("down"))
    }
}

/// A residual's place in the spec: that of what it adds, which is the branch's first step that is not a norm.
fn residual_name(branch: &[Step]) -> String {
    let is_norm = |s: &&Step| matches!(s.op, StepOp::Norm(_));
    let main = branch.iter().find(|s| !is_norm(s)).or(branch.first());
    main.map_or("residual".into(), |s| format!("{}.residual", s.name))
}
