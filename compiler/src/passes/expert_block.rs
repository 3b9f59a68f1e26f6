//! Experts as two kernels: into them, and back.
//!
//! ```text
//! rows = gather_tokens(x, groups); h = activate(grouped_matmul(rows, gate), grouped_matmul(rows, up))
//!   =>  h = experts_in(x, groups, gate, up)
//! y = combine(grouped_matmul(h, down), groups) + shared · s + residual
//!   =>  y = experts_out(h, groups, down, shared, s, residual)
//! ```
//!
//! Requires that nothing else reads what lies between. Where weights are quantised, rounding to int8 lies between as well: the
//! inside is rounded where it is made, tokens before they are gathered. In decode both also take the router's scores instead of the groups:
//! every thread picks and sorts the few experts for itself, which is cheaper than the two barriers that it saves, unless there are
//! experts that give back their input, whose weight is made of the routes as well. Prefill routes its many tokens once.

use super::candidate::Candidate;
use super::rewrite::{Operands, is_broadcast, joined_name, place, read_elsewhere};
use crate::graph::{
    Activate, ActivateOperands, Binary, ExpertMatrix, ExpertsIn, ExpertsOut, Graph, GroupedMatmul,
    GroupedRows, Grouping, NodeId, Op, Pair, ProgramKind, Role, Route, ScaledRows,
};

pub(super) fn run(graph: &mut Graph, kind: ProgramKind) -> Vec<Candidate> {
    let combines: Vec<_> = graph
        .order()
        .into_iter()
        .filter(|id| matches!(graph.op(*id), Op::Combine { .. }))
        .collect();
    combines.into_iter().map(|c| fuse(graph, c, kind)).collect()
}

fn fuse(graph: &mut Graph, combine: NodeId, kind: ProgramKind) -> Candidate {
    let name = graph.node(combine).name.clone();
    let found = match ExpertBlock::find(graph, combine) {
        Ok(found) => found,
        Err(why) => return Candidate::kept(&name, why),
    };
    let tail = Tail::find(graph, combine);
    let routing = found.routing(graph, kind);
    let inside = found.experts_in(graph, &routing);
    let out = found.experts_out(graph, &routing, inside, &tail);
    let shared = tail.shared.map(|_| match found.routes_read {
        true => "identity experts",
        false => "the shared expert",
    });
    let residual = tail.residual.map(|_| "the residual");
    graph.credit(inside, &found.inside());
    graph.replace(tail.end, out);
    let mut with: Vec<&str> = shared.into_iter().chain(residual).collect();
    with.extend(routing.own.map(|_| "routing by each thread"));
    let with = match with.is_empty() {
        true => String::new(),
        false => format!(", with {}", with.join(", ")),
    };
    Candidate::fused(&name, format!("two kernels{with}"))
}

/// The operations of an expert block, from its router's scores to its products.
struct ExpertBlock {
    grouping: Grouping,
    weighted_in: bool,
    weighted_out: bool,
    activate: Activate,
    /// What each matrix is multiplied with, with its options.
    into: Vec<NodeId>,
    down: NodeId,
    act: NodeId,
    gather: NodeId,
    /// Rounding of what lies inside the experts, and of the gathered tokens.
    round_inside: Option<NodeId>,
    round_tokens: Option<NodeId>,
    groups: NodeId,
    routes: NodeId,
    /// The routes have to be made by a kernel: the weight of experts that give back their input is made of them as well.
    routes_read: bool,
    route: Route,
}

impl ExpertBlock {
    fn find(graph: &Graph, combine: NodeId) -> Result<ExpertBlock, String> {
        let Op::Combine {
            grouping,
            weighted: weighted_out,
        } = *graph.op(combine)
        else {
            unreachable!("filtered")
        };
        let GroupedRows { x: down, groups } = graph.read(combine, GroupedRows::of);
        let rounds = |id: NodeId| *graph.op(id) == Op::Quantize { norm: None };
        let alone = |id: NodeId, reader: NodeId| match graph.only_user(id) {
            Some(_) => Ok(()),
            None => Err(read_elsewhere(graph, id, reader)),
        };
        products(graph, &[down])?;
        alone(down, combine)?;
        let mut act = graph.input(down);
        let round_inside = Some(act).filter(|id| rounds(*id));
        if let Some(round) = round_inside {
            alone(round, down)?;
            act = graph.input(round);
        }
        let Op::Activate(activate) = *graph.op(act) else {
            return Err(format!("{} is not an activation", place(graph, act)));
        };
        alone(act, round_inside.unwrap_or(down))?;
        let ActivateOperands { x, up } = graph.read(act, |take| activate.operands(take));
        let into: Vec<NodeId> = std::iter::once(x).chain(up).collect();
        products(graph, &into)?;
        into.iter().try_for_each(|id| alone(*id, act))?;
        let rows = graph.input(x);
        let round_tokens = Some(rows).filter(|id| rounds(*id));
        let gather = round_tokens.map_or(rows, |r| graph.input(r));
        let Op::GatherTokens {
            weighted: weighted_in,
            ..
        } = *graph.op(gather)
        else {
            return Err(format!("{} does not gather tokens", place(graph, gather)));
        };
        let bias = |id: NodeId| grouped(graph, id).is_some_and(|m| m.bias);
        let same = |id: &NodeId| graph.input(*id) == rows && bias(*id) == bias(x);
        if !into.iter().all(same) {
            return Err("gate and up differ in rows, or only one has a bias".into());
        }
        if graph.users(rows).len() != into.len() || graph.is_output(rows) {
            return Err(read_elsewhere(graph, rows, x));
        }
        if let Some(round) = round_tokens {
            alone(gather, round)?;
        }
        let readers = into.iter().chain([&down, &gather, &combine]);
        let readers: Vec<NodeId> = readers.copied().collect();
        let is_own = |(user, _): &(NodeId, usize)| readers.contains(user);
        if !graph.users(groups).iter().all(is_own) || graph.is_output(groups) {
            return Err(read_elsewhere(graph, groups, combine));
        }
        let routes = graph.input(groups);
        let Op::Route(route) = *graph.op(routes) else {
            return Err(format!("{} is not a router", place(graph, routes)));
        };
        let is_known = |(user, _): &(NodeId, usize)| {
            *user == groups || matches!(graph.op(*user), Op::IdentityWeight(_))
        };
        let readers = graph.users(routes);
        if graph.is_output(routes) || !readers.iter().all(is_known) {
            return Err(read_elsewhere(graph, routes, groups));
        }
        Ok(ExpertBlock {
            grouping,
            weighted_in,
            weighted_out,
            activate,
            into,
            down,
            act,
            gather,
            round_inside,
            round_tokens,
            groups,
            routes,
            routes_read: readers.len() > 1,
            route,
        })
    }

    /// What the first of the two kernels does.
    fn inside(&self) -> Vec<NodeId> {
        let rounded = self.round_tokens.into_iter().chain(self.round_inside);
        let products = [self.gather, self.act].into_iter().chain(rounded);
        products.chain(self.into.iter().copied()).collect()
    }

    fn routing(&self, graph: &Graph, kind: ProgramKind) -> Routing {
        match kind {
            ProgramKind::Decode if !self.routes_read => Routing {
                own: Some(self.route),
                operands: Operands::of(graph, self.routes)
                    .renamed(|role| match role {
                        Role::X => Role::Scores,
                        other => other,
                    })
                    .into_iter()
                    .collect(),
            },
            ProgramKind::Decode | ProgramKind::Prefill => Routing {
                own: None,
                operands: vec![(Role::Groups, self.groups)],
            },
        }
    }

    /// What is gathered: the tokens, or, rather than to round them once for each expert, the tokens rounded by a kernel.
    fn tokens(&self, graph: &mut Graph, x: NodeId, routing: &Routing) -> NodeId {
        if self.round_tokens.is_none() || self.weighted_in || routing.own.is_some() {
            return x;
        }
        let rounded = Op::Quantize { norm: None };
        let readers = graph.users(x).into_iter().map(|(u, _)| u);
        let there = readers.into_iter().find(|u| *graph.op(*u) == rounded);
        there.unwrap_or_else(|| {
            let name = format!("{}.int8", graph.node(x).name);
            graph.add(rounded, &[x], &name)
        })
    }

    fn experts_in(&self, graph: &mut Graph, routing: &Routing) -> NodeId {
        let first = grouped(graph, self.into[0]).expect("just found");
        let tokens = graph.input(self.gather);
        let x = self.tokens(graph, tokens, routing);
        let op = ExpertsIn {
            grouping: self.grouping,
            route: routing.own,
            norm: None,
            weighted: self.weighted_in,
            quantize_x: self.round_tokens.is_some() && x == tokens,
            quantize_y: self.round_inside.is_some(),
            ffn: graph.width(self.act),
            bias: first.bias,
            activate: self.activate,
        };
        let mut operands = Operands::default();
        operands.set(Role::X, x);
        operands.extend(routing.operands.iter().copied());
        for (part, id) in self.into.iter().enumerate() {
            let ExpertMatrix { weight, bias } = matrix(graph, *id);
            operands.set(Role::PartWeight(part), weight);
            operands.extend(bias.map(|b| (Role::PartBias(part), b)));
        }
        let (name, op) = (joined_name(graph, &self.into), Op::ExpertsIn(op));
        graph.add(op.clone(), &operands.arranged(&op), &name)
    }

    fn experts_out(
        &self,
        graph: &mut Graph,
        routing: &Routing,
        inside: NodeId,
        tail: &Tail,
    ) -> NodeId {
        let down = grouped(graph, self.down).expect("just found");
        let op = ExpertsOut {
            grouping: self.grouping,
            route: routing.own,
            weighted: self.weighted_out,
            rows: down.rows,
            bias: down.bias,
            shared: tail.shared.is_some(),
            shared_gate: tail.shared_gate.is_some(),
            residual: tail.residual.is_some(),
        };
        let mut operands = Operands::default();
        operands.set(Role::X, inside);
        operands.extend(routing.operands.iter().copied());
        let ExpertMatrix { weight, bias } = matrix(graph, self.down);
        operands.set(Role::Weight, weight);
        operands.extend(bias.map(|b| (Role::Bias, b)));
        operands.extend(tail.shared.map(|x| (Role::Shared, x)));
        operands.extend(tail.shared_gate.map(|x| (Role::SharedGate, x)));
        operands.extend(tail.residual.map(|x| (Role::Residual, x)));
        let (name, op) = (graph.node(self.down).name.clone(), Op::ExpertsOut(op));
        graph.add(op.clone(), &operands.arranged(&op), &name)
    }
}

/// Groups that a kernel has made, or what each thread makes them from.
struct Routing {
    own: Option<Route>,
    operands: Vec<(Role, NodeId)>,
}

/// What is added to the experts' sum.
struct Tail {
    /// The last sum, or the combination itself.
    end: NodeId,
    shared: Option<NodeId>,
    shared_gate: Option<NodeId>,
    residual: Option<NodeId>,
}

impl Tail {
    /// Of two sums the first adds the shared expert and the second the residual; a single one adds the residual, unless it
    /// adds rows that are multiplied by a number each.
    fn find(graph: &Graph, combine: NodeId) -> Tail {
        let first = sum_after(graph, combine);
        let second = first.and_then(|(sum, _)| sum_after(graph, sum));
        let mut tail = Tail {
            end: combine,
            shared: None,
            shared_gate: None,
            residual: None,
        };
        let Some((sum, added)) = first else {
            return tail;
        };
        tail.end = sum;
        if let Some(ScaledRows { x, by }) = scaled(graph, added) {
            (tail.shared, tail.shared_gate) = (Some(x), Some(by));
        } else if second.is_some() {
            tail.shared = Some(added);
        } else {
            tail.residual = Some(added);
        }
        if let Some((sum, added)) = second {
            tail.end = sum;
            tail.residual = Some(added);
        }
        tail
    }
}

/// Rows that are multiplied by a number each, which nothing else reads.
fn scaled(graph: &Graph, id: NodeId) -> Option<ScaledRows<NodeId>> {
    let is_alone = *graph.op(id) == Op::ScaleRows && graph.only_user(id).is_some();
    let rows = is_alone.then(|| graph.read(id, ScaledRows::of))?;
    (graph.width(rows.by) == 1).then_some(rows)
}

/// The sum of rows that alone reads `id`, and what it adds.
fn sum_after(graph: &Graph, id: NodeId) -> Option<(NodeId, NodeId)> {
    let sum = graph.only_user(id)?;
    if *graph.op(sum) != Op::Binary(Binary::Add) || is_broadcast(graph, sum) {
        return None;
    }
    let Pair { a, b } = graph.read(sum, |take| Binary::Add.operands(take));
    let added = [a, b].into_iter().find(|o| *o != id)?;
    Some((sum, added))
}

fn grouped(graph: &Graph, id: NodeId) -> Option<GroupedMatmul> {
    match graph.op(id) {
        Op::GroupedMatmul(m) => Some(*m),
        _ => None,
    }
}

/// The family of a product of experts, with its biases.
fn matrix(graph: &Graph, id: NodeId) -> ExpertMatrix<NodeId> {
    let m = grouped(graph, id).expect("found to be a product of experts");
    graph.read(id, |take| m.operands(take)).matrix
}

fn products(graph: &Graph, ids: &[NodeId]) -> Result<(), String> {
    match ids.iter().find(|id| grouped(graph, **id).is_none()) {
        Some(id) => Err(format!("{} is not an expert matmul", place(graph, *id))),
        None => Ok(()),
    }
}
