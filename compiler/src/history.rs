//! What became of every operation: which pass made a kernel, which operations of the plain graph it does, what passes said of it.
//!
//! In: a plain program and which passes run. Out: the same plan that code is made from, with the way there. Decides nothing.

use std::collections::{BTreeMap, BTreeSet};

use crate::codegen::{Instruments, Planned};
use crate::driver::plan_program;
use crate::graph::{Graph, NodeId, Program};
use crate::passes::{self, Candidate, Outcome, PASSES, PassOptions};

/// A program from the plain graph to the plan.
pub(crate) struct History {
    pub(crate) before: Program,
    pub(crate) planned: Planned,
    blocks: Vec<BlockHistory>,
}

/// What passes did to one block, by their index in [`PASSES`].
#[derive(Clone, Default)]
struct BlockHistory {
    /// The pass that made a node.
    made: BTreeMap<NodeId, usize>,
    /// The pass that took a node away.
    gone: BTreeMap<NodeId, usize>,
    remarks: Vec<Remark>,
}

/// What a pass said of some nodes.
#[derive(Clone)]
struct Remark {
    pass: usize,
    about: BTreeSet<NodeId>,
    candidate: Candidate,
}

impl History {
    /// Runs the passes one by one and watches.
    pub(crate) fn of(before: Program, options: &PassOptions) -> History {
        let mut after = before.clone();
        let mut blocks = vec![BlockHistory::default(); before.blocks.len()];
        for pass in options.enabled() {
            let index = PASSES.iter().position(|p| p.name == pass.name);
            let index = index.expect("an enabled pass is in the list");
            let was = after.clone();
            let report = passes::run_pass(pass, &mut after);
            for (b, history) in blocks.iter_mut().enumerate() {
                history.watch(index, &was.blocks[b].graph, &after.blocks[b].graph);
            }
            for (b, candidate) in report.candidates {
                let [was, is] = [&was, &after].map(|p| &p.blocks[b].graph);
                blocks[b].remark(index, was, is, candidate);
            }
        }
        let none = PassOptions {
            no_fuse: true,
            ..PassOptions::default()
        };
        History {
            before,
            planned: plan_program(after, &none, Instruments::default()).0,
            blocks,
        }
    }

    /// The graph that is scheduled.
    pub(crate) fn after(&self, block: usize) -> &Graph {
        &self.planned.program.blocks[block].graph
    }

    /// Passes that made a node of the graph that is scheduled what it is, in the order in which they ran.
    pub(crate) fn passes_of(&self, block: usize, id: NodeId) -> Vec<usize> {
        let made = &self.blocks[block].made;
        let own = self.own(block, id);
        let passes: BTreeSet<usize> = own.iter().filter_map(|n| made.get(n).copied()).collect();
        passes.into_iter().collect()
    }

    /// The pass that took an operation of the plain graph away.
    pub(crate) fn gone_by(&self, block: usize, id: NodeId) -> Option<usize> {
        self.blocks[block].gone.get(&id).copied()
    }

    /// Operations of the plain graph that a node of the graph that is scheduled does.
    pub(crate) fn origins(&self, block: usize, id: NodeId) -> BTreeSet<NodeId> {
        let plain: BTreeSet<NodeId> = self.before.blocks[block]
            .graph
            .order()
            .into_iter()
            .collect();
        let found: BTreeSet<NodeId> = self.own(block, id).intersection(&plain).copied().collect();
        if !found.is_empty() {
            return found;
        }
        // A rewrite that makes several kernels of several operations leaves the history with the last of them.
        let users = self.after(block).users(id);
        users
            .first()
            .map(|(user, _)| self.origins(block, *user))
            .unwrap_or_default()
    }

    /// A node of the graph that is scheduled, with all that it was made from, in the plain graph and on the way.
    pub(crate) fn ancestry(&self, block: usize, id: NodeId) -> BTreeSet<NodeId> {
        let mut all = self.own(block, id);
        all.extend(self.origins(block, id));
        all
    }

    /// What passes said of a node of the graph that is scheduled, or of what it was made from.
    pub(crate) fn remarks(&self, block: usize, id: NodeId) -> Vec<(usize, &Candidate)> {
        let about = self.ancestry(block, id);
        let all = self.blocks[block].remarks.iter();
        let own = all.filter(|r| !r.about.is_disjoint(&about));
        own.map(|r| (r.pass, &r.candidate)).collect()
    }

    /// Places in which a pass fused something.
    pub(crate) fn fused(&self, pass: usize) -> usize {
        let all = self.blocks.iter().flat_map(|b| &b.remarks);
        let of_pass = all.filter(|r| r.pass == pass);
        of_pass
            .filter(|r| matches!(r.candidate.outcome, Outcome::Fused(_)))
            .count()
    }

    /// The node and all in whose place it stands.
    fn own(&self, block: usize, id: NodeId) -> BTreeSet<NodeId> {
        let mut own = self.after(block).absorbed(id).clone();
        own.insert(id);
        own
    }
}

impl BlockHistory {
    fn watch(&mut self, pass: usize, was: &Graph, is: &Graph) {
        let [old, new] = [was, is].map(|g| g.order().into_iter().collect::<BTreeSet<_>>());
        self.gone.extend(old.difference(&new).map(|id| (*id, pass)));
        self.made.extend(new.difference(&old).map(|id| (*id, pass)));
    }

    /// Keeps what a pass said of the place `candidate.at` in the graph that it found: of what is there, and of all that the pass put
    /// in its place.
    fn remark(&mut self, pass: usize, was: &Graph, is: &Graph, candidate: Candidate) {
        let is_there = |id: &NodeId| {
            let name = &was.node(*id).name;
            *name == candidate.at || (name.is_empty() && was.op(*id).name() == candidate.at)
        };
        let mut about: BTreeSet<NodeId> = was.order().into_iter().filter(is_there).collect();
        let new: BTreeSet<NodeId> = is
            .order()
            .into_iter()
            .filter(|id| !was.contains(*id))
            .collect();
        let replaces = |id: &NodeId| !is.absorbed(*id).is_disjoint(&about);
        let mut waiting: Vec<NodeId> = new.iter().copied().filter(replaces).collect();
        while let Some(id) = waiting.pop() {
            if about.insert(id) {
                let operands = is.operands(id).into_iter();
                waiting.extend(operands.filter(|o| new.contains(o)));
            }
        }
        self.remarks.push(Remark {
            pass,
            about,
            candidate,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::{ModelSource, Purpose, load, plain_program};
    use crate::graph::ProgramKind;
    use crate::spec::{self, SpecSource};
    use graver_runtime::abi::CacheType;

    fn history(name: &str, options: &PassOptions) -> History {
        let spec = spec::load(SpecSource::Builtin(name)).unwrap();
        let tiny = ModelSource::preset(&spec, "tiny", 0).unwrap();
        let loaded = load(&tiny, Purpose::Inspect, None, &|_, _, _| {}).unwrap();
        let plain = plain_program(&loaded, ProgramKind::Decode, CacheType::F32);
        History::of(plain, options)
    }

    /// The names of the operations that the kernels of the first kind of layers come from.
    fn origins(h: &History) -> BTreeMap<String, Vec<String>> {
        let kernels = &h.planned.schedule.blocks[1].kernels;
        let names = |k: &crate::schedule::Kernel| {
            let plain = &h.before.blocks[1].graph;
            let of = h.origins(1, k.node).into_iter();
            let texts = of.map(|id| format!("{} {}", plain.op(id).name(), plain.node(id).name));
            (k.name.clone(), texts.collect())
        };
        kernels.iter().map(names).collect()
    }

    #[test]
    fn every_operation_of_the_plain_graph_is_found_again_in_a_kernel() {
        for name in ["llama", "qwen3_moe", "deepseek_v3", "gemma3", "kimi_linear"] {
            let h = history(name, &PassOptions::default());
            for b in 0..h.before.blocks.len() {
                let plain = &h.before.blocks[b].graph;
                let kernels = &h.planned.schedule.blocks[b].kernels;
                let found: BTreeSet<NodeId> =
                    kernels.iter().flat_map(|k| h.origins(b, k.node)).collect();
                let kept = plain
                    .order()
                    .into_iter()
                    .filter(|id| !plain.op(*id).is_view());
                let lost: Vec<_> = kept
                    .filter(|id| !found.contains(id))
                    .map(|id| plain.node(id))
                    .collect();
                assert!(lost.is_empty(), "{name}, block {b}: {lost:#?}");
            }
        }
    }

    #[test]
    fn a_fused_kernel_knows_what_it_was_made_from_and_what_was_said_of_it() {
        let h = history("llama", &PassOptions::default());
        let origins = origins(&h);
        let qkv = &origins["attention.q+k+v"];
        for part in ["matmul attention.q", "matmul attention.v"] {
            assert!(qkv.iter().any(|o| o == part), "{qkv:?}");
        }
        let norms = qkv.iter().filter(|o| o.starts_with("rms_norm ")).count();
        let ropes = qkv.iter().filter(|o| o.starts_with("rope ")).count();
        assert_eq!((norms, ropes), (1, 2), "{qkv:?}");
        let kernel = &h.planned.schedule.blocks[1].kernels[0];
        let said: Vec<&str> = h
            .remarks(1, kernel.node)
            .iter()
            .map(|r| PASSES[r.0].name)
            .collect();
        for pass in ["merge-projections", "qkv-epilogue", "norm-prologue"] {
            assert!(said.contains(&pass), "{said:?}");
        }
        let made: Vec<&str> = h
            .passes_of(1, kernel.node)
            .iter()
            .map(|p| PASSES[*p].name)
            .collect();
        assert_eq!(made, ["merge-projections", "qkv-epilogue", "norm-prologue"]);
    }

    #[test]
    fn without_passes_every_kernel_is_an_operation_of_the_spec() {
        let none = PassOptions {
            no_fuse: true,
            ..PassOptions::default()
        };
        let h = history("deepseek_v3", &none);
        for (name, of) in origins(&h) {
            // The schedule adds copies where a block's output cannot lie where its input lay.
            let expected = usize::from(!name.ends_with(".copy"));
            assert_eq!(of.len(), expected, "{name}");
        }
    }
}
