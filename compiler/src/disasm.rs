//! Machine code as text: addresses, bytes, instructions, loops marked, and by name what is read, written and called.
//!
//! In: a function's bytes before relocation, and notes on stretches of them. Out: lines. Only code that can be reached from the
//! function's beginning is taken for code; the rest is constants. For processors that there is no decoder for, what Cranelift
//! prints is all there is.

mod listing;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use self::listing::{Disassembly, Line};
use crate::codegen::MachineCode;

/// The code of a function as text.
pub fn text(name: &str, code: &MachineCode) -> String {
    match disassemble(code) {
        Some(listing) => listing.text(name),
        None => format!("; {name}\n{}", code.text),
    }
}

/// A function's code, taken apart; nothing where there is no decoder for the processor.
#[cfg(target_arch = "x86_64")]
pub fn disassemble(code: &MachineCode) -> Option<Disassembly> {
    Some(x86::disassemble(code))
}

/// A function's code, taken apart; nothing where there is no decoder for the processor.
#[cfg(not(target_arch = "x86_64"))]
pub fn disassemble(_: &MachineCode) -> Option<Disassembly> {
    None
}
