"""Files of speech codecs: the published configs as they are, and what is written for the classes of transformers.

    pytest tests/codecs/layouts/test_speech_files.py
"""

import json
import math
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from audio_cases import shake
from authors_files import write_as
from layout_options import all_sweeps, merged
from peers import Peer
from published_files import PUBLISHED
from tokenzoo.codecs.families import build_tokenizer
from tokenzoo.zoo.convert import convert, converter

SWEEPS = all_sweeps()
CONFIGS = [
    ("mimi-hf", "mimi/config.json"),
    ("mimi-hf", "mimi/nested-codec_config-csm.partial.json"),
    ("qwen3-tts-tokenizer-12hz", "qwen3-tts-12hz/config.partial.json"),
    ("moss-audio-tokenizer", "moss-audio-tokenizer/config.json"),
    ("xcodec", "xcodec-hubert-general/config_hubert_general.partial.yaml"),
    ("xcodec", "xcodec-hubert-general-balanced/config_hubert_general.partial.yaml"),
    ("xcodec-hf", "xcodec-hubert-librispeech-hf/yue-twin__config.partial.json"),
    ("xcodec2", "xcodec2-original/config.json"),
    ("dualcodec", "dualcodec-12hz/dualcodec_12hz_16384_4096_8vq.yaml"),
    ("dualcodec", "dualcodec-25hz/dualcodec_25hz_16384_1024_12vq.yaml"),
    ("focalcodec", "focalcodec-50hz/config.json"),
    ("focalcodec", "focalcodec-25hz/config.json"),
    ("focalcodec", "focalcodec-12.5hz/config.json"),
]
#: Layouts that are written -> the class of transformers.
WRITTEN = {"mimi-hf": "MimiModel", "xcodec-hf": "XcodecModel", "xcodec2-hf": "Xcodec2Model", "neucodec-hf": "NeuCodecModel"}


def published(name: str) -> dict[str, Any]:
    text = (PUBLISHED / name).read_text()
    return json.loads(text) if name.endswith(".json") else yaml.safe_load(text)


@pytest.mark.parametrize(("system", "name"), CONFIGS)
def test_published_config_is_taken_as_it_is(system: str, name: str) -> None:
    layout = converter(system)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        own = layout.own_config(published(name))
    assert own.sample_rate_hz >= 16000


def test_published_configs_say_these_networks() -> None:
    names = ("config.json", "nested-codec_config-csm.partial.json")
    flat, nested = (converter("mimi-hf").own_config(published(f"mimi/{name}")) for name in names)
    assert nested == flat
    for name, joined in (("50hz", 1), ("25hz", 2), ("12.5hz", 4)):
        own = converter("focalcodec").own_config(published(f"focalcodec-{name}/config.json"))
        assert own.hop_samples == 320 * joined and own.refine_frames == 0
    run = converter("xcodec").own_config(published("xcodec-hubert-general/config_hubert_general.partial.yaml"))
    assert math.prod(run.strides) == 320 and run.quantizer.num_codebooks == 8


@pytest.mark.parametrize("system", WRITTEN)
@torch.no_grad()
def test_transformers_reads_what_is_written(system: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="its classes read the files")
    sweep, layout = SWEEPS[system], converter(system)
    own = layout.own_config(merged(sweep.tiny, next(iter(sweep.options.values()))))
    tok = shake(build_tokenizer(layout.family, own))
    if sweep.enliven:
        sweep.enliven(tok)
    write_as(tok.eval(), system, tmp_path / "folder")
    loaded, report = getattr(transformers, WRITTEN[system]).from_pretrained(tmp_path / "folder", output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
    x = 0.3 * torch.randn(2, *(sweep.shape or (1, 5 * tok.spec.hop_samples + 3)), generator=torch.Generator().manual_seed(1))
    peer = sweep.peer(sweep.tiny)
    ids = Peer(loaded, peer._ids).ids(x)
    assert torch.equal(tok.encode(x).ids, ids) and len(ids.unique()) > 2


def test_xcodec2_of_a_training_run_and_of_the_hub_are_the_same() -> None:
    """Lightning's file holds losses, a speaker model and discriminators in the other spelling of weight norm."""
    sweep, layout = SWEEPS["xcodec2"], converter("xcodec2")
    own = layout.own_config(sweep.tiny)
    tok = sweep.enliven(shake(build_tokenizer("xcodec2", own))) or build_tokenizer("xcodec2", own)
    state = layout.write(tok.state_dict(), own)
    training = {
        "discriminator.discriminators.0.conv.weight_g": torch.ones(2, 1, 1),
        "spec_discriminator.discriminators.0.conv.weight_v": torch.ones(2, 2, 3),
        "model_spk.layers.0.weight": torch.ones(2, 2),
        "criteria.mel.fb": torch.ones(2, 2),
        "SemanticDecoder_module.initial_conv.weight": torch.ones(2, 2, 3),
        "fc_post_s.bias": torch.ones(2),
    }
    run = {"state_dict": state | training, "epoch": 3, "hyper_parameters": {"cfg": object()}, "optimizer_states": []}
    files = {"hub": sweep.published(dict(state)), "run": run}
    read = {name: convert("xcodec2", sweep.tiny, file).state_dict() for name, file in files.items()}
    for key, value in tok.state_dict().items():
        if not key.endswith((".counts", ".ready", ".steps")):
            torch.testing.assert_close(read["hub"][key], value, atol=1e-6, rtol=1e-5, msg=key)
            assert torch.equal(read["run"][key], read["hub"][key]), key
