"""Features of frozen speech models. Run: pytest tests/codecs/layers/test_speech_features.py"""

import copy
import pickle

import numpy as np
import pytest
import torch
from tiny_parts import SMALL_HUBERT, SMALL_W2V_BERT
from tokenzoo.codecs.layers.speech_features import FrozenModel, conv_frames, stacked_fbanks

transformers = pytest.importorskip("transformers", reason="transformers (extra `transformers`) is not installed")


def clip(samples: int) -> torch.Tensor:
    return 0.3 * torch.randn(samples, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("samples", [16000, 4567])
def test_filter_banks_are_those_of_w2v_bert(samples):
    extractor = transformers.SeamlessM4TFeatureExtractor(feature_size=80, num_mel_bins=80, stride=2)
    expected = extractor(clip(samples).numpy(), sampling_rate=16000, return_tensors="np", pad_to_multiple_of=2)
    frames = stacked_fbanks(clip(samples)).numpy()
    whole = (samples - 400) // 160 // 2  # where its last pair is half filled, the filling differs
    np.testing.assert_allclose(frames[:whole], expected["input_features"][0][:whole], atol=2e-3)


def test_filter_banks_do_not_depend_on_types_around_them():
    x = clip(4000)
    expected = stacked_fbanks(x)
    with torch.autocast("cpu", torch.float16):
        assert torch.equal(stacked_fbanks(x), expected)
    torch.set_default_dtype(torch.bfloat16)
    try:
        assert torch.equal(stacked_fbanks(x), expected)
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("samples", [399, 400, 1000, 4321])
def test_frames_are_counted_as_the_convolutions_give_them(samples):
    config = SMALL_HUBERT | {"conv_kernel": [10, 3, 3, 3, 3, 2, 2], "conv_stride": [5, 2, 2, 2, 2, 2, 2]}
    if conv_frames(samples, config) == 0:
        assert samples < 400
        return
    model = FrozenModel(config)
    assert model(clip(samples)[None]).shape[2] == conv_frames(samples, config)


@pytest.mark.parametrize("config", [SMALL_HUBERT, SMALL_W2V_BERT], ids=["hubert", "w2v-bert"])
def test_it_stays_frozen_in_eval_mode_and_can_be_copied(config):
    model = FrozenModel(config).train()
    x = clip(2000)[None] if config is SMALL_HUBERT else torch.randn(1, 20, 160)
    assert not model.training and not model.model.training
    assert not any(p.requires_grad for p in model.parameters())
    states = model.layer(x, 1)
    for made in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(made.layer(x, 1), states)
        assert not any(p.requires_grad for p in made.parameters()) and not made.training
        assert not {p.data_ptr() for p in made.parameters()} & {p.data_ptr() for p in model.parameters()}


def test_the_mean_of_layers_begins_with_what_goes_into_the_first():
    model, x = FrozenModel(SMALL_HUBERT | {"num_hidden_layers": 2}), clip(2000)[None]
    torch.testing.assert_close(model.mean_of_layers(x), sum(model.layer(x, i) for i in range(3)) / 3)
    assert torch.equal(model.layer(x, -1), model(x))
