//! A graph's text form, printed and parsed.
//!
//! ```text
//! weight @norm: f32[64]
//! weight @q: bf16[64, 64] stride=128 rounded
//! state kv: f32 heads=4 key=16 value=16
//! recurrent past: heads=1 rows=3 columns=64
//! %h = input: [T, 64]
//! %1 = rms_norm %h, gain=@norm {eps=1e-5 group=64}: [T, 64]
//! %2 = matmul %1, w0=@q {part(rows=64)}: [T, 64]
//! output h = %2
//! ```
//!
//! Inputs are named, other values numbered in topological order. The shape after the colon is for the reader; the
//! parser infers it again and complains where they differ. After a semicolon stands the node's place in the spec:
//! `%2 = matmul … ; attention.q`. Texts written by hand may name values by it instead: `%attention.q = matmul …`.

mod error;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use self::error::LineError;
pub use self::error::ParseError;
use self::words::{cache_type_of, encoding_of, number, read_attrs, read_shape, read_sizes};
use super::decl::{RecurrentDecl, StateDecl, WeightDecl};
use super::dim::shape_text;
use super::nodes::{Graph, NodeId};
use super::ops::{Attr, Op, Words};
use super::program::Program;

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for w in &self.weights {
            writeln!(f, "{w}")?;
        }
        for s in &self.states {
            let StateDecl {
                name,
                dtype,
                kv_heads,
                head_dim,
                value_dim,
                shared,
                ring,
            } = s;
            let shared = if *shared { " shared" } else { "" };
            write!(
                f,
                "state {name}: {dtype} heads={kv_heads} key={head_dim} value={value_dim}{shared}"
            )?;
            match ring {
                Some(rows) => writeln!(f, " ring={rows}")?,
                None => writeln!(f)?,
            }
        }
        for r in &self.recurrent {
            let RecurrentDecl {
                name,
                heads,
                rows,
                columns,
            } = r;
            writeln!(
                f,
                "recurrent {name}: heads={heads} rows={rows} columns={columns}"
            )?;
        }
        let names = self.names();
        for id in self.order() {
            self.write_node(f, id, &names)?;
        }
        for (name, id) in &self.outputs {
            writeln!(f, "output {name} = {}", names[id])?;
        }
        Ok(())
    }
}

/// Each block's graph under a comment that names it, with the layers that it computes.
impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (b, block) in self.blocks.iter().enumerate() {
            let gap = if b == 0 { "" } else { "\n" };
            write!(f, "{gap}# {}.{}", self.kind, block.name)?;
            match self.layers.iter().filter(|l| **l == b).count() {
                0 => writeln!(f)?,
                1 => writeln!(f, ", one layer")?,
                n => writeln!(f, ", {n} layers")?,
            }
            write!(f, "{}", block.graph)?;
        }
        Ok(())
    }
}

impl Graph {
    /// How each node is printed: `%h` for inputs, `@slot` for weights, `%3` for the rest.
    pub fn names(&self) -> BTreeMap<NodeId, String> {
        let mut next = 0;
        let mut name = |id: &NodeId| match self.op(*id) {
            Op::Input(n) => format!("%{n}"),
            Op::Weight(w) => format!("@{}", self.weights[w.0 as usize].slot),
            _ => {
                next += 1;
                format!("%{next}")
            }
        };
        self.order().iter().map(|id| (*id, name(id))).collect()
    }

    fn write_node(
        &self,
        f: &mut fmt::Formatter<'_>,
        id: NodeId,
        names: &BTreeMap<NodeId, String>,
    ) -> fmt::Result {
        let node = self.node(id);
        if matches!(node.op, Op::Weight(_)) {
            return Ok(());
        }
        write!(f, "{} = {}", names[&id], node.op.name())?;
        for (i, ((role, _), o)) in node.op.roles().iter().zip(self.operands(id)).enumerate() {
            f.write_str(if i == 0 { " " } else { ", " })?;
            if !role.is_plain() {
                write!(f, "{role}=")?;
            }
            f.write_str(&names[&o])?;
        }
        let words: Vec<_> = node.op.words().iter().map(Attr::to_string).collect();
        if !words.is_empty() {
            write!(f, " {{{}}}", words.join(" "))?;
        }
        write!(f, ": {}", shape_text(&node.shape))?;
        match &node.op {
            Op::Input(name) if *name == node.name => writeln!(f),
            _ if node.name.is_empty() => writeln!(f),
            _ => writeln!(f, " ; {}", node.name),
        }
    }
}

/// Some nodes of a graph as text, with the weights that they read.
pub(crate) struct Excerpt<'a> {
    /// Where they are.
    pub(crate) graph: &'a Graph,
    /// Which.
    pub(crate) nodes: &'a BTreeSet<NodeId>,
}

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Excerpt { graph, nodes } = self;
        let read: BTreeSet<NodeId> = nodes.iter().flat_map(|id| graph.operands(*id)).collect();
        for weight in read.iter().filter_map(|id| graph.weight(*id)) {
            writeln!(f, "{weight}")?;
        }
        let names = graph.names();
        let order = graph.order().into_iter();
        order
            .filter(|id| nodes.contains(id))
            .try_for_each(|id| graph.write_node(f, id, &names))
    }
}

/// An operation with its options, without operands: `matmul {part(rows=8)}`.
pub fn op_text(op: &Op) -> String {
    let words: Vec<_> = op.words().iter().map(Attr::to_string).collect();
    match words.is_empty() {
        true => op.name().into(),
        false => format!("{} {{{}}}", op.name(), words.join(" ")),
    }
}

/// Reads a graph's text form.
///
/// # Errors
/// The first line that does not read or whose operation does not fit its operands.
pub fn parse(text: &str) -> Result<Graph, ParseError> {
    let mut p = Parser::default();
    for (i, line) in text.lines().enumerate() {
        let code = line.split('#').next().unwrap_or("").trim();
        if !code.is_empty() {
            p.line(code).map_err(|e| ParseError::Line {
                line: i + 1,
                what: e.to_string(),
                text: line.trim().into(),
            })?;
        }
    }
    Ok(p.graph)
}

#[derive(Default)]
struct Parser {
    graph: Graph,
    names: BTreeMap<String, NodeId>,
}

impl Parser {
    fn line(&mut self, code: &str) -> Result<(), LineError> {
        if let Some(rest) = code.strip_prefix("weight @") {
            self.weight(rest)
        } else if let Some(rest) = code.strip_prefix("state ") {
            self.state(rest)
        } else if let Some(rest) = code.strip_prefix("recurrent ") {
            self.recurrent(rest)
        } else if let Some(rest) = code.strip_prefix("output ") {
            let (name, value) = rest
                .split_once(" = ")
                .ok_or(LineError::Syntax("expected `output name = %value`"))?;
            let id = self.name(value)?;
            if self.graph.outputs.iter().any(|o| o.0 == name) {
                return Err(LineError::Twice(format!("output {name}")));
            }
            self.graph.outputs.push((words::name(name)?.into(), id));
            Ok(())
        } else {
            self.node(code)
        }
    }

    fn name(&self, name: &str) -> Result<NodeId, LineError> {
        self.names
            .get(name.trim())
            .copied()
            .ok_or_else(|| LineError::Name(name.trim().into()))
    }

    /// Makes a value known by a name that no other has.
    fn define(&mut self, name: String, id: NodeId) -> Result<(), LineError> {
        match self.names.insert(name.clone(), id) {
            None => Ok(()),
            Some(_) => Err(LineError::Twice(name)),
        }
    }

    fn weight(&mut self, rest: &str) -> Result<(), LineError> {
        let syntax = LineError::Syntax(
            "expected `weight @slot: f32[64, 64]`, one or two sizes of at most 268435456",
        );
        let Some((slot, ty)) = rest.split_once(": ") else {
            return Err(syntax);
        };
        let Some((dtype, tail)) = ty.split_once('[') else {
            return Err(syntax);
        };
        let Some((shape, words)) = tail.split_once(']') else {
            return Err(syntax);
        };
        let Some(shape) = read_sizes(shape) else {
            return Err(syntax);
        };
        let is = |word: &str| words.split_whitespace().any(|w| w == word);
        let (transposed, rounded) = (is("transposed"), is("rounded"));
        let mut decl = WeightDecl {
            slot: words::name(slot)?.into(),
            shape,
            encoding: encoding_of(dtype)?,
            row_stride: 0,
            transposed,
            rounded,
            blocks: None,
            count: 1,
        };
        let bad =
            || LineError::Syntax("stride, count, rows or every is not a number, or a large one");
        let value = |key: &str| {
            let found = words.split_whitespace().find_map(|w| w.strip_prefix(key));
            found.map(|n| number(n).ok_or_else(bad)).transpose()
        };
        decl.count = value("count=")?.unwrap_or(1);
        let (rows, every) = (value("rows=")?, value("every=")?);
        decl.blocks = rows
            .zip(every)
            .map(|(rows, every)| crate::spec::model::Blocks { rows, every });
        decl.row_stride = match value("stride=")? {
            Some(n) => n,
            None => decl.dense_stride(),
        };
        let id = self.graph.add_weight(decl);
        self.define(format!("@{slot}"), id)
    }

    fn state(&mut self, rest: &str) -> Result<(), LineError> {
        let syntax = || LineError::Syntax("expected `state name: f32 heads=4 key=16 value=16`");
        let (name, words) = rest.split_once(": ").ok_or_else(syntax)?;
        let value = |key: &str| {
            let found = words.split_whitespace().find_map(|w| w.strip_prefix(key));
            found.and_then(number).ok_or_else(syntax)
        };
        let dtype = cache_type_of(words.split_whitespace().next().unwrap_or(""))?;
        let (kv_heads, head_dim, value_dim) = (value("heads=")?, value("key=")?, value("value=")?);
        let is_ring = words.split_whitespace().any(|w| w.starts_with("ring="));
        let ring = is_ring.then(|| value("ring=")).transpose()?;
        self.graph.states.push(StateDecl {
            name: words::name(name)?.into(),
            kv_heads,
            head_dim,
            value_dim,
            shared: words.split_whitespace().any(|w| w == "shared"),
            dtype,
            ring,
        });
        Ok(())
    }

    fn recurrent(&mut self, rest: &str) -> Result<(), LineError> {
        let syntax = || LineError::Syntax("expected `recurrent name: heads=4 rows=16 columns=16`");
        let (name, words) = rest.split_once(": ").ok_or_else(syntax)?;
        let value = |key: &str| {
            let found = words.split_whitespace().find_map(|w| w.strip_prefix(key));
            found.and_then(number).ok_or_else(syntax)
        };
        self.graph.recurrent.push(RecurrentDecl {
            name: words::name(name)?.into(),
            heads: value("heads=")?,
            rows: value("rows=")?,
            columns: value("columns=")?,
        });
        Ok(())
    }

    fn node(&mut self, line: &str) -> Result<(), LineError> {
        let (code, place) = match line.split_once(" ; ") {
            Some((code, place)) => (code.trim_end(), Some(place.trim())),
            None => (line, None),
        };
        let (name, rest) = code
            .split_once(" = ")
            .ok_or(LineError::Syntax("expected `%name = operation …`"))?;
        let by_name = name
            .strip_prefix('%')
            .ok_or(LineError::Syntax("the name of a value begins with %"))?;
        let by_name = words::name(by_name)?;
        let numbered = by_name.bytes().all(|b| b.is_ascii_digit());
        let (body, said) = match rest.rsplit_once(": [") {
            Some((b, s)) => (b, Some(format!("[{s}"))),
            None => (rest, None),
        };
        let id = if body == "input" {
            let shape = said
                .as_deref()
                .ok_or(LineError::Syntax("an input needs a shape"))?;
            // Other values are numbered where they are printed.
            if numbered {
                return Err(LineError::Syntax("an input is named, not numbered"));
            }
            self.graph.add_input(by_name, read_shape(shape)?)
        } else {
            let place = place.unwrap_or(if numbered { "" } else { by_name });
            self.operation(body, place)?
        };
        let found = shape_text(self.graph.shape(id));
        match said {
            Some(said) if said != found => Err(LineError::Shape { found, said }),
            _ => self.define(name.into(), id),
        }
    }

    fn operation(&mut self, body: &str, place: &str) -> Result<NodeId, LineError> {
        let (head, words) = match body.split_once('{') {
            Some((h, w)) => (
                h,
                w.trim_end()
                    .strip_suffix('}')
                    .ok_or(LineError::Syntax("missing `}`"))?,
            ),
            None => (body, ""),
        };
        let (op, operands) = head.trim().split_once(' ').unwrap_or((head.trim(), ""));
        let (mut roles, mut ids) = (vec![], vec![]);
        for o in operands.split(',').map(str::trim).filter(|o| !o.is_empty()) {
            let (role, value) = o.split_once('=').unwrap_or(("", o));
            roles.push(role.to_string());
            ids.push(self.name(value)?);
        }
        let op = Op::read(&Words {
            op,
            words: &read_attrs(words)?,
            roles: &roles,
        })?;
        Ok(self.graph.try_add(op, &ids, place)?)
    }
}
