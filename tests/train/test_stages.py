"""Training in stages: parts that stay as they are, parts that come from another run; features that tokenizers offer to losses.

    pytest tests/train/test_stages.py
"""

import pytest
import torch
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.families import build_tokenizer
from tokenzoo.codecs.quantizers import build
from tokenzoo.codecs.serialize import CheckpointError, save_folder
from tokenzoo.train.files import parse_run, read_mapping
from tokenzoo.train.loop import Trainer
from tokenzoo.train.losses.base import LossInputs
from train_media import RVQ, audio_run, image_run, write_pictures, write_sounds


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    return write_sounds(tmp_path_factory.mktemp("sounds"))


def spectral(sounds, output, **changes):
    run = audio_run(sounds, output, **changes)
    run["model"]["config"] |= {"quantizer": RVQ | {"kmeans_init": False}}
    return run


def test_frozen_parts_keep_their_weights_and_codebooks(sounds, tmp_path):
    run = spectral(sounds, tmp_path, steps=3)
    run["model"]["frozen"] = ["encoder", "quantizer"]
    trainer = Trainer(parse_run(run))
    before = {k: v.clone() for k, v in trainer.state.tokenizer.state_dict().items()}
    trainer.run()
    changed = {k.partition(".")[0] for k, v in trainer.state.tokenizer.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {"decoder"}
    free = Trainer(parse_run(spectral(sounds, tmp_path / "free", steps=3)))
    before = {k: v.clone() for k, v in free.state.tokenizer.state_dict().items()}
    free.run()
    changed = {k.partition(".")[0] for k, v in free.state.tokenizer.state_dict().items() if not torch.equal(v, before[k])}
    assert changed >= {"encoder", "quantizer", "decoder"}  # else the first half of this test says nothing


def test_only_the_named_parts_come_from_another_run(sounds, tmp_path):
    first = Trainer(parse_run(spectral(sounds, tmp_path / "a", steps=2, seed=1)))
    first.run()
    theirs = first.state.best().state_dict()
    run = spectral(sounds, tmp_path / "b", init=str(tmp_path / "a"), init_parts=["encoder"])
    plain = Trainer(parse_run(spectral(sounds, tmp_path / "b"))).state.tokenizer.state_dict()
    for key, value in Trainer(parse_run(run)).state.tokenizer.state_dict().items():
        assert torch.equal(value, theirs[key] if key.startswith("encoder.") else plain[key]), key
    run["model"]["config"]["width"] = 32
    with pytest.raises(CheckpointError, match="encoder"):
        Trainer(parse_run(run))


def test_unknown_parts_are_named(sounds, tmp_path):
    run = spectral(sounds, tmp_path)
    run["model"]["frozen"] = ["encodr"]
    with pytest.raises(ConfigError, match=r"model\.frozen names 'encodr'.*'encoder'"):
        Trainer(parse_run(run))
    with pytest.raises(ConfigError, match="init names no weights"):
        parse_run(spectral(sounds, tmp_path, init_parts=["encoder"]))
    Trainer(parse_run(spectral(sounds, tmp_path / "a", steps=1))).run()
    with pytest.raises(ConfigError, match="init_parts names 'encodr'.*'encoder'"):
        Trainer(parse_run(spectral(sounds, tmp_path, init=str(tmp_path / "a"), init_parts=["encodr"])))


def titok(**changes):
    size = {"width": 16, "layers": 1, "heads": 2}
    config = {"image_size": 16, "encoder_patch_size": 4, "decoder_patch_size": 4, "encoder": size, "decoder": size, "num_latents": 4}
    quantizer = {"kind": "vq", "codebook_size": 32, "update": "gradient", "kmeans_init": False}
    return config | {"latent_dim": 4, "quantizer": quantizer, "output": "codes", "teacher_codes": 16} | changes


def test_parts_are_grafted_from_other_tokenizers(tmp_path):
    stack = {"widths": [8, 8, 8], "blocks": 1, "groups": 4}
    config = {"encoder": stack | {"stem_width": 8}, "decoder": stack, "z_channels": 8, "embed_dim": 0, "value_range": [0.0, 1.0]}
    donor = build_tokenizer("vqgan", config | {"quantizer": {"kind": "vq", "codebook_size": 16}})
    save_folder(donor, tmp_path / "vqgan")
    run = image_run(tmp_path, tmp_path / "out")
    run["data"]["crop"] = 16
    run["model"] = {"family": "titok", "config": titok(teacher={"decoder": stack, "latent_dim": 8})}
    run["grafts"] = {
        "head.codebook": f"{tmp_path / 'vqgan'}#quantizer.codebook.embed",
        "head.pixel_decoder": f"{tmp_path / 'vqgan'}#decoder",
    }
    run["model"]["frozen"] = ["head.codebook", "head.pixel_decoder"]
    trainer = Trainer(parse_run(run))
    head = trainer.state.tokenizer.head
    assert torch.equal(head.codebook, donor.quantizer.codebook.embed)
    for key, value in head.pixel_decoder.state_dict().items():
        assert torch.equal(value, donor.decoder.state_dict()[key]), key
    assert not any(p is head.codebook for p in trainer.state.trained) and len(trainer.state.trained) > 10
    run["grafts"] = {"head.codebook": str(tmp_path / "vqgan") + "#quantizer.codebook.embedd"}
    with pytest.raises(ConfigError, match=r"grafts\.head\.codebook: .* does not fit"):
        Trainer(parse_run(run))
    run["grafts"] = {"hed.codebook": str(tmp_path / "vqgan")}
    with pytest.raises(ConfigError, match="grafts names 'hed.codebook', which is no part.*Allowed: .*head"):
        Trainer(parse_run(run))


def test_a_stage_without_pixels_takes_losses_on_features_only(tmp_path):
    pictures = write_pictures(tmp_path / "pictures", size=(16, 16))
    stack = {"widths": [8, 8, 8], "blocks": 1, "groups": 4}
    donor = {"encoder": stack | {"stem_width": 8}, "decoder": stack, "z_channels": 8, "embed_dim": 0, "value_range": [0.0, 1.0]}
    save_folder(build_tokenizer("vqgan", donor | {"quantizer": {"kind": "vq", "codebook_size": 16}}).eval(), tmp_path / "vqgan")
    run = image_run(pictures, tmp_path / "out", steps=2)
    run["model"] = {"family": "titok", "config": titok()}
    run["data"] |= {"crop": 16, "valid": str(pictures)}
    run["every"] |= {"validate": 2, "validate_items": 4}
    run["teachers"] = {"vqgan": {"kind": "tokenizer", "model": str(tmp_path / "vqgan")}}
    run["losses"] = {"codes": {"teacher": "vqgan"}, "quantizer": {}}
    assert Trainer(parse_run(run)).run().step == 2
    run |= {"losses": {**run["losses"], "pixel": {}}, "output": str(tmp_path / "again")}
    with pytest.raises(ConfigError, match="pixel can only compare media of one rate and size"):
        Trainer(parse_run(run)).run()


def test_first_part_of_a_split_quantizer():
    config = {"num_codebooks": 3, "codebook_size": 8, "codebook_dim": 4, "projection": "shared", "kmeans_init": False}
    quantizer = build("residual_vq", dim=6, split_first=1, **config).eval()
    z = torch.randn(2, 6, 5, requires_grad=True)
    ids = quantizer(z).ids
    first = quantizer.first_part(z, ids)
    torch.testing.assert_close(first, quantizer.decode(ids[:, :1]))
    first.square().sum().backward()
    assert z.grad.abs().sum() > 0
    touched = {n for n, p in quantizer.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert {n.partition(".")[0] for n in touched} == {"first"}


@pytest.mark.parametrize("name", ["mimi", "qwen3_tts"])
def test_the_semantic_codebook_is_offered_alone(name):
    tokenizer = build_tokenizer(**_model(f"audio/{name}-debug")).train()
    x = 0.1 * torch.randn(2, 1, 5120)
    out = tokenizer(x)
    out.features["semantic"].square().mean().backward()
    reached = {n for n, p in tokenizer.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert any(n.startswith("encoder.") for n in reached)
    assert not any(n.startswith("decoder.") or ".rest." in n for n in reached)
    tokenizer.eval()
    out = tokenizer(x)
    alone = tokenizer.quantizer.first if name == "mimi" else tokenizer.quantizer.tables.first
    torch.testing.assert_close(out.features["semantic"], alone.decode(out.quantized.ids[:, :1]))


def test_focalcodec_offers_its_features_before_and_after():
    tokenizer = build_tokenizer(**_model("audio/focalcodec-debug")).eval()
    x = 0.1 * torch.randn(2, 1, 6400)
    with torch.no_grad():
        out = tokenizer(x)
        assert torch.equal(out.features["features"], tokenizer.encoder(x))
        torch.testing.assert_close(out.x_hat, tokenizer.decode(tokenizer.encode(x)))
    assert out.features["reconstructed_features"].shape == out.features["features"].shape
    assert out.features["reconstructed_features"].grad_fn is None
    tokenizer.train()(x).features["reconstructed_features"].square().mean().backward()
    reached = {n.partition(".")[0] for n, p in tokenizer.named_parameters() if p.grad is not None}
    assert reached == {"encoder", "compressor", "decompressor"}


def test_own_feature_through_a_learned_layer(sounds, tmp_path):
    run = read_mapping("audio/focalcodec-debug", [f"data.train={sounds}", f"output={tmp_path}", "device=cpu"])
    teach = {"kind": "own_feature", "feature": "features", "target": "reconstructed_features", "project": 32}
    run["losses"] = {"waveform": {}, "teach": teach}
    trainer = Trainer(parse_run(run))
    loss = trainer.state.losses["teach"]
    assert [tuple(p.shape) for p in loss.parameters()] == [(32, 32, 1), (32,)]
    out = trainer.state.tokenizer(0.1 * torch.randn(2, 1, 6400))
    loss(LossInputs(x=out.x_hat, x_hat=out.x_hat, out=out)).backward()
    assert all(p.grad.abs().sum() > 0 for p in loss.parameters())
    assert all(any(p is q for q in trainer.state.trained) for p in loss.parameters())


def _model(name):
    model = read_mapping(name)["model"]
    return {"family": model["family"], "config": model["config"]}
