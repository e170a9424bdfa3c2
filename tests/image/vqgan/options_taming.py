"""taming's VQModel and GumbelVQ."""

from image_cases import enliven
from layout_options import DROP, Sweep
from wrapped_states import lightning

DD = {
    "double_z": False, "z_channels": 8, "resolution": 16, "in_channels": 3, "out_ch": 3, "ch": 32, "ch_mult": [1, 2],
    "num_res_blocks": 1, "attn_resolutions": [8], "dropout": 0.0,
}  # fmt: skip

STACKS = {
    "as it is": {},
    "attention at two levels": {"ddconfig": {"attn_resolutions": [16, 8]}},
    "attention nowhere but in the middle": {"ddconfig": {"attn_resolutions": []}},
    "three levels": {"ddconfig": {"ch_mult": [1, 1, 2], "attn_resolutions": [4], "resolution": 16}},
    "two blocks a level": {"ddconfig": {"num_res_blocks": 2}},
    "default multipliers": {"ddconfig": {"ch_mult": DROP, "attn_resolutions": [], "resolution": 32}},
    "no convolutions where the size changes": {"ddconfig": {"resamp_with_conv": False}},
    "default dropout": {"ddconfig": {"dropout": DROP}},
    "a first level wider than the stem": {"ddconfig": {"ch_mult": [2, 3]}},
    "of a YAML, with losses": {"lossconfig": {"target": "x.Loss", "params": {"disc_start": 0}}, "monitor": "val/rec_loss"},
}

REFUSED = {
    "moments": ({"ddconfig": {"double_z": True}}, "double_z"),
    "a remap table": ({"remap": "used.npy"}, "remap"),
    "a misspelt key": ({"n_embeds": 4}, "n_embeds"),
    "features instead of pixels": ({"ddconfig": {"give_pre_end": True}}, "give_pre_end"),
}

SWEEPS = {
    "taming-vqgan": Sweep(
        tiny={"ddconfig": DD, "n_embed": 24, "embed_dim": 6},
        options=STACKS
        | {
            "code as wide as the encoder": {"embed_dim": 8},
            "other sizes": {"n_embed": 10, "ddconfig": {"z_channels": 5}},
            "a class without discriminator": {"source": {"class": "VQNoDiscModel"}},
        },
        refused=REFUSED,
        enliven=enliven,
        published=lightning,
    ),
    "taming-gumbel": Sweep(
        tiny={"ddconfig": DD, "n_embed": 24, "embed_dim": 8, "kl_weight": 1e-8},
        options=STACKS
        | {
            "default weight of the prior": {"kl_weight": DROP},
            "a schedule of temperatures": {"temperature_scheduler_config": {"target": "x.Schedule"}},
            "other sizes": {"n_embed": 10, "embed_dim": 5, "ddconfig": {"z_channels": 5}},
        },
        refused=REFUSED | {"codes of another width": ({"embed_dim": 4}, "must be equal")},
        enliven=enliven,
        published=lightning,
    ),
}
