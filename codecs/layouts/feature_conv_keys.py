"""Key tables of RepCodec's convolutions over a speech model's features; used by X-codec, H-Codec and USTokenizer."""

from .keymap import Row


def _side(theirs: str, ours: str, convolution: str) -> list[Row]:
    block, level = f"{theirs}.conv_blocks.{{}}", f"{ours}.levels.{{}}"
    return [
        (f"{block}.conv.{convolution}.*", f"{level}.conv.*"),
        (f"{block}.res_units.{{}}.conv1.conv.*", f"{level}.units.{{}}.conv_in.*"),
        (f"{block}.res_units.{{}}.conv2.*", f"{level}.units.{{}}.conv_out.*"),
    ]


def encoder(theirs: str, ours: str) -> list[Row]:
    """Rows of `FeatureEncoder`; without a head (`dim` None) files have no `conv2`."""
    return [
        (f"{theirs}.conv.conv.*", f"{ours}.stem.*"),
        (f"{theirs}.conv2.conv.*", f"{ours}.head.*"),
        *_side(theirs, ours, "conv"),
    ]


def decoder(theirs: str, ours: str, strides: tuple[int, ...]) -> list[Row]:
    """Rows of `FeatureDecoder`; the convolutions of levels with a stride above 1 are transposed and have another name."""
    levels = [
        (f"{theirs}.conv_blocks.{i}.conv.{'conv' if s == 1 else 'deconv'}.*", f"{ours}.levels.{i}.conv.*")
        for i, s in enumerate(strides)
    ]
    return [
        (f"{theirs}.conv1.conv.*", f"{ours}.stem.*"),
        (f"{theirs}.conv2.conv.*", f"{ours}.head.*"),
        *levels,
        *_side(theirs, ours, "conv")[1:],
    ]
