"""Tokenizers that learn to predict another tokenizer's codes: TiTok's two stages, ALIT's roll-outs, KARL's two passes.

    pytest -m "slow or not slow" tests/train/test_distilled_codes.py
"""

import pytest
import torch
from effects import effect
from small_runs import error, held_out, trained, write_photo
from tokenzoo.codecs.serialize import load_folder
from torch.nn import functional as F

SIDE, VOCABULARY = 16, 64
#: All are smaller than the bundled runs, so that more steps take no longer: pictures of 16 pixels, a VQGAN's grid of 4 x 4.
CROP = [f"data.crop={SIDE}", "batch_size=16"]
SHAPE = ("widths=[16,16,32]", "blocks=1", "groups=8", "middle=[residual,residual]", "attention_levels=[]")
WIDTHS = [f"{part}.{key}" for part in ("encoder", "decoder") for key in SHAPE]
VQGAN = [*WIDTHS, "encoder.stem_width=16", "z_channels=8", "embed_dim=0", "value_range=[0.0,1.0]", "quantizer.codebook_size=64"]
LAYERS = ["model.config.encoder.layers=1", "model.config.decoder.layers=1"]
TITOK_CODES = ["model.config.output=codes", f"model.config.teacher_codes={VOCABULARY}"]
TITOK = [*CROP, *LAYERS, "model.config.image_size=16", "model.config.num_latents=8", *TITOK_CODES]
DISTILLED = [*CROP, *LAYERS, *(f"model.config.base.{c}" for c in VQGAN), "model.config.grid_size=4", "model.config.patch_size=4"]
ROLLS = [f"model.config.{c}" for c in ("tokens_per_rollout=2", "rollouts=3", "max_tokens=6", "halting=false")]
SIZES = ("position_size=4", "max_tokens=24", "default_tokens=16", "train_budgets=[2,4,8,12,16]")
pytestmark = [pytest.mark.slow, pytest.mark.effect]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return write_photo(tmp_path_factory.mktemp("photo"))


@pytest.fixture(scope="module")
def vqgan(photos, tmp_path_factory):
    """Folder of a little VQGAN that knows the photograph."""
    folder = tmp_path_factory.mktemp("vqgan")
    trained("image/vqgan-debug", photos, folder, *CROP, *(f"model.config.{c}" for c in VQGAN), "steps=400")
    return str(folder / "model")


@pytest.fixture(scope="module")
def stage1(photos, vqgan, tmp_path_factory):
    """Output folder of TiTok's first stage, and its tokenizer."""
    folder = tmp_path_factory.mktemp("stage1")
    losses = ["losses.pixel=null", "losses.codes.teacher=vqgan", f"teachers.vqgan={{kind: tokenizer, model: {vqgan}}}"]
    return folder, trained("image/titok-debug", photos, folder, *TITOK, *losses, "steps=400")


def test_titok_tells_the_teachers_codes_of_its_own_tokens(stage1, vqgan):
    """Better than the best guess without a picture, which knows only how frequent each code is."""
    x = held_out(96, SIDE)
    ids = codes_of(vqgan, x)
    frequency = torch.bincount(ids.flatten(), minlength=VOCABULARY).float() / ids.numel()
    best_guess = -(frequency * frequency.clamp(min=1e-9).log()).sum()
    with torch.no_grad():
        told = F.cross_entropy(stage1[1](x).features["logits"].flatten(2), ids)
    figure = "nats a code of the teacher, with the tokens and without"
    effect("first stage (TiTok)", figure, with_=float(told), without=float(best_guess))
    assert told < best_guess - 0.3, (float(told), float(best_guess))


def codes_of(vqgan, x):
    """The VQGAN's ids `[B, L]`."""
    return load_folder(vqgan).encode(x).ids[:, 0]


def second_stage(stage1, vqgan, frozen):
    """Changes that make the bundled run one of TiTok's second stage."""
    parts = "[encoder, to_latent, quantizer, from_latent, decoder, head.to_logits]"
    grafts = f"{{head.codebook: '{vqgan}#quantizer.codebook.embed', head.pixel_decoder: '{vqgan}#decoder'}}"
    teacher = [f"model.config.teacher.{c}" for c in (*(w for w in WIDTHS if w.startswith("decoder")), "latent_dim=8")]
    start = [f"init={stage1[0]}", f"init_parts={parts}", f"grafts={grafts}", f"model.frozen=[{', '.join(frozen)}]"]
    return [*TITOK, *teacher, *start]


def test_titoks_second_stage_betters_pixels_and_leaves_ids_alone(stage1, vqgan, photos, tmp_path):
    x = held_out(96, SIDE)
    ids, results = stage1[1].encode(x).ids, {}
    for frozen in (["encoder", "to_latent", "quantizer"], []):
        run = second_stage(stage1, vqgan, frozen)
        before = trained("image/titok-debug", photos, tmp_path / f"{len(frozen)} before", *run, "steps=1", "optimizer.lr=1e-9")
        assert torch.equal(before.encode(x).ids, ids)
        after = trained("image/titok-debug", photos, tmp_path / str(len(frozen)), *run, "steps=100")
        same = float((after.encode(x).ids == ids).float().mean())
        results[bool(frozen)] = (same, error(after.decode(after.encode(x)), x) / error(before.decode(before.encode(x)), x))
    effect("frozen encoder in the second stage (TiTok)", "share of ids that stay", with_=results[True][0], without=results[False][0])
    effect("second stage (TiTok)", "error of pixels as a share of the first stage's", with_=results[True][1], without=1.0)
    assert results[True][0] == 1.0 and results[True][1] < 0.97, results
    assert results[False][0] < 1.0, results  # else the freezing made no difference


def grafted(name, photos, vqgan, output, *changes):
    """The tokenizer that the bundled run `name` ends with over the trained VQGAN."""
    return trained(name, photos, output, *DISTILLED, f"grafts={{base.vqgan: '{vqgan}'}}", *changes)


def test_every_roll_out_of_alit_is_worth_decoding_when_all_are_trained(vqgan, photos, tmp_path):
    """Against training the last alone, which leaves the first behind, and the first alone, which leaves the later ones behind."""
    x = held_out(96, SIDE)
    ids, told = codes_of(vqgan, x), {}
    for feature in ("logits.*", "logits.2", "logits.0"):
        names = [f"losses.codes.feature={feature}", f"losses.code.feature={feature.replace('logits', 'code')}"]
        alike = ["losses.codes.weights=[1.0]", "optimizer.lr=1e-3", "steps=500"]  # all roll-outs weigh the same
        tokenizer = grafted("image/alit-debug", photos, vqgan, tmp_path / feature, *ROLLS, *names, *alike)
        with torch.no_grad():
            told[feature] = [float(F.cross_entropy(r.logits.transpose(1, 2), ids)) for r in tokenizer.roll(x)]
    all_trained, last_trained, first_trained = told.values()
    figure = "nats a code, decoded from roll-out {}, against training roll-out {} alone"
    effect("training every roll-out (ALIT)", figure.format(1, 3), with_=all_trained[0], without=last_trained[0])
    effect("training every roll-out (ALIT)", figure.format(3, 1), with_=all_trained[2], without=first_trained[2])
    assert all_trained[0] < last_trained[0] - 0.25, told
    assert all_trained[1] < first_trained[1] - 0.25 and all_trained[2] < first_trained[2] - 0.25, told


def test_karl_keeps_the_tokens_that_picture_and_wanted_error_need(vqgan, photos, tmp_path):
    x, kept = held_out(96, SIDE), {}
    spread = x.std(dim=(1, 2, 3))
    pictures = {"plain": x[spread < spread.median()], "busy": x[spread >= spread.median()]}
    for weight in (1.0, 0.0):
        steps = 900 if weight else 20  # without the loss nothing else reaches the halting layers, however long
        changes = [*(f"model.config.{c}" for c in SIZES), f"losses.halting.weight={weight}", f"steps={steps}"]
        tokenizer = grafted("image/karl-debug", photos, vqgan, tmp_path / str(weight), *changes)
        for name, some in pictures.items():
            for quality in (0.02, 0.2):
                with torch.no_grad():
                    halting = tokenizer.encode_with_halting(some, token_budget=16, quality=quality)[1]
                kept[weight, name, quality] = float((1 - halting.sigmoid()).sum(1).mean())  # tokens that it expects to keep
    difference = {w: kept[w, "busy", 0.02] - kept[w, "busy", 0.2] for w in (1.0, 0.0)}
    figure = "tokens kept of 16 more for an error of 0.02 than of 0.2"
    effect("halting loss (KARL)", figure, with_=difference[1.0], without=difference[0.0])
    difference = {w: kept[w, "busy", 0.02] - kept[w, "plain", 0.02] for w in (1.0, 0.0)}
    figure = "tokens kept of 16 more for busy than for plain pictures"
    effect("halting loss (KARL)", figure, with_=difference[1.0], without=difference[0.0])
    for name in pictures:
        assert kept[1.0, name, 0.02] > kept[1.0, name, 0.2] + 2, kept  # a smaller error costs tokens
        assert abs(kept[0.0, name, 0.02] - kept[0.0, name, 0.2]) < 1, kept
    assert kept[1.0, "busy", 0.02] > kept[1.0, "plain", 0.02] + 0.4, kept  # and more of them where there is more to see
    assert kept[0.0, "busy", 0.02] < kept[0.0, "plain", 0.02] + 0.4, kept
