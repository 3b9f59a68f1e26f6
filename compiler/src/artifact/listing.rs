//! Every function of a program as text: Cranelift's intermediate form and machine code, for people to read.

use cranelift_module::{ModuleError, default_libcall_names};
use cranelift_object::{ObjectBuilder, ObjectModule};

use crate::codegen::{self, Listing, Planned, Target, TargetError};

/// Why there is no listing.
#[derive(Debug, thiserror::Error)]
pub enum ListingError {
    /// The processor.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// Cranelift.
    #[error("code generation failed: {0}")]
    Module(#[from] Box<ModuleError>),
}

/// Compiles a program for `target` and keeps nothing but the text of its functions.
///
/// # Errors
/// Processors that code cannot be made for, and what Cranelift reports.
pub(crate) fn listings(planned: &Planned, target: &Target) -> Result<Vec<Listing>, ListingError> {
    let builder = ObjectBuilder::new(target.isa(true)?, "listing", default_libcall_names());
    let mut module = ObjectModule::new(builder.map_err(Box::new)?);
    let mut out = vec![];
    codegen::emit(&mut module, planned, "graver", Some(&mut out))?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use graver_runtime::abi::CacheType;

    use super::*;
    use crate::codegen::Instruments;
    use crate::driver::{ModelSource, Purpose, load, plain_program, plan_program};
    use crate::graph::ProgramKind;
    use crate::passes::PassOptions;
    use crate::spec::{self, SpecSource};

    /// Comments and source locations are all that is added: the code is the one that runs.
    #[test]
    fn what_is_listed_is_the_code_that_artifacts_have() {
        let target = Target::named("native").unwrap();
        for name in ["llama", "deepseek_v3"] {
            let spec = spec::load(SpecSource::Builtin(name)).unwrap();
            let tiny = ModelSource::preset(&spec, "tiny", 0).unwrap();
            let loaded = load(&tiny, Purpose::Inspect, None, &|_, _, _| {}).unwrap();
            let plain = plain_program(&loaded, ProgramKind::Decode, CacheType::F32);
            let none = Instruments::default();
            let planned = plan_program(plain, &PassOptions::default(), none).0;
            let object = |listings: Option<&mut Vec<Listing>>| {
                let isa = target.isa(true).unwrap();
                let builder = ObjectBuilder::new(isa, "listing", default_libcall_names());
                let mut module = ObjectModule::new(builder.unwrap());
                codegen::emit(&mut module, &planned, "graver", listings).unwrap();
                module.finish().emit().unwrap()
            };
            let mut listed = vec![];
            assert_eq!(object(None), object(Some(&mut listed)), "{name}");
            let notes: usize = listed.iter().map(|l| l.code.notes.len()).sum();
            assert!(notes > 100, "{name}: {notes} notes");
        }
    }
}
