from collections.abc import Iterator, KeysView, Mapping, Sequence
from os import PathLike
from typing import Any, Literal, Optional, Union

import numpy as np
from numpy.typing import NDArray

__version__: str

_Path = Union[str, PathLike[str]]
_Quantize = Optional[Literal["q8", "q4", "none"]]
_QuantizePlan = Optional[Mapping[str, Literal["q8", "q4", "none"]]]
_Cache = Optional[Literal["f32", "f16", "bf16", "q8"]]
_Activations = Optional[Literal["f32", "bf16"]]
_Program = Literal["decode", "prefill"]
_Prompt = Union[str, Sequence[int], NDArray[np.integer[Any]]]
_Tokens = Union[Sequence[int], NDArray[np.integer[Any]]]
_Floats = NDArray[np.float32]

class GraverError(Exception):
    """What went wrong: the place, what was found, what was expected, and what to do."""

class Report:
    """What the compiler says: as text (`str(report)`), and as data (`report["passes"]`)."""

    @property
    def data(self) -> dict[str, Any]: ...
    def __getitem__(self, key: str) -> Any: ...
    def keys(self) -> KeysView[str]: ...

class Node:
    """An operation of a graph."""

    @property
    def name(self) -> str: ...
    @property
    def op(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def shape(self) -> str: ...
    @property
    def reads(self) -> list[str]: ...

class Block:
    """A block of a program: the embedding, a kind of layer, or the head."""

    @property
    def name(self) -> str: ...
    @property
    def nodes(self) -> list[Node]: ...

class Piece:
    """A token, and the text that it settles; at the end text that was held back, without a token."""

    @property
    def token(self) -> Optional[int]: ...
    @property
    def text(self) -> str: ...

class Stream(Iterator[Piece]):
    """Text being written."""

    @property
    def stop(self) -> Optional[Literal["eos", "length", "context"]]: ...
    def __iter__(self) -> Stream: ...
    def __next__(self) -> Piece: ...

class Session:
    """A model ready to run, with the state of its sequences."""

    def encode(self, text: str) -> list[int]: ...
    def decode(self, tokens: _Tokens) -> str: ...
    def logits(self, tokens: _Tokens) -> _Floats:
        """Logits of every token, [tokens, vocab], in sequence 0 begun anew. The array is read-only and keeps its values."""

    def append(self, tokens: _Tokens) -> _Floats:
        """Appends to sequence 0; logits of the last token, [vocab]."""

    def step(
        self,
        segments: Sequence[tuple[int, _Tokens]],
        wanted: Literal["none", "last", "all"] = "last",
    ) -> _Floats:
        """Appends to several sequences in one step: pairs of a sequence and its tokens."""

    def generate(
        self,
        prompt: _Prompt,
        *,
        max_tokens: int = 256,
        temperature: float = 0.0,
        top_k: int = 40,
        top_p: float = 0.95,
        min_p: float = 0.05,
        repeat_penalty: float = 1.0,
        seed: int = 0,
        ignore_eos: bool = False,
        resume: bool = False,
    ) -> str:
        """What follows a prompt, as a whole."""

    def stream(
        self,
        prompt: _Prompt,
        *,
        max_tokens: int = 256,
        temperature: float = 0.0,
        top_k: int = 40,
        top_p: float = 0.95,
        min_p: float = 0.05,
        repeat_penalty: float = 1.0,
        seed: int = 0,
        ignore_eos: bool = False,
        resume: bool = False,
    ) -> Stream:
        """What follows a prompt, piece by piece."""

    def reset(self, sequence: int = 0) -> None: ...
    def truncate(self, position: int, sequence: int = 0) -> None: ...
    def copy(self, from_: int, to: int) -> None: ...
    def position(self, sequence: int = 0) -> int: ...
    @property
    def context(self) -> int: ...
    @property
    def vocab(self) -> int: ...
    @property
    def eos(self) -> list[int]: ...

class Compiled:
    """A model compiled in memory; sessions share its code and weights."""

    def session(
        self,
        *,
        threads: Optional[int] = None,
        context: Optional[int] = None,
        sequences: int = 1,
        pin: bool = False,
    ) -> Session: ...
    @property
    def manifest(self) -> dict[str, Any]: ...

class Artifact:
    """A shared library that `graver compile --emit so` wrote. Loading it runs what is in it."""

    def __init__(self, path: _Path) -> None: ...
    def session(
        self,
        *,
        threads: Optional[int] = None,
        context: Optional[int] = None,
        sequences: int = 1,
        pin: bool = False,
    ) -> Session: ...
    def check(self) -> None: ...
    @property
    def manifest(self) -> dict[str, Any]: ...

load = Artifact

class Model:
    """A checkpoint folder, a .gguf file, a spec with random weights, or the small model inside this package."""

    def __init__(
        self,
        path: Optional[_Path] = None,
        *,
        spec: Optional[_Path] = None,
        preset: Optional[str] = None,
        config: Optional[_Path] = None,
        seed: Optional[int] = None,
    ) -> None: ...
    @staticmethod
    def from_spec(name: str, json: str) -> Model: ...
    @property
    def label(self) -> str: ...
    def compile(
        self,
        *,
        quantize: _Quantize = None,
        quantize_plan: _QuantizePlan = None,
        kv: _Cache = None,
        activations: _Activations = None,
        without: Sequence[str] = (),
        fuse: bool = True,
    ) -> Compiled:
        """Compiles it for this processor, in memory.

        `quantize_plan` gives some matrices another type than `quantize`: `{"layers.*.mlp.down": "q8", "head": "none"}`, by names of the
        model's matrices or of the checkpoint's tensors, or of what they lie in; the last pattern that fits counts.
        `activations="bf16"` rounds activations where prompts multiply them with matrices in bf16."""

    def explain(
        self,
        *,
        quantize: _Quantize = None,
        quantize_plan: _QuantizePlan = None,
        kv: _Cache = None,
        activations: _Activations = None,
        without: Sequence[str] = (),
        fuse: bool = True,
    ) -> Report: ...
    def summary(
        self,
        *,
        quantize: _Quantize = None,
        quantize_plan: _QuantizePlan = None,
        kv: _Cache = None,
        activations: _Activations = None,
        without: Sequence[str] = (),
        fuse: bool = True,
    ) -> Report: ...
    def verify(self, *, without: Sequence[str] = (), fuse: bool = True) -> Report: ...
    def graph(
        self,
        program: _Program = "decode",
        *,
        quantize: _Quantize = None,
        quantize_plan: _QuantizePlan = None,
        kv: _Cache = None,
        activations: _Activations = None,
        without: Sequence[str] = (),
        fuse: bool = True,
    ) -> list[Block]: ...
    def emit(
        self,
        stage: str,
        program: _Program = "decode",
        *,
        quantize: _Quantize = None,
        quantize_plan: _QuantizePlan = None,
        kv: _Cache = None,
        activations: _Activations = None,
        without: Sequence[str] = (),
        fuse: bool = True,
    ) -> str: ...
