"""Ten minutes of audio: in pieces and tiles equal to the whole, in memory that does not grow with the length.

pytest -m slow tests/audio/test_long_audio.py
"""

import pytest
from own_process import linux_only, run

RVQ = {"kind": "residual_vq", "num_codebooks": 3, "codebook_size": 64, "kmeans_init": False}
FACTORISED = RVQ | {"codebook_dim": 4, "normalize": True, "update": "gradient", "replace_below": 0.0}
SEANET = {"width": 4, "strides": [2, 4, 5, 8], "latent_dim": 16, "lstm_layers": 1, "causal": True}
TRANSFORMER = {"width": 16, "layers": 1, "heads": 2, "feed_forward": 32, "context": 250}
SPLIT = RVQ | {"codebook_dim": 8, "projection": "shared", "proj_bias": False, "split_first": 1}

CONFIGS = {
    "encodec": {"sample_rate_hz": 24000, "encoder": SEANET, "quantizer": RVQ},
    "dac": {"sample_rate_hz": 16000, "encoder_width": 4, "decoder_width": 64, "strides": [2, 4, 5, 8], "quantizer": FACTORISED},
    "snac": {
        **{"encoder_width": 4, "strides": [2, 4, 8, 8], "decoder_width": 64, "decoder_strides": [8, 8, 4, 2]},
        "quantizer": FACTORISED | {"strides": [4, 2, 1]},
    },
    "mimi": {
        "seanet": {**SEANET, "strides": [4, 5, 6, 8], "lstm_layers": 0, "padding": "constant", "last_kernel_size": 3},
        **{"encoder_transformer": TRANSFORMER, "decoder_transformer": TRANSFORMER, "quantizer": SPLIT},
    },
}

SETUP = """
from tokenzoo.codecs.coding import Batch
from tokenzoo.codecs.kernels import time_tiles
from tokenzoo.codecs.media import Prepared
from tokenzoo.codecs.options import DecodeOptions

x = torch.empty(1, int(60 * setting * tokenizer.spec.sample_rate_hz) + 77).uniform_(-1, 1)
with torch.no_grad():  # codes spread as latents are, which random weights keep close to their mean
    z = tokenizer.encode_latents(x[None, :, : tokenizer.spec.sample_rate_hz])[0]
    mean, scale = z.mean(dim=1), z.std(dim=1).mean()
    for name, part in tokenizer.quantizer.named_modules():
        if hasattr(part, "in_proj") and part.in_proj is not None and part.in_proj.bias is not None:
            part.in_proj.bias.copy_(-(part.in_proj.weight.flatten(1) @ mean))
    for name, table in tokenizer.quantizer.named_buffers():
        if name.endswith("embed"):
            table.normal_().mul_(scale)
            if len(z) == table.shape[-1] and "levels.0" in name:
                table.add_(mean)
            elif "first" in name or "rest.levels.0" in name:
                table.add_(getattr(tokenizer.quantizer, name.split(".")[0]).in_proj.weight.flatten(1) @ mean)
"""

MEMORY = """
before, waveform = peak(), x.numel() * 4 / 2**20
tokens = tokenizer.encode(x)
encode = peak() - before
Path("/proc/self/clear_refs").write_text("5")
before = peak()
y = tokenizer.decode(tokens)
print(json.dumps({"waveform": waveform, "encode": encode, "decode": peak() - before, "equal": y.shape[1:] == x.shape}))
"""

EQUAL = """
torch.set_grad_enabled(False)
tokenizer.double()  # no ties by rounding
x = x.double()
got = tokenizer.encode_prepared([Prepared(x, (x.shape[-1],))]).ids
y = tokenizer.media_of(got, Batch(options=DecodeOptions(), items=[0], total=1))
pieces = got.shape[-1] > 2 * tokenizer.piece_positions
tokenizer.piece_positions, time_tiles.TILE = 1 << 40, 1 << 60
whole = tokenizer.encode_latents(x[None])
ids = tokenizer.quantizer.encode(whole)
y_whole = tokenizer.decode_latents(tokenizer.quantizer.decode(ids).double())
print(json.dumps({"pieces": pieces, "distinct": len(ids.unique()), "ids": torch.equal(got, ids),
                  "audio": float((y - y_whole).abs().max() / y_whole.abs().max())}))
"""


def result(what: str, family: str, minutes: float) -> dict:
    # glibc otherwise keeps freed blocks of up to 32 MB, and their number grows with the pieces: that is not what is tested
    return run(SETUP + what, family, CONFIGS[family], minutes, MALLOC_MMAP_THRESHOLD_="65536")


@pytest.mark.slow
@pytest.mark.parametrize("family", CONFIGS)
def test_equals_the_whole(family):
    out = result(EQUAL, family, 10)
    assert out["pieces"] and out["distinct"] > 8, out
    assert out["ids"] and out["audio"] < 1e-9, out


@pytest.mark.slow
@linux_only
@pytest.mark.parametrize("family", CONFIGS)
def test_memory_does_not_grow(family):
    """Beside copies of the waveform (encode: as checked, and as the network takes it; decode: pieces, joined, handed out)."""
    short, long = (result(MEMORY, family, minutes) for minutes in (2, 10))
    assert short["equal"] and long["equal"]
    for call, copies in (("encode", 2), ("decode", 4)):
        least, most = (out[call] - copies * out["waveform"] for out in (short, long))
        assert most < 1.3 * least, (call, short, long)
