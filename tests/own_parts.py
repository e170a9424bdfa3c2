"""A user's module with parts of every kind that configs name, written into a folder that Python finds modules in."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

MODULE = '''
"""Parts that no library holds."""
from dataclasses import dataclass

import torch
from torch import nn
from tokenzoo.codecs.image.convnet import ConvTokenizer, ConvTokenizerConfig
from tokenzoo.codecs.quantizers.base import QuantizerConfig
from tokenzoo.codecs.quantizers.fsq import FSQ, FSQConfig
from tokenzoo.train.data.images import ImageDataConfig
from tokenzoo.train.discriminators.base import Discriminator, DiscriminatorConfig
from tokenzoo.train.losses.base import Judgement, Loss, LossConfig
from tokenzoo.train.teachers.base import Teacher, TeacherConfig
from tokenzoo.zoo.corpus.models.llama import LlamaModelConfig
from tokenzoo.zoo.corpus.packing.raster import RasterConfig

CALLS = []

@dataclass(frozen=True, kw_only=True)
class BrightnessConfig(LossConfig):
    power: float = 1.0
    def build(self, spec):
        return Brightness(self)

class Brightness(Loss):
    config_class = BrightnessConfig
    def __init__(self, config):
        super().__init__()
        self.power = config.power
    def forward(self, inputs):
        CALLS.append("loss")
        return (inputs.x.mean() - inputs.x_hat.mean()).abs() ** self.power

@dataclass(frozen=True, kw_only=True)
class FlippedConfig(FSQConfig):
    """FSQ of the latents upside down; `kind` is that of the parent, which it is not."""
    strength: float = 1.0
    def quantizer_class(self):
        return Flipped

class Flipped(FSQ):
    def _quantize(self, z, grid, mask):
        return super()._quantize(-z * self.config.strength, grid, mask)
    def _encode(self, z, grid, num_codebooks):
        return super()._encode(-z * self.config.strength, grid, num_codebooks)

@dataclass(frozen=True, kw_only=True)
class TallConfig(ConvTokenizerConfig):
    extra: int = 0

class Tall(ConvTokenizer):
    family = "convnet"
    config_class = TallConfig

@dataclass(frozen=True, kw_only=True)
class MeanConfig(DiscriminatorConfig):
    def build(self, spec):
        return Mean()

class Mean(Discriminator):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
    def forward(self, x):
        return [Judgement(x.mean((1, 2, 3)) * self.scale, (x * self.scale,))]

@dataclass(frozen=True, kw_only=True)
class MiddleConfig(TeacherConfig):
    def build(self, spec):
        return Middle()

class Middle(Teacher):
    def targets(self, x):
        return x.flatten(2)[..., :4]

@dataclass(frozen=True, kw_only=True)
class SameImagesConfig(ImageDataConfig):
    pass

@dataclass(frozen=True, kw_only=True)
class RowsConfig(RasterConfig):
    pass

@dataclass(frozen=True, kw_only=True)
class OwnLlamaConfig(LlamaModelConfig):
    pass

class Undecorated(LossConfig):
    power: float = 1.0

class Homeless(Loss):
    pass

def function():
    pass

def inside():
    @dataclass(frozen=True, kw_only=True)
    class LocalConfig(LossConfig):
        pass
    return LocalConfig
'''


@pytest.fixture
def house_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Folder that holds `house_parts.py` and is searched for modules; no table knows of it before or after."""
    from tokenzoo.codecs import kinds

    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "house_parts.py").write_text(MODULE)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "house_parts", raising=False)
    for table in kinds._TABLES:
        monkeypatch.setattr(table, "_own", {})
    yield folder
    sys.modules.pop("house_parts", None)
