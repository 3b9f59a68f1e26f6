//! Functions that are written: compiled side by side, and defined one after the other.

use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::{CompiledCode, Context};
use cranelift_module::{FuncId, Module, ModuleError, ModuleReloc};
use rayon::prelude::*;

use super::annotate::Annotated;
use super::listing::{Listing, MachineCode};

/// What a module makes, or why it does not.
pub(super) type Emitted<T> = Result<T, Box<ModuleError>>;

/// A function of the module, not compiled yet.
pub(super) struct Written {
    pub(super) id: FuncId,
    pub(super) context: Context,
    /// What is listed of it, if anything is.
    pub(super) listed: Option<Listed>,
}

/// A function that is listed once it is compiled.
pub(super) struct Listed {
    pub(super) name: String,
    /// Its block and its place there.
    pub(super) kernel: Option<(usize, usize)>,
    pub(super) annotated: Annotated,
}

/// Compiles functions on all processors and defines them in their order, so that a module's bytes do not depend on how many
/// processors there are. Gives back the listings.
pub(super) fn define(
    module: &mut dyn Module,
    mut functions: Vec<Written>,
) -> Emitted<Vec<Listing>> {
    let isa = module.isa();
    let compiled = functions.par_iter_mut().map(|function| {
        let compiled = function.context.compile(isa, &mut ControlPlane::default());
        compiled.map(drop).map_err(|error| error.inner)
    });
    let compiled: Result<(), _> = compiled.collect();
    compiled.map_err(ModuleError::Compilation)?;
    let mut listings = vec![];
    for Written {
        id,
        context,
        listed,
    } in functions
    {
        let code = context.compiled_code().expect("just compiled");
        let relocs = code.buffer.relocs().iter();
        let relocs: Vec<ModuleReloc> = relocs
            .map(|reloc| ModuleReloc::from_mach_reloc(reloc, &context.func, id))
            .collect();
        let alignment = u64::from(code.buffer.alignment);
        module.define_function_bytes(id, alignment, code.buffer.data(), &relocs)?;
        listings.extend(listed.map(|listed| listed.listing(code)));
    }
    Ok(listings)
}

impl Listed {
    /// The listing of the function, which was compiled to this code.
    fn listing(self, code: &CompiledCode) -> Listing {
        let located = code.buffer.get_srclocs_sorted().iter();
        let notes = located.filter_map(|l| {
            let note = self.annotated.note(l.loc)?.clone();
            Some((l.start as usize, l.end as usize, note))
        });
        Listing {
            code: MachineCode {
                bytes: code.buffer.data().to_vec(),
                notes: notes.collect(),
                text: code.vcode.clone().unwrap_or_default(),
            },
            name: self.name,
            kernel: self.kernel,
            clif: self.annotated.clif,
        }
    }
}
