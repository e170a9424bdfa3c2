"""Show-o's MAGVIT-v2 against the authors' outputs. Run: pytest tests/image/vqgan/test_showo.py"""

import pytest
import torch
from image_cases import check_case
from reference import load_io, reference_folder
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.families import build_tokenizer
from tokenzoo.zoo.convert import converter, load_reference


@pytest.mark.parametrize("case", ["s0.", "s1."])
def test_reference(case):
    folder = reference_folder("image", "showo-magvitv2")
    check_case(load_reference(folder), load_io(folder), case, atol=5e-5)


def test_the_first_channel_is_the_highest_bit():
    """The codes of Open-MAGVIT2 and MaskBit run the other way."""
    own = converter("showo-magvitv2").own_config({})
    quantizer = own.quantizer.build(dim=13)
    z = -torch.ones(1, 13, 1)
    z[0, 0] = 1.0
    assert quantizer.encode(z).item() == 2**12


def test_the_published_file_states_no_sizes():
    """Its config.json holds the class name alone: the sizes are those of the class."""
    own = converter("showo-magvitv2").own_config({"_class_name": "MAGVITv2", "_diffusers_version": "0.30.1"})
    with torch.device("meta"):
        tok = build_tokenizer("vqgan", own)
    counts = [[len(level.blocks) for level in stack.levels] for stack in (tok.encoder, tok.decoder)]
    assert counts == [[4, 3, 4, 3, 4], [4, 4, 3, 4, 3]] and tok.spec.stride == 16 and tok.spec.vocab_sizes == (8192,)


@pytest.mark.parametrize("blocks", [[1], [1, 2, 1], [0, 1]])
def test_blocks_that_fit_no_levels(blocks):
    with pytest.raises(ConfigError, match="blocks is"):
        build_tokenizer("vqgan", {"encoder": {"widths": [8, 8], "blocks": blocks, "stem_width": 8, "groups": 4}})
