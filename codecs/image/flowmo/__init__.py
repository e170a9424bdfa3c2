"""FlowMo: bits of a transformer over patches and tokens, decoded to pixels by a rectified flow without convolutions or an adversary."""
