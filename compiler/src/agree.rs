//! What the parts of an artifact have to agree in: two programs that share weights and state, the table of states, and the
//! bytes of every slot.
//!
//! Each is computed in one place and used in another. What a user can cause is refused before, with its place in the spec or
//! the checkpoint; a difference found here is a mistake of ours.

use graver_runtime::abi::StateInfo;

use crate::graph::{Graph, LookUp, Op, Program, RecurrentId, StateId, VerifyError, WeightDecl};
use crate::spec::model::Model;
use crate::weights::{View, Weights};

/// That every slot has the bytes that code reads, in the order in which it reads them.
///
/// # Errors
/// The first slot that differs.
pub(crate) fn slots(program: &Program, weights: &Weights) -> Result<(), VerifyError> {
    let layers = weights.layers.iter().map(Vec::as_slice);
    let sections = std::iter::once(weights.embed.as_slice())
        .chain(layers)
        .chain([weights.head.as_slice()]);
    let found = sections.clone().count();
    let expected = program.run_order().count();
    if found != expected {
        let what = format!("of {found} blocks, expected {expected}");
        return Err(VerifyError::new("slots", what));
    }
    for (i, (b, views)) in program.run_order().zip(sections).enumerate() {
        let decls = &program.blocks[b].graph.weights;
        let at = |slot: &str| format!("{}, block {i}, {slot}", program.place(b));
        let pointers = decls
            .iter()
            .flat_map(|d| std::iter::repeat_n(d, d.count))
            .collect::<Vec<_>>();
        if pointers.len() != views.len() {
            let what = format!("{} slots, code reads {}", views.len(), pointers.len());
            return Err(VerifyError::new(at("table"), what));
        }
        for (decl, view) in pointers.into_iter().zip(views) {
            slot(decl, view).map_err(|what| VerifyError::new(at(&decl.slot), what))?;
        }
    }
    Ok(())
}

fn slot(decl: &WeightDecl, view: &View) -> Result<(), String> {
    let form = (&view.slot, view.encoding, view.row_stride_bytes);
    // Panels are the same whichever way the floats lay.
    let turned = decl.encoding.quant().is_none() && view.transposed != decl.transposed;
    if form != (&decl.slot, decl.encoding, decl.row_stride) || turned {
        return Err(format!("code reads `{decl}`, the slot is {view:?}"));
    }
    match (view.bytes, decl.span_bytes()) {
        (found, expected) if found == expected => Ok(()),
        (found, expected) => Err(format!(
            "has {found} bytes of {:?}, code reads {expected} of `{decl}`",
            view.name
        )),
    }
}

/// That look-ups stay inside their tables: for any token of the vocabulary, and any position of the context.
///
/// # Errors
/// The first table that is too short, or logits of another number than the vocabulary's.
pub(crate) fn sizes(program: &Program, model: &Model) -> Result<(), VerifyError> {
    for (b, block) in program.blocks.iter().enumerate() {
        let graph = &block.graph;
        let wrong = |what: String| Err(VerifyError::new(program.place(b), what));
        for id in graph.order() {
            let needed = match graph.op(id) {
                Op::Embed { limit, .. } => limit.unwrap_or(model.vocab).min(model.vocab),
                Op::PositionRows { offset } => model.context + offset,
                _ => continue,
            };
            let table = graph.weight(graph.read(id, LookUp::of).table);
            let Some(table) = table.filter(|t| t.shape[0] < needed) else {
                continue;
            };
            return wrong(format!("reads {needed} rows of the table `{table}`"));
        }
        for (_, id) in graph.outputs.iter().filter(|(n, _)| n == "logits") {
            let expected = model.output.unwrap_or(model.vocab);
            let found = graph.width(*id);
            if found != expected {
                return wrong(format!("gives rows of {found}, expected {expected}"));
            }
        }
    }
    Ok(())
}

/// That both programs reach the same weights through the same slots, and the same state at the same offsets.
///
/// # Errors
/// What differs first.
pub(crate) fn programs(decode: &Program, prefill: &Program) -> Result<(), VerifyError> {
    let wrong = |node: String, what: &str| {
        let what = format!("decode and prefill differ in {what}");
        Err(VerifyError::new(node, what))
    };
    let table = |p: &Program| (p.layers.clone(), p.sources.clone(), p.blocks.len());
    if table(decode) != table(prefill) || decode.ropes != prefill.ropes {
        return wrong("layers".into(), "their number, kinds, sources or ropes");
    }
    for (b, (d, p)) in decode.blocks.iter().zip(&prefill.blocks).enumerate() {
        let (d, p) = (&d.graph, &p.graph);
        // Only prefill rounds what it multiplies weights with.
        let stored = |w: &WeightDecl| WeightDecl {
            rounded: false,
            ..w.clone()
        };
        if !d
            .weights
            .iter()
            .map(stored)
            .eq(p.weights.iter().map(stored))
        {
            return wrong(decode.place(b), "weights");
        }
        if d.states != p.states || d.recurrent != p.recurrent {
            return wrong(decode.place(b), "state");
        }
    }
    Ok(())
}

/// That `table` has every buffer of every layer's state where code looks for it, and no other.
///
/// # Errors
/// The first buffer that differs.
pub(crate) fn states(program: &Program, table: &[StateInfo]) -> Result<(), VerifyError> {
    let bases = program.state_bases();
    let mut used = 0;
    for (layer, b) in program.layers.iter().enumerate() {
        if program.sources[layer].is_some() {
            continue;
        }
        for (index, expected) in buffers(&program.blocks[*b].graph) {
            let found = table.get(bases[layer + 1] + index);
            let found = found.map(|s| (s.bytes_per_position, s.fixed_bytes, s.ring));
            if found != Some(expected) {
                let node = format!("{}, layer {layer}", program.place(*b));
                let what =
                    format!("buffer {index} is {found:?} in the table, expected {expected:?}");
                return Err(VerifyError::new(node, what));
            }
            used += 1;
        }
    }
    match used == table.len() {
        true => Ok(()),
        false => {
            let what = format!("has {} buffers, layers have {used}", table.len());
            Err(VerifyError::new("the table of states", what))
        }
    }
}

/// Bytes for each position, bytes in all, and positions of a ring.
type Size = (usize, usize, Option<usize>);

/// Sizes of the buffers of one layer by the index under which its code finds them.
fn buffers(graph: &Graph) -> Vec<(usize, Size)> {
    let mut out = vec![];
    for (i, s) in graph.states.iter().enumerate() {
        let first = graph.first_buffer(StateId(i as u32));
        let sides = s.buffers().into_iter().enumerate();
        out.extend(sides.map(|(side, (_, bytes))| (first + side, (bytes, 0, s.ring))));
    }
    for (i, r) in graph.recurrent.iter().enumerate() {
        let index = graph.recurrent_buffer(RecurrentId(i as u32));
        out.push((index, (0, r.bytes(), None)));
    }
    out
}

/// Stops at what only we can mend.
///
/// # Panics
/// With what differs, and who found it.
pub(crate) fn expect(found: Result<(), VerifyError>, stage: &str) {
    if let Err(e) = found {
        panic!("{stage}: {e}");
    }
}

#[cfg(test)]
mod tests;
