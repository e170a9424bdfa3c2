"""Training steps over sound: DAC at 44.1 kHz and EnCodec at 24 kHz; see `training.py`.

Both authors' loops update the discriminators before they compute the tokenizer's adversarial loss, ours takes both gradients at the
same weights. So the discriminators' rate is 0 here on both sides: the same work, and losses that can be compared.
Letters: B batch, T samples.
"""

import copy
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from tokenzoo.train import TrainState, load_run
from tokenzoo.zoo.convert import convert
from torch import Tensor, nn
from training_case import Sides, sound

COMMON = ["discriminator_optimizer.lr=0", "adversarial_start=0"]


# --- DAC ----------------------------------------------------------------------------------------------------------------


def dac(tiny: bool) -> Sides:
    """descript-audio-codec at 44.1 kHz, as its `scripts/train.py` trains it with `conf/final/44khz.yml`.

    Their spectral discriminators get centred frames, as ours have.
    """
    import dac as package
    from audiotools import AudioSignal, STFTParams
    from dac.nn import loss as losses

    torch.manual_seed(0)
    rates, wide = [2, 4, 8, 8], {"encoder_dim": 8, "decoder_dim": 96} if tiny else {"encoder_dim": 64, "decoder_dim": 1536}
    config = {"encoder_rates": rates, "decoder_rates": rates[::-1], "n_codebooks": 9, "sample_rate": 44100, **wide}
    config["quantizer_dropout"] = 0.0
    model = package.DAC(**config).train()
    judges = package.model.Discriminator().train()
    for judge in judges.discriminators[5:]:
        judge.stft_params = STFTParams(judge.window_length, judge.window_length // 4, match_stride=False)
    mel = losses.MelSpectrogramLoss(
        n_mels=[5, 10, 20, 40, 80, 160, 320],
        window_lengths=[32, 64, 128, 256, 512, 1024, 2048],
        mel_fmin=[0] * 7,
        mel_fmax=[None] * 7,
        pow=1.0,
        mag_weight=0.0,
    )
    game = losses.GANLoss(judges)
    moving = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.8, 0.99))
    judging = torch.optim.AdamW(judges.parameters(), lr=0.0, betas=(0.8, 0.99))

    def step(x: Tensor) -> dict[str, Tensor]:
        signal = AudioSignal(x.clone(), 44100)
        out = model(signal.audio_data, 44100)
        recons = AudioSignal(out["audio"], 44100)
        judged = game.discriminator_loss(recons, signal)
        judging.zero_grad()
        judged.backward()
        norm = nn.utils.clip_grad_norm_(judges.parameters(), 10.0)
        judging.step()
        terms = {"mel": mel(recons, signal)}
        terms["adversarial"], terms["feature_matching"] = game.generator_loss(recons, signal)
        terms["quantizer"] = 0.25 * out["vq/commitment_loss"] + out["vq/codebook_loss"]
        total = 15 * terms["mel"] + terms["adversarial"] + 2 * terms["feature_matching"] + terms["quantizer"]
        moving.zero_grad()
        total.backward()
        own = nn.utils.clip_grad_norm_(model.parameters(), 1e3)
        moving.step()
        return named(terms, total, judged) | {"grad_norm": own, "discriminator/grad_norm": norm}

    def ours() -> TrainState:
        run = load_run("audio/dac-44khz", [*COMMON, "model={family: from_init, weight_norm: [encoder, decoder, quantizer]}"])
        state = TrainState(run, tokenizer=convert("dac", config, model.state_dict()))
        fill(state, ("periods", "spectra"), judges)
        return state

    # no multiple of a period: theirs then adds a whole row to be judged
    return Sides(step, ours, sound(2, 8389 if tiny else 16759), {"model": model, "judges": judges})


# --- EnCodec ------------------------------------------------------------------------------------------------------------


def encodec(folder: str, tiny: bool) -> Sides:
    """EnCodec at 24 kHz as audiocraft's `CompressionSolver.run_step` trains it, its balancer and running mean of weights included.

    Left out on both sides: the spectral loss, whose two terms ours balances apart. Their discriminators get centred frames, as
    ours have; codes are not replaced, and all 32 codebooks are used.
    """
    bare(folder, "audiocraft", "audiocraft.models", "audiocraft.losses", "audiocraft.optim")
    for name in ("xformers", "xformers.ops"):  # of their transformers, which are not used here
        sys.modules.setdefault(name, mock.MagicMock())
    from audiocraft import adversarial
    from audiocraft.losses.balancer import Balancer
    from audiocraft.models.encodec import EncodecModel
    from audiocraft.modules.seanet import SEANetDecoder, SEANetEncoder
    from audiocraft.optim.ema import ModuleDictEMA
    from audiocraft.quantization import ResidualVectorQuantizer

    torch.manual_seed(0)
    books = 2 if tiny else 32
    seanet = {"channels": 1, "dimension": 128, "n_filters": 4 if tiny else 32, "n_residual_layers": 1, "ratios": [8, 5, 4, 2]}
    seanet |= {"causal": True, "norm": "weight_norm", "pad_mode": "constant", "true_skip": True, "lstm": 2}
    rvq = {"n_q": books, "bins": 1024, "decay": 0.99, "q_dropout": False}
    quantizer = ResidualVectorQuantizer(dimension=128, **rvq, kmeans_init=False, threshold_ema_dead_code=0)
    kinds = (SEANetEncoder(**seanet), SEANetDecoder(**seanet, trim_right_ratio=1.0), quantizer)
    model = EncodecModel(*kinds, frame_rate=75, sample_rate=24000, channels=1, causal=True).train()
    windows = [1024, 2048, 512, 256, 128]
    sizes = {"n_ffts": windows, "win_lengths": windows, "hop_lengths": [w // 4 for w in windows]}
    judges = adversarial.MultiScaleSTFTDiscriminator(filters=32, **sizes, activation_params={"negative_slope": 0.3}).train()
    for judge in judges.discriminators:
        judge.spec_transform.center, judge.spec_transform.pad_mode = True, "reflect"
        judge.spec_transform.normalized = "frame_length"
    judging = torch.optim.Adam(judges.parameters(), lr=0.0, betas=(0.5, 0.9))
    criteria = (
        adversarial.get_adv_criterion("hinge"),
        adversarial.get_real_criterion("hinge"),
        adversarial.get_fake_criterion("hinge"),
    )
    game = adversarial.AdversarialLoss(judges, judging, *criteria, adversarial.FeatureMatchingLoss())
    moving = torch.optim.Adam(model.parameters(), lr=3e-4, betas=(0.5, 0.9))
    balancer = Balancer({"adversarial": 4.0, "feature_matching": 4.0, "waveform": 0.1})
    mean = ModuleDictEMA(nn.ModuleDict({"model": model}), decay=0.99)

    def step(x: Tensor) -> dict[str, Tensor]:
        out = model(x)
        judged = game.train_adv(out.x, x)
        terms = dict(zip(("adversarial", "feature_matching"), game(out.x, x), strict=True))
        terms["waveform"] = nn.functional.l1_loss(out.x, x)
        out.penalty.backward(retain_graph=True)
        squares(model).sqrt()  # as they do for their logs, here and below
        balancer.backward(terms, out.x)
        own = squares(model).sqrt()
        moving.step()
        moving.zero_grad()
        mean.step()
        found = named(terms | {"quantizer": books * out.penalty}, None, judged)
        return found | {"grad_norm": own}

    def ours() -> TrainState:
        overrides = [
            *COMMON,
            "model={family: from_init, weight_norm: [encoder, decoder]}",
            "losses.mel=null",
            "losses.mel_power=null",
            f"losses.quantizer.weight={1 / books}",
        ]
        own = {"encodec": {"sample_rate": 24000, "channels": 1, "causal": True}, "seanet": copy.deepcopy(seanet), "rvq": rvq}
        tokenizer = convert("encodec-audiocraft", own, model.state_dict())
        state = TrainState(load_run("audio/encodec-24khz", overrides), tokenizer=tokenizer)
        fill(state, ("spectra",), judges)
        return state

    x = sound(2, 8000 if tiny else 24000)
    fill_tables(model, x)
    return Sides(step, ours, x, {"model": model, "judges": judges})


def bare(folder: str, *packages: str) -> None:
    """Let these packages of a checkout be found without running their `__init__`, which imports what is not needed here."""
    for name in packages:
        module = types.ModuleType(name)
        module.__path__ = [str(Path(folder, *name.split(".")))]
        sys.modules[name] = module


def squares(model: nn.Module) -> Tensor:
    """Sum of the squared gradients."""
    return torch.stack([p.grad.norm().square() for p in model.parameters() if p.grad is not None]).sum()


@torch.no_grad()
def fill_tables(model: Any, x: Tensor) -> None:
    """Codes as large as the residuals they meet; theirs start at random, so that all positions would get one code."""
    z = model.encoder(x).transpose(1, 2).flatten(0, 1)  # [N, D]
    g = torch.Generator().manual_seed(1)
    for layer in model.quantizer.vq.layers:
        book = layer._codebook
        book.embed.copy_(z.mean(0) + z.std(0) * torch.randn(book.embed.shape, generator=g))
        book.embed_avg.copy_(book.embed)
        book.cluster_size.fill_(1.0)
        z = z - book.embed[torch.cdist(z, book.embed).argmin(1)]


# --- both ---------------------------------------------------------------------------------------------------------------


def named(terms: dict[str, Tensor], total: Tensor | None, judged: Tensor) -> dict[str, Tensor]:
    """Losses by the names that `train_step` gives them."""
    out = {f"loss/{name}": value.detach() for name, value in terms.items()}
    return out | ({} if total is None else {"loss/total": total.detach()}) | {"discriminator/adversarial": judged.detach()}


@torch.no_grad()
def fill(state: TrainState, names: Sequence[str], theirs: nn.Module) -> None:
    """Give our discriminators the weights of theirs: the same convolutions with weight norm in the same order."""
    assert state.adversary is not None
    members = state.adversary.module.members
    ours = [m for name in names for m in members[name].modules() if isinstance(m, nn.Conv2d)]
    others = [m for m in theirs.modules() if isinstance(m, nn.Conv2d)]
    for own, other in zip(ours, others, strict=True):
        weights = [p for p in other.parameters() if p is not other.bias]  # gain and direction, in this order
        if len(weights) == 1:  # audiocraft's first convolutions have no norm: the same function with one
            weights.insert(0, weights[0].flatten(1).norm(dim=1).view(-1, 1, 1, 1))
        for mine, value in zip((own.bias, *own.parametrizations.weight.parameters()), (other.bias, *weights), strict=True):
            assert mine.shape == value.shape, (mine.shape, value.shape)
            mine.copy_(value)
