//! Where a value comes from: a whole matmul, or the slice of it that is one part's result.

use crate::graph::{Graph, Join, Matmul, NodeId, Op};

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
            let matmul = graph.operands(id)[0];
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
    format!("{} is read by {} too", place(graph, id), others.join(", "))
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

/// The matmul's operands by role, to be taken apart and put together again with more of them.
pub(super) struct Operands {
    roles: Vec<String>,
    ids: Vec<NodeId>,
}

impl Operands {
    /// None yet.
    pub(super) fn none() -> Operands {
        Operands {
            roles: vec![],
            ids: vec![],
        }
    }

    pub(super) fn of(graph: &Graph, id: NodeId) -> Operands {
        Operands {
            roles: graph.op(id).roles(),
            ids: graph.operands(id),
        }
    }

    /// Names an operand that the rewritten matmul has.
    pub(super) fn set(&mut self, role: &str, id: NodeId) {
        match self.roles.iter().position(|r| r == role) {
            Some(i) => self.ids[i] = id,
            None => {
                self.roles.push(role.into());
                self.ids.push(id);
            }
        }
    }

    /// In the order the rewritten operation wants.
    pub(super) fn arranged(&self, op: &Op) -> Vec<NodeId> {
        let find = |r: &String| self.roles.iter().position(|x| x == r).map(|i| self.ids[i]);
        op.roles()
            .iter()
            .map(|r| find(r).unwrap_or_else(|| panic!("operand {r} of {} was not set", op.name())))
            .collect()
    }
}

/// Puts a rewritten matmul in the place of an old one, and its slices where the old one's were.
///
/// Slices of the old matmul become slices of the new one by part, or the new one itself where a part is all of it. Parts
/// that no longer go into the result must have no slices left in use.
pub(super) fn replace_matmul(
    graph: &mut Graph,
    old: NodeId,
    op: Matmul,
    operands: &Operands,
    name: &str,
) -> NodeId {
    let was = matmul_of(graph, old).expect("a matmul").clone();
    let op = Op::Matmul(op);
    let new = graph.add(op.clone(), &operands.arranged(&op), name);
    let Op::Matmul(m) = &op else {
        unreachable!("just made")
    };
    for (user, _) in graph.users(old) {
        let Some(Source { part, .. }) =
            part_of(graph, user).filter(|_| matches!(graph.op(user), Op::Slice { .. }))
        else {
            continue;
        };
        if graph.users(user).is_empty() && !graph.is_output(user) {
            graph.remove(user);
            continue;
        }
        debug_assert_eq!(was.parts[part].rows, m.parts[part].rows);
        let (start, len) = (m.column(part), m.parts[part].rows);
        let to = if m.width() == len {
            new
        } else {
            let name = graph.node(user).name.clone();
            graph.add(Op::Slice { start, len }, &[new], &name)
        };
        graph.replace_uses(user, to);
        graph.remove(user);
    }
    graph.replace_uses(old, new);
    graph.remove(old);
    new
}
