//! What has to hold between the blocks of a program: what may stand in which, what they hand on, and whose state a layer
//! reads.

use std::collections::{BTreeMap, BTreeSet};

use super::error::VerifyError;
use super::graph::verify;
use crate::graph::decl::StateDecl;
use crate::graph::dim::{Dim, shape_text};
use crate::graph::nodes::{Graph, NodeId};
use crate::graph::ops::Op;
use crate::graph::program::{Block, Program, rope_input};

/// The name of what the head gives, which nothing else has.
const LOGITS: &str = "logits";

impl Program {
    /// [`verify`] on every block, and that blocks fit together: the embedding and the head keep no state, the head has rows
    /// of logits alone and gives nothing else, blocks read what one before them hands on, in the same width, and layers
    /// that share state declare it as their source does.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn verify(&self) -> Result<(), VerifyError> {
        self.check_layers()?;
        for b in 0..self.blocks.len() {
            self.check_block(b).map_err(|e| VerifyError {
                node: format!("{}, {}", self.place(b), e.node),
                block: Some(b),
                ..e
            })?;
        }
        self.check_streams()?;
        (0..self.layers.len()).try_for_each(|layer| self.check_source(layer))
    }

    /// [`Program::verify`] where only a mistake of ours can break a rule.
    ///
    /// # Panics
    /// With the rule, the graph, and `stage`, which names who broke it.
    pub fn expect_valid(&self, stage: &str) {
        let Err(e) = self.verify() else { return };
        let graph = e.block.map(|b| self.blocks[b].graph.to_string());
        let graph = graph.unwrap_or_default();
        panic!("{stage}: the {} program is broken: {e}\n{graph}", self.kind);
    }

    fn check_layers(&self) -> Result<(), VerifyError> {
        let wrong = |what: String| Err(VerifyError::new("layers", what));
        let (layers, sources) = (self.layers.len(), self.sources.len());
        if self.blocks.len() < 2 || layers != sources {
            let blocks = self.blocks.len();
            return wrong(format!(
                "{layers} layers with {sources} sources in {blocks} blocks"
            ));
        }
        let between = 1..self.head();
        if let Some(odd) = self.layers.iter().find(|b| !between.contains(b)) {
            return wrong(format!("block {odd} is the embedding, the head, or none"));
        }
        for (layer, source) in self.sources.iter().enumerate() {
            let Some(source) = *source else { continue };
            if source >= layer || self.sources[source].is_some() {
                return wrong(format!(
                    "layer {layer} reads the state of layer {source}, which has none of its own before it"
                ));
            }
        }
        Ok(())
    }

    fn check_block(&self, b: usize) -> Result<(), VerifyError> {
        let graph = &self.blocks[b].graph;
        verify(graph)?;
        let (is_embed, is_head) = (b == 0, b == self.head());
        if is_embed || is_head {
            no_state(graph)?;
        }
        let names = graph.names();
        for id in graph.order() {
            let what = match is_head {
                true => in_head(graph, id),
                false => self.before_head(graph, id, is_embed),
            };
            what.map_err(|what| VerifyError::new(names[&id].clone(), what))?;
        }
        match is_head {
            true => outputs_of_head(graph),
            false => outputs(graph),
        }
    }

    /// The rule for one node of the embedding or of a layer.
    fn before_head(&self, graph: &Graph, id: NodeId, is_embed: bool) -> Result<(), String> {
        if graph.shape(id).first() == Some(&Dim::LogitRows) {
            return Err("has rows of logits, which only the head has".into());
        }
        match graph.op(id) {
            Op::Input(_) if is_embed => Err("is handed to the embedding, which is first".into()),
            Op::RopeAngles { rope, rotary_dim } => {
                let widths = self.ropes.get(*rope).map(|r| r.rotary_dim());
                match widths {
                    Some(width) if width == *rotary_dim && is_embed => Ok(()),
                    Some(width) if is_embed => Err(format!(
                        "has {rotary_dim} components, rope {rope} has {width}"
                    )),
                    Some(_) => Err("is made in a layer; the embedding makes angles".into()),
                    None => Err(format!("is of rope {rope} of {}", self.ropes.len())),
                }
            }
            _ => Ok(()),
        }
    }

    /// That blocks are handed what they read, from one that runs before them, in the same shape everywhere.
    fn check_streams(&self) -> Result<(), VerifyError> {
        let embed = &self.blocks[0].graph;
        let made = embed.outputs.iter();
        let made: BTreeMap<&str, NodeId> = made.map(|(n, id)| (n.as_str(), *id)).collect();
        for (i, rope) in self.ropes.iter().enumerate() {
            let is_angles = |id: &NodeId| match embed.op(*id) {
                Op::RopeAngles { rope, .. } => *rope == i,
                _ => false,
            };
            let name = rope_input(i);
            if !made.get(name.as_str()).is_some_and(is_angles) {
                let what = format!("hands on no angles of rope {} as `{name}`", rope.name);
                return Err(VerifyError::new("embed", what));
            }
        }
        let handed = made
            .into_iter()
            .map(|(n, id)| (n, embed.shape(id).as_slice()));
        let mut handed: BTreeMap<&str, &[Dim]> = handed.collect();
        let mut done = BTreeSet::from([0]);
        for b in self.run_order() {
            // What is handed on keeps its shape, so that a block's first turn stands for all.
            if done.insert(b) {
                let block = &self.blocks[b];
                let wrong = |what| VerifyError {
                    block: Some(b),
                    ..VerifyError::new(self.place(b), what)
                };
                handed_alike(block.inputs(), &handed).map_err(wrong)?;
                for (name, shape) in outputs_of(block).filter(|(name, _)| *name != LOGITS) {
                    handed.entry(name).or_insert(shape);
                }
                let outputs = outputs_of(block).filter(|(name, _)| *name != LOGITS);
                handed_alike(outputs, &handed).map_err(wrong)?;
            }
        }
        Ok(())
    }

    /// That a layer that reads another one's state declares it alike and has no other, and that one with state of its
    /// own writes it.
    fn check_source(&self, layer: usize) -> Result<(), VerifyError> {
        let b = self.layers[layer];
        let graph = &self.blocks[b].graph;
        let wrong = |what: String| VerifyError {
            block: Some(b),
            ..VerifyError::new(format!("{}, layer {layer}", self.place(b)), what)
        };
        let reads_only = graph.all(|op| matches!(op, Op::CacheRead { .. }));
        let Some(source) = self.sources[layer] else {
            return match reads_only.is_empty() {
                true => Ok(()),
                false => Err(wrong("reads a state that no layer has written".into())),
            };
        };
        let writes = graph.all(|op| op.writes_cache() || op.facts().recurrent.is_some());
        if !writes.is_empty() || !graph.recurrent.is_empty() {
            return Err(wrong(format!(
                "writes state in the place of layer {source}'s"
            )));
        }
        let theirs = &self.blocks[self.layers[source]].graph.states;
        for (i, ours) in graph.states.iter().enumerate() {
            let alike = |d: &StateDecl| {
                let name = ours.name.clone();
                *ours == StateDecl { name, ..d.clone() }
            };
            if !theirs.get(i).is_some_and(alike) {
                let found = theirs.get(i).map_or("none".into(), |d| format!("{d:?}"));
                return Err(wrong(format!(
                    "state {i} is {ours:?}, that of layer {source} is {found}"
                )));
            }
        }
        Ok(())
    }
}

fn no_state(graph: &Graph) -> Result<(), VerifyError> {
    let kv = graph.states.iter().map(|s| &s.name);
    let recurrent = graph.recurrent.iter().map(|s| &s.name);
    let found = kv.chain(recurrent).next();
    found.map_or(Ok(()), |name| {
        Err(VerifyError::new(
            name.clone(),
            "is state, which only layers keep",
        ))
    })
}

/// The rule for one node of the head: everything is a row for each wanted row of logits, so that no look-up, no routing and
/// no attention can be there.
fn in_head(graph: &Graph, id: NodeId) -> Result<(), String> {
    let shape = graph.shape(id);
    match graph.op(id) {
        Op::Input(_) | Op::Weight(_) => Ok(()),
        _ if shape.first() == Some(&Dim::LogitRows) => Ok(()),
        op => Err(format!(
            "{} gives {} in the head, expected rows of logits",
            op.name(),
            shape_text(shape)
        )),
    }
}

fn outputs_of_head(graph: &Graph) -> Result<(), VerifyError> {
    let only = match graph.outputs.as_slice() {
        [(name, id)] if name == LOGITS => *id,
        other => {
            let names: Vec<&str> = other.iter().map(|(n, _)| n.as_str()).collect();
            let what = format!("gives {names:?}, expected `{LOGITS}` alone");
            return Err(VerifyError::new("outputs", what));
        }
    };
    match graph.shape(only).as_slice() {
        [Dim::LogitRows, Dim::Const(_)] => Ok(()),
        shape => {
            let what = format!("is {}, expected rows of logits", shape_text(shape));
            Err(VerifyError::new(LOGITS, what))
        }
    }
}

/// What a block hands on lies in a place of its own, a row for each token; the head alone gives logits.
fn outputs(graph: &Graph) -> Result<(), VerifyError> {
    for (i, (name, id)) in graph.outputs.iter().enumerate() {
        let shape = graph.shape(*id);
        let twice = graph.outputs[..i].iter().any(|(n, _)| n == name);
        let what = match shape.as_slice() {
            _ if name == LOGITS => "is what the head gives, and no other block".into(),
            _ if twice => "is handed on twice".into(),
            [Dim::Tokens, Dim::Const(_)] => continue,
            other => format!("is {}, expected rows of tokens", shape_text(other)),
        };
        return Err(VerifyError::new(name.clone(), what));
    }
    Ok(())
}

/// That values have the shapes in which blocks before have handed them on.
fn handed_alike<'a>(
    values: impl Iterator<Item = (&'a str, &'a [Dim])>,
    handed: &BTreeMap<&str, &[Dim]>,
) -> Result<(), String> {
    for (name, shape) in values {
        let expected = handed.get(name);
        if expected == Some(&shape) {
            continue;
        }
        let expected = expected.map_or("nothing".into(), |s| shape_text(s));
        return Err(format!(
            "`{name}` is {} here; what runs before hands on {expected}",
            shape_text(shape)
        ));
    }
    Ok(())
}

/// What a block hands on, by name.
fn outputs_of(block: &Block) -> impl Iterator<Item = (&str, &[Dim])> {
    let graph = &block.graph;
    let outputs = graph.outputs.iter();
    outputs.map(|(n, id)| (n.as_str(), graph.shape(*id).as_slice()))
}
