"""UniTok, whole and its codes alone."""

import torch
from layout_options import DROP, Sweep

_SMALL = {"stem_width": 8, "conv_widths": [8, 16], "conv_blocks": [2, 3], "width": 24, "layers": 1, "heads": 4}
_SMALL |= {"decoder_blocks": [2, 1]}


def _published(state: dict) -> dict:
    """`unitok_tokenizer.pth`: the settings, and the model with its text tower and buffers."""
    unitok = state | {
        "text_encoder.transformer.resblocks.0.attn.in_proj_weight": torch.ones(6, 2), "logit_scale": torch.ones([]),
        "text_encoder.token_embedding.weight": torch.ones(3, 2), "quant_proj.attn.zero_k_bias": torch.zeros(24),
        "quantizer.codebooks.0.vocab_usage": torch.zeros(16),
    }  # fmt: skip
    return {"args": {"model": "vitamin_large", "dtype": torch.bfloat16}, "trainer": {"unitok": unitok}}


SWEEPS = {
    "unitok": Sweep(
        # the sizes under "vitamin" are not in published files, which name the tower
        tiny={
            "model": "vitamin_large", "img_size": 32, "num_query": 0, "vocab_size": 32, "vocab_width": 8, "num_codebooks": 2,
            "quant_proj": "attn", "vq_beta": 0.25, "embed_dim": 6, "vitamin": _SMALL,
        },
        options={
            "as it is": {},
            "all that a run sets": {"lr": 5e-4, "bf16": True, "text_layers": 12, "ema": 0.9999, "patch_size": 16, "vocab_norm": True},
            "in a file's args": {"args": {"model": "vitamin_base", "img_size": 32, "vocab_size": 32, "vocab_width": 8,
                                          "num_codebooks": 2, "embed_dim": 6, "vitamin": _SMALL}},
            "the base tower": {"model": "vitamin_base"},
            "the large tower by default": {"model": DROP},
            "queries": {"num_query": 3},
            "linear maps": {"quant_proj": "linear"},
            "linear maps and queries": {"quant_proj": "linear", "num_query": 2},
            "attention by default": {"quant_proj": DROP},
            "one codebook": {"num_codebooks": 1},
            "many codebooks": {"num_codebooks": 8, "vocab_size": 64},
            "a code as wide as the features": {"vocab_width": 24},
            "heads that do not fit": {"vocab_width": 4, "vitamin": {"width": 12}},
            "other losses": {"vq_beta": 1.0, "e_temp": 0.1},
            "no branch left out": {"drop_path": 0.0},
            "a larger picture": {"img_size": 48},
            "a wider embedding": {"embed_dim": 30},
        },
        refused={
            "another tower": ({"model": "vitamin_xlarge"}, "vitamin_large"),
            "codes that do not divide": ({"num_codebooks": 3}, "num_codebooks|divide"),
            "another map": ({"quant_proj": "conv"}, "quant_proj"),
            "a misspelt key": ({"vocab_sizes": 4}, "vocab_size"),
        },
        published=_published,
    ),
    "unitok-quantizer": Sweep(
        tiny={
            "embed_dim": 24, "quant_proj": "attn", "vocab_size": 32, "vocab_width": 8, "num_codebooks": 2, "vq_beta": 0.25,
            "e_temp": 0.01,
        },
        options={
            "as it is": {},
            "linear maps": {"quant_proj": "linear"},
            "attention by default": {"quant_proj": DROP},
            "one codebook": {"num_codebooks": 1},
            "four codebooks": {"num_codebooks": 4},
            "eight by default": {"num_codebooks": DROP},
            "a wide code": {"vocab_width": 24},
            "a narrow code": {"vocab_width": 4},
            "a code wider than the features": {"embed_dim": 4},
            "heads that do not fit": {"embed_dim": 12, "vocab_width": 4},
            "another commitment": {"vq_beta": 1.0},
            "its default": {"vq_beta": DROP, "e_temp": DROP},
            "more codes": {"vocab_size": 128},
        },
        refused={"codes that do not divide": ({"vocab_width": 7}, "divide"), "no width": ({"embed_dim": DROP}, "embed_dim")},
        published=lambda state: state | {"quantizer.codebooks.1.vocab_usage": torch.zeros(16)},
    ),
}  # fmt: skip
