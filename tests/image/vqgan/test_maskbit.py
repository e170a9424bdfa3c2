"""MaskBit against the authors' outputs. Run: pytest tests/image/vqgan/test_maskbit.py"""

import json

import pytest
import torch
from image.vqgan.options_maskbit import SWEEPS, older_order
from image_cases import check_case
from PIL import Image
from reference import load_io, reference_folder
from safetensors.torch import load_file
from tokenzoo.codecs.families import build_tokenizer
from tokenzoo.train.files import load_run
from tokenzoo.train.moving import Moving
from tokenzoo.zoo.convert import convert, converter, load_reference
from torch.testing import assert_close

TINY = {"widths": [8], "blocks": 1, "groups": 4}


@pytest.mark.parametrize("case", ["s0.", "s1."])
def test_reference(case):
    folder = reference_folder("image", "maskbit")
    check_case(load_reference(folder), load_io(folder), case, atol=1e-4)


def test_bytes_lie_in_0_to_1():
    """A picture of bytes goes into the network as byte / 255, as from the authors' `ToTensor`."""
    folder = reference_folder("image", "maskbit")
    tok, x = load_reference(folder), (load_io(folder)["s1.input"] * 255).round().to(torch.uint8)
    picture = Image.fromarray(x[0].permute(1, 2, 0).numpy())
    assert torch.equal(tok.encode(picture).ids, tok.encode(x[:1].float() / 255).ids)


def test_the_authors_yaml_is_read_as_it_is():
    folder = reference_folder("image", "maskbit")
    config, state = json.loads((folder / "config.json").read_text()), load_file(folder / "weights.safetensors")
    own = {k: v for k, v in config.items() if k not in ("source", "versions", "notes")}
    yaml = {"experiment": {"name": "x"}, "model": {"vq_model": own, "discriminator": {"num_stages": 4}}, "losses": {}}
    x = load_io(folder)["s0.input"]
    assert torch.equal(convert("maskbit", yaml, state).encode(x).ids[:, 0], load_io(folder)["s0.ids"].flatten(1))


def test_the_older_order_of_levels_is_recognised():
    """MaskGIT's decoder numbers its levels the other way round; taken as they are, the levels would not even fit."""
    layout = converter("maskbit")
    theirs = SWEEPS["maskbit"].tiny | {"channel_mult": [1, 1, 2], "num_resolutions": 3}
    own = layout.own_config(theirs)
    tok = build_tokenizer("vqgan", own).eval()
    state = layout.write(tok.state_dict(), own)
    ids = torch.arange(12).view(1, 1, 12)
    for file in (state, older_order(state)):
        loaded = convert("maskbit", theirs, file)
        assert_close(loaded.decode_latents(loaded.quantizer.decode(ids), (3, 4)), tok.decode_latents(tok.quantizer.decode(ids), (3, 4)))


@pytest.mark.filterwarnings("ignore::tokenzoo.train.files.NotValidated")
def test_the_recipe_lets_the_entropy_fade():
    """Three times its weight at first, once from step 2000 on."""
    run = load_run("image/maskbit-12", ["data.train=x"])
    stacks = {"encoder": TINY | {"stem_width": 8}, "decoder": TINY, "z_channels": 4, "embed_dim": 0}
    tok = build_tokenizer("vqgan", stacks | {"quantizer": {"kind": "lfq", "bits": 4}})
    moving, z = Moving(run.moving, [{}], tok), torch.randn(2, 4, 9)
    seen = []
    for step in (0, 1000, 2000, 5000):
        with moving.at(step):
            seen.append(tok.quantizer.config.entropy_weight)
            out = tok.quantizer(z)
            entropy = out.metrics["position_entropy"] - out.metrics["code_entropy"]
            assert_close(out.loss, 0.25 * out.metrics["commitment"] + seen[-1] * entropy)
    assert seen == pytest.approx([0.06, 0.04, 0.02, 0.02])
