"""Every training mechanism as a change of a run file, and which bundled `*-debug` runs it applies to.

A mechanism is a function of `Facts` that returns the sections to merge into the run, or None where the run's family does not claim it:
for want of a reconstruction, of a setting of its config or quantizer, or of blocks. What a family claims is read from its spec, its
config and its classes.
"""

import copy
import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenzoo.codecs.recomputable import Recomputable
from tokenzoo.codecs.spec import AudioSpec, ImageSpec
from tokenzoo.train.config import RunConfig
from tokenzoo.train.data.audio import AudioDataConfig
from tokenzoo.train.data.clips import ClipDataConfig
from tokenzoo.train.data.images import ImageDataConfig
from tokenzoo.train.data.media import noise
from tokenzoo.train.files import parse_run
from tokenzoo.train.state import TrainState

Change = dict[str, Any]


@dataclass(frozen=True)
class Facts:
    """What a family claims.

    Attributes:
        run: the debug run.
        state: of it.
        vgg: a file of VGG weights, for `perceptual`.
        start: output folder of a finished plain run of it, to start from.
    """

    run: RunConfig
    state: TrainState
    vgg: Path
    start: Path

    @property
    def pictures(self) -> bool:
        """Whether reconstructions are colour pictures that losses compare."""
        spec = self.state.tokenizer.spec
        return isinstance(spec, ImageSpec) and spec.channels == 3 and isinstance(self.run.data, ImageDataConfig) and self._compared

    @property
    def clips(self) -> bool:
        """Whether media are clips of pictures; `pictures` holds of them too."""
        return isinstance(self.run.data, ClipDataConfig)

    @property
    def sounds(self) -> bool:
        """Whether reconstructions are sound that losses compare."""
        return isinstance(self.state.tokenizer.spec, AudioSpec) and self._compared

    @property
    def _compared(self) -> bool:
        return any(loss.on_output for loss in self.state.objective.by_name.values())


def merged(run: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """`run` with the sections of `change` merged into it, level by level; a part of another `kind` replaces its section."""
    out = copy.deepcopy(dict(run))
    for key, value in change.items():
        old = out.get(key)
        same = isinstance(value, Mapping) and isinstance(old, Mapping) and value.get("kind", old.get("kind")) == old.get("kind")
        out[key] = merged(old, value) if same else copy.deepcopy(value)
    return out


# --- losses ------------------------------------------------------------------------------------------------------------


def as_shipped(f: Facts) -> Change:
    """The run's own losses, teachers and quantizer."""
    return {}


def losses(f: Facts) -> Change | None:
    """Every loss on reconstructions of this modality."""
    if f.pictures:
        return {"losses": {
            "l1": {"kind": "pixel", "distance": "l1", "weight": 0.1},
            "perceptual": {"weights": str(f.vgg), "blocks": 2, "weight": 0.01},
            "vision_distance": {"model": "test_vit", "image_size": 0, "pretrained": False, "weight": 0.01},
        }}  # fmt: skip
    if f.sounds:
        return {"losses": {
            "l1": {"kind": "waveform", "weight": 0.1},
            "more_mel": {"kind": "mel", "windows": [128, 512], "bands": [16, 40], "weight": 0.1},
            "stft": {"windows": [512, 128], "weight": 0.1},
            "compressed_stft": {"windows": [256, 512], "weight": 0.1},
        }}  # fmt: skip
    return None


def distillation(f: Facts) -> Change | None:
    """Features of a frozen network beside the latents, through a projection of the loss's own."""
    if f.clips:  # there is no teacher of clips
        return None
    if f.pictures:  # one vector a picture for tokenizers without a grid
        form = "patches" if f.state.tokenizer.spec.stride else "pooled"
        teacher = {"kind": "vision_model", "model": "test_vit", "image_size": 32, "pretrained": False, "form": form}
    elif f.sounds:
        teacher = {"kind": "envelope", "step": 160}
    else:
        return None
    width = 1 if f.sounds else 64
    loss = {"kind": "distillation", "teacher": "extra", "feature": "z", "project": width, "along": "frames", "weight": 0.1}
    return {"teachers": {"extra": teacher}, "losses": {"extra": loss}}


def token_prior(f: Facts) -> Change | None:
    """A small causal model of the codes, whose loss reaches the encoder."""
    if not any(p.requires_grad for p in f.state.tokenizer.parameters()):
        return None
    prior = {"kind": "token_prior", "codes": "vectors", "width": 16, "layers": 1, "heads": 2, "weight": 0.01}
    return {"losses": {"prior": prior}}


# --- discriminators ----------------------------------------------------------------------------------------------------

GAN: Change = {"adversarial": {"kind": "adversarial", "weight": 0.1, "lecam_weight": 0.01}, "feature_matching": {"weight": 0.1}}
PATCHES: Change = {"extra": {"kind": "patchgan", "channels": 4, "layers": 1, "norm": "none"}}
PERIODS: Change = {"extra": {"kind": "multi_period", "periods": [2, 3], "channels": [4, 8]}}


def discriminators(f: Facts) -> Change | None:
    """One discriminator, with LeCam's term and feature matching, from the second step on."""
    if not f.pictures and not f.sounds:
        return None
    return {"losses": GAN, "discriminators": PATCHES if f.pictures else PERIODS, "adversarial_start": 1}


def several_discriminators(f: Facts) -> Change | None:
    """All kinds that need no download, one game each time another."""
    if f.pictures:
        kinds = {
            "patches": {"kind": "patchgan", "channels": 4, "layers": 1},
            "blurred": {"kind": "blurred_patchgan", "channels": 32, "layers": 1, "grid": 4},
        }
    elif f.sounds:
        kinds = {
            "periods": PERIODS["extra"],
            "scales": {"kind": "multi_scale", "halvings": 1, "channels": 16},
            "bands": {"kind": "multi_resolution_stft", "windows": [512], "channels": 4},
            "stfts": {"kind": "multi_scale_stft", "windows": [512], "channels": 4},
        }
    else:
        return None
    game = {"kind": "adversarial", "weight": 0.1, "game": "least_squares"}
    return {"losses": {"adversarial": game, "feature_matching": {"weight": 0.1}}, "discriminators": kinds}


def turns(f: Facts) -> Change | None:
    """Discriminators and tokenizer in turn."""
    change = discriminators(f)
    return change and change | {"turns": {"discriminators": 2, "both": 1, "tokenizer": 1}}


def balance_gradients(f: Facts) -> Change | None:
    """EnCodec's balancer."""
    change = discriminators(f)
    return change and change | {"balance": {"kind": "gradients", "decay": 0.9}}


def balance_adaptive(f: Facts) -> Change | None:
    """VQGAN's adaptive weight."""
    change = discriminators(f)
    return change and change | {"balance": {"kind": "adaptive"}}


# --- values, means, best -----------------------------------------------------------------------------------------------


def moving_weight(f: Facts) -> Change:
    """The weight of the first loss falls and rises again."""
    name = min(f.run.losses)
    return {"moving": {f"losses.{name}.weight": {"first": 0.5, "last": 1.0, "begin": 2, "end": 15}}}


def moving_settings(f: Facts) -> Change | None:
    """All settings of family and quantizer that their classes name in `moving`."""
    paths = {}
    for name, module in f.state.tokenizer.named_modules():
        config = getattr(module, "config", None)
        inner = {"": config} | {field: getattr(config, field, None) for field in ("perturbation", "correction")}
        for field, part in inner.items():
            for setting in getattr(type(part), "moving", ()):
                value = getattr(part, setting)
                path = ".".join(p for p in ("model", name, field, setting) if p)
                paths[path] = {"first": value, "last": type(value)(value * 0.5), "begin": 2, "end": 15}
    return {"moving": paths} if paths else None


def running_mean(f: Facts) -> Change:
    """A running mean without warm-up, beside the debug runs' own."""
    return {"ema": {"decay": 0.5, "warmup": False}}


def no_running_mean(f: Facts) -> Change:
    """No running mean."""
    return {"ema": {"decay": 0.0}}


def best(f: Facts) -> Change | None:
    """Validations, of which the best is kept."""
    return {
        "data": {"valid": f.run.data.train},
        "every": {"validate": 5, "validate_items": 2},
        "best": {"figure": "total", "patience": 50},
    }


# --- the quantizer -----------------------------------------------------------------------------------------------------


def dropout(f: Facts) -> Change | None:
    """Dropout of the quantizer's levels: a random number of them is used for each item."""
    return _quantizer_setting(f, "dropout", 0.7)


def restart(f: Facts) -> Change | None:
    """Codes that are hardly used are replaced by latents."""
    return _quantizer_setting(f, "replace_below", 0.5)


def kmeans_start(f: Facts) -> Change | None:
    """Tables start from k-means of the first latents."""
    return _quantizer_setting(f, "kmeans_init", True)


def prefix_lengths(f: Facts) -> Change | None:
    """Families that drop a random number of the last tokens in training, where their config builds with it."""
    config = f.state.tokenizer.config
    if isinstance(getattr(config, "prefix", None), bool):
        try:
            dataclasses.replace(config, prefix=True)
        except ValueError:  # a relative of such a family that reads whole sequences alone
            return None
        return {"model": {"config": {"prefix": True}}}
    if hasattr(getattr(config, "condition", None), "drop_sampling"):
        return {"model": {"config": {"condition": {"drop_sampling": "uniform"}}}}
    return None


def perturbation(f: Facts) -> Change | None:
    """Wrong codes on the way to the decoder."""
    config = f.state.tokenizer.config
    if getattr(config, "perturbation", None) is not None:
        return {"model": {"config": {"perturbation": {"rate": 0.9, "share": 1.0}}}}
    if hasattr(config, "noise_positions"):
        return {"model": {"config": {"noise_items": 0.5, "noise_positions": 0.5}}}
    return None


def _quantizer_setting(f: Facts, name: str, value: Any) -> Change | None:
    """The setting of the config's `quantizer`, where it is of a kind that has it and builds with it."""
    quantizer = getattr(f.state.tokenizer.config, "quantizer", None)
    if not dataclasses.is_dataclass(quantizer) or name not in {field.name for field in dataclasses.fields(quantizer)}:
        return None
    change = {"model": {"config": {"quantizer": {name: value}}}}
    if name == "kmeans_init" and getattr(quantizer, "update", "ema") == "gradient":
        return None
    if name == "dropout" and getattr(quantizer, "num_codebooks", 2) == 1:
        return None
    return change


# --- stages ------------------------------------------------------------------------------------------------------------


def started(f: Facts) -> Change:
    """Weights of a run before."""
    return {"init": str(f.start)}


def parts(f: Facts) -> Change | None:
    """Only the decoder of a run before, and the encoder frozen."""
    names = {name for name, _ in f.state.tokenizer.named_children()}
    if not {"encoder", "decoder"} <= names or not _trained(f, "decoder"):
        return None
    return {"init": str(f.start), "init_parts": ["decoder"], "model": {"frozen": ["encoder"]}}


def grafts(f: Facts) -> Change | None:
    """The decoder of another tokenizer."""
    names = {name for name, _ in f.state.tokenizer.named_children()}
    return {"grafts": {"decoder": f"file:{f.start}#decoder"}} if "decoder" in names else None


def frozen_decoder(f: Facts) -> Change | None:
    """Encoder and quantizer learn before a frozen decoder."""
    names = {name for name, _ in f.state.tokenizer.named_children()}
    if not {"encoder", "decoder"} <= names or not _trained(f, "encoder"):
        return None
    return {"model": {"frozen": ["decoder"]}}


def generated_ids(f: Facts) -> Change | None:
    """The decoder reads ids of a generator: here random ones, in files beside the pictures of `data.train`."""
    shape = _shape_of_ids(f)
    if shape is None:
        return None
    folder = f.start / "generated"
    folder.mkdir(parents=True, exist_ok=True)
    for i, picture in enumerate(sorted(Path(str(f.run.data.train)).glob("*.png"))):
        rng = np.random.default_rng(i)
        ids = [rng.integers(size, size=shape[1]) for size in f.state.tokenizer.spec.vocab_sizes[: shape[0]]]
        np.save(folder / f"{picture.stem}.npy", np.stack(ids))
    whole = {"scales": [1.0], "resized_crop": None, "cover": [1.0, 1.0], "place": "center", "flip": False}
    once: Change = {}
    if again := f.state.tokenizer.requantizes:
        *parts, setting = again.split(".")
        once = {setting: 0.0}
        for part in reversed(parts):
            once = {part: once}
    return {
        "init": str(f.start),
        "model": {"frozen": ["quantizer"], "ids": "generated", "config": once},
        "data": {**whole, "partners": {"generated": {"kind": "ids", "folder": str(folder)}}},
    }


@torch.no_grad()
def _shape_of_ids(f: Facts) -> tuple[int, int] | None:
    """K and L of a crop, where a decoder of pictures reads them from one call of the quantizer, and always as many."""
    tokenizer = copy.deepcopy(f.state.tokenizer).train()
    if not f.pictures or f.clips or f.run.model.features or "quantizer" not in dict(tokenizer.named_children()):
        return None
    found: list[tuple[int, int]] = []
    tokenizer.quantizer.register_forward_hook(lambda module, args, out: found.append((out.ids.shape[1], out.ids.shape[2])))
    for _ in range(4):
        tokenizer(noise(tokenizer.spec, 2, f.run.data.media(tokenizer.spec).shape))
    return found[0] if len(found) == 4 and len(set(found)) == 1 else None


def _trained(f: Facts, part: str) -> bool:
    return any(p.requires_grad for p in f.state.tokenizer.get_submodule(part).parameters())


# --- data, memory ------------------------------------------------------------------------------------------------------


def sizes(f: Facts) -> Change | None:
    """One of two sizes for each batch."""
    data, spec = f.run.data, f.state.tokenizer.spec
    if isinstance(data, AudioDataConfig) and isinstance(data.crop_seconds, float):
        return {"data": {"crop_seconds": [data.crop_seconds / 2, data.crop_seconds]}}
    if isinstance(data, ImageDataConfig) and isinstance(data.crop, int) and isinstance(spec, ImageSpec) and spec.image_size is None:
        return {"data": {"crop": [data.crop, data.crop + 16]}}
    return None


def aspects(f: Facts) -> Change | None:
    """Upright, square and broad batches."""
    if f.clips or "crop" not in (sizes(f) or {}).get("data", {}):
        return None
    return {"data": {"crop": {"area": 1500, "aspects": [0.5, 1.0, 2.0], "multiple": 8}, "cover": [1.0, 1.0]}}


def accumulation(f: Facts) -> Change:
    """A batch in two parts."""
    return {"accumulation": 2}


def recompute(f: Facts) -> Change | None:
    """Blocks computed again in the backward pass."""
    marked = any(isinstance(module, Recomputable) for module in f.state.tokenizer.modules())
    return {"recompute_blocks": True} if marked else None


def weight_norm(f: Facts) -> Change | None:
    """Weight norm while training."""
    names = {name for name, _ in f.state.tokenizer.named_children()}
    return {"model": {"weight_norm": ["decoder"]}} if f.sounds and "decoder" in names else None


def half_precision(f: Facts) -> Change:
    """Networks in bfloat16."""
    return {"precision": "bfloat16"}


MECHANISMS: dict[str, Callable[[Facts], Change | None]] = {
    m.__name__: m
    for m in (
        as_shipped, losses, distillation, token_prior, discriminators, several_discriminators, turns, balance_gradients,
        balance_adaptive, moving_weight, moving_settings, running_mean, no_running_mean, best, dropout, restart, kmeans_start,
        prefix_lengths, perturbation, started, parts, grafts, frozen_decoder, generated_ids, sizes, aspects, accumulation, recompute,
        weight_norm, half_precision,
    )
}  # fmt: skip


def facts_of(run: Mapping[str, Any], vgg: Path, start: Path) -> Facts:
    """Facts of a run, as a mapping."""
    config = parse_run(dict(run))
    return Facts(config, TrainState(config), vgg, start)
