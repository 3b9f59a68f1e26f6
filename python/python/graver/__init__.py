"""An ahead-of-time compiler for language models on CPUs.

    import graver

    model = graver.Model("path/to/checkpoint")      # or a .gguf file, a spec, or nothing: the small model inside this package
    session = model.compile().session()
    print(session.generate("Once upon a time", max_tokens=50))

    for piece in session.stream("Once upon a time", temperature=0.8, seed=1):
        print(piece.text, end="", flush=True)

    tokens = session.encode("And God said")
    logits = session.logits(tokens)                 # a numpy array, [tokens, vocab]

Everything that computes gives up Python's lock meanwhile; whatever goes wrong is a `GraverError`.
"""

from ._graver import (
    Artifact,
    Block,
    Compiled,
    GraverError,
    Model,
    Node,
    Piece,
    Report,
    Session,
    Stream,
    __version__,
)

load = Artifact

__all__ = [
    "Artifact",
    "Block",
    "Compiled",
    "GraverError",
    "Model",
    "Node",
    "Piece",
    "Report",
    "Session",
    "Stream",
    "__version__",
    "load",
]
