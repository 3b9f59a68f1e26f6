//! What passes share: where a value comes from (a whole matmul, or the slice of it that is one part's result), and how a
//! matmul with more to do takes the place of what it does now.

use std::collections::BTreeMap;

use crate::graph::{Binary, Graph, Join, Matmul, NodeId, Op, Role};

/// A part of a matmul whose result nobody else looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) matmul: NodeId,
    pub(super) part: usize,
}

/// The matmul part that `id` is exactly, if it is one: the matmul itself where it has one part, or a slice.
pub(super) fn part_of(graph: &Graph, id: NodeId) -> Option<Source> {
    match graph.op(id) {
        Op::Matmul(m) if m.parts.len() == 1 => Some(Source {
            matmul: id,
            part: 0,
        }),
        Op::Slice { start, len } => {
            let matmul = graph.input(id);
            let m = matmul_of(graph, matmul)?;
            let fits = |&i: &usize| m.column(i) == *start && m.parts[i].rows == *len;
            let part = (0..m.parts.len())
                .filter(|_| m.join == Join::Concat)
                .find(fits)?;
            Some(Source { matmul, part })
        }
        _ => None,
    }
}

/// A node's matmul options.
pub(super) fn matmul_of(graph: &Graph, id: NodeId) -> Option<&Matmul> {
    match graph.op(id) {
        Op::Matmul(m) => Some(m),
        _ => None,
    }
}

/// Whether the right operand of a sum or product of two is a vector that every row sees.
pub(super) fn is_broadcast(graph: &Graph, id: NodeId) -> bool {
    let right = |b: Binary| graph.read(id, |take| b.operands(take)).b;
    matches!(graph.op(id), Op::Binary(b) if graph.shape(right(*b)).len() == 1)
}

/// Why `reader` is not the only one that looks at `id`: for `explain`.
pub(super) fn read_elsewhere(graph: &Graph, id: NodeId, reader: NodeId) -> String {
    let mut others: Vec<&str> = graph
        .users(id)
        .into_iter()
        .filter(|(u, _)| *u != reader)
        .map(|(u, _)| graph.node(u).name.as_str())
        .collect();
    others.dedup();
    if graph.is_output(id) {
        others.push("the next block");
    }
    format!("{} is also read by {}", place(graph, id), others.join(", "))
}

/// A node's place in the spec, with its operation where it has none.
pub(super) fn place(graph: &Graph, id: NodeId) -> &str {
    match graph.node(id).name.as_str() {
        "" => graph.op(id).name(),
        name => name,
    }
}

/// Whether nothing follows the product yet but biases and what its parts' finishes say.
pub(super) fn open(m: &Matmul) -> bool {
    m.join == Join::Concat && m.act.is_none() && m.scale.is_none() && !m.residual
}

/// An operation's operands by role, to be taken apart and put together again with more of them.
#[derive(Default)]
pub(super) struct Operands(BTreeMap<Role, NodeId>);

impl Operands {
    pub(super) fn of(graph: &Graph, id: NodeId) -> Operands {
        let roles = graph.op(id).roles().into_iter().map(|(role, _)| role);
        Operands(roles.zip(graph.operands(id)).collect())
    }

    /// Names an operand that the rewritten operation has.
    pub(super) fn set(&mut self, role: Role, id: NodeId) {
        self.0.insert(role, id);
    }

    /// Names several.
    pub(super) fn extend(&mut self, operands: impl IntoIterator<Item = (Role, NodeId)>) {
        self.0.extend(operands);
    }

    /// The same under other roles.
    pub(super) fn renamed(self, to: impl Fn(Role) -> Role) -> Operands {
        Operands(self.into_iter().map(|(role, id)| (to(role), id)).collect())
    }

    /// In the order the rewritten operation wants.
    pub(super) fn arranged(&self, op: &Op) -> Vec<NodeId> {
        let roles = op.roles().into_iter().map(|(role, _)| role);
        let find = |role| self.0.get(&role).copied();
        let set = |role| {
            find(role).unwrap_or_else(|| panic!("operand {role} of {} was not set", op.name()))
        };
        roles.map(set).collect()
    }
}

impl IntoIterator for Operands {
    type Item = (Role, NodeId);
    type IntoIter = std::collections::btree_map::IntoIter<Role, NodeId>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// What readers of a node read once it is done by a matmul.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    /// All of the result.
    Whole,
    /// One part of it.
    Part(usize),
}

/// Puts a matmul with more to do in the place of `old`, and in the place of each node of `ends`, which it does now. What only
/// those read goes with them; slices that are left become slices of the new matmul.
pub(super) fn rewrite_matmul(
    graph: &mut Graph,
    old: NodeId,
    m: Matmul,
    operands: &Operands,
    ends: &[(NodeId, Takes)],
) {
    let slices: Vec<(NodeId, usize)> = slices(graph, old);
    let name = graph.node(old).name.clone();
    let op = Op::Matmul(m.clone());
    let new = graph.add(op.clone(), &operands.arranged(&op), &name);
    let mut made: Vec<Option<NodeId>> = vec![None; m.parts.len()];
    let mut part_of_new = |graph: &mut Graph, part: usize, name: &str| {
        let (start, len) = (m.column(part), m.parts[part].rows);
        let all = m.width() == len;
        *made[part].get_or_insert_with(|| match all {
            true => new,
            false => graph.add(Op::Slice { start, len }, &[new], name),
        })
    };
    for (end, takes) in ends {
        let value = match *takes {
            Takes::Whole => new,
            Takes::Part(part) => {
                let slice = slices.iter().find(|(_, p)| *p == part);
                let at = slice.map_or(*end, |(slice, _)| *slice);
                let name = graph.node(at).name.clone();
                part_of_new(graph, part, &name)
            }
        };
        graph.replace(*end, value);
    }
    for (slice, part) in slices {
        if graph.contains(slice) {
            let name = graph.node(slice).name.clone();
            let value = part_of_new(graph, part, &name);
            graph.replace(slice, value);
        }
    }
    if graph.contains(old) {
        graph.replace(old, new);
    }
}

/// Slices of a matmul that are one part each, with the part.
fn slices(graph: &Graph, matmul: NodeId) -> Vec<(NodeId, usize)> {
    let users = graph.users(matmul).into_iter();
    let slices = users.filter(|(u, _)| matches!(graph.op(*u), Op::Slice { .. }));
    slices
        .filter_map(|(u, _)| Some((u, part_of(graph, u)?.part)))
        .collect()
}

/// `attention.q`, `attention.k` → `attention.q+k`.
pub(super) fn joined_name(graph: &Graph, group: &[NodeId]) -> String {
    let names = group.iter().map(|id| graph.node(*id).name.as_str());
    let last = |name: &str| name.rsplit('.').next().unwrap_or(name).to_string();
    let parts = names.enumerate().map(|(i, name)| match i {
        0 => name.to_string(),
        _ => last(name),
    });
    parts.collect::<Vec<_>>().join("+")
}
