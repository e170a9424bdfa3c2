"""A 4096 x 4096 photograph through the convolutional families in bounded memory, each in a process of its own.

    pytest -m slow tests/image/test_large_pictures.py
"""

import pytest
from own_process import linux_only, run

#: 8 channels at full resolution are 537 MB; whole, three such maps stand beside each other.
STACK = {"widths": [8, 8, 8, 16, 16, 16], "blocks": 1, "groups": 4}
CONFIGS = {
    "vqgan": {"encoder": {**STACK, "stem_width": 8}, "decoder": STACK, "z_channels": 8, "embed_dim": 4},
    "convnet": {"widths": [16, 32, 64], "decoder_blocks": [1, 1, 1], "latent_dim": 4},
}
QUANTIZER = {"kind": "fsq", "levels": [8, 8, 8, 8]}

RUN = """
from tokenzoo.codecs.kernels.conv_stack import ConvStack

for part in tokenizer.modules():
    if isinstance(part, ConvStack):
        part.whole_values = setting
x = torch.empty(3, 4096, 4096).uniform_(-1, 1)
before = peak()
tokens = tokenizer.encode(x)
encoded = peak()
y = tokenizer.decode(tokens)
print(json.dumps({"grid": tokens.grid, "size": y.shape[-2:], "encode": encoded - before, "both": peak() - before}))
"""


def result(family: str, whole: int) -> dict:
    return run(RUN, family, {**CONFIGS[family], "quantizer": QUANTIZER}, whole)


@pytest.mark.slow
@linux_only
@pytest.mark.parametrize("family", CONFIGS)
def test_memory_stays_bounded(family):
    """The pixels are 201 MB each time they are copied; beside them no feature map of full resolution is held."""
    out = result(family, 1 << 24)
    assert out["size"] == [4096, 4096]
    assert out["encode"] < 420 and out["both"] < 800, out


@pytest.mark.slow
@linux_only
def test_whole_it_takes_several_times_as_much():
    """So the limits above are not those of any way of computing it."""
    assert result("vqgan", 1 << 40)["encode"] > 1500
