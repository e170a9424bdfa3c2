"""Key tables of Whisper's encoder, in the spellings of OpenAI's code and of transformers."""

from .keymap import Row, under

#: One block in OpenAI's spelling, with the FSMN branch of S3, below `blocks.{}.`.
_OPENAI_BLOCK: tuple[Row, ...] = (
    ("attn.query.*", "attention.q.*"),
    ("attn.key.*", "attention.k.*"),
    ("attn.value.*", "attention.v.*"),
    ("attn.out.*", "attention.out.*"),
    ("attn.fsmn_block.weight", "attention.memory.weight"),
    ("attn_ln.*", "norm_attention.*"),
    ("mlp.{}.*", "mlp.{}.*"),
    ("mlp_ln.*", "norm_mlp.*"),
)

#: One block in transformers' spelling, below `layers.{}.`.
_HF_BLOCK: tuple[Row, ...] = (
    ("self_attn.q_proj.*", "attention.q.*"),
    ("self_attn.k_proj.*", "attention.k.*"),
    ("self_attn.v_proj.*", "attention.v.*"),
    ("self_attn.out_proj.*", "attention.out.*"),
    ("self_attn_layer_norm.*", "norm_attention.*"),
    ("fc1.*", "mlp.0.*"),
    ("fc2.*", "mlp.2.*"),
    ("final_layer_norm.*", "norm_mlp.*"),
)


def stem_rows(theirs: str, ours: str) -> list[Row]:
    """Rows of the two convolutions; the prefixes end in a dot, or are empty."""
    return [(f"{theirs}conv1.*", f"{ours}conv_in.*"), (f"{theirs}conv2.*", f"{ours}conv_out.*")]


def openai_blocks(theirs: str, ours: str) -> list[Row]:
    """Rows of all blocks, `<theirs>blocks.{}.` in OpenAI's spelling; prefixes as in `stem_rows`."""
    return under(f"{theirs}blocks.{{}}.", f"{ours}blocks.{{}}.", _OPENAI_BLOCK)


def hf_blocks(theirs: str, ours: str) -> list[Row]:
    """Rows of all blocks, `<theirs>layers.{}.` in transformers' spelling; prefixes as in `stem_rows`."""
    return under(f"{theirs}layers.{{}}.", f"{ours}blocks.{{}}.", _HF_BLOCK)
