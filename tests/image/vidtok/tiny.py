"""`vidtok` in tiny form, for tests over all families."""

_NETWORKS = {"widths": [8, 8], "stem_width": 4, "blocks": 1, "latent_dim": 4, "time_down": [0], "time_up": [1]}
_CODE = {"kind": "fsq", "levels": [5, 5, 4, 4]}

#: label -> (family, config)
TINY: dict[str, tuple[str, dict]] = {
    "vidtok": ("vidtok", {"networks": _NETWORKS, "quantizer": _CODE}),
    "vidtok-v1.1": ("vidtok", {"networks": _NETWORKS | {"kind": "causal_v1_1", "interpolate": True}, "quantizer": _CODE}),
    "vidtok-noncausal": ("vidtok", {"networks": _NETWORKS | {"kind": "noncausal"}, "quantizer": _CODE}),
}
