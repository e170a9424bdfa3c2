"""Exported encoders and decoders give what the tokenizer gives. Run: pytest tests/zoo/export/test_export.py -k mimi

Ids may differ where two codes are equally near within rounding (distances that differ by less than 1e-4 of their size): none do in
the short tests, at most one in a hundred elsewhere.
"""

import dataclasses
import json
import sys
from pathlib import Path

import pytest
import tokenzoo
import torch
from cli_runs import run, saved
from contract_cases import build, item
from families import TINY
from image_cases import lively
from tokenzoo.zoo.export import NotExportable, export
from tokenzoo.zoo.export.check import runner
from tokenzoo.zoo.export.halves import DecoderHalf, EncoderHalf

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

#: The rows of the committed table, which `python benchmarks/export.py FORM` adds to.
TABLE = json.loads((Path(__file__).parents[3] / "benchmarks/results/export.json").read_text())["results"]
SIZES = {"audio": 400, "image": 24}


def tiny(label: str) -> tokenzoo.Tokenizer:
    torch.manual_seed(0)
    return tokenzoo.build_tokenizer(*TINY[label]).eval()


def state_of(about: dict, batch: int) -> list[torch.Tensor]:
    """The state before the first piece, as the document describes it."""
    kinds = {"int64": torch.int64, "float32": torch.float32}
    return [torch.zeros([batch, *i["shape"][1:]], dtype=kinds[i["dtype"]]) for i in about["inputs"][1:]]


#: A codec of four layers, so that it is traced in a second.
SOUND = {
    "encoder": {
        "width": 2, "strides": [2], "latent_dim": 4, "residual_layers": 0, "lstm_layers": 0, "causal": True, "padding": "constant"
    },
    "quantizer": {"kind": "residual_vq", "num_codebooks": 2, "codebook_size": 16, "kmeans_init": False},
}


@pytest.mark.slow
def test_a_sound(tmp_path):
    """An encoder by the command, for any number of clips of any length, and what stands beside it."""
    torch.manual_seed(0)
    model = tokenzoo.save_pretrained(tokenzoo.build_tokenizer("encodec", SOUND), tmp_path / "model")
    ran = run("export", model, "--part", "encoder", "-o", tmp_path / "out", "--size", 40)
    assert ran.code == 0, ran.err
    tokenizer = tokenzoo.load(model)
    about_path, path = sorted((tmp_path / "out").iterdir())
    assert (about_path.name, path.name) == ("model-encoder.json", "model-encoder.onnx") and str(path) in ran.out
    about = json.loads(about_path.read_text())
    assert about["inputs"] == [{"name": "waveform", "shape": ["batch", 1, "2 * length"], "dtype": "float32", "at_least": [1, 1, 4]}]
    assert about["outputs"] == [{"name": "ids", "shape": ["batch", 2, "length"]}] and about["vocab_sizes"] == [16, 16]
    assert about["fingerprint"] == tokenizer.identity.fingerprint and about["tokenzoo"] == tokenzoo.__version__
    assert (about["value_range"], about["sample_rate_hz"], about["hop_samples"], about["opset"]) == ([-1.0, 1.0], 24000, 2, 20)
    assert str(Path(tokenzoo.__file__).parent).encode() not in path.read_bytes(), "no paths of this machine"
    for count, samples in ((1, 4), (3, 130)):
        x = torch.stack([item(tokenizer, samples, seed=i) for i in range(count)])
        assert torch.equal(runner(path)(x)[0], tokenizer.encode(x).ids)
    assert len(tokenizer.encode(x).ids.unique()) > 4


def test_a_picture(tmp_path):
    """PyTorch's archive of an encoder."""
    tokenizer = tiny("bsq_vit")
    made = export(tokenizer, tmp_path / "encoder.pt2", to="torch-export", part="encoder")
    assert made.about["inputs"][0]["shape"] == ["batch", 3, 16, 24] and made.about["image_size"] == [16, 24]
    encode = torch.export.load(made.path).module()
    for count in (1, 3):
        x = torch.stack([item(tokenizer, (16, 24), seed=i) for i in range(count)])
        assert torch.equal(encode(x)[0], tokenizer.encode(x).ids)
    assert len(tokenizer.encode(x).ids.unique()) > 8


@pytest.mark.parametrize("label", ["emu3", "vidtok-v1.1"])
def test_halves_of_a_tokenizer_of_clips_are_of_single_pictures(label):
    tokenizer = build(label)
    x = torch.stack([item(tokenizer, (8, 12), seed=i)[:1] for i in range(3)])  # [B, 1, 3, H, W]
    tokens = tokenizer.encode(x)
    encode = EncoderHalf(tokenizer, codebooks=None, size=None)
    assert [(a.name, a.size, a.multiple) for a in encode.inputs[0].axes[1:]] == [
        ("axis 1", 1, 0), ("axis 2", 3, 0), ("height", 256, 2), ("width", 256, 2)
    ]  # fmt: skip
    with torch.no_grad():
        (ids,) = encode(x)
        assert torch.equal(ids, tokens.ids.unflatten(-1, tokens.grid))
        (decoded,) = DecoderHalf(tokenizer, codebooks=None, size=None)(ids)
    assert decoded.shape == x.shape and torch.allclose(decoded, tokenizer.decode(tokens), atol=1e-5)


def test_a_voice_leaves_the_encoder_and_enters_the_decoder():
    """What tokens carry beside their ids is an output of one half and an input of the other; it is not lost."""
    tokenizer = build("kanade-wave")
    tokenizer.load_state_dict(lively(tokenizer.state_dict()))
    encoder, decoder = (half(tokenizer, codebooks=None, size=420) for half in (EncoderHalf, DecoderHalf))
    x = encoder.inputs[0].example(1, 2)
    tokens = tokenizer.encode(x)
    with torch.no_grad():
        ids, voice = encoder(x)
        (y,) = decoder(ids, voice)
        (other,) = decoder(ids, voice.flip(0))
    assert encoder.outputs == ("ids", "voice") and [i.name for i in decoder.inputs] == ["ids", "voice"]
    assert torch.equal(ids, tokens.ids) and torch.equal(voice, torch.stack(tokens.side_vectors["voice"]))
    torch.testing.assert_close(y, torch.stack(list(tokenizer.decode(dataclasses.replace(tokens, sizes=None)))), atol=1e-6, rtol=1e-5)
    assert (other - y).abs().max() > 1e-4
    with pytest.raises(NotExportable, match="table vectors whose number depends on the item"):
        EncoderHalf(build("vqtoken"), codebooks=None, size=None)


def test_a_noisy_decoder_reads_its_noise(tmp_path):
    tokenizer = build("vqgan-magvit2")
    made = export(tokenizer, tmp_path / "decoder.onnx", part="decoder", size=24)
    assert [i["name"] for i in made.about["inputs"]] == ["ids", "noise"] and "normal distribution" in made.about["noise"]
    tokens = tokenizer.encode([item(tokenizer, (8, 12), seed=i) for i in range(2)])
    noise = torch.randn(2, tokenizer.noise_channels, *tokens.grid, generator=torch.Generator().manual_seed(0))
    (got,) = runner(made.path)(tokens.ids.unflatten(-1, tokens.grid), noise)
    want = tokenizer.decode(tokens, noise=noise)
    torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(want, tokenizer.decode(tokens, noise=-noise), atol=1e-3)


def test_what_cannot_be_exported_says_why(tmp_path):
    tokenizer = tiny("latent")
    with pytest.raises(NotExportable, match="encoder of this latent tokenizer cannot be exported: it tokenizes features of a network"):
        export(tokenizer, tmp_path / "a.onnx", part="encoder")
    with pytest.raises(NotExportable, match="decoder of this flextok tokenizer cannot be exported: it starts from drawn noise"):
        export(tiny("flextok"), tmp_path / "a.onnx", part="decoder")
    with pytest.raises(NotExportable, match=r"computes depends on values, .* alone in codecs/layers/frame_groups.py, group_lengths"):
        export(tiny("flexicodec"), tmp_path / "a.onnx", part="encoder", size=400)
    with pytest.raises(NotExportable, match="it does not stream"):
        export(tiny("bsq_vit"), tmp_path / "a.onnx", part="encoder", stream=True)
    with pytest.raises(ValueError, match="frames is 3; a piece of this tokenizer's stream has a multiple of 1, from 7 on"):
        export(tiny("encodec"), tmp_path / "a.onnx", part="encoder", stream=True, frames=3)
    with pytest.raises(ValueError, match="to is 'tflite'; allowed: 'onnx', 'torch-export'"):
        export(tokenizer, tmp_path / "a", part="encoder", to="tflite")
    with pytest.raises(ValueError, match="num_codebooks is 9"):
        export(tiny("dac"), tmp_path / "a.onnx", part="encoder", codebooks=9)
    ran = run("export", saved("latent", tmp_path / "model"), "--part", "encoder", "-o", tmp_path)
    assert ran.code == 1 and "features of a network" in ran.err and not list(tmp_path.glob("*.onnx"))


def test_a_graph_that_the_runtime_cannot_load_is_no_export(tmp_path, monkeypatch):
    from onnx import TensorProto, helper, save

    def unloadable(program, half, path, to):
        ends = [helper.make_tensor_value_info(n, TensorProto.DOUBLE, [1, 1, 3, 3]) for n in "xy"]
        kernel = helper.make_tensor("w", TensorProto.DOUBLE, [1, 1, 1, 1], [1.0])
        node = helper.make_node("Conv", ["x", "w"], ["y"])
        save(helper.make_model(helper.make_graph([node], "g", ends[:1], ends[1:], [kernel]), ir_version=10), path)

    monkeypatch.setattr("tokenzoo.zoo.export.run.write", unloadable)
    with pytest.raises(NotExportable, match=r"ONNX Runtime cannot load the graph: .*Conv"):
        export(tiny("bsq_vit"), tmp_path / "a.onnx", part="decoder")
    assert not list(tmp_path.iterdir())


def test_without_onnxscript_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    ran = run("export", saved("bsq_vit", tmp_path / "model"), "--part", "decoder", "-o", tmp_path)
    assert ran.code == 1 and "pip install 'tokenzoo[export]'" in ran.err


@pytest.mark.slow
@pytest.mark.parametrize("label", sorted({row["form"] for row in TABLE}))
def test_every_family(label, tmp_path):
    """Each half in the committed table is written and gives the same ids in ONNX Runtime, or is refused, as stated there."""
    known = {r["half"]: r["first input, or why not"] for r in TABLE if r["form"] == label and r["file"] == "whole"}
    tokenizer = build(label)
    for part in ("encoder", "decoder"):
        try:
            made = export(tokenizer, tmp_path / f"{part}.onnx", part=part, size=SIZES.get(tokenizer.spec.modality))
            found = f"[{', '.join(map(str, made.about['inputs'][0]['shape']))}]"
        except ValueError:
            found = "no: "
        assert known[part].startswith(found)


@pytest.mark.slow
@pytest.mark.parametrize("label", ["mimi", "encodec", "qwen3_tts", "nemo-causal"])
def test_every_stream(label, tmp_path):
    """Encoder and decoder over several pieces in ONNX Runtime equal `encode` and `decode`; a row may begin anew."""
    tokenizer = build(label)
    encoder, decoder = (export(tokenizer, tmp_path / f"{p}.onnx", part=p, stream=True) for p in ("encoder", "decoder"))
    length = encoder.about["inputs"][0]["shape"][-1]
    x = torch.stack([item(tokenizer, 5 * length, seed=i) for i in range(2)])
    tokens = tokenizer.encode(x)
    made = []
    for file, whole in ((encoder, x), (decoder, tokens.ids)):
        step, state, out = runner(file.path), state_of(file.about, 2), []
        for piece in whole.split(file.about["inputs"][0]["shape"][-1], dim=-1):
            y, *state = step(piece.contiguous(), *state)
            out.append(y)
        made.append(torch.cat(out, dim=-1))
    assert (made[0] != tokens.ids).float().mean() <= 0.01
    torch.testing.assert_close(made[1], tokenizer.decode(tokens), atol=1e-4, rtol=1e-3)
    for tensor in state:
        tensor[1] = 0
    first = tokens.ids[..., : decoder.about["inputs"][0]["shape"][-1]].contiguous()
    again = step(first, *state)[0]
    torch.testing.assert_close(again[1], made[1][1, :, : again.shape[-1]], atol=1e-4, rtol=1e-3)
    assert not torch.allclose(again[0], made[1][0, :, : again.shape[-1]], atol=1e-3), "the other row goes on"
