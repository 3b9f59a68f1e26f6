//! An object file: both programs, the manifest, and the [`CompiledModel`] that leads to them.
//!
//! In: planned programs and their manifest. Out: the bytes of a relocatable object for the manifest's target, which refers
//! to nothing outside but, for executables, the runtime's `main`. Symbols of kernels are local and keep their names
//! (`decode.dense.3.mlp.up.matmul`), so that profilers and debuggers show them. Weights never come this way.

use std::mem::offset_of;

use cranelift_codegen::Context;
use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{AbiParam, InstBuilder};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_module::{
    DataDescription, DataId, FuncId, Linkage, Module, ModuleError, default_libcall_names,
};
use cranelift_object::{ObjectBuilder, ObjectModule};
use graver_runtime::abi::{ABI_VERSION, CompiledModel, MODEL_SYMBOL, Manifest};
use graver_runtime::appendix::Checksum;
use graver_runtime::artifact::pack_manifest;

use super::error::CompileError;
use super::options::{ArtifactKind, Modes};
use super::planned::PlannedModel;
use crate::codegen;

/// A compiled object.
pub(super) struct Object {
    /// The file's bytes.
    pub(super) bytes: Vec<u8>,
    /// Checksum of the manifest inside.
    pub(super) manifest_checksum: u64,
    /// Names of its functions.
    pub(super) symbols: Vec<String>,
}

/// Compiles both programs; `manifest` is what the object says about itself, with weights where the artifact has them.
pub(super) fn object(
    model: &PlannedModel,
    manifest: &Manifest,
    kind: ArtifactKind,
    with: Modes,
) -> Result<Object, CompileError> {
    let isa = model.target.isa_with(true, model.is_verified())?;
    let builder = ObjectBuilder::new(isa, "graver", default_libcall_names()).map_err(Box::new)?;
    let mut module = ObjectModule::new(builder);
    let decode = codegen::emit(&mut module, &model.programs[0], "graver_decode", None)?;
    let prefill = codegen::emit(&mut module, &model.programs[1], "graver_prefill", None)?;
    let packed = pack_manifest(manifest);
    let manifest_checksum = Checksum::of(&packed);
    let table = ModelTable {
        decode,
        prefill,
        manifest_bytes: packed.len(),
        manifest: read_only(&mut module, "graver.manifest", packed)?,
        manifest_checksum,
        has_appendix: kind != ArtifactKind::Object,
    };
    table.define(&mut module)?;
    if kind == ArtifactKind::Executable {
        main(&mut module, with)?;
    }
    let functions = module.declarations().get_functions();
    let symbols = functions
        .map(|(id, function)| function.linkage_name(id).into_owned())
        .collect();
    let bytes = module.finish().emit().map_err(CompileError::Object)?;
    Ok(Object {
        bytes,
        manifest_checksum,
        symbols,
    })
}

type Made<T> = Result<T, Box<ModuleError>>;

fn read_only(module: &mut ObjectModule, name: &str, bytes: Vec<u8>) -> Made<DataId> {
    let id = module.declare_data(name, Linkage::Local, false, false)?;
    let mut data = DataDescription::new();
    data.define(bytes.into());
    module.define_data(id, &data)?;
    Ok(id)
}

/// The fields of a [`CompiledModel`].
struct ModelTable {
    decode: FuncId,
    prefill: FuncId,
    manifest: DataId,
    manifest_bytes: usize,
    manifest_checksum: u64,
    has_appendix: bool,
}

impl ModelTable {
    fn define(self, module: &mut ObjectModule) -> Made<()> {
        let mut bytes = vec![0; size_of::<CompiledModel>()];
        let numbers = [
            (offset_of!(CompiledModel, abi), u64::from(ABI_VERSION)),
            (
                offset_of!(CompiledModel, manifest_bytes),
                self.manifest_bytes as u64,
            ),
            (
                offset_of!(CompiledModel, manifest_checksum),
                self.manifest_checksum,
            ),
            (
                offset_of!(CompiledModel, has_appendix),
                self.has_appendix.into(),
            ),
        ];
        for (offset, number) in numbers {
            bytes[offset..offset + 8].copy_from_slice(&number.to_le_bytes());
        }
        let mut data = DataDescription::new();
        data.define(bytes.into());
        data.set_align(8);
        for (offset, function) in [
            (offset_of!(CompiledModel, decode), self.decode),
            (offset_of!(CompiledModel, prefill), self.prefill),
        ] {
            let function = module.declare_func_in_data(function, &mut data);
            data.write_function_addr(offset as u32, function);
        }
        let manifest = module.declare_data_in_data(self.manifest, &mut data);
        data.write_data_addr(offset_of!(CompiledModel, manifest) as u32, manifest, 0);
        let id = module.declare_data(MODEL_SYMBOL, Linkage::Export, false, false)?;
        Ok(module.define_data(id, &data)?)
    }
}

/// `int main(int argc, char **argv) { return graver_main(argc, argv, chat, serve); }`: in the object, not in the runtime, so that a
/// program with a `main` of its own can be linked with the runtime, too. Only what is named here is linked; the rest is NULL.
fn main(module: &mut ObjectModule, with: Modes) -> Made<()> {
    let mut signature = module.make_signature();
    signature.params = vec![AbiParam::new(I32), AbiParam::new(I64)];
    signature.returns = vec![AbiParam::new(I32)];
    let mut runtime = signature.clone();
    runtime.params.extend([AbiParam::new(I64); 2]);
    let mut entry = module.make_signature();
    entry.params = vec![AbiParam::new(I64)];
    let runtime = module.declare_function("graver_main", Linkage::Import, &runtime)?;
    let modes = [("artifact_chat", with.chat), ("artifact_serve", with.serve)];
    let id = module.declare_function("main", Linkage::Export, &signature)?;
    let mut context = Context::new();
    context.func.signature = signature;
    let runtime = module.declare_func_in_func(runtime, &mut context.func);
    let mut functions = FunctionBuilderContext::new();
    let mut b = FunctionBuilder::new(&mut context.func, &mut functions);
    let block = b.create_block();
    b.append_block_params_for_function_params(block);
    b.switch_to_block(block);
    let mut arguments = b.block_params(block).to_vec();
    for (name, wanted) in modes {
        arguments.push(match wanted {
            true => {
                let mode = module.declare_function(name, Linkage::Import, &entry)?;
                let mode = module.declare_func_in_func(mode, b.func);
                b.ins().func_addr(I64, mode)
            }
            false => b.ins().iconst(I64, 0),
        });
    }
    let call = b.ins().call(runtime, &arguments);
    let status = b.inst_results(call)[0];
    b.ins().return_(&[status]);
    b.seal_all_blocks();
    b.finalize(module.target_config());
    Ok(module.define_function(id, &mut context)?)
}
