"""Cosmos discrete video tokenizers, NVIDIA/Cosmos-Tokenizer @ 3584ae752c, `CausalDiscreteVideoTokenizer`; published as TorchScript."""

from collections.abc import Mapping
from typing import Any

from ...layouts.configs import attention_levels, check_round_trip, decoder_attention_levels, open_config, the_quantizer
from ...layouts.keymap import KeyMap, NotWritable, Rename, Row, pointwise
from ...layouts.layout import Layout
from ...quantizers.fsq import FSQConfig
from .model import CosmosDVConfig

_SYSTEM = "cosmos-dv"


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    c = open_config(config, _SYSTEM)
    c.drop("name", "dtype", "num_quantizers", "persistent_quantizer")
    c.drop("num_groups")  # the factorised classes have one group, whatever stands here
    for key, value in (("encoder", "FACTORIZED"), ("decoder", "FACTORIZED")):
        c.require(key, value, "BASE")
    c.require("quantizer", "FSQ", "RESFSQ")
    c.require("in_channels", 3)
    c.require("out_channels", 3)
    c.require("z_factor", 1)
    width, mult, patch = c.take("channels"), c.take("channels_mult"), c.take("patch_size", 1)
    c.require("patch_method", "haar", "rearrange")
    side, wanted, levels = c.take("resolution") // patch, c.take("attn_resolutions"), len(mult)
    attended = attention_levels(side, wanted, levels, range(levels))
    if attended != decoder_attention_levels(side // 2 ** (levels - 1), wanted, levels, range(levels)):
        raise ValueError(f"{_SYSTEM}: attn_resolutions {wanted} are other levels of the encoder than of the decoder.")
    networks = {
        "widths": [width * m for m in mult],
        "stem_width": width,
        "blocks": c.take("num_res_blocks"),
        "attention_levels": attended,
        "latent_dim": c.take("z_channels"),
        "patch_size": patch,
        "space_factor": c.take("spatial_compression", 16),
        "time_factor": c.take("temporal_compression", 8),
        "early_upsampling": c.take("legacy_mode", False),
        "dropout": float(c.take("dropout")),
    }
    dim, code_levels = c.take("embedding_dim"), c.take("levels")
    if dim != len(code_levels):
        raise ValueError(f"{_SYSTEM}: embedding_dim is {dim}, the number of levels {len(code_levels)}; they must be equal.")
    c.done(swallowed=True)
    return {"networks": networks, "code_dim": dim, "quantizer": {"kind": "fsq", "levels": code_levels}}


def _back(own: CosmosDVConfig) -> dict[str, Any]:
    s, width = own.networks, own.networks.stem_width
    if any(w % width for w in s.widths):
        raise NotWritable(f"widths are {s.widths}; the authors' class has multiples of stem_width, {width}.")
    side = 2 ** (len(s.widths) - 1)
    out = {
        "attn_resolutions": [side // 2**level for level in s.attention_levels],
        "channels": width,
        "channels_mult": [w // width for w in s.widths],
        "dropout": s.dropout,
        "in_channels": 3,
        "num_res_blocks": s.blocks,
        "out_channels": 3,
        "resolution": side * s.patch_size,
        "patch_size": s.patch_size,
        "patch_method": "haar",
        "z_channels": s.latent_dim,
        "z_factor": 1,
        "num_groups": 1,
        "legacy_mode": s.early_upsampling,
        "spatial_compression": s.space_factor,
        "temporal_compression": s.time_factor,
        "quantizer": "FSQ",
        "embedding_dim": own.code_dim,
        "levels": list(the_quantizer(own.quantizer, FSQConfig).levels),
        "encoder": "FACTORIZED",
        "decoder": "FACTORIZED",
        "name": "DV",
    }
    return check_round_trip(own, out, _config)


def _factors(theirs: str, ours: str) -> list[Row]:
    """A pair of convolutions over space and time."""
    return [(f"{theirs}.0.conv3d.*", f"{ours}.space.*"), (f"{theirs}.1.conv3d.*", f"{ours}.time.*")]


def _block(theirs: str, ours: str) -> list[Row]:
    return [
        (f"{theirs}.{{norm1|norm2}}.norm.*", f"{ours}.{{norm1|norm2}}.*"),
        *_factors(f"{theirs}.{{conv1|conv2}}", f"{ours}.{{conv1|conv2}}"),
        (f"{theirs}.nin_shortcut.conv3d.*", f"{ours}.shortcut.*"),
    ]


def _attention(theirs: str, ours: str) -> list[Row]:
    return [
        row
        for number, axis in ((0, "space"), (1, "time"))
        for row in (
            (f"{theirs}.{number}.norm.norm.*", f"{ours}.{axis}.norm.*"),
            (f"{theirs}.{number}.{{q|k|v}}.conv3d.*", f"{ours}.{axis}.{{q|k|v}}.*"),
            (f"{theirs}.{number}.proj_out.conv3d.*", f"{ours}.{axis}.out.*"),
        )
    ]


#: The names of the three convolutions of a change of resolution.
_SIDES = (
    ("encoder", "down", {"conv1": "space", "conv2": "time", "conv3": "mix"}),
    ("decoder", "up", {"conv1": "time", "conv2": "space", "conv3": "mix"}),
)
#: The Haar filters, and buffers that are computed from the levels.
_COMPUTED = ("encoder.patcher3d.**", "decoder.unpatcher3d.**", "quantizer.{_levels|_basis|implicit_codebook}", "inv_quant.**")


def _rows(own: CosmosDVConfig) -> list[Row]:
    rows: list[Row] = [("quant_conv.conv3d.*", "to_code.*"), ("post_quant_conv.conv3d.*", "from_code.*")]
    for side, way, names in _SIDES:
        steps = own.networks.down_steps() if side == "encoder" else own.networks.up_steps()
        for level, (space, time) in enumerate(steps):
            used = {"space": space, "time": time, "mix": space or time}
            for theirs, ours in names.items():  # the authors' class has all three at every level but one
                rows.append((
                    f"{side}.{way}.{level}.{way}sample.{theirs}.conv3d.*",
                    f"{side}.levels.{level}.resample.{ours}.*" if used[ours] else None,
                ))  # fmt: skip
        rows += [
            *_factors(f"{side}.conv_in", f"{side}.stem"),
            *_factors(f"{side}.conv_out", f"{side}.head"),
            (f"{side}.norm_out.norm.*", f"{side}.norm_out.*"),
            *_block(f"{side}.{way}.{{}}.block.{{}}", f"{side}.levels.{{}}.blocks.{{}}"),
            *_attention(f"{side}.{way}.{{}}.attn.{{}}", f"{side}.levels.{{}}.attention.{{}}"),
            *_block(f"{side}.mid.block_1", f"{side}.middle.first"),
            *_attention(f"{side}.mid.attn_1", f"{side}.middle.attention"),
            *_block(f"{side}.mid.block_2", f"{side}.middle.last"),
        ]
    return rows


def _keys(own: CosmosDVConfig) -> KeyMap:
    linear = pointwise("{to_code|from_code}.weight", "**.attention.**.{q|k|v|out}.weight", axes=3)
    return KeyMap(Rename(_rows(own), also_drop=_COMPUTED), linear)


LAYOUTS = (
    Layout(
        system=_SYSTEM,
        upstream="NVIDIA/Cosmos-Tokenizer cosmos_tokenizer/networks/discrete_video.py CausalDiscreteVideoTokenizer",
        family="cosmos_dv",
        config=_config,
        keys=_keys,
        authors_config=_back,
    ),
)
