"""Facts of tokens that follow from the quantizer."""

import pytest
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.quantizers import build
from tokenzoo.codecs.spec import AudioSpec, ImageSpec, LatentSpec

RVQ = {"dim": 4, "codebook_size": 8}


@pytest.mark.parametrize(
    "count, prefix", [(3, ("codebooks",)), (1, ())], ids=["several codebooks may be cut", "of one there is nothing to cut"]
)
def test_vocabularies_and_prefix(count, prefix):
    q = build("residual_vq", num_codebooks=count, **RVQ)
    for spec in (
        AudioSpec.of(q, sample_rate_hz=8000, hop_samples=80),
        ImageSpec.of(q, stride=8),
        LatentSpec.of(q, channels=4),
    ):
        assert spec.vocab_sizes == (8,) * count and spec.prefix == prefix
    assert ImageSpec.of(q, stride=8, prefix=("positions",)).prefix == ("positions",)


def test_levels_at_lower_rates():
    q = build("residual_vq", num_codebooks=3, strides=[4, 2, 1], **RVQ)
    spec = AudioSpec.of(q, sample_rate_hz=8000, hop_samples=80)
    assert spec.strides == (4, 2, 1) and spec.tokens_per_second == 25 + 50 + 100
    assert AudioSpec.of(build("residual_vq", **RVQ), sample_rate_hz=8000, hop_samples=80).strides == ()
    split = build("residual_vq", num_codebooks=3, strides=[4, 2, 1], split_first=1, **RVQ)
    assert AudioSpec.of(split, sample_rate_hz=8000, hop_samples=80).strides == (4, 2, 1)


@pytest.mark.parametrize("kind, settings", [("multiscale_vq", {"dim": 4, "codebook_size": 8}), ("multiscale_bsq", {"bits": 4})])
def test_scales(kind, settings):
    q = build(kind, scales=[[1, 1], [2, 2], [3, 3]], **settings)
    spec = ImageSpec.of(q, stride=8, image_size=(24, 24), scales=q.scale_grids)
    assert spec.scales == ((1, 1), (2, 2), (3, 3)) and spec.positions() == 14
    assert ImageSpec.of(q, stride=8).scales == () == build("residual_vq", **RVQ).scale_grids


def test_what_else_is_passed_on():
    q = build("fsq", levels=[5, 5])
    audio = AudioSpec.of(
        q, sample_rate_hz=8000, hop_samples=80, channels=2, output_rate_hz=16000, causal=True, latency_samples=79, names=("a",),
        semantic_dim=7,
    )  # fmt: skip
    assert (audio.channels, audio.decoded_rate_hz, audio.streamable, audio.latency_samples) == (2, 16000, True, 79)
    assert audio.names == ("a",) and audio.semantic_dim == 7 and audio.prefix == ()
    image = ImageSpec.of(q, stride=0, image_size=(16, 16), num_positions=9, value_range=(0.0, 1.0), resize="crop", decodes=False)
    assert (image.positions(), image.value_range, image.resize, image.decodes) == (9, (0.0, 1.0), "crop", False)
    for wrong in ((0.0, 0.0), (1.0, -1.0), (0.0, float("inf")), (float("nan"), 1.0)):
        with pytest.raises(ConfigError, match="value_range is .* the lower one first"):
            ImageSpec.of(q, stride=2, value_range=wrong)
    with pytest.raises(TypeError, match="vocab_sizes"):
        LatentSpec.of(q, channels=4, vocab_sizes=(3,))
