//! The functions of expressions: names and numbers of arguments.

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
    Element,
    LastIndex,
    NormalQuantile,
}

impl Function {
    pub(super) const ALL: [(&'static str, Function, usize); 12] = [
        ("min", Function::Min, 2),
        ("max", Function::Max, 2),
        ("floor", Function::Floor, 1),
        ("ceil", Function::Ceil, 1),
        ("sqrt", Function::Sqrt, 1),
        ("log", Function::Log, 1),
        ("len", Function::Len, 1),
        ("contains", Function::Contains, 2),
        ("has", Function::Has, 2),
        ("element", Function::Element, 2),
        ("last_index", Function::LastIndex, 3),
        ("normal_quantile", Function::NormalQuantile, 1),
    ];

    pub(super) fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(_, f, _)| *f == self)
            .map_or("", |(name, _, _)| name)
    }
}

/// Names of all functions, as messages list them.
pub(crate) fn function_names() -> String {
    Function::ALL.map(|(name, ..)| name).join(", ")
}
