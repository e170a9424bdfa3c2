"""What a mechanism of audio training is for, shown by its effect on real speech.

    pytest tests/train/test_audio_mechanisms.py
"""

from importlib.resources import files

import pytest
from tokenzoo.train.files import parse_run
from tokenzoo.train.loop import Trainer
from tokenzoo.train.losses.base import LossInputs
from train_media import RATE, audio_run

SPEECH = files("tokenzoo.zoo.demo") / "media" / "speech.flac"
BOOKS = 4
#: DAC's lookup, whose levels have no order but the one that dropout gives them.
QUANTIZER = {
    **{"kind": "residual_vq", "num_codebooks": BOOKS, "codebook_size": 16, "codebook_dim": 4, "normalize": True},
    **{"update": "gradient", "replace_below": 0.0, "kmeans_init": False},
}


def trained(folder, name, dropout, steps, **more):
    """A tiny codec trained on five seconds of speech, and its loss."""
    run = audio_run(folder, folder / name, steps=steps, batch_size=8, seed=3, **more)
    run["model"]["config"] |= {"width": 32, "latent_dim": 16, "quantizer": QUANTIZER | {"dropout": dropout}}
    run["losses"] = {"mel": {"windows": [128, 512], "bands": [16, 40]}, "quantizer": {}}
    run["optimizer"] = {"lr": 1e-3, "betas": [0.8, 0.99], "schedule": {"kind": "constant", "warmup_steps": 50}}
    run["every"] = {"log": steps, "checkpoint": steps, "preview": 0, "validate": 0}
    trainer = Trainer(parse_run(run))
    trainer.run()
    return trainer.tokenizer.eval(), trainer.losses["mel"]


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    folder = tmp_path_factory.mktemp("speech")
    (folder / "speech.flac").write_bytes(SPEECH.read_bytes())
    return folder


def test_dropout_of_quantizers_makes_prefixes_decode_better(speech):
    """Zeghidour et al. 2021 (SoundStream, arXiv 2107.03312), section III-C; Kumar et al. 2023 (DAC), section 3.2."""
    trained(speech, "start", 0.0, 500)
    errors = {}
    for dropout in (0.0, 0.5):
        tokenizer, mel = trained(speech, f"with {dropout}", dropout, 250, init=str(speech / "start"))
        x = tokenizer.prepare(speech / "speech.flac").x[None]
        tokens = tokenizer.encode((x[0], RATE))
        decoded = [tokenizer.decode(tokens.first(codebooks=k)) for k in (1, BOOKS)]
        errors[dropout] = [float(mel(LossInputs(x=x, x_hat=y, out=None))) for y in decoded]
    (first_without, all_without), (first, every) = errors[0.0], errors[0.5]
    assert all_without < 1.1 and every < 1.1, "both have learnt"
    assert first < 0.8 * first_without, errors
    assert first < 1.2 * every, errors
