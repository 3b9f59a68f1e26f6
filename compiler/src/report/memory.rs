//! The arena over a program's kernels: which buffer lies where, from when to when.

use serde::Serialize;

use crate::codegen::Planned;
use crate::memory::{Buffer, Place};

/// All buffers of a program.
#[derive(Serialize)]
pub(super) struct Arena {
    bytes: usize,
    bytes_per_position: usize,
    scratch_bytes: usize,
    /// Places of all kernels, in order; blocks follow each other.
    kernels: Vec<String>,
    buffers: Vec<Placed>,
}

#[derive(Serialize)]
struct Placed {
    name: String,
    offset: usize,
    bytes: usize,
    /// First and last kernel.
    first: usize,
    last: usize,
    /// Handed from block to block.
    is_carried: bool,
}

impl Arena {
    pub(super) fn of(planned: &Planned) -> Arena {
        let plan = &planned.memory;
        let mut arena = Arena {
            bytes: plan.arena_bytes,
            bytes_per_position: plan.arena_bytes_per_position,
            scratch_bytes: plan.scratch_bytes,
            kernels: vec![],
            buffers: vec![],
        };
        for block in 0..planned.program.blocks.len() {
            arena.add(planned, block);
        }
        arena
    }

    fn add(&mut self, planned: &Planned, block: usize) {
        let (graph, place) = (
            &planned.program.blocks[block].graph,
            planned.program.place(block),
        );
        let kernels = &planned.schedule.blocks[block].kernels;
        let base = self.kernels.len();
        self.kernels
            .extend(kernels.iter().map(|k| format!("{place}.{}", k.name)));
        for (id, buffer) in &planned.memory.blocks[block] {
            let Place::Arena {
                offset,
                per_position: 0,
            } = buffer.place
            else {
                continue;
            };
            let during = |e: usize| (buffer.first..=buffer.last).contains(&e);
            let alive: Vec<_> = (0..kernels.len())
                .filter(|i| during(kernels[*i].epoch))
                .collect();
            let (Some(first), Some(last)) = (alive.first(), alive.last()) else {
                continue;
            };
            self.buffers.push(Placed {
                name: format!("{place}.{}", graph.node(*id).name),
                offset,
                bytes: buffer.bytes,
                first: base + first,
                last: base + last,
                is_carried: is_carried(planned, buffer, offset),
            });
        }
    }
}

fn is_carried(planned: &Planned, buffer: &Buffer, offset: usize) -> bool {
    let mut carried = planned.memory.carried.values();
    buffer.last == usize::MAX || carried.any(|o| *o == offset)
}
