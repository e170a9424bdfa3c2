"""Tokenizers that learn to predict another tokenizer's codes: TiTok's two stages, ALIT's roll-outs, KARL's two passes.

    pytest -m "slow or not slow" tests/train/test_distilled_codes.py
"""

import pytest
import torch
from small_runs import error, held_out, start, trained, write_photo
from tokenzoo.codecs.families import build_tokenizer
from tokenzoo.codecs.serialize import load_folder, save_folder
from tokenzoo.train.files import parse_run
from tokenzoo.train.loop import Trainer
from torch.nn import functional as F

SIDE, VOCABULARY = 16, 64
STACK = {"widths": [16, 16, 32], "blocks": 1, "groups": 8}
VQGAN = {
    "encoder": STACK | {"stem_width": 16},
    "decoder": STACK,
    "z_channels": 8,
    "embed_dim": 0,
    "value_range": [0.0, 1.0],
    "quantizer": {"kind": "vq", "codebook_size": VOCABULARY, "update": "ema", "decay": 0.9, "kmeans_init": True},
}
SIZE = {"width": 64, "layers": 1, "heads": 2}
CODES = {"kind": "vq", "codebook_size": 64, "normalize": True, "returns": "normalized", "update": "gradient"}
TITOK = {
    "image_size": SIDE, "encoder_patch_size": 4, "decoder_patch_size": 4, "encoder": SIZE, "decoder": SIZE, "num_latents": 8,
    "latent_dim": 8, "quantizer": CODES, "output": "codes", "teacher_codes": VOCABULARY,
}  # fmt: skip
DISTILLED = {"base": VQGAN, "grid_size": 4, "patch_size": 4, "encoder": SIZE, "decoder": SIZE, "latent_dim": 8, "quantizer": CODES}
CODE_LOSS = {"kind": "own_feature", "feature": "code.*", "target": "code_target", "along": "mse"}
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return write_photo(tmp_path_factory.mktemp("photo"))


@pytest.fixture(scope="module")
def vqgan(photos, tmp_path_factory):
    """Folder of a little VQGAN that knows the photograph."""
    torch.manual_seed(0)
    tokenizer = build_tokenizer("vqgan", VQGAN)
    folder = tmp_path_factory.mktemp("vqgan")
    losses = {"pixel": {"distance": "l2", "weight": 10.0}, "quantizer": {}}
    save_folder(trained(tokenizer, photos, folder / "run", losses, steps=700), folder / "saved")
    return str(folder / "saved")


@pytest.fixture(scope="module")
def stage1(photos, vqgan, tmp_path_factory):
    """Output folder of TiTok's first stage, and its tokenizer."""
    tokenizer, folder = start("titok", TITOK), tmp_path_factory.mktemp("stage1")
    teachers = {"vqgan": {"kind": "tokenizer", "model": vqgan}}
    trained(tokenizer, photos, folder, {"codes": {"teacher": "vqgan"}, "quantizer": {}}, steps=400, teachers=teachers)
    save_folder(tokenizer, folder / "model")
    return folder, tokenizer


def test_titok_tells_the_teachers_codes_of_its_own_tokens(stage1, vqgan):
    """Better than the best guess without a picture, which knows only how frequent each code is."""
    x = held_out(96, SIDE)
    ids = codes_of(vqgan, x)
    frequency = torch.bincount(ids.flatten(), minlength=VOCABULARY).float() / ids.numel()
    best_guess = -(frequency * frequency.clamp(min=1e-9).log()).sum()
    with torch.no_grad():
        told = F.cross_entropy(stage1[1](x).features["logits"].flatten(2), ids)
    assert told < best_guess - 0.3, (float(told), float(best_guess))


def codes_of(vqgan, x):
    """The VQGAN's ids `[B, L]`."""
    return load_folder(vqgan).encode(x).ids[:, 0]


def second_stage(stage1, vqgan, model):
    """A run of TiTok's second stage, as the bundled one is."""
    parts = ["encoder", "to_latent", "quantizer", "from_latent", "decoder", "head.to_logits"]
    config = TITOK | {"teacher": {"decoder": STACK, "latent_dim": 8}}
    return {
        "model": {"family": "titok", "config": config} | model,
        "data": {"kind": "images", "train": "x"},
        "losses": {"pixel": {}},
        "init": str(stage1[0]),
        "init_parts": parts,
        "grafts": {"head.codebook": f"{vqgan}#quantizer.codebook.embed", "head.pixel_decoder": f"{vqgan}#decoder"},
        "device": "cpu",
        "output": str(stage1[0] / "unused"),
    }


def test_titoks_second_stage_betters_pixels_and_leaves_ids_alone(stage1, vqgan, photos, tmp_path):
    x = held_out(96, SIDE)
    ids, results = stage1[1].encode(x).ids, {}
    for frozen in (["encoder", "to_latent", "quantizer"], []):
        tokenizer = Trainer(parse_run(second_stage(stage1, vqgan, {"frozen": frozen}))).state.tokenizer.eval()
        assert torch.equal(tokenizer.encode(x).ids, ids)
        before = error(tokenizer.decode(tokenizer.encode(x)), x)
        trained(tokenizer, photos, tmp_path / str(len(frozen)), {"pixel": {"distance": "l2"}}, steps=100)
        same = float((tokenizer.encode(x).ids == ids).float().mean())
        results[bool(frozen)] = (same, error(tokenizer.decode(tokenizer.encode(x)), x) / before)
    assert results[True][0] == 1.0 and results[True][1] < 0.97, results
    assert results[False][0] < 1.0, results  # else the freezing made no difference


def alit(vqgan, photos, output, feature):
    """Trained on the codes that the roll-outs named by `feature` predict."""
    config = DISTILLED | {"tokens_per_rollout": 2, "rollouts": 3, "max_tokens": 6, "halting": False}
    tokenizer = grafted("alit", config, vqgan)
    losses = {"codes": {"feature": feature}, "code": CODE_LOSS | {"feature": feature.replace("logits", "code")}, "quantizer": {}}
    return trained(tokenizer, photos, output, losses, steps=300)


def grafted(family, config, vqgan):
    """A tokenizer that can learn quickly, over the trained VQGAN."""
    tokenizer = start(family, config)
    tokenizer.base.vqgan.load_state_dict(load_folder(vqgan).state_dict())
    return tokenizer


def test_every_roll_out_of_alit_is_worth_decoding_when_all_are_trained(vqgan, photos, tmp_path):
    """Against training the last alone, which leaves the first behind, and the first alone, which leaves the later ones behind."""
    x = held_out(96, SIDE)
    ids, told = codes_of(vqgan, x), {}
    for feature in ("logits.*", "logits.2", "logits.0"):
        tokenizer = alit(vqgan, photos, tmp_path / feature, feature)
        with torch.no_grad():
            told[feature] = [float(F.cross_entropy(r.logits.transpose(1, 2), ids)) for r in tokenizer.roll(x)]
    all_trained, last_trained, first_trained = told.values()
    assert all_trained[0] < last_trained[0] - 0.25, told
    assert all_trained[1] < first_trained[1] - 0.25 and all_trained[2] < first_trained[2] - 0.25, told


def test_karl_keeps_the_tokens_that_picture_and_wanted_error_need(vqgan, photos, tmp_path):
    config = DISTILLED | {"position_size": 4, "max_tokens": 24, "default_tokens": 16, "train_budgets": [2, 4, 8, 12, 16]}
    x, kept = held_out(96, SIDE), {}
    spread = x.std(dim=(1, 2, 3))
    pictures = {"plain": x[spread < spread.median()], "busy": x[spread >= spread.median()]}
    for weight in (1.0, 0.0):
        losses = {"codes": {"feature": "logits.*"}, "code": CODE_LOSS, "quantizer": {}, "halting": {"weight": weight}}
        steps = 900 if weight else 20  # without the loss nothing else reaches the halting layers, however long
        tokenizer = trained(grafted("karl", config, vqgan), photos, tmp_path / str(weight), losses, steps=steps)
        for name, some in pictures.items():
            for quality in (0.02, 0.2):
                with torch.no_grad():
                    halting = tokenizer.encode_with_halting(some, token_budget=16, quality=quality)[1]
                kept[weight, name, quality] = float((1 - halting.sigmoid()).sum(1).mean())  # tokens that it expects to keep
    for name in pictures:
        assert kept[1.0, name, 0.02] > kept[1.0, name, 0.2] + 2, kept  # a smaller error costs tokens
        assert abs(kept[0.0, name, 0.02] - kept[0.0, name, 0.2]) < 1, kept
    assert kept[1.0, "busy", 0.02] > kept[1.0, "plain", 0.02] + 0.4, kept  # and more of them where there is more to see
    assert kept[0.0, "busy", 0.02] < kept[0.0, "plain", 0.02] + 0.4, kept
