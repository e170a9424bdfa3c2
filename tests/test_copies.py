"""A tokenizer that is copied, pickled, compiled, averaged or wrapped stays itself. Run: pytest tests/test_copies.py -k convnet"""

import copy
import multiprocessing
import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
import tokenzoo
import torch
from contract_cases import LABELS, ONE_OF_EACH, batch, build
from PIL import Image
from tokenzoo.codecs import compiling
from tokenzoo.codecs.serialize import load_folder
from tokenzoo.codecs.tokenizer import Tokenizer
from tokenzoo.codecs.wrapping import bare, unwrap
from tokenzoo.train.config import EmaConfig
from tokenzoo.train.ema import Ema
from tokenzoo.zoo.evaluate import evaluate
from torch import nn
from torch.optim.swa_utils import AveragedModel
from waiting import PATIENCE_SECONDS

COPIES: dict[str, Callable[[Tokenizer], Tokenizer]] = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda t: pickle.loads(pickle.dumps(t)),
}
#: Without the compiler's back end: what is tested is whose weights run, not how fast.
QUICKLY = {"backend": "eager"}
#: One of each kind of encoder among the families that `torch.compile` runs (sound on a CPU is only fused).
COMPILED = ["convnet", "vqgan", "titok", "latent"]


@pytest.fixture(scope="module", params=ONE_OF_EACH)
def tokenizer(request) -> Tokenizer:
    return build(request.param)


def erase(tokenizer: Tokenizer) -> None:
    """Set all weights to 0, those of codebooks too."""
    with torch.no_grad():
        for value in tokenizer.state_dict().values():
            value.zero_()


def check_copy(original: Tokenizer, copied: Tokenizer) -> None:
    """Equal ids at first; then each has its own weights."""
    x = batch(original, 2)
    ids = original.encode(x).ids
    assert torch.equal(copied.encode(x).ids, ids)
    erase(copied)
    assert not torch.equal(copied.encode(x).ids, ids), "the copy runs with the weights of its original"
    assert torch.equal(original.encode(x).ids, ids), "the original has changed"


@pytest.mark.parametrize("way", COPIES)
def test_copies_have_weights_of_their_own(tokenizer, way):
    check_copy(tokenizer, COPIES[way](tokenizer))


def test_a_shallow_copy_shares_weights(tokenizer):
    x = batch(tokenizer, 1)
    assert torch.equal(copy.copy(tokenizer).encode(x).ids, tokenizer.encode(x).ids)


# --- compiled -----------------------------------------------------------------------------------------------------------


def compiled(label: str) -> Tokenizer:
    """Compiled, and used once."""
    tokenizer = build(label).compile(**QUICKLY)
    tokenizer.encode(batch(tokenizer, 2))
    return tokenizer


@pytest.mark.parametrize("label", [x if x in LABELS[::8] else pytest.param(x, marks=pytest.mark.slow) for x in LABELS])
def test_copies_of_compiled_ones_have_weights_of_their_own(label):
    torch._dynamo.reset()  # what one family compiled is of no use to the next
    tokenizer = compiled(label)
    check_copy(tokenizer, copy.deepcopy(tokenizer))


@pytest.mark.parametrize("label", [*COMPILED, "encodec", "dac"])
def test_pickles_of_compiled_ones_have_weights_of_their_own(label):
    tokenizer = compiled(label)
    check_copy(tokenizer, pickle.loads(pickle.dumps(tokenizer)))


@pytest.mark.parametrize("label", COMPILED)
def test_copies_of_compiled_ones_are_compiled(label):
    original = compiled(label)
    for made in (copy.deepcopy(original), copy.copy(original), pickle.loads(pickle.dumps(original))):
        assert "encode_latents" in vars(made)
        assert made.encode_latents is not original.encode_latents


def test_results_of_graphs_outlive_the_next_run(monkeypatch):
    """A CUDA graph returns the same memory each time; pieces of a long clip are kept while later ones run."""
    held, marks = torch.zeros(3), []
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: marks.append(1))
    graphs = compiling._Compiled(held.copy_, compiling._as_graphs({"mode": "reduce-overhead"}))
    first, second = graphs(torch.ones(3)), graphs(torch.full((3,), 2.0))
    assert first.tolist() == [1, 1, 1] and second.tolist() == [2, 2, 2] and len(marks) == 2
    assert not compiling._as_graphs({}) and compiling._as_graphs({"options": {"triton.cudagraphs": True}})


def test_compiling_again_takes_the_new_options():
    calls = []

    def count(graph, inputs):
        calls.append(1)
        return graph.forward

    tokenizer = compiled("convnet").compile(backend=count)
    tokenizer.encode(batch(tokenizer, 2))
    assert calls


def test_one_half_can_be_compiled():
    from tokenzoo.codecs.building import keep_part

    original, half = build("convnet"), build("convnet")
    keep_part(half, "encoder")
    half.compile(**QUICKLY)
    x = batch(original, 2)
    assert torch.equal(half.encode(x).ids, original.encode(x).ids)
    with pytest.raises(ValueError, match=r"part='encoder'"):
        half.decode(original.encode(x))


def _encode_there(tokenizer: Tokenizer, x: torch.Tensor) -> np.ndarray:
    torch.set_num_threads(1)
    return tokenizer.encode(x).ids.numpy()


@pytest.mark.parametrize("label", ["convnet", "xcodec"])
def test_a_spawned_process_gets_a_compiled_one(label):
    tokenizer = compiled(label)
    x = batch(tokenizer, 2)
    # an executor raises what the process raised, and BrokenProcessPool where it died
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        ids = pool.submit(_encode_there, tokenizer, x).result(PATIENCE_SECONDS)
    assert torch.equal(torch.from_numpy(ids), tokenizer.encode(x).ids)


def test_a_running_mean_of_a_compiled_one_follows_its_own_weights():
    tokenizer = compiled("convnet")
    ema = Ema(EmaConfig(decay=0.5), tokenizer)
    x, ids = batch(tokenizer, 2), tokenizer.encode(batch(tokenizer, 2)).ids
    before = [p.clone() for p in ema.module.parameters()]
    erase(tokenizer)
    assert torch.equal(ema.module.encode(x).ids, ids)
    ema.update(tokenizer, 100)
    assert all(torch.equal(p, q / 2) for p, q in zip(ema.module.parameters(), before, strict=True))


# --- wrapped ------------------------------------------------------------------------------------------------------------


class Distributed:
    """One process of `DistributedDataParallel`, torn down afterwards."""

    def __init__(self, folder) -> None:
        self.folder = folder

    def __enter__(self) -> Callable[[Tokenizer], nn.Module]:
        store = torch.distributed.FileStore(str(self.folder / "store"), 1)
        torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
        return nn.parallel.DistributedDataParallel

    def __exit__(self, *error) -> None:
        torch.distributed.destroy_process_group()


WRAPPERS: dict[str, Callable[[Tokenizer], nn.Module]] = {
    "torch.compile": lambda t: torch.compile(t, **QUICKLY),
    "DataParallel": nn.DataParallel,
    "both": lambda t: torch.compile(nn.DataParallel(torch.compile(t, **QUICKLY)), **QUICKLY),
    "AveragedModel": AveragedModel,
}


def check_saved(wrapped: nn.Module, tokenizer: Tokenizer, folder) -> None:
    tokenzoo.save_pretrained(wrapped, folder)
    x = batch(tokenizer, 2)
    assert torch.equal(load_folder(folder).encode(x).ids, tokenizer.encode(x).ids)


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_what_is_wrapped_is_saved_as_it_is(wrapper, tmp_path):
    tokenizer = build("convnet")
    check_saved(WRAPPERS[wrapper](tokenizer), tokenizer, tmp_path)


def test_what_several_processes_train_is_saved_as_it_is(tmp_path):
    tokenizer = build("convnet")
    with Distributed(tmp_path) as wrap:
        wrapped = wrap(tokenizer)
        assert unwrap(wrapped) is tokenizer
        check_saved(wrapped, tokenizer, tmp_path / "saved")


def test_what_accelerate_prepared_is_saved_and_copied_as_it_is(tmp_path, monkeypatch):
    """It hangs a forward of another precision into the instance."""
    from accelerate import Accelerator

    tokenizer = build("convnet")
    ids = tokenizer.encode(batch(tokenizer, 2)).ids
    monkeypatch.setattr("accelerate.state.AcceleratorState._shared_state", {})  # else later tests would train in bfloat16
    prepared = Accelerator(cpu=True, mixed_precision="bf16").prepare_model(tokenizer)
    assert torch.equal(unwrap(prepared).encode(batch(tokenizer, 2)).ids, ids)
    check_saved(prepared, tokenizer, tmp_path)
    check_copy(tokenizer, unwrap(copy.deepcopy(prepared)))


def test_a_mean_of_a_wrapped_one_is_bare():
    tokenizer = build("convnet")
    wrapped = torch.compile(nn.DataParallel(tokenizer), **QUICKLY)
    ema = Ema(EmaConfig(decay=0.5), wrapped)
    assert type(ema.module) is type(tokenizer)
    before = [p.clone() for p in ema.module.parameters()]
    with torch.no_grad():
        for p in tokenizer.parameters():
            p.add_(1)
    ema.update(wrapped, 100)
    assert all(torch.allclose(p, q + 0.5) for p, q in zip(ema.module.parameters(), before, strict=True))


def test_measuring_takes_a_wrapped_one(tmp_path):
    tokenizer = build("convnet")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 24, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    assert evaluate(nn.DataParallel(tokenizer), tmp_path).metrics == evaluate(tokenizer, tmp_path).metrics


class FullyShardedDataParallel(nn.Module):
    """Looks like PyTorch's: the weights are one flat row."""

    def __init__(self, module: Tokenizer) -> None:
        super().__init__()
        self._fsdp_wrapped_module = module
        module._flat_param = nn.Parameter(torch.zeros(10))


@pytest.mark.parametrize(
    ("wrap", "match"),
    [
        (lambda t: nn.Sequential(t), "got Sequential; allowed is a tokenizer"),
        (lambda t: nn.DataParallel(nn.Sequential(t)), "got Sequential"),
        (lambda t: t.encoder, "allowed is a tokenizer"),
        (lambda t: "photo-f16-rvq7", "got str"),
        (FullyShardedDataParallel, "spread over processes"),
    ],
)
def test_what_holds_no_tokenizer_is_refused_before_anything_is_written(wrap, match, tmp_path):
    with pytest.raises(ValueError, match=match):
        tokenzoo.save_pretrained(wrap(build("convnet")), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_bare_leaves_other_modules_alone():
    inner = nn.Sequential(nn.Linear(2, 2))
    assert bare(inner) is inner
    assert bare(nn.DataParallel(inner)) is inner
