"""The sections of `accelerator.py`: each yields rows, one a case, and goes on where a case fails.

Letters: B batch, K codebooks, L positions, N vectors, V codes, D latent width.
"""

import copy
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from accelerator_models import Model, beside, cast, contract_cases, model, systems
from accelerator_timing import Run, attempt, compare, graphed, in_precision, percentile, seconds_of, set_precision, waits_of
from torch import Tensor

Row = dict[str, Any]


# --- ids ----------------------------------------------------------------------------------------------------------------


def ids(run: Run) -> Iterator[Row]:
    """Ids of the device beside those of the CPU: of the published sizes, and of every family in tiny form."""
    cases = contract_cases()
    set_precision("float32")
    for name in () if run.tiny else systems():
        yield attempt(run, {"case": name, "size": "published"}, lambda name=name: _published_ids(run, model(run, name)))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # of so small models more would get in each other's way
    for form in run.forms or cases.LABELS:
        head = {"case": form, "size": "tiny"}
        if run.left() < 0:
            yield head | {"error": "no time was left"}
        else:
            yield attempt(run, head, lambda form=form: _tiny_ids(run, cases, form))
    torch.set_num_threads(threads)


def _tiny_ids(run: Run, cases: Any, form: str) -> Row:
    tokenizer = cases.build(form)
    return _same(run, tokenizer, copy.deepcopy(tokenizer).to(run.device), cases.batch(tokenizer, 3))


def _published_ids(run: Run, made: Model) -> Row:
    x = made.batch(2)
    x = x[..., : x.shape[-1] // 4] if made.unit == "seconds" else x
    return _same(run, copy.deepcopy(made.tokenizer).cpu(), made.tokenizer, x, made.encode_options or {}, made.decode_options or {})


def _same(run: Run, here: Any, there: Any, x: Tensor, encode: Row | None = None, decode: Row | None = None) -> Row:
    """How equal a tokenizer and its copy on the device are.

    `search` is the share of equal ids of the same latents, which must be 1; in `ids`, latents that differ in their last bits may lie
    on the other side of a border between two codes.
    """
    one, two = here.encode(x, **(encode or {})), there.encode(x.to(run.device), **(encode or {}))
    out: Row = {"ids": _share(one.ids, two.ids), "distinct": len(one.ids.unique()), "same_from_host": True}
    out["same_from_host"] = bool(torch.equal(there.encode(x, **(encode or {})).ids, two.ids))
    out["on_device"] = two.ids.device.type == run.device.type
    if here.spec.decodes:
        a, b = here.decode(one, **(decode or {})), there.decode(one, **(decode or {}))
        out["decoded"] = max(_distance(p, q) for p, q in zip(a, b, strict=True))
    try:
        with torch.no_grad():
            y = x.to(here.dtype) if x.is_floating_point() else x
            z, grid = here.encode_latents(y), here.grid_of(x)
            out["latents"] = _distance(z, there.encode_latents(y.to(run.device)))
            out["search"] = _share(here.quantizer.encode(z, grid=grid), there.quantizer.encode(z.to(run.device), grid=grid))
    except (NotImplementedError, ValueError, RuntimeError, IndexError, TypeError, AttributeError) as error:
        out["latents_not_compared"] = f"{type(error).__name__}: {str(error)[:80]}"  # a family with hooks of its own
    return out


def _share(a: Tensor, b: Tensor) -> float:
    """Share of equal ids; 0 where the shapes differ."""
    return float((a.cpu() == b.cpu()).float().mean()) if a.shape == b.shape and a.numel() else float(a.shape == b.shape)


def _distance(a: Tensor, b: Tensor) -> float:
    """Largest distance, as a share of the largest value."""
    a, b = a.detach().cpu().double(), b.detach().cpu().double()
    if a.shape != b.shape:
        return float("inf")
    return float((a - b).abs().max() / a.abs().max().clamp(min=1e-12)) if a.numel() else 0.0


# --- speed and memory -----------------------------------------------------------------------------------------------------


def speed(run: Run) -> Iterator[Row]:
    """Encode and decode of the published sizes, eager, as CUDA graphs, and the peers: latency, rate, peak memory."""
    batches = (1, 2) if run.tiny else (8, 1, 64)
    plan = [(p, b, n) for p in (("TF32",) if run.tiny else ("TF32", "bfloat16", "float32")) for b in batches for n in systems()]
    for i, (precision, batch, name) in enumerate(plan):
        head = {"case": name, "precision": precision, "batch": batch}
        if run.left() < 0:
            yield head | {"error": "no time was left"}
            continue
        each = run.each(6 * (len(plan) - i))
        for call in ("encode", "decode"):
            yield attempt(run, head | {"call": call}, lambda p=precision, b=batch, n=name, c=call, s=each: _speed(run, n, p, b, c, s))


def _speed(run: Run, name: str, precision: str, batch: int, call: str, seconds: float) -> Row:
    made = model(run, name)
    ours = in_precision(run, precision, made.tokenizer)
    x = made.batch(batch).to(run.device)
    tokens = ours.encode(x, **(made.encode_options or {}))
    sides: dict[str, Callable[[], Any]]
    if call == "encode":
        sides = {"ours": lambda: ours.encode(x, **(made.encode_options or {}))}
    else:
        sides = {"ours": lambda: ours.decode(tokens, **(made.decode_options or {}))}
    sides |= _networks(run, ours, x, tokens, call)
    out: Row = {"extent": _extent(made, ours, x), "unit": made.unit}
    with cast(made.theirs, precision), torch.no_grad():
        if made.theirs is not None:
            y = x.bfloat16() if precision == "bfloat16" else x
            sides["peer"] = _their_call(made, y, call)
            out["peer"] = made.peer
        out |= compare(run, sides, seconds=seconds)
        if precision == "float32" and call == "encode" and made.their_ids is not None:
            out["equal_to_peer"] = _prefix(made.their_ids(_their_call(made, x, "encode")()), tokens.ids)
    if batch == 8:
        out |= waits_of(run, sides["ours"])
    return out


def _extent(made: Model, ours: Any, x: Tensor) -> float:
    """Seconds of sound, or pictures, of a batch."""
    return x.shape[0] * (x.shape[-1] / ours.spec.sample_rate_hz if made.unit == "seconds" else 1)


def _their_call(made: Model, x: Tensor, call: str) -> Callable[[], Any]:
    theirs, encode, decode = made.theirs, made.their_encode, made.their_decode
    assert theirs is not None and encode is not None and decode is not None
    if call == "encode":
        return lambda: encode(theirs, x)
    held: list[Any] = []

    def run() -> Any:
        if not held:  # where the peer's encode fails, so does this
            held.append(encode(theirs, x))
        return decode(theirs, held[0])

    return run


def _networks(run: Run, ours: Any, x: Tensor, tokens: Any, call: str) -> dict[str, Callable[[], Any]]:
    """The network alone, without intake, search and tokens: called as usual, and as a CUDA graph."""
    grid = ours.grid_of(x)
    if call == "encode":
        y, network = x.to(ours.dtype), ours.encode_latents
    else:
        y = ours.vectors_of(tokens.ids, grid)

        def network(z: Tensor) -> Tensor:
            return ours.decode_latents(z, grid)

    replay: list[Callable[[], Any]] = []

    def graph() -> Any:
        if not replay:
            replay.append(graphed(run, network, y))
        return replay[0]()

    sides = {"network": torch.no_grad()(lambda: network(y))}
    if run.cuda and ours.dtype == torch.bfloat16 and ours.spec.modality == "image":
        last = copy.deepcopy(ours).to(memory_format=torch.channels_last)  # pays only if norms do not copy back
        y_last = y.contiguous(memory_format=torch.channels_last) if y.ndim == 4 else y
        one = last.encode_latents if call == "encode" else (lambda z: last.decode_latents(z, grid))
        sides["channels_last"] = torch.no_grad()(lambda: one(y_last))
    return sides | ({"graph": graph} if run.cuda else {})


def _prefix(a: Tensor, b: Tensor) -> float:
    length = min(a.shape[-1], b.shape[-1])
    return _share(a[..., :length], b[..., :length])


# --- quantizers -----------------------------------------------------------------------------------------------------------


def search(run: Run) -> Iterator[Row]:
    """Quantizers beside vector-quantize-pytorch, the usual expression, and the bare product of the matrices."""
    bench = beside("quantizers")
    cases = [c for c in bench.cases() if c.name == "fsq-64k" or (c.table and not run.tiny)]
    cases += [bench._table_case("vq-64x8", 64, 8)] if run.tiny else []
    for i, case in enumerate(cases):
        for precision in ("TF32", "float32"):
            head = {"case": case.name, "precision": precision, "vectors": 512 if run.tiny else case.vectors}
            seconds = run.each(2 * (len(cases) - i) * 6)
            yield attempt(run, head, lambda c=case, p=precision, n=head["vectors"], s=seconds: _search(run, bench, c, p, n, s))


def _search(run: Run, bench: Any, case: Any, precision: str, count: int, seconds: float) -> Row:
    set_precision(precision)
    rows = bench.rows_of(case, count)
    out: Row = {}
    sides: dict[str, Callable[[], Any]] = {}
    ours = bench.make("ours", case)
    here = ours.encode(ours.latents(rows))
    ours.q.to(run.device)
    z = ours.latents(rows).to(run.device)
    sides["ours"] = lambda: ours.encode(z)
    out["ids"] = _share(here, ours.encode(z))
    try:
        peer = bench.make("peer", case)
        peer.q.to(run.device)
        flat = peer.latents(rows).to(run.device)
        sides["peer"] = lambda: peer.encode(flat)
        out["equal_to_peer"] = _share(here, peer.encode(flat))
    except ImportError as error:
        out["peer_error"] = str(error)
    if case.table:
        size, levels = case.table
        vectors, table = rows.flatten(0, 1).to(run.device), torch.randn(size, case.dim, device=run.device)
        half = table.square().sum(dim=1) / 2
        sides["plain"] = lambda: [(vectors @ table.t() - half).argmax(dim=1) for _ in range(levels)]
        sides["matmul"] = lambda: [vectors @ table.t() for _ in range(levels)]
    return out | compare(run, sides, seconds=seconds) | waits_of(run, sides["ours"])


# --- streams --------------------------------------------------------------------------------------------------------------


def stream(run: Run) -> Iterator[Row]:
    """Streams of Mimi: one frame of each row encoded and decoded, again and again."""
    rows = (1, 2) if run.tiny else (1, 4, 16, 64, 256)
    plan = [(p, n, ring) for p in (("TF32",) if run.tiny else ("TF32", "bfloat16")) for n in rows for ring in (False, True)]
    for i, (precision, number, ring) in enumerate(plan):
        head = {"case": "mimi", "precision": precision, "rows": number, "state": "ring" if ring else "growing"}
        if run.left() < 0:
            yield head | {"error": "no time was left"}
            continue
        frames = 3 if run.tiny else int(max(20, min(200, run.left() / (len(plan) - i) / 0.04)))
        yield attempt(run, head, lambda p=precision, n=number, r=ring, f=frames: _stream(run, p, n, r, f))


def _stream(run: Run, precision: str, rows: int, ring: bool, frames: int) -> Row:
    from tokenzoo.codecs.kernels.stream import State
    from tokenzoo.codecs.layers.transformer1d import RingState

    made = model(run, "mimi")
    ours = in_precision(run, precision, made.tokenizer)
    hop = ours.spec.hop_samples
    before = torch.cuda.memory_allocated(run.device) if run.cuda else 0
    x = torch.randn(rows, 1, hop, device=run.device) * 0.1
    live = ours.stream(state_class=RingState if ring else State, **(made.encode_options or {}))
    warm, times = 2 if run.tiny else 5, {"encode": [], "decode": []}
    ends = time.monotonic() + 8  # a slow stream may not take the others' time

    def step() -> Tensor:
        return live.decode(live.push(x))

    for i in range(warm + frames):
        tokens: list[Any] = []
        run.wait()
        encode = seconds_of(lambda tokens=tokens: (tokens.append(live.push(x)), run.wait()))
        decode = seconds_of(lambda tokens=tokens: (live.decode(tokens[0]), run.wait()))
        if i >= warm:
            times["encode"].append(1e3 * encode)
            times["decode"].append(1e3 * decode)
        if time.monotonic() > ends and i > warm + 4:
            break
    both = [a + b for a, b in zip(times["encode"], times["decode"], strict=True)]
    frame = 1e3 * hop / ours.spec.sample_rate_hz
    out: Row = {"frame_ms": frame, "frames": len(both)}
    out |= {f"{name}_ms": percentile(values, 0.5) for name, values in times.items()}
    out |= {"both_p95_ms": percentile(both, 0.95), "x_real_time": rows * frame / percentile(both, 0.5)}
    if run.cuda:
        out["held_mib"] = (torch.cuda.memory_allocated(run.device) - before) / 2**20
    return out | waits_of(run, step)


# --- training -------------------------------------------------------------------------------------------------------------

#: What is trained: a network of pictures and one of sound, each with discriminators.
RUNS: dict[str, Row] = {
    "pictures": {
        "model": {
            "family": "convnet",
            "config": {
                "widths": [64, 128, 256],
                "latent_dim": 32,
                "quantizer": {"kind": "vq", "codebook_size": 8192, "kmeans_init": False},
            },
        },
        "data": {"kind": "images", "crop": 128},
        "losses": {"pixel": {"distance": "l1"}, "quantizer": {}, "adversarial": {}},
        "discriminators": {"patchgan": {}},
    },
    "sound": {
        "model": {"family": "encodec", "config": {}},
        "data": {"kind": "audio", "crop_seconds": 1.0},
        "losses": {
            "mel": {"windows": [256, 512, 1024], "bands": [32, 64, 64]}, "waveform": {}, "quantizer": {}, "adversarial": {},
            "feature_matching": {},
        },
        "balance": {"kind": "gradients"},
        "discriminators": {"spectra": {"kind": "multi_scale_stft", "windows": [1024, 512, 256], "channels": 32}},
    },
}  # fmt: skip
#: The same in toy sizes.
SMALL: dict[str, Row] = {
    "pictures": {"widths": [8, 8, 8], "latent_dim": 8, "quantizer": {"kind": "vq", "codebook_size": 32, "kmeans_init": False}},
    "sound": {
        "sample_rate_hz": 16000,
        "encoder": {"width": 4, "strides": [4, 5, 8], "latent_dim": 16, "causal": True},
        "quantizer": {"kind": "residual_vq", "num_codebooks": 2, "codebook_size": 16, "kmeans_init": False},
    },
}


def train(run: Run) -> Iterator[Row]:
    """Training steps, both players and the codebooks' averages included."""
    plan = [(n, p, b) for p in (("TF32",) if run.tiny else ("TF32", "bfloat16")) for n in RUNS for b in ((2,) if run.tiny else (8, 32))]
    for i, (name, precision, batch) in enumerate(plan):
        head = {"case": name, "precision": precision, "batch": batch}
        if run.left() < 0:
            yield head | {"error": "no time was left"}
            continue
        seconds = run.each(len(plan) - i)
        yield attempt(run, head, lambda n=name, p=precision, b=batch, s=seconds: _train(run, n, p, b, s))


def _train(run: Run, name: str, precision: str, batch: int, seconds: float) -> Row:
    from tokenzoo.train import TrainState, parse_run, train_step
    from tokenzoo.train.data.media import noise

    set_precision(precision)
    settings = copy.deepcopy(RUNS[name])
    if run.tiny:
        settings["model"]["config"] = SMALL[name]
    settings |= {"output": "unused", "steps": 1000, "batch_size": batch, "device": str(run.device)}
    settings["precision"] = "bfloat16" if precision == "bfloat16" else "float32"
    config = parse_run(settings)
    state = TrainState(config)
    spec = state.tokenizer.spec
    side = 32 if run.tiny else 128
    shape = (3, side, side) if name == "pictures" else (1, 2048 if run.tiny else 24000)
    x = noise(spec, batch, shape).to(run.device)

    def step() -> Any:
        return train_step(state, x)

    return {"items": batch} | compare(run, {"ours": step}, seconds=seconds) | waits_of(run, step)


# --- compile --------------------------------------------------------------------------------------------------------------


def compiled(run: Run) -> Iterator[Row]:
    """`compile()` beside eager calls: it takes longest to begin, so it comes last."""
    first = ["mimi", "llamagen-vq16", "encodec-24khz", "titok-s128"]
    names = ["mimi", "titok-s128"] if run.tiny else first + [n for n in systems() if n not in first]
    ways = {"compiled": {"backend": "eager"} if run.tiny else {}} | ({"reduced": {"mode": "reduce-overhead"}} if run.cuda else {})
    for name in names:
        for precision in ("TF32",) if run.tiny else ("bfloat16", "TF32"):
            for way, options in ways.items():
                head = {"case": name, "precision": precision, "way": way, "batch": 2 if run.tiny else 8}
                if run.left() < (0 if run.tiny else 15):
                    yield head | {"error": "no time was left"}
                    continue
                yield attempt(run, head, lambda n=name, p=precision, o=options, b=head["batch"]: _compiled(run, n, p, o, b))


def _compiled(run: Run, name: str, precision: str, options: Row, batch: int) -> Row:
    made = model(run, name)
    eager = in_precision(run, precision, made.tokenizer)
    fast = copy.deepcopy(eager).compile(**options)
    x = made.batch(batch).to(run.device)
    encode, decode = made.encode_options or {}, made.decode_options or {}
    out: Row = {"extent": _extent(made, eager, x), "unit": made.unit}
    tokens = eager.encode(x, **encode)
    out["encode_first_s"] = seconds_of(lambda: (fast.encode(x, **encode), run.wait()))
    out["ids"] = _share(tokens.ids, fast.encode(x, **encode).ids)
    both = {"eager": lambda: eager.encode(x, **encode), "fast": lambda: fast.encode(x, **encode)}
    out |= {f"encode_{k}": v for k, v in compare(run, both, seconds=run.each(20)).items()}
    if run.left() > 0 or run.tiny:
        out["decode_first_s"] = seconds_of(lambda: (fast.decode(tokens, **decode), run.wait()))
        both = {"eager": lambda: eager.decode(tokens, **decode), "fast": lambda: fast.decode(tokens, **decode)}
        out |= {f"decode_{k}": v for k, v in compare(run, both, seconds=run.each(20)).items()}
    return out


#: name -> (function, share of the time)
SECTIONS: dict[str, tuple[Callable[[Run], Iterator[Row]], float]] = {
    "ids": (ids, 0.34),
    "speed": (speed, 0.24),
    "search": (search, 0.07),
    "stream": (stream, 0.09),
    "train": (train, 0.10),
    "compile": (compiled, 0.16),
}
