"""The models that `accelerator.py` runs: every family in tiny form, and seven published sizes with random weights, beside peers.

With PyTorch's random weights latents hardly move, and all positions get one code: so convolutions over time are evened out
(`audio_peers.evened_out`), and codes are drawn about the vectors that are looked up.
Letters: B batch, T samples, D latent width, N vectors, V codes.
"""

import contextlib
import importlib.util
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from accelerator_timing import Run
from audio_peers import DAC_16KHZ, SNAC_24KHZ, Theirs, codecs, evened_out, waveform
from checkout import ROOT
from torch import Tensor, nn

HERE = Path(__file__).parent


def beside(name: str) -> ModuleType:
    """The module `NAME.py` of this folder, under another name: some have names of folders of tests."""
    own = f"benchmark_{name}"
    if own not in sys.modules:
        found = importlib.util.spec_from_file_location(own, HERE / f"{name}.py")
        assert found is not None and found.loader is not None
        module = sys.modules[own] = importlib.util.module_from_spec(found)
        found.loader.exec_module(module)
    return sys.modules[own]


def contract_cases() -> ModuleType:
    """`tests/contract_cases.py`: every family in tiny form, with media for it."""
    before, sys.path = sys.path, [str(ROOT / "tests"), *(p for p in sys.path if Path(p).resolve() != HERE)]
    try:
        return importlib.import_module("contract_cases")
    finally:
        sys.path = before


# --- published sizes ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class System:
    """A published size.

    Attributes:
        layout: name of its layout in `tokenzoo.zoo.convert`; with `theirs`, the authors' settings, it gives the config.
        tiny: label of its family in `tests/families.py`.
        codec: its name in `audio_peers.codecs`; "": pictures.
        peer: its name among the cases of `image.py`; "": none.
    """

    layout: str
    theirs: dict[str, Any] | None
    tiny: str
    codec: str = ""
    peer: str = ""


def systems() -> dict[str, System]:
    """The seven published sizes by name."""
    pictures = beside("image").CASES
    return {
        "mimi": System("mimi-hf", None, "mimi", codec="mimi"),
        "encodec-24khz": System("encodec-hf", None, "encodec", codec="encodec-24khz"),
        "dac-16khz": System("dac", DAC_16KHZ, "dac", codec="dac-16khz"),
        "snac-24khz": System("snac", SNAC_24KHZ, "snac", codec="snac-24khz"),
        "llamagen-vq16": System("llamagen", {}, "vqgan", peer="llamagen-vq16"),
        "titok-s128": System("titok-legacy", pictures["titok-s128"].config, "titok"),
        "vqmodel": System("diffusers-vqmodel", pictures["diffusers-vqmodel"].config, "vqgan", peer="diffusers-vqmodel"),
    }


@dataclass
class Model:
    """Our tokenizer on the device, and the peer with the same weights, where one is installed.

    Attributes:
        peer: its package; "": none.
        their_encode, their_decode: the peer's calls, of a batch and of its own codes.
        theirs: the peer's module.
        unit: what the rate counts: "seconds" of sound or "pictures".
        options: of our `encode`, and of our `decode`.
    """

    tokenizer: Any
    batch: Callable[[int], Tensor]
    unit: str
    peer: str = ""
    theirs: nn.Module | None = None
    their_encode: Callable[[nn.Module, Tensor], Any] | None = None
    their_decode: Callable[[nn.Module, Any], Tensor] | None = None
    their_ids: Callable[[Any], Tensor] | None = None
    encode_options: dict[str, Any] | None = None
    decode_options: dict[str, Any] | None = None


def model(run: Run, name: str) -> Model:
    """The published size `name` on the device, or its family in tiny form; made once a process."""
    if name not in run.made:
        system = systems()[name]
        made = _tiny(system) if run.tiny else _sound(system) if system.codec else _pictures(system)
        made.tokenizer.to(run.device).eval()
        if made.theirs is not None:
            made.theirs.to(run.device).eval()
        run.made[name] = made
    return run.made[name]


def _tiny(system: System) -> Model:
    cases = contract_cases()
    tokenizer = cases.build(system.tiny)
    return Model(tokenizer, lambda count: cases.batch(tokenizer, count), "seconds" if system.codec else "pictures")


def _sound(system: System) -> Model:
    from tokenzoo.zoo.convert import convert

    codec = next(c for c in codecs() if c.name == system.codec)
    options: dict[str, Any] = {"encode_options": {"num_codebooks": codec.num_codebooks}} if codec.num_codebooks else {}
    options["decode_options"] = {"seed": 0} if codec.noisy else {}
    for peer in codec.peers:
        if importlib.util.find_spec(peer.package.replace("descript-audio-codec", "dac").replace("-", "_")) is None:
            continue
        try:
            theirs = Theirs(codec, peer)
            ours = convert(peer.system, peer.config(theirs.model), theirs.model.state_dict())
        except Exception:  # another version of the peer: ours alone
            traceback.print_exc()
            continue
        return Model(
            *(ours, lambda count: waveform(codec, count, CLIP_SECONDS), "seconds", peer.package, theirs.model),
            *(peer.encode, peer.decode, peer.ids),
            **options,
        )
    return Model(_own(system, waveform(codec, 1, 2.0)), lambda count: waveform(codec, count, CLIP_SECONDS), "seconds", **options)


#: Length of a clip.
CLIP_SECONDS = 10.0


def _pictures(system: System) -> Model:
    image = beside("image")
    name = system.peer or "titok-s128"

    def batch(count: int) -> Tensor:
        return image.pictures(name, count)

    if system.peer and importlib.util.find_spec(PACKAGES[system.peer]) is not None:
        try:
            peer = image.make_peer(name, {"llamagen": "", "titok": ""})
            with tempfile.TemporaryDirectory() as folder:
                path = str(Path(folder) / "weights.safetensors")
                image.save_weights(name, peer, path)
                ours = image.make_ours(name, path)
            return Model(
                *(ours, batch, "pictures", PACKAGES[system.peer], peer.module),
                *(lambda _, x: peer.encode(x).reshape(len(x), -1), lambda _, ids: peer.decode(ids), lambda ids: ids[:, None]),
            )
        except Exception:
            traceback.print_exc()
    return Model(_own(system, batch(2)), batch, "pictures")


#: Packages that hold the peers of pictures.
PACKAGES = {"llamagen-vq16": "transformers", "diffusers-vqmodel": "diffusers"}


def _own(system: System, x: Tensor) -> Any:
    """The published size with random weights, evened out, its codes about the latents of `x`."""
    from tokenzoo.codecs.families import build_tokenizer
    from tokenzoo.zoo.convert import converter

    torch.manual_seed(0)
    layout = converter(system.layout)
    config = {} if system.theirs is None else layout.own_config(system.theirs)
    made = build_tokenizer(layout.family, config).eval()
    with torch.no_grad(), evened_out(made) if system.codec else contextlib.nullcontext():
        z = made.encode_latents(x)
        with spread(made):
            ids = made.quantizer.encode(z, grid=made.grid_of(x))
        made.decode_latents(made.quantizer.decode(ids), made.grid_of(x))
    return made


@contextlib.contextmanager
def spread(tokenizer: Any) -> Iterator[None]:
    """In this block each table of codes is filled at its first search, about the vectors `[N, d]` that are looked up."""
    from tokenzoo.codecs.quantizers.parts.codebook import Codebook

    g = torch.Generator().manual_seed(1)

    def filled(book: Any) -> Callable[[Tensor], Tensor]:
        def search(rows: Tensor) -> Tensor:
            del book.search  # back to the method
            drawn = torch.randn(book.embed.shape, generator=g) * rows.std(dim=0) + rows.mean(dim=0)
            book.embed.data.copy_(drawn)
            return book.search(rows)

        return search

    books = [m for m in tokenizer.quantizer.modules() if isinstance(m, Codebook)]
    for book in books:
        book.search = filled(book)
    try:
        yield
    finally:
        for book in books:
            book.__dict__.pop("search", None)


@contextlib.contextmanager
def cast(theirs: nn.Module | None, precision: str) -> Iterator[None]:
    """In this block the weights of a peer are bfloat16 where `precision` says so (in place: its calls are bound to it)."""
    if theirs is None or precision != "bfloat16":
        yield
        return
    theirs.to(torch.bfloat16)
    try:
        yield
    finally:
        theirs.to(torch.float32)
