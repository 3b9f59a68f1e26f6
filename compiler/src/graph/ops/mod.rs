//! Operations: what each is, in a file for each family with its options, operands, shape and text; and the closed set of them.

mod attention;
mod epilogue;
mod expert_block;
mod experts;
mod facts;
mod heads;
mod matmul;
mod norm;
mod op;
mod operand;
mod recurrent;
mod rows;
mod rule;
mod words;

pub use attention::{
    Attention, AttentionOperands, KeysValues, LatentAttention, LatentOperands, MixOperands,
    SoftmaxOperands,
};
pub use epilogue::{Dest, Epilogue, EpilogueOperands, EpilogueStep, Rope, RopeOperands};
pub use expert_block::{ExpertsIn, ExpertsInOperands, ExpertsOut, ExpertsOutOperands, Routing};
pub use experts::{
    Activate, ActivateOperands, ExpertMatrix, Form, GroupedMatmul, GroupedMatmulOperands,
    GroupedRows, Grouping, RouteOperands,
};
pub use facts::{Cut, Facts, Flops};
pub use heads::{HeadColumns, HeadConcat, HeadMatmul, HeadMatmulOperands};
pub use matmul::{Join, Matmul, MatmulOperands, Part, PartOperands};
pub use norm::{Norm, NormOperands, NormVectors};
pub use op::Op;
pub use operand::{NormAt, Pair, Reads, Role, Single, Take};
pub use recurrent::{DecayOperands, DeltaOperands, DeltaRule, ShortConv, ShortConvOperands};
pub use rows::{Binary, LookUp, MatchedRows, ScaledRows, SumOperands, Unary, WeightedSum};

pub(super) use rule::{Given, Rule, ShapeError};
pub(super) use words::{Attr, AttrError, Words};
