//! A thin layer over Cranelift's builder: numbers, memory, lanes, and calls through the micro-kernel table; loops are in [`super::loops`].
//!
//! Everything generated reaches memory through the step context, so that an object needs no relocations to outside. A
//! kernel function has four arguments: the context, the address of its block's first weight pointer, of its block's first
//! state offset, and the thread's index.

use std::mem::offset_of;

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::{F32, F32X4, I32, I64};
use cranelift_codegen::ir::{
    AbiParam, Endianness, GlobalValue, InstBuilder, MemFlagsData, Signature, Type, Value,
};
use cranelift_codegen::isa::CallConv;
use cranelift_frontend::{FunctionBuilder, Variable};
use graver_runtime::abi::{KernelTable, StepContext};

use crate::schedule::scratch::Area;

/// Loads of what no kernel writes during a step: they may be hoisted and merged.
const FIXED: MemFlagsData = MemFlagsData::trusted().with_readonly().with_can_move();
/// Loads and stores of activations; nothing promises their alignment to a vector.
const DATA: MemFlagsData = MemFlagsData::new().with_notrap();

/// A vector whose lanes are seen as another type.
const LITTLE: MemFlagsData = MemFlagsData::new().with_endianness(Endianness::Little);

/// How many elements an operation handles at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lanes {
    /// A vector of four.
    Four,
    /// A scalar.
    One,
}

impl Lanes {
    pub(super) fn ty(self) -> Type {
        match self {
            Lanes::Four => F32X4,
            Lanes::One => F32,
        }
    }
}

/// A number of elements: known, or in a register.
#[derive(Clone, Copy, Debug)]
pub(super) enum Count {
    Known(usize),
    Dynamic(Value),
}

/// Emits one function.
pub(super) struct Writer<'a> {
    pub(super) b: FunctionBuilder<'a>,
    pub(super) ctx: Value,
    pub(super) weights: Value,
    pub(super) states: Value,
    pub(super) thread: Value,
    pub(super) call_conv: CallConv,
    /// Rotary frequencies, by index.
    pub(super) rope_data: Vec<GlobalValue>,
    /// The kernel's place in its program, where its time is taken.
    pub(super) stamped: Option<usize>,
    /// Inside a kernel whose accesses are compared with what it may touch.
    pub(super) checked: bool,
}

/// The signature of kernel and block functions.
pub(super) fn kernel_signature(call_conv: CallConv) -> Signature {
    signature(call_conv, &[I64, I64, I64, I64], None)
}

pub(super) fn signature(call_conv: CallConv, params: &[Type], result: Option<Type>) -> Signature {
    let mut s = Signature::new(call_conv);
    s.params.extend(params.iter().map(|t| AbiParam::new(*t)));
    s.returns.extend(result.map(AbiParam::new));
    s
}

impl<'a> Writer<'a> {
    /// Starts a kernel or block function.
    pub(super) fn begin(mut b: FunctionBuilder<'a>, call_conv: CallConv) -> Writer<'a> {
        let entry = b.create_block();
        b.append_block_params_for_function_params(entry);
        b.switch_to_block(entry);
        let p = b.block_params(entry).to_vec();
        let (weights, states, thread) = if p.len() >= 4 {
            (p[1], p[2], p[3])
        } else {
            (p[1], p[1], p[1])
        };
        Writer {
            ctx: p[0],
            weights,
            states,
            thread,
            b,
            call_conv,
            rope_data: vec![],
            stamped: None,
            checked: false,
        }
    }

    pub(super) fn int(&mut self, n: impl TryInto<i64>) -> Value {
        let n = n
            .try_into()
            .unwrap_or_else(|_| panic!("a constant of generated code exceeds 63 bits"));
        self.b.ins().iconst(I64, n)
    }

    pub(super) fn float(&mut self, v: f32) -> Value {
        self.b.ins().f32const(v)
    }

    pub(super) fn add(&mut self, x: Value, y: Value) -> Value {
        self.b.ins().iadd(x, y)
    }

    pub(super) fn sub(&mut self, x: Value, y: Value) -> Value {
        self.b.ins().isub(x, y)
    }

    pub(super) fn plus(&mut self, x: Value, n: usize) -> Value {
        if n == 0 {
            x
        } else {
            self.b.ins().iadd_imm_s(x, n as i64)
        }
    }

    pub(super) fn times(&mut self, x: Value, n: usize) -> Value {
        match n {
            0 => self.int(0),
            1 => x,
            n if n.is_power_of_two() => self.b.ins().ishl_imm_u(x, i64::from(n.trailing_zeros())),
            n => self.b.ins().imul_imm_s(x, n as i64),
        }
    }

    pub(super) fn mul(&mut self, x: Value, y: Value) -> Value {
        self.b.ins().imul(x, y)
    }

    /// `base + index · stride`.
    pub(super) fn at(&mut self, base: Value, index: Value, stride: usize) -> Value {
        let offset = self.times(index, stride);
        self.add(base, offset)
    }

    pub(super) fn min(&mut self, x: Value, y: Value) -> Value {
        let less = self.b.ins().icmp(IntCC::SignedLessThan, x, y);
        self.b.ins().select(less, x, y)
    }

    pub(super) fn max(&mut self, x: Value, y: Value) -> Value {
        let less = self.b.ins().icmp(IntCC::SignedLessThan, x, y);
        self.b.ins().select(less, y, x)
    }

    /// `min(max(x, 0), most)`.
    pub(super) fn clamp(&mut self, x: Value, most: Value) -> Value {
        let zero = self.int(0);
        let x = self.max(x, zero);
        self.min(x, most)
    }

    /// A field of the step context.
    pub(super) fn field(&mut self, offset: usize) -> Value {
        self.b.ins().load(I64, FIXED, self.ctx, offset as i32)
    }

    pub(super) fn tokens(&mut self) -> Value {
        self.field(offset_of!(StepContext, n_tokens))
    }

    /// Element `index` of a `u32` array that a context field points to.
    pub(super) fn u32_of(&mut self, field: usize, index: Value) -> Value {
        let array = self.field(field);
        let at = self.at(array, index, 4);
        self.u32_at(at, 0)
    }

    /// A `u32` field of the record at `at`.
    pub(super) fn u32_at(&mut self, at: Value, offset: usize) -> Value {
        let (at, offset) = self.allowed(at, offset, 4, false);
        self.b.ins().uload32(FIXED, at, offset)
    }

    /// A 64-bit value at `at` that no kernel changes during a step.
    pub(super) fn field_at(&mut self, at: Value, offset: usize) -> Value {
        let (at, offset) = self.allowed(at, offset, 8, false);
        self.b.ins().load(I64, FIXED, at, offset)
    }

    /// Pointer number `index` of the block's weights.
    pub(super) fn weight_pointer(&mut self, index: usize) -> Value {
        self.field_at(self.weights, index * 8)
    }

    /// Address of an area of the thread's scratch.
    pub(super) fn scratch(&mut self, area: Area) -> Value {
        let base = self.field(offset_of!(StepContext, scratch));
        let stride = self.field(offset_of!(StepContext, scratch_stride));
        let own = self.mul(self.thread, stride);
        let at = self.add(base, own);
        self.plus(at, area.offset)
    }

    pub(super) fn load(&mut self, lanes: Lanes, at: Value, offset: usize) -> Value {
        self.load_as(lanes.ty(), at, offset)
    }

    /// An element of any type.
    pub(super) fn load_as(&mut self, ty: Type, at: Value, offset: usize) -> Value {
        let (at, offset) = self.allowed(at, offset, ty.bytes(), false);
        self.b.ins().load(ty, DATA, at, offset)
    }

    pub(super) fn store(&mut self, value: Value, at: Value, offset: usize) {
        let bytes = self.b.func.dfg.value_type(value).bytes();
        let (at, offset) = self.allowed(at, offset, bytes, true);
        self.b.ins().store(DATA, value, at, offset);
    }

    /// A `u32` that kernels write.
    pub(super) fn load_index(&mut self, at: Value) -> Value {
        let (at, offset) = self.allowed(at, 0, 4, false);
        self.b.ins().uload32(DATA, at, offset)
    }

    /// The low 32 bits of `index`, as [`Writer::load_index`] reads them.
    pub(super) fn store_index(&mut self, index: Value, at: Value) {
        let (at, offset) = self.allowed(at, 0, 4, true);
        self.b.ins().istore32(DATA, index, at, offset);
    }

    /// Calls what a context field points to.
    pub(super) fn callback(
        &mut self,
        field: usize,
        args: &[Value],
        result: Option<Type>,
    ) -> Option<Value> {
        let f = self.field(field);
        self.call(f, args, result)
    }

    /// Calls the function at `f`.
    fn call(&mut self, f: Value, args: &[Value], result: Option<Type>) -> Option<Value> {
        let types: Vec<Type> = args
            .iter()
            .map(|a| self.b.func.dfg.value_type(*a))
            .collect();
        let signature = signature(self.call_conv, &types, result);
        let s = self.b.import_signature(signature);
        let call = self.b.ins().call_indirect(s, f, args);
        result.map(|_| self.b.inst_results(call)[0])
    }

    pub(super) fn splat(&mut self, lanes: Lanes, scalar: Value) -> Value {
        match lanes {
            Lanes::Four => self.b.ins().splat(F32X4, scalar),
            Lanes::One => scalar,
        }
    }

    /// `first`, and in further lanes each 1 more than in the lane before.
    pub(super) fn ramp(&mut self, lanes: Lanes, first: Value) -> Value {
        match lanes {
            Lanes::One => first,
            Lanes::Four => {
                let steps: Vec<u8> = [0f32, 1.0, 2.0, 3.0]
                    .into_iter()
                    .flat_map(f32::to_le_bytes)
                    .collect();
                let steps = self.b.func.dfg.constants.insert(steps.into());
                let (first, steps) = (
                    self.b.ins().splat(F32X4, first),
                    self.b.ins().vconst(F32X4, steps),
                );
                self.b.ins().fadd(first, steps)
            }
        }
    }

    /// `x` where it is above 0, and `y` elsewhere, lane by lane.
    pub(super) fn where_positive(&mut self, lanes: Lanes, of: Value, x: Value, y: Value) -> Value {
        let zero = self.float(0.0);
        let zero = self.splat(lanes, zero);
        let above = self.b.ins().fcmp(FloatCC::GreaterThan, of, zero);
        match lanes {
            Lanes::One => self.b.ins().select(above, x, y),
            Lanes::Four => {
                let mask = self.b.ins().bitcast(F32X4, LITTLE, above);
                self.b.ins().bitselect(mask, x, y)
            }
        }
    }

    pub(super) fn var(&mut self, ty: Type, value: Value) -> Variable {
        let v = self.b.declare_var(ty);
        self.b.def_var(v, value);
        v
    }

    /// Calls entry `offset` of the micro-kernel table.
    pub(super) fn micro(
        &mut self,
        offset: usize,
        args: &[Value],
        result: Option<Type>,
    ) -> Option<Value> {
        let table = self.field(offset_of!(StepContext, kernels));
        let f = self.b.ins().load(I64, FIXED, table, offset as i32);
        self.call(f, args, result)
    }

    /// Applies a one-array micro-kernel to `n` elements.
    pub(super) fn map(&mut self, offset: usize, at: Value, n: Value) {
        self.micro(offset, &[at, n], None);
    }

    pub(super) fn finish(mut self, config: cranelift_codegen::isa::TargetFrontendConfig) {
        self.b.ins().return_(&[]);
        self.b.seal_all_blocks();
        self.b.finalize(config);
    }

    /// Address of a rotary embedding's `count` frequencies.
    pub(super) fn rope_freqs(&mut self, rope: usize, count: usize) -> Value {
        let data = self.rope_data[rope];
        let at = self.b.ins().symbol_value(I64, data);
        if self.checked {
            let bytes = self.int(count * 4);
            let args = [self.ctx, self.thread, at, bytes];
            self.callback(offset_of!(StepContext, admit), &args, None);
        }
        at
    }

    /// The low 32 bits.
    pub(super) fn narrow(&mut self, v: Value) -> Value {
        self.b.ins().ireduce(I32, v)
    }
}

/// Offset of the kernel that applies an activation.
pub(super) fn activation_kernel(a: crate::graph::Activation) -> usize {
    use crate::graph::Activation as A;
    match a {
        A::Silu => offset_of!(KernelTable, silu),
        A::Gelu => offset_of!(KernelTable, gelu),
        A::GeluTanh => offset_of!(KernelTable, gelu_tanh),
        A::Relu => offset_of!(KernelTable, relu),
        A::Relu2 => offset_of!(KernelTable, relu2),
        A::Sigmoid => offset_of!(KernelTable, sigmoid),
        A::Tanh => offset_of!(KernelTable, tanh),
        A::Softplus => offset_of!(KernelTable, softplus),
    }
}
