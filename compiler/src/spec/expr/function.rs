//! The functions of expressions: names and numbers of arguments.

use std::ops::RangeInclusive;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    Min,
    Max,
    Floor,
    Ceil,
    Sqrt,
    Log,
    Len,
    Contains,
    Has,
    Get,
    Element,
    LastIndex,
    Str,
    Concat,
    NormalQuantile,
}

impl Function {
    pub(super) const ALL: [(&'static str, Function, RangeInclusive<usize>); 15] = [
        ("min", Function::Min, 2..=2),
        ("max", Function::Max, 2..=2),
        ("floor", Function::Floor, 1..=1),
        ("ceil", Function::Ceil, 1..=1),
        ("sqrt", Function::Sqrt, 1..=1),
        ("log", Function::Log, 1..=1),
        ("len", Function::Len, 1..=1),
        ("contains", Function::Contains, 2..=2),
        ("has", Function::Has, 2..=2),
        ("get", Function::Get, 2..=3),
        ("element", Function::Element, 2..=2),
        ("last_index", Function::LastIndex, 3..=3),
        ("str", Function::Str, 1..=1),
        ("concat", Function::Concat, 2..=2),
        ("normal_quantile", Function::NormalQuantile, 1..=1),
    ];

    pub(super) fn name(self) -> &'static str {
        let entry = Self::ALL.iter().find(|(_, f, _)| *f == self);
        entry.map_or("", |(name, ..)| name)
    }
}

/// Names of all functions, as messages list them.
pub(crate) fn function_names() -> String {
    Function::ALL.map(|(name, ..)| name).join(", ")
}
