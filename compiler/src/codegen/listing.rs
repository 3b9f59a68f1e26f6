//! Functions of a program as people read them: Cranelift's intermediate form with names, and machine code.

/// A function.
#[derive(Clone, Debug)]
pub struct Listing {
    /// Symbol.
    pub name: String,
    /// Block and kernel, by index, unless it calls kernels.
    pub kernel: Option<(usize, usize)>,
    /// Cranelift IR, with comments on what is reached.
    pub clif: String,
    /// Machine code.
    pub code: MachineCode,
}

/// A function's machine code, as it comes from Cranelift.
#[derive(Clone, Debug, Default)]
pub struct MachineCode {
    /// Code and constants, before relocation.
    pub bytes: Vec<u8>,
    /// What stretches of it reach, in order: first byte, end.
    pub notes: Vec<(usize, usize, Note)>,
    /// As Cranelift prints it.
    pub text: String,
}

/// What an instruction reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// By which of its parts.
    pub kind: NoteKind,
    /// `arena[attention.q]`.
    pub text: String,
}

/// What a note is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoteKind {
    /// Memory that is read or written.
    Access,
    /// An address that is computed.
    Address,
    /// A function that is called.
    Call,
}
