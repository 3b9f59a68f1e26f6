//! Names of activations and of routers' scoring functions, in specs and in the text of graphs.

use super::model::{Activation, Score};

impl Activation {
    /// The name in text form and in specs.
    pub fn name(self) -> &'static str {
        match self {
            Activation::Silu => "silu",
            Activation::Gelu => "gelu",
            Activation::GeluTanh => "gelu_tanh",
            Activation::Relu => "relu",
            Activation::Relu2 => "relu2",
            Activation::Sigmoid => "sigmoid",
            Activation::Tanh => "tanh",
            Activation::Softplus => "softplus",
        }
    }

    /// All of them.
    pub const ALL: [Activation; 8] = [
        Activation::Silu,
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::Relu,
        Activation::Relu2,
        Activation::Sigmoid,
        Activation::Tanh,
        Activation::Softplus,
    ];
}

impl Score {
    /// The name in text form and in specs.
    pub fn name(self) -> &'static str {
        match self {
            Score::Softmax => "softmax",
            Score::Sigmoid => "sigmoid",
            Score::SqrtSoftplus => "sqrt_softplus",
        }
    }

    /// All of them.
    pub const ALL: [Score; 3] = [Score::Softmax, Score::Sigmoid, Score::SqrtSoftplus];
}
