"""`paella` in tiny form, for tests over all families."""

from tiny_parts import GRADIENT_VQ, RVQ

_TINY = {"width": 8, "levels": 2, "blocks": 1, "latent_dim": 4}

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "paella": ("paella", _TINY | {"quantizer": GRADIENT_VQ}),
    "paella-rvq": ("paella", _TINY | {"levels": 1, "patch_size": 4, "quantizer": RVQ}),
}
