"""What a mechanism of audio training is for, shown by its effect on real speech.

    pytest tests/train/test_audio_mechanisms.py
"""

from importlib.resources import files
from statistics import median

import pytest
import soundfile
import torch
from effects import effect
from tokenzoo.codecs.media import resample
from tokenzoo.train.files import parse_run
from tokenzoo.train.loop import Trainer
from tokenzoo.train.losses.base import LossInputs
from train_media import RATE, audio_run

SPEECH = files("tokenzoo.zoo.demo") / "media" / "speech.flac"
BOOKS, STEPS, SEEDS = 4, 120, (3, 4, 5)
#: DAC's lookup. Tables that start from the first batch, and codes that come back when nobody chooses them, do not collapse,
#: whatever the rounding of the processor makes of the first steps.
QUANTIZER = {
    **{"kind": "residual_vq", "num_codebooks": BOOKS, "codebook_size": 16, "codebook_dim": 4, "normalize": True},
    **{"update": "gradient", "replace_below": 0.1, "kmeans_init": True},
}


def trained(folder, name, dropout, seed):
    """A tiny codec trained on five seconds of speech, and its loss."""
    run = audio_run(folder, folder / name, steps=STEPS, batch_size=8, seed=seed)
    run["model"]["config"] |= {"latent_dim": 16, "quantizer": QUANTIZER | {"dropout": dropout}}
    run["losses"] = {"mel": {"windows": [128, 512], "bands": [16, 40]}, "quantizer": {}}
    run["optimizer"] = {"lr": 3e-3, "betas": [0.8, 0.99], "schedule": {"kind": "constant", "warmup_steps": 20}}
    run["every"] = {"log": STEPS, "checkpoint": STEPS, "preview": 0, "validate": 0}
    trainer = Trainer(parse_run(run))
    trainer.run()
    return trainer.state.tokenizer.eval(), trainer.state.losses["mel"]


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    folder = tmp_path_factory.mktemp("speech")
    waveform, rate = soundfile.read(str(SPEECH), dtype="float32")
    soundfile.write(folder / "speech.wav", resample(torch.from_numpy(waveform)[None], rate, RATE)[0].numpy(), RATE)
    return folder


@pytest.mark.slow
@pytest.mark.effect
def test_dropout_of_quantizers_makes_prefixes_decode_better(speech):
    """Zeghidour et al. 2021 (SoundStream, arXiv 2107.03312), section III-C; Kumar et al. 2023 (DAC), section 3.2."""
    errors = {0.0: [], 0.5: []}  # of the first codebook and of all, for each seed
    for seed in SEEDS:
        for dropout, found in errors.items():
            tokenizer, mel = trained(speech, f"{seed} with {dropout}", dropout, seed)
            x = tokenizer.prepare(speech / "speech.wav")[0].x[None]
            tokens = tokenizer.encode((x[0], RATE))
            decoded = [tokenizer.decode(tokens.first(codebooks=k)) for k in (1, BOOKS)]
            found.append([float(mel(LossInputs(x=x, x_hat=y, out=None))) for y in decoded])
    without, dropped = errors[0.0], errors[0.5]
    for i, figure in enumerate(("mel distance of the first of 4 codebooks", "mel distance of all 4 codebooks")):
        both = {"with_": median(e[i] for e in dropped), "without": median(e[i] for e in without)}
        effect("dropout of codebooks (SoundStream, DAC)", figure, **both)
    assert max(every for _, every in without + dropped) < 1.4, f"not all have learnt: {errors}"  # untrained: 2.7
    assert median(a[0] / b[0] for a, b in zip(dropped, without, strict=True)) < 0.85, errors
    assert median(first / every for first, every in without) > 1.2, errors
    assert median(first / every for first, every in dropped) < 1.15, errors
