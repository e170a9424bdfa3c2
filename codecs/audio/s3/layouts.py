"""S3's published files: state dicts in the keys of the PyTorch port (also inside Chatterbox), and the authors' ONNX files.

No file holds settings but the sizes of its weights, and only ResembleAI's copy of v2 has a config beside it, in transformers' words.
The port goes by a name (`speech_tokenizer_v2_25hz`), which the cards give; it fixes strides, blocks and quantizer, and all else has
defaults.
"""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ...layouts.fields import FOLDER_KEYS, TRANSFORMERS_KEYS, Fields
from ...layouts.keymap import Each, KeyMap, Rename, Row, State, Then, without_prefix
from ...layouts.layout import Layout
from ...layouts.whisper_keys import openai_blocks, stem_rows
from ...quantizers.base import codebook_size_of
from ...serialize import CheckpointError
from .model import S3Config

#: Rows and columns of the tables in the port's classes that no setting changes.
_ROTARY_WIDTH, _FSMN_KERNEL, _LEVELS = 64, 31, (3,) * 8


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Their name and `ModelConfig`; our key `hard_coded_overrides` changes the width of the rotary table, which their class fixes."""
    f = Fields(config, "config")
    f.drop(*FOLDER_KEYS, "use_sdpa")  # another kernel for the same attention
    copied = config.get("model_type") == "s3tokenizer"
    if copied:
        _check_copy(f)
    name = f.take("name", "speech_tokenizer_v2_25hz") if copied else f.take("name")
    versions = [v for v in ("v1", "v2", "v3") if isinstance(name, str) and v in name]
    if len(versions) != 1:
        raise ValueError(f"config.name is {name!r:.100}; the port knows speech_tokenizer_v1, _v1_25hz, _v2_25hz and _v3_25hz.")
    first = versions == ["v1"]
    out: dict[str, Any] = {
        "bands": f.take("n_mels", 128),
        "width": f.take("n_audio_state", 1280),
        "heads": f.take("n_audio_head", 20),
        "layers": f.take("n_audio_layer", 12 if versions == ["v3"] else 6),
    }
    table, codes = f.take("n_audio_ctx", 1500), f.take("n_codebook_size", 4096 if first else 3**8)
    rotary = Fields(f.take("hard_coded_overrides", {}), "hard_coded_overrides")
    if first:
        rate_25 = name == "speech_tokenizer_v1_25hz"
        vq = {"kind": "vq", "codebook_size": codes, "kmeans_init": False}
        out |= {"strides": [2 if rate_25 else 1, 2], "table": table, "memory": 0, "latent_dim": 0, "quantizer": vq}
    else:
        if codes != 3**8 and versions == ["v3"]:  # v2's class puts its own number in its place
            raise ValueError(f"config.n_codebook_size is {codes!r}; v3 has {3**8} codes.")
        width = rotary.take("rotary_head_width", _ROTARY_WIDTH)
        if out["heads"] * width != out["width"]:
            raise ValueError(
                f"config.n_audio_state is {out['width']!r} with n_audio_head {out['heads']!r}; the rotary table fits heads of {width}."
            )
        fsq = {"kind": "fsq", "levels": list(_LEVELS), "convention": "s3"}
        out |= {"strides": [2, 2], "memory": _FSMN_KERNEL, "latent_dim": len(_LEVELS), "quantizer": fsq}
    rotary.done()
    f.done(swallowed=copied)
    return out


def _check_copy(f: Fields) -> None:
    """Read what the config of ResembleAI's copy says besides: numbers that its class takes from elsewhere, or that v2 has."""
    f.drop(*TRANSFORMERS_KEYS, "attention_bias", "attention_dropout", "hidden_size", "max_position_embeddings", "num_attention_heads")
    f.drop("num_key_value_heads", "rope_parameters", "rope_scaling")
    for key, value in (("sampling_rate", 16000), ("n_fft", 400), ("vocab_size", 3**8), ("rope_theta", 10000.0)):
        f.require(key, value)


def _authors_config(own: S3Config) -> dict[str, Any]:
    out = {"n_mels": own.bands, "n_audio_state": own.width, "n_audio_head": own.heads, "n_audio_layer": own.layers}
    if own.table:
        name = "speech_tokenizer_v1" + ("_25hz" if own.strides == (2, 2) else "")
        return out | {"name": name, "n_audio_ctx": own.table, "n_codebook_size": codebook_size_of(own.quantizer)}
    head = own.width // own.heads
    fixed = {} if head == _ROTARY_WIDTH else {"hard_coded_overrides": {"rotary_head_width": head}}
    return out | {"name": "speech_tokenizer_v3_25hz" if own.layers > 6 else "speech_tokenizer_v2_25hz"} | fixed


#: Rows of everything below the blocks' numbers, in the port's keys.
_ROWS: list[Row] = [
    ("[_mel_filters|window]", None),  # Chatterbox's class keeps the constants of the mel beside the weights
    ("encoder.freqs_cis", None),  # rotary angles
    *stem_rows("encoder.", "encoder.stem."),
    ("encoder.positional_embedding", "encoder.table"),
    *openai_blocks("encoder.", "encoder."),
    ("quantizer._codebook.embed", "quantizer.codebook.embed"),
    ("quantizer._codebook.project_down.*", "down.*"),
]


def _keys(own: S3Config) -> KeyMap:
    return KeyMap(without_prefix("s3_model."), Rename(_ROWS))


# --- the authors' ONNX files ----------------------------------------------------------------------------------------------
#
# `zoo/onnx_files.py` returns each constant that a node of the graph takes, under the node's name and what it is to the node:
# "/blocks.0/attn/query/MatMul/operand", "/conv1/Conv/weight". Initializers have names of their own, which the exporter invents anew for
# each file ("onnx::MatMul_2536"), so the nodes' names decide.


#: Nodes in a block, below `/blocks.N/`: name -> the port's key. A LayerNorm is one node, or the last two of its nodes.
_NODES: list[tuple[str, str]] = [
    (r"attn/(query|key|value|out)/MatMul/operand", "attn.{0}.weight"),
    (r"attn/(query|key|value|out)/Add/operand", "attn.{0}.bias"),
    (r"attn/fsmn_block/Conv/weight", "attn.fsmn_block.weight"),
    (r"(attn_ln|mlp_ln)/LayerNormalization/(weight|bias)", "{0}.{1}"),
    (r"(attn_ln|mlp_ln)/Mul(?:_\d+)?/operand", "{0}.weight"),
    (r"(attn_ln|mlp_ln)/Add(?:_\d+)?/operand", "{0}.bias"),
    (r"mlp/mlp\.(\d+)/MatMul/operand", "mlp.{0}.weight"),
    (r"mlp/mlp\.(\d+)/Add/operand", "mlp.{0}.bias"),
]


def _of_graph(own: S3Config) -> Then:
    """The port's keys out of a graph's constants; what lies outside of blocks, convolutions and quantizer is no weight."""

    def read(state: State) -> State:
        out: State = {}
        for key, value in state.items():
            if key.endswith("/fsmn_block/Conv/strides"):
                continue  # 1, as nothing else fits
            if m := re.fullmatch(r"/blocks\.(\d+)/(.*)", key):
                name = _name_in_block(m[2])
                if name is None:
                    raise CheckpointError(f"the graph's node {key.rpartition('/')[0]!r} has a weight that is not known.")
                out[f"encoder.blocks.{m[1]}.{name}"] = value.t() if name.endswith("weight") and value.ndim == 2 else value
            elif m := re.fullmatch(r"(?:.*/)?conv([12])/Conv/(weight|bias|strides)", key):
                if m[2] == "strides":
                    _check_stride(int(m[1]), value, own)
                else:
                    out[f"encoder.conv{m[1]}.{m[2]}"] = value
            elif "quantizer" in key:
                out |= _of_quantizer(key, value, own)
            elif own.table and value.shape[-2:] == (own.table, own.width):
                out["encoder.positional_embedding"] = value.reshape(own.table, own.width)
        return out

    return Then(read)


def _name_in_block(node: str) -> str | None:
    for pattern, name in _NODES:
        if m := re.fullmatch(pattern, node):
            return name.format(*m.groups())
    return None


def _of_quantizer(key: str, value: Tensor, own: S3Config) -> State:
    """The one or two weights among the quantizer's constants; others follow from them (squares) or are fixed (powers of 3)."""
    node = key.rpartition("/")[0].rpartition("/")[2]
    if not own.latent_dim:
        return {"quantizer._codebook.embed": value.t()} if node.startswith("Pow") and value.ndim == 2 else {}
    if node.startswith("MatMul") and value.shape == (own.width, own.latent_dim):
        return {"quantizer._codebook.project_down.weight": value.t()}
    if node.startswith("Add") and value.shape == (own.latent_dim,):
        return {"quantizer._codebook.project_down.bias": value}
    return {}


def _check_stride(conv: int, value: Tensor, own: S3Config) -> None:
    found = int(value[0])
    if found != own.strides[conv - 1]:
        raise CheckpointError(
            f"the graph's convolution {conv} has a stride of {found}, not {own.strides[conv - 1]}: this is the file of another version "
            "(v1 exists with 50 and with 25 ids/s under one file name). Load it by the name of that one's card."
        )


def _onnx_keys(own: S3Config) -> KeyMap:
    return KeyMap(_of_graph(own), Each(("**.weight", "**.embed"), lambda v: v.contiguous(), None), Rename(_ROWS))


LAYOUTS = (
    Layout(
        system="s3tokenizer",
        upstream="xingchensong/S3Tokenizer s3tokenizer S3Tokenizer S3TokenizerV2 S3TokenizerV3",
        family="s3",
        config=_config,
        keys=_keys,
        authors_config=_authors_config,
    ),
    Layout(
        system="s3tokenizer-onnx",
        upstream="FunAudioLLM/CosyVoice speech_tokenizer.onnx",
        family="s3",
        config=_config,
        keys=_onnx_keys,
    ),
)
