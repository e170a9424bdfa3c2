"""Key tables of Vocos' backbone in its authors' names; BiCodec, MaskGCT and others reuse them."""

from .keymap import Row


def backbone(theirs: str, ours: str, *, condition: bool = False) -> list[Row]:
    """Rows of `FrameBackbone`; with `condition` its norms are maps of a vector."""
    norm = "norm.{scale|shift}.*" if condition else "norm.*"
    own = "norm{}.{scale|shift}.*" if condition else "norm{}.*"
    block, own_block = f"{theirs}.convnext.{{}}", f"{ours}.blocks.{{}}"
    return [
        (f"{theirs}.embed.*", f"{ours}.embed.*"),
        (f"{theirs}.{norm}", f"{ours}.{own.replace('{}', '_in', 1)}"),
        (f"{block}.dwconv.*", f"{own_block}.depthwise.*"),
        (f"{block}.{norm}", f"{own_block}.{own.replace('{}', '', 1)}"),
        (f"{block}.pwconv1.*", f"{own_block}.up.*"),
        (f"{block}.pwconv2.*", f"{own_block}.down.*"),
        (f"{block}.gamma", f"{own_block}.scale"),
        (f"{theirs}.final_layer_norm.*", f"{ours}.norm_out.*"),
    ]
