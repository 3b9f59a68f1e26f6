//! Instructions of x86-64: which bytes are code, where loops are, and what an instruction reaches.

use std::collections::{BTreeMap, BTreeSet};

use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Formatter, Instruction, IntelFormatter, OpKind, Register,
};

use super::listing::{Disassembly, Line};
use crate::codegen::{MachineCode, Note, NoteKind};

pub(super) fn disassemble(code: &MachineCode) -> Disassembly {
    let instructions = reachable(&code.bytes);
    let loops = loops(&instructions);
    let mut formatter = IntelFormatter::new();
    let options = formatter.options_mut();
    options.set_hex_prefix("0x");
    options.set_hex_suffix("");
    options.set_uppercase_hex(false);
    options.set_space_after_operand_separator(true);
    options.set_branch_leading_zeros(false);
    options.set_show_branch_size(false);
    options.set_rip_relative_addresses(true);
    let line = |(at, instruction): (&usize, &Instruction)| {
        let bytes = &code.bytes[*at..*at + instruction.len()];
        let note = note(&code.notes, *at, instruction);
        let mut text = String::new();
        match note {
            // Before relocation it has no target.
            Some(note) if calls_symbol(instruction) => text = format!("call {}", note.text),
            _ => formatter.format(instruction, &mut text),
        }
        let shown = note.filter(|_| !calls_symbol(instruction));
        Line {
            address: *at,
            bytes: bytes
                .iter()
                .map(|b| format!("{b:02x}"))
                .collect::<Vec<_>>()
                .join(" "),
            text,
            note: shown.map(|n| n.text.clone()).unwrap_or_default(),
            loops: around(&loops, *at),
        }
    };
    let lines: Vec<Line> = instructions.iter().map(line).collect();
    let taken: usize = instructions.values().map(Instruction::len).sum();
    let ends_of = |body: &Body| Some((*body.first()?, *body.last()?));
    Disassembly {
        lines,
        loops: loops.iter().filter_map(ends_of).collect(),
        constant_bytes: code.bytes.len() - taken,
    }
}

/// Instructions that the function's beginning leads to, by address.
fn reachable(bytes: &[u8]) -> BTreeMap<usize, Instruction> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![0];
    while let Some(mut at) = waiting.pop() {
        while at < bytes.len() && !found.contains_key(&at) {
            let mut decoder = Decoder::with_ip(64, &bytes[at..], at as u64, DecoderOptions::NONE);
            let instruction = decoder.decode();
            if instruction.is_invalid() {
                break;
            }
            found.insert(at, instruction);
            waiting.extend(target(&instruction));
            if ends(&instruction) {
                break;
            }
            at += instruction.len();
        }
    }
    found
}

/// Whether what follows is not run after it.
fn ends(instruction: &Instruction) -> bool {
    matches!(
        instruction.flow_control(),
        FlowControl::Return
            | FlowControl::UnconditionalBranch
            | FlowControl::IndirectBranch
            | FlowControl::Exception
    )
}

/// Where a jump inside the function goes.
fn target(instruction: &Instruction) -> Option<usize> {
    let is_jump = matches!(
        instruction.flow_control(),
        FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch
    );
    is_jump.then(|| instruction.near_branch_target() as usize)
}

/// The addresses of a loop: all from which a later jump leads back to where it begins, without passing there.
type Body = BTreeSet<usize>;

/// Loops, outer ones first.
fn loops(instructions: &BTreeMap<usize, Instruction>) -> Vec<Body> {
    let before = predecessors(instructions);
    let mut bodies: BTreeMap<usize, Body> = BTreeMap::new();
    for (at, instruction) in instructions {
        let Some(head) = target(instruction).filter(|head| head <= at) else {
            continue;
        };
        let body = bodies.entry(head).or_insert_with(|| Body::from([head]));
        let mut waiting = vec![*at];
        while let Some(at) = waiting.pop() {
            if body.insert(at) {
                waiting.extend(before.get(&at).into_iter().flatten());
            }
        }
    }
    let mut loops: Vec<Body> = bodies.into_values().collect();
    loops.sort_by_key(|body| std::cmp::Reverse(body.len()));
    loops
}

/// For each instruction those after which it may run.
fn predecessors(instructions: &BTreeMap<usize, Instruction>) -> BTreeMap<usize, Vec<usize>> {
    let mut before: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (at, instruction) in instructions {
        let next = (!ends(instruction)).then_some(at + instruction.len());
        for after in next.into_iter().chain(target(instruction)) {
            before.entry(after).or_default().push(*at);
        }
    }
    before
}

fn around(loops: &[Body], at: usize) -> Vec<usize> {
    (0..loops.len())
        .filter(|i| loops[*i].contains(&at))
        .collect()
}

/// The note of the stretch that an instruction is in, if it is this instruction's.
fn note<'a>(notes: &'a [(usize, usize, Note)], at: usize, i: &Instruction) -> Option<&'a Note> {
    let (first, _, note) = notes
        .iter()
        .find(|(start, end, _)| (*start..*end).contains(&at))?;
    let is_its = match note.kind {
        NoteKind::Access => reaches_memory(i),
        NoteKind::Address => *first == at,
        NoteKind::Call => matches!(
            i.flow_control(),
            FlowControl::Call | FlowControl::IndirectCall
        ),
    };
    is_its.then_some(note)
}

/// Whether an instruction has an operand in memory other than the stack.
fn reaches_memory(i: &Instruction) -> bool {
    let has_memory = (0..i.op_count()).any(|o| i.op_kind(o) == OpKind::Memory);
    has_memory && !matches!(i.memory_base(), Register::RSP | Register::RBP)
}

fn calls_symbol(i: &Instruction) -> bool {
    i.flow_control() == FlowControl::Call && i.op0_kind() == OpKind::NearBranch64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(text: &str) -> Note {
        Note {
            kind: NoteKind::Access,
            text: text.into(),
        }
    }

    /// `xor eax, eax; again: vmovups xmm0, [rdi + rax]; add rax, 16; cmp rax, rsi; jl again; ret`, and a constant.
    const LOOP: [u8; 26] = [
        0x31, 0xc0, 0xc5, 0xf8, 0x10, 0x04, 0x07, 0x48, 0x83, 0xc0, 0x10, 0x48, 0x39, 0xf0, 0x7c,
        0xf2, 0xc3, 0xcc, 0, 0, 0x80, 0x3f, 0, 0, 0x80, 0x3f,
    ];

    #[test]
    fn instructions_have_addresses_bytes_loops_and_names() {
        let code = MachineCode {
            bytes: LOOP.into(),
            notes: vec![(2, 11, access("arena[h]…"))],
            text: String::new(),
        };
        let text = disassemble(&code).text("f");
        assert_eq!(
            text,
            "; f: 17 bytes of code, 1 loop\n\
             \x20        0  31 c0                          xor eax, eax\n\
             ┌        2  c5 f8 10 04 07                 vmovups xmm0, [rdi+rax]                         ; arena[h]…\n\
             │        7  48 83 c0 10                    add rax, 0x10\n\
             │        b  48 39 f0                       cmp rax, rsi\n\
             └        e  7c f2                          jl 2\n\
             \x20       10  c3                             ret\n\
             ; 9 bytes of constants\n"
        );
    }

    /// `again: dec eax; jz out; inc ecx; jmp again2; out: ret; again2: jmp again`: the way out lies among the loop's addresses.
    #[test]
    fn what_leaves_a_loop_is_no_part_of_it_wherever_it_lies() {
        let bytes = vec![
            0xff, 0xc8, 0x74, 0x04, 0xff, 0xc1, 0xeb, 0x01, 0xc3, 0xeb, 0xf5,
        ];
        let code = MachineCode {
            bytes,
            ..MachineCode::default()
        };
        let listing = disassemble(&code);
        assert_eq!(listing.loops, [(0, 9)]);
        let outside = listing.lines.iter().filter(|l| l.loops.is_empty());
        let texts: Vec<&str> = outside.map(|l| l.text.as_str()).collect();
        assert_eq!(texts, ["ret"]);
    }

    #[test]
    fn bytes_that_are_no_code_end_the_listing_rather_than_the_program() {
        for bytes in [vec![], vec![0x0f, 0xff], vec![0xeb, 0x7f], vec![0xc5]] {
            let code = MachineCode {
                bytes: bytes.clone(),
                ..MachineCode::default()
            };
            let listing = disassemble(&code);
            assert!(listing.lines.len() <= 1, "{bytes:?}");
        }
    }
}
