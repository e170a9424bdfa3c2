"""The semantic recipes in small: what teachers do to the first codebook, and FuseCodec's three techniques.

    pytest tests/train/test_semantic_training.py
"""

import pytest
import soundfile
import teacher_models
import torch
from effects import effect
from teacher_models import RATE, sounds
from tokenzoo.codecs.audio.speechtokenizer.latent_fusion import FusionConfig, LatentFusion
from tokenzoo.codecs.audio.speechtokenizer.model import SpeechTokenizer, SpeechTokenizerConfig
from tokenzoo.codecs.config import ConfigError, from_mapping
from tokenzoo.train.files import parse_run, read_mapping
from tokenzoo.train.loop import Trainer
from tokenzoo.train.losses.base import LossInputs
from torch.nn import functional as F
from train_media import image_run, write_pictures

WIDTH, SAMPLES = 16, 6400
MODEL = {
    "seanet": {"width": 4, "latent_dim": WIDTH, "lstm_bidirectional": True, "lstm_layers": 1},
    "semantic_dim": WIDTH,  # as wide as the latents: no head that could learn in the tokenizer's place
    "quantizer": {"kind": "residual_vq", "num_codebooks": 2, "codebook_size": 64, "kmeans_iterations": 5, "decay": 0.8},
}
FUSION = {"semantic_dim": WIDTH, "context_dim": WIDTH, "heads": 2, "drop": 0.1}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {kind: str(getattr(teacher_models, kind)(root / kind)) for kind in ("speech_model", "transcriber", "text_model")}


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    for i, x in enumerate(sounds(24, SAMPLES)):
        soundfile.write(folder / f"{i}.wav", x[0].numpy(), RATE)
    return str(folder)


def small(name, folders, clips, output, *, taught=("speech", "text"), steps=40):
    """A bundled recipe with a tiny model and tiny teachers, without discriminators; only the losses `taught` have weight."""
    run = read_mapping(f"audio/{name}", [f"data.train={clips}", f"output={output}", f"steps={steps}"])
    run |= {"discriminators": {}, "threads": 1, "device": "cpu", "tensorboard": False, "batch_size": 4}
    run["every"] = {"log": 0, "checkpoint": 0, "preview": 0, "validate": 0}
    run["data"] |= {"valid": [], "crop_seconds": SAMPLES / RATE, "num_workers": 0}
    run["optimizer"] |= {"lr": 3e-3}
    run["model"]["config"] = MODEL | ({"fusion": FUSION} if "fusion" in run["model"].get("config", {}) else {})
    kept = {"waveform": {"weight": 1.0}, "quantizer": {"weight": 0.1}}  # in so few steps more would only hold the latents down
    losses = {k: v for k, v in run["losses"].items() if v and "teacher" in v}
    run["losses"] = kept | {k: v | ({} if k in taught else {"weight": 0.0}) for k, v in losses.items()}
    run["teachers"]["speech"]["model"] = folders["speech_model"]
    if "text" in run["teachers"]:
        run["teachers"]["text"] |= {k: folders[k] for k in ("transcriber", "text_model")}
    return parse_run(run)


@pytest.fixture(scope="module")
def untaught(folders, clips, tmp_path_factory):
    """The tokenizer after the same steps without any teacher."""
    trainer = Trainer(small("speechtokenizer", folders, clips, tmp_path_factory.mktemp("untaught"), taught=()))
    trainer.run()
    return trainer.state.tokenizer


@torch.no_grad()
def cosine(trainer, tokenizer, name):
    """The mean likeness that the loss `name` (along time, `-log sigmoid`) sees, over clips that were not trained on."""
    x = sounds(16, SAMPLES, seed=1)
    out = tokenizer.eval()(x)
    inputs = LossInputs(x=x, x_hat=out.x_hat, out=out, targets=trainer.state.objective.targets(x, {}))
    return -float(torch.log(torch.expm1(trainer.state.losses[name](inputs))))


@pytest.mark.slow
@pytest.mark.effect
@pytest.mark.parametrize(
    ("name", "taught"),
    [
        ("speechtokenizer", ["speech"]),
        ("dm-codec", ["speech", "text"]),
        ("fusecodec-distill", ["speech"]),
        ("fusecodec-distill", ["text"]),
        ("fusecodec-align", ["text"]),
    ],
)
def test_teaching_raises_the_likeness_to_the_teachers(name, taught, folders, clips, untaught, tmp_path):
    trainer = Trainer(small(name, folders, clips, tmp_path, taught=taught))
    trainer.run()
    for loss in taught:
        before, after = cosine(trainer, untaught, loss), cosine(trainer, trainer.state.tokenizer, loss)
        effect(f"{loss} teacher ({name})", "likeness of the first codebook to the teacher", with_=after, without=before)
        assert after > before + 0.12, (loss, before, after)


def test_fused_vectors_reach_the_training_step(folders, clips, tmp_path):
    """The recipe runs, and its tokenizer learns from the two teachers' vectors, not from the sound alone."""
    trainer = Trainer(small("fusecodec-fusion", folders, clips, tmp_path, steps=2))
    start = {n: p.clone() for n, p in trainer.state.tokenizer.named_parameters()}
    assert trainer.run().step == 2
    moved = {n for n, p in trainer.state.tokenizer.named_parameters() if not torch.equal(p, start[n])}
    assert {"fusion.semantic.proj.weight", "fusion.context.proj.weight", "fusion.context.attention.out_proj.weight"} <= moved
    run = small("fusecodec-fusion", folders, clips, tmp_path)
    with pytest.raises(ConfigError, match="model.features names 'text'"):
        parse_run({**read_mapping("audio/fusecodec-fusion"), "teachers": {"speech": {"kind": "speech_model", "model": "a"}}})
    assert run.model.features == ("speech", "text")


def fusion_codec(fusion=True):
    torch.manual_seed(0)
    config = from_mapping(SpeechTokenizerConfig, MODEL | ({"fusion": FUSION} if fusion else {}))
    return SpeechTokenizer(config)


@pytest.mark.slow
@pytest.mark.effect
def test_fusion_lets_the_first_codebook_carry_what_the_sound_does_not_say():
    """Each clip has a text vector that has nothing to do with its sound; the first level is asked to resemble it."""
    g = torch.Generator().manual_seed(3)
    kinds = torch.randn(4, WIDTH, generator=g)
    results = {}
    for fused in (True, False):
        codec = fusion_codec()
        optimizer = torch.optim.Adam(codec.parameters(), lr=1e-2)
        for step in range(50):
            x, said = sounds(8, 1600, seed=step), torch.randint(4, (8,), generator=g)
            vectors = (torch.zeros(8, WIDTH, 1), kinds[said][..., None])
            out = codec(x, *vectors) if fused else codec(x)
            loss = (1 - F.cosine_similarity(out.features["semantic"], vectors[1], dim=1)).mean() + 0.1 * out.quantized.loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        codec.eval()
        x, said = sounds(16, 1600, seed=99), torch.arange(16) % 4
        vectors = torch.cat([torch.zeros(16, WIDTH, 1), kinds[said][..., None]], dim=1)
        ids = (codec.encode(x, features=vectors) if fused else codec.encode(x)).ids[:, :1]
        carried = codec.semantic_features(codec.quantizer.decode(ids)).mean(2)  # [16, S]
        results[fused] = float((F.cosine_similarity(carried[:, None], kinds, dim=2).argmax(1) == said).float().mean())
    figure = "share of clips whose text vector the first codebook shows"
    effect("latent fusion (FuseCodec)", figure, with_=results[True], without=results[False])
    assert results[True] > 0.9 and results[False] < 0.6, results


def test_fusion_with_sequences_trains_every_parameter_and_drops_whole_items():
    torch.manual_seed(0)
    fusion = LatentFusion(FusionConfig(semantic_dim=6, context_dim=4, heads=2, drop=0.5), latent_dim=5)
    z, semantic, context = torch.zeros(64, 5, 9), torch.randn(64, 6, 7), torch.randn(64, 4, 3)
    out = fusion(z, semantic, context)
    out.square().sum().backward()
    assert not [n for n, p in fusion.named_parameters() if not p.grad.abs().sum() > 0]
    none = (out == 0).all(2).all(1).float().mean()
    assert 0.1 < float(none) < 0.4  # a quarter of the items goes without both
    whole = fusion.eval()(z, semantic, context)
    assert not (whole == 0).any()
    with torch.no_grad():
        one = fusion(z, semantic[..., :1], context[..., :1])
        again = fusion(z, semantic[..., :1].expand(-1, -1, 9), context[..., :1].expand(-1, -1, 9))
    torch.testing.assert_close(one, again)  # repeating vectors before or after is the same


def test_fusion_wants_both_vectors_and_a_model_that_has_it():
    x, vector = sounds(1, 1600), torch.randn(1, WIDTH, 1)
    with pytest.raises(ValueError, match="both models"):
        fusion_codec()(x, vector)
    with pytest.raises(ValueError, match="no fusion"):
        fusion_codec(fusion=False)(x, vector, vector)
    with pytest.raises(ValueError, match="no use for it"):
        fusion_codec(fusion=False).eval().encode(x, features=vector)
    with pytest.raises(ValueError, match="16 of speech, then 16 of text"):
        fusion_codec().eval().encode(x, features=vector)


@pytest.mark.slow
@pytest.mark.effect
def test_an_image_model_teaches_pictures_patch_by_patch(tmp_path):
    model = teacher_models.vision_model(tmp_path / "vit")
    pictures = write_pictures(tmp_path / "pictures", 12, size=(32, 32))
    likeness = {}
    for weight in (1.0, 0.0):
        run = image_run(pictures, tmp_path / str(weight), steps=60, batch_size=8)
        run["model"]["config"] |= {"latent_dim": 64, "quantizer": {"kind": "vq", "codebook_size": 64, "decay": 0.8}}
        run["every"] = {"log": 0, "checkpoint": 0, "preview": 0, "validate": 0}
        run["teachers"] = {"vit": {"kind": "vision_model", "model": f"local-dir:{model}"}}
        run["losses"] |= {"distillation": {"teacher": "vit", "weight": weight}}
        trainer = Trainer(parse_run(run))
        trainer.run()
        with torch.no_grad():
            x = torch.stack([trainer.clips[i][0] for i in range(8)])
            out = trainer.state.tokenizer.eval()(x)
            inputs = LossInputs(x=x, x_hat=out.x_hat, out=out, targets=trainer.state.objective.targets(x, {}))
            likeness[weight] = 1 - float(trainer.state.losses["distillation"](inputs))
    effect("image model as a teacher", "likeness of the codes to its patches", with_=likeness[1.0], without=likeness[0.0])
    assert likeness[1.0] > likeness[0.0] + 0.3, likeness
