"""The package as its users see it: what it computes, what goes wrong, and that Python goes on meanwhile."""

import os
import pathlib
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import graver

PROMPT = "In the beginning"
EXAMPLES = pathlib.Path(__file__).parent.parent / "examples"


@pytest.fixture(scope="module")
def compiled():
    return graver.Model().compile()


@pytest.fixture
def session(compiled):
    return compiled.session(threads=1)


def test_a_text_is_the_same_whole_and_in_pieces(session):
    whole = session.generate(PROMPT, max_tokens=24)
    assert whole
    pieces = list(session.stream(PROMPT, max_tokens=24))
    assert "".join(piece.text for piece in pieces) == whole
    drawn = [session.generate(PROMPT, max_tokens=24, temperature=0.8, seed=seed) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_stream_says_why_it_ended(compiled):
    session = compiled.session(context=16)
    stream = session.stream(PROMPT, max_tokens=3, ignore_eos=True)
    assert stream.stop is None
    assert len([piece for piece in stream if piece.token is not None]) == 3
    assert stream.stop == "length"
    stream = session.stream(PROMPT, ignore_eos=True)
    assert len(list(stream)) >= 8 and stream.stop == "context"


def test_a_text_goes_on_where_it_was(session):
    tokens = session.encode(PROMPT)
    ids = lambda stream: [piece.token for piece in stream if piece.token is not None]
    everything = ids(session.stream(tokens, max_tokens=10))
    first = ids(session.stream(tokens, max_tokens=4))
    assert first == everything[:4]
    assert ids(session.stream([first[-1]], max_tokens=6, resume=True)) == everything[4:]


def test_logits_are_arrays_that_keep_their_values(session):
    tokens = session.encode("And God said")
    logits = session.logits(tokens)
    assert isinstance(logits, np.ndarray) and logits.dtype == np.float32
    assert logits.shape == (len(tokens), session.vocab)
    assert not logits.flags.writeable and not logits.flags.owndata
    before = logits.copy()
    session.logits([1, 2, 3])
    assert (logits == before).all()
    # One by one as at once, and arrays of numbers are tokens as well.
    session.reset()
    session.append(tokens[:-1])
    last = session.append(np.array(tokens[-1:], dtype=np.uint32))
    assert (last == before[-1]).all()
    del session
    assert np.isfinite(logits).all()


def test_sequences_go_together(compiled):
    session = compiled.session(sequences=2)
    a, b = session.encode(PROMPT), session.encode("And God said")
    both = session.step([(0, a), (1, b)])
    assert both.shape == (2, session.vocab)
    # Long steps run another program than short ones, which rounds otherwise.
    assert np.allclose(both[0], session.logits(a)[-1], rtol=0, atol=1e-3 * both[0].std())
    session.copy(1, 0)
    assert session.position(0) == session.position(1) == len(b)
    session.truncate(1)
    assert session.position() == 1


def test_tokens_and_text(session):
    tokens = session.encode(PROMPT)
    assert all(isinstance(token, int) for token in tokens)
    assert session.decode(tokens) == PROMPT


def test_explain_summary_and_verify():
    model = graver.Model("qwen3:tiny")
    explained = model.explain(without=["norm-prologue"])
    by_name = {p["pass"]: p for p in explained["passes"]}
    assert not by_name["norm-prologue"]["enabled"] and by_name["qkv-epilogue"]["enabled"]
    assert "norm-prologue" in str(explained)
    assert graver.Model("llama:3.1-8b").summary()["parameters"] == 8_030_261_248
    report = model.verify()
    assert report["passed"] and "passed" in str(report) and "passes" in report.keys()


def test_graphs_are_objects():
    model = graver.Model("llama")
    fused, plain = model.graph(), model.graph(fuse=False)
    names = [block.name for block in fused]
    assert any("dense" in name for name in names), names
    for block in plain:
        known = set()
        for node in block.nodes:
            assert set(node.reads) <= known, node
            known.add(node.name)
    count = lambda blocks: sum(len(block.nodes) for block in blocks)
    assert count(fused) < count(plain)
    assert "matmul" in {node.op for block in plain for node in block.nodes}
    assert model.emit("schedule").startswith("decode.embed: ")
    assert model.emit("graph:bias-epilogue", "prefill").startswith("# prefill.embed")


def test_a_spec_of_ones_own():
    spec = '{"extends": "llama", "match": {"model_type": ["mine"]}, "head": {"cap": {"after": "logits", "op": "softcap", "cap": 5.0}}}'
    session = graver.Model.from_spec("mine", spec).compile().session()
    assert abs(session.logits([1, 2, 3])).max() <= 5.0


def test_mistakes_are_exceptions_with_a_hint(session):
    for model, hint in [("qwen33", "did you mean `qwen3`?"), ("/no/such/folder", "no such file or folder")]:
        with pytest.raises(graver.GraverError, match="did you mean|no such file") as raised:
            graver.Model(model)
        assert hint in str(raised.value)
    with pytest.raises(graver.GraverError, match="did you mean `norm-prologue`"):
        graver.Model().explain(without=["norm-prolog"])
    with pytest.raises(graver.GraverError, match="has sizes of its own"):
        graver.Model(preset="tiny")
    with pytest.raises(ValueError, match="quantize: found"):
        graver.Model().compile(quantize="q5")
    with pytest.raises(graver.GraverError, match="vocabulary"):
        session.generate([10**6])
    with pytest.raises(graver.GraverError, match="temperature"):
        session.generate(PROMPT, temperature=-1)
    with pytest.raises(graver.GraverError, match="no tokenizer"):
        graver.Model("llama").compile().session().generate(PROMPT)
    with pytest.raises((TypeError, OverflowError)):
        session.logits([-1])
    # Nothing has changed by any of these.
    assert session.generate(PROMPT, max_tokens=4)


def test_options_reach_the_compiler():
    manifest = graver.Model().compile(quantize="q8", kv="bf16", without=["norm-prologue"]).manifest
    assert "norm-prologue" not in manifest["passes"] and manifest["cache"] == "bf16"
    assert any("q8" in name for name in manifest["weight_types"])
    with pytest.raises(graver.GraverError, match="multiplied with matrices in bf16"):
        graver.Model("llama").compile(activations="bf16")
    with pytest.raises(ValueError, match="activations: found \"q8\""):
        graver.Model().compile(activations="q8")


def test_some_matrices_have_another_type():
    model = graver.Model()
    weights = lambda **options: model.summary(quantize="q4", **options)["weight_bytes"]
    assert weights() < weights(quantize_plan={"head": "q8"}) < weights(quantize_plan={"head": "q8", "layers.0": "none"})
    # The last pattern that fits counts.
    assert weights(quantize_plan={"layers.*": "none", "layers.*.mlp": "q4"}) < weights(quantize_plan={"layers.*": "none"})
    manifest = model.compile(quantize="q4", quantize_plan={"*.mlp.down": "q8"}).manifest
    assert {"q4s", "q8"} <= set(manifest["weight_types"])
    with pytest.raises(graver.GraverError, match="mlp.dwn"):
        model.compile(quantize="q8", quantize_plan={"*.mlp.dwn": "q4"})
    with pytest.raises(ValueError, match=r'quantize_plan\["head"\]: found "q5", expected'):
        model.compile(quantize="q8", quantize_plan={"head": "q5"})
    for quantize in (None, "none"):
        with pytest.raises(ValueError, match="needs quantize='q8' or 'q4'"):
            model.compile(quantize=quantize, quantize_plan={"head": "q8"})
    with pytest.raises(TypeError):
        model.compile(quantize="q8", quantize_plan=["head=q8"])


def test_python_goes_on_while_a_model_computes(compiled):
    session = compiled.session(threads=1)
    tokens = [i % session.vocab for i in range(400)]
    session.logits(tokens)
    ticks, done = [], threading.Event()

    def tick():
        while not done.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0.0005)

    thread = threading.Thread(target=tick)
    thread.start()
    begun = time.perf_counter()
    while time.perf_counter() - begun < 0.3:
        session.logits(tokens)
    ended = time.perf_counter()
    done.set()
    thread.join()
    inside = [t for t in ticks if begun < t < ended]
    assert len(inside) > 20, len(inside)


def test_sessions_may_be_used_by_several_threads(compiled):
    session = compiled.session(threads=1)
    tokens = session.encode(PROMPT)
    expected = session.logits(tokens)
    found = []
    work = lambda: found.extend((session.logits(tokens) == expected).all() for _ in range(20))
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 80 and all(found)


@pytest.mark.skipif("GRAVER" not in os.environ, reason="GRAVER names no graver program")
def test_a_compiled_library_is_loaded(session, tmp_path):
    out = tmp_path / "model.so"
    subprocess.run([os.environ["GRAVER"], "compile", "--emit", "so", "-q", "-o", out], check=True)
    artifact = graver.load(out)
    artifact.check()
    assert artifact.manifest["spec"] == "llama"
    loaded = artifact.session()
    tokens = session.encode(PROMPT)
    assert loaded.encode(PROMPT) == tokens
    assert loaded.generate(PROMPT, max_tokens=12) == session.generate(PROMPT, max_tokens=12)
    damaged = tmp_path / "damaged.so"
    data = bytearray(out.read_bytes())
    data[5000] ^= 1
    damaged.write_bytes(data)
    with pytest.raises(graver.GraverError, match="damaged: the checksum of its code"):
        graver.load(damaged)


def test_the_example_says_what_passes_are_worth_and_draws_it(tmp_path):
    picture = tmp_path / "ablation.png"
    command = [sys.executable, EXAMPLES / "ablation.py", "llama:tiny", picture]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = dict(line.rsplit(maxsplit=1) for line in done.stdout.splitlines())
    assert float(rows["no pass at all"]) > 0.5 and "norm-prologue" in rows
    assert picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size > 5000


def test_logits_are_where_the_step_has_written_them(session):
    """Many arrays at once, each of which keeps its own values: none is copied, and none is written over."""
    tokens = session.encode("And God said")
    kept = [session.logits(tokens[: n + 1]) for n in range(len(tokens))]
    whole = session.logits(tokens)
    for n, logits in enumerate(kept):
        assert logits.shape == (n + 1, session.vocab)
        assert np.allclose(logits, whole[: n + 1], rtol=0, atol=1e-3 * whole.std())
    places = {logits.__array_interface__["data"][0] for logits in [*kept, whole]}
    assert len(places) == len(kept) + 1
    session.reset()
    step = session.step([(0, tokens)], wanted="none")
    assert step.shape == (0, session.vocab)


def test_stubs_name_what_there_is():
    stub = pathlib.Path(graver.__file__).with_name("__init__.pyi").read_text()
    for name in graver.__all__:
        assert name in stub, name
    for kind in (graver.Model, graver.Compiled, graver.Artifact, graver.Session, graver.Stream, graver.Report):
        for member in vars(kind):
            assert member.startswith("_") or f"def {member}(" in stub, (kind, member)


def test_the_program_of_the_documentation_runs(capsys):
    page = pathlib.Path(__file__).parent.parent.parent / "docs" / "embedding.md"
    program = page.read_text().split("```python\n")[1].split("```")[0]
    exec(compile(program, str(page), "exec"), {})
    assert len(capsys.readouterr().out) > 20
