"""Every audio family in tiny form. A new family adds its lines here."""

from quantizers_tiny import FACTORISED, RVQ

#: A transformer over frames, and what stands around it in Mimi.
SMALL_TRANSFORMER = {"width": 8, "layers": 1, "heads": 2, "feed_forward": 8, "context": 5, "layer_scale": 0.5}
SMALL_SIDES = {"encoder_transformer": SMALL_TRANSFORMER, "decoder_transformer": SMALL_TRANSFORMER}
SMALL_SEANET = {"width": 4, "strides": [2, 5], "latent_dim": 8, "last_kernel_size": 3, "lstm_layers": 0, "causal": True}
SMALL_SEANET |= {"padding": "constant", "identity_skip": True}
SPLIT_RVQ = RVQ | {"codebook_dim": 4, "projection": "shared", "proj_bias": False, "split_first": 1}
SMALL_WAVLM = {"conv_widths": [4, 4], "conv_kernels": [4, 3], "conv_strides": [4, 2], "layers": 1, "width": 8}
SMALL_WAVLM |= {"feed_forward": 8, "heads": 2, "buckets": 8, "max_distance": 20}
SMALL_WAVLM |= {"position_kernel": 4, "position_groups": 2}
SMALL_FOCAL = {
    "encoder": SMALL_WAVLM,
    "widths": [8, 6],
    "factors": [1, 1],
    "compressor": {"kernel_size": 4, "kernel_step": 2},
    "decompressor": {"kernel_size": 4, "kernel_step": 2, "average": True},
    "window": 5,
    "decompressor_window": 5,
    "last_window": 4,
    "quantizer": {"kind": "bsq", "bits": 12, "normalize": False},
    "latent_dim": 12,
    "decoder": {"width": 8, "blocks": 1, "hidden": 12, "window_samples": 20, "hop_samples": 8},
}
SMALL_XCODEC2 = {
    "width": 1,
    "acoustic_dim": 8,
    "semantic_model": {
        "model_type": "wav2vec2-bert", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 8, "output_hidden_size": 8, "conv_depthwise_kernel_size": 3, "vocab_size": 8,
    },
    "semantic_in": 8,
    "semantic_width": 8,
    "semantic_dim": 8,
    "quantizer": {
        "kind": "residual_fsq", "levels": [32, 25, 33], "num_codebooks": 1, "convention": "fsq", "project": True,
    },
    "latent_dim": 16,
    "decoder_dim": 64,
    "layers": 1,
    "heads": 2,
    "dropout": 0.0,
}  # fmt: skip

FACTORISED_4 = {"codebook_dim": 4, "normalize": True, "update": "gradient", "kmeans_init": False, "replace_below": 0.0}
SMALL_DUALCODEC = {
    "strides": [16, 30],
    "encoder_width": 2,
    "decoder_width": 16,
    "semantic_model": SMALL_XCODEC2["semantic_model"],
    "semantic_pool": 1,
    "semantic_in": 8,
    "semantic_width": 6,
    "semantic_hidden": 8,
    "semantic_blocks": 1,
    "semantic_quantizer": FACTORISED_4 | {"kind": "vq", "codebook_size": 32},
    "quantizer": FACTORISED_4 | {"kind": "residual_vq", "num_codebooks": 2, "codebook_size": 16},
}

SMALL_HUBERT = {
    "model_type": "hubert", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8,
    "conv_dim": [4] * 7, "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2, "vocab_size": 8,
}  # fmt: skip
SMALL_HCODEC = {
    "seanet": {"width": 2, "strides": [10, 16], "latent_dim": 8, "lstm_layers": 0},
    "heads": 2,
    "layers": 1,
    "semantic": {"features": 8, "width": 6, "ratios": [1], "strides": [1], "dilations": [1]},
    "semantic_model": SMALL_HUBERT,
    "quantizer": {"kind": "residual_vq", "num_codebooks": 2, "codebook_size": 16},
    "semantic_quantizer": {"kind": "residual_vq", "num_codebooks": 1, "codebook_size": 16},
    "decoder_dim": 32,
    "decoder_hidden": 16,
    "decoder_blocks": 1,
    "window_samples": 640,
    "dropout": 0.0,
}

SMALL_NEMO = {"unit_kernels": [3, 5], "unit_dilations": [1, 2]}  # fine levels: untrained latents are small
SMALL_NEMO_CAUSAL = {
    "encoder": SMALL_NEMO | {"strides": [2, 5], "width": 4, "activation": "snake", "causal": True},
    "decoder": SMALL_NEMO
    | {"strides": [5, 2], "width": 16, "activation": "half_snake", "causal": True, "grouped": True},
    "output": "clamp",
    "quantizer": {"kind": "grouped_fsq", "num_groups": 2, "levels": [401, 400]},
}

SMALL_LONGCAT = {
    "strides": [2, 5],
    "encoder_width": 4,
    "latent_dim": 8,
    "semantic_size": 0,
    "decoder_strides": [5, 2],
    "decoder_width": 8,
    "quantizer": FACTORISED_4 | {"kind": "residual_vq", "num_codebooks": 2, "codebook_size": 6, "product": 2},
}

SMALL_TAAE = {"width": 8, "multiples": [1, 1], "strides": [2, 1], "depths": [1, 1], "window": [3, 2], "head_dim": 4}
SMALL_TAAE |= {"layer_scale": 0.5}
SMALL_XCODEC = {
    "strides": [5, 4],
    "encoder_width": 2,
    "decoder_width": 8,
    "acoustic_dim": 6,
    "semantic": {"features": 8, "width": 8, "strides": [1], "ratios": [1], "dilations": [1]},
    "semantic_model": SMALL_HUBERT | {"conv_dim": [4, 4], "conv_kernel": [6, 4], "conv_stride": [5, 4]},
    "pad_samples": 10,
    "quantizer": {"kind": "residual_vq", "num_codebooks": 2, "codebook_size": 16},
    "bandwidths_kbps": [],
}

#: label -> (family, config)
AUDIO: dict[str, tuple[str, dict]] = {
    "spectral": (
        "spectral",
        {"width": 8, "encoder_blocks": 1, "decoder_blocks": 1, "hop_samples": 20, "window_samples": 40, "latent_dim": 6}
        | {"quantizer": RVQ},
    ),
    "spectral-causal": (
        "spectral",
        {"width": 8, "encoder_blocks": 1, "decoder_blocks": 1, "hop_samples": 20, "window_samples": 40, "latent_dim": 6}
        | {"quantizer": RVQ, "causal": True},
    ),
    "spectral-rms": (
        "spectral",
        {"width": 8, "encoder_blocks": 1, "decoder_blocks": 1, "hop_samples": 20, "window_samples": 80, "latent_dim": 6}
        | {"quantizer": RVQ, "normalize": "rms"},
    ),
    "waveform": ("waveform", {"width": 4, "strides": [2, 4], "dilations": [1, 3], "latent_dim": 6, "quantizer": RVQ}),
    "waveform-causal-stereo": (
        "waveform",
        {"width": 4, "strides": [2, 5], "dilations": [1, 3], "latent_dim": 6, "quantizer": RVQ}
        | {"causal": True, "channels": 2, "activation": "elu"},
    ),
    "encodec": (
        "encodec",
        {"encoder": {"width": 4, "strides": [2, 5], "latent_dim": 6, "causal": True}, "quantizer": RVQ},
    ),
    "encodec-stereo-segments": (
        "encodec",
        {
            "sample_rate_hz": 1200,
            "encoder": {"width": 4, "strides": [2, 4], "latent_dim": 6, "channels": 2, "norm": "group", "lstm_layers": 1},
            "quantizer": RVQ,
            "normalize": True,
            "segment_seconds": 0.05,
            "segment_overlap": 0.1,
        },
    ),
    "encodec-constant": (
        "encodec",
        {
            "encoder": {"width": 4, "strides": [2, 5], "latent_dim": 6, "causal": True, "padding": "constant"}
            | {"identity_skip": True, "lstm_layers": 0, "residual_layers": 2},
            "quantizer": RVQ,
        },
    ),
    "mimi": ("mimi", {"seanet": SMALL_SEANET, **SMALL_SIDES, "quantizer": SPLIT_RVQ}),
    "mimi-layers": (
        "mimi",
        {
            "seanet": SMALL_SEANET | {"channels": 2, "padding": "replicate", "identity_skip": False},
            "encoder_transformer": SMALL_TRANSFORMER | {"width": 12, "kv_heads": 1, "norm": "rms", "gated": True},
            "decoder_transformer": None,
            "frame_stride": 1,
            "quantizer": SPLIT_RVQ | {"split_first": 2},
            "last_frame": "layers",
        },
    ),
    "moss": (
        "moss",
        {
            "encoder": [
                {"patch": 4, "transformer": SMALL_TRANSFORMER, "out_channels": 6},
                {"patch": 2, "transformer": SMALL_TRANSFORMER | {"width": 12}, "out_channels": 6},
            ],
            "decoder": [
                {"patch": 2, "transformer": SMALL_TRANSFORMER, "out_channels": 6},
                {"patch": 4, "transformer": SMALL_TRANSFORMER, "out_channels": 4},
            ],
            "latent_dim": 6,
            "quantizer": FACTORISED | {"stack_dim": 5},
        },
    ),
    "moss-stereo": (
        "moss",
        {
            "channels": 2,
            "encoder": [{"patch": 20}, {"transformer": SMALL_TRANSFORMER}],
            "decoder": [{"transformer": SMALL_TRANSFORMER, "out_channels": 20}, {"patch": 20}],
            "latent_dim": 8,
            "quantizer": RVQ,
        },
    ),
    "qwen3_tts": (
        "qwen3_tts",
        {
            "sample_rate_hz": 16000,
            "output_rate_hz": 16000,
            "num_codebooks": 3,
            "seanet": SMALL_SEANET,
            "encoder_transformer": SMALL_TRANSFORMER,
            "quantizer": SPLIT_RVQ,
            "code_dim": 8,
            "codebook_size": 16,
            "latent_dim": 6,
            "decoder_transformer": SMALL_TRANSFORMER | {"norm": "rms", "gated": True, "final_norm": True},
            "frame_strides": [2],
            "width": 8,
            "strides": [5, 2],
        },
    ),
    "focalcodec": ("focalcodec", {**SMALL_FOCAL, "factors": [2, 1]}),
    "focalcodec-causal": (
        "focalcodec",
        {
            **SMALL_FOCAL,
            "encoder": SMALL_WAVLM | {"causal": True, "window": 9, "chunk_frames": 3},
            "compressor": {"kernel_size": 3, "levels": 1, "causal": True, "layer_scale": 0.5},
            "decompressor": {"kernel_size": 3, "levels": 1, "causal": True, "norm_after": True},
            "refine_frames": 3,
            "decoder": SMALL_FOCAL["decoder"] | {"head": "wavenext", "hop_samples": 12, "causal": True},
        },
    ),
    "xcodec2": ("xcodec2", SMALL_XCODEC2),
    "neucodec": ("xcodec2", SMALL_XCODEC2 | {"hop_out_samples": 480, "pad_features": False}),
    "dualcodec": ("dualcodec", SMALL_DUALCODEC),
    "hcodec": ("hcodec", SMALL_HCODEC),
    "nemo": (
        "nemo_codec",
        {
            "encoder": SMALL_NEMO | {"strides": [2, 5], "width": 4},
            "decoder": SMALL_NEMO | {"strides": [5, 2], "width": 16},
            "quantizer": {"kind": "grouped_fsq", "num_groups": 2, "levels": [401, 400]},
        },
    ),
    "longcat": ("longcat", SMALL_LONGCAT),
    "ustokenizer": (
        "ustokenizer",
        {
            "encoder": {"features": 6, "width": 8, "strides": [1, 1], "bias": False},
            "decoder": {"features": 6, "width": 8, "strides": [1, 1], "ratios": [1, 1.5]},
            "latent_dim": 5,
            "quantizer": {"kind": "residual_vq", "num_codebooks": 2, "codebook_size": 16, "kmeans_init": False},
        },
    ),
    "levo": (
        "levo",
        {
            "layers": [2, 1],
            "feature_dim": 8,
            "musicfm": {"bands": 8, "conv_width": 2, "width": 8, "layers": 2, "heads": 2, "hidden": 8, "kernel_size": 3},
            "quantizer": FACTORISED_4 | {"kind": "grouped_vq", "groups": 2, "levels": 1, "codebook_size": 16},
            "flow": {"layers": 1, "heads": 2, "hidden": 8, "latent_dim": 4, "mask_dim": 4, "window_frames": 8},
            "vae": {"width": 2, "multiples": [1, 2], "strides": [2, 3]},
        },
    ),
    "longcat-speech": (
        "longcat",
        SMALL_LONGCAT
        | {"strides": [4, 3], "decoder_strides": [3, 4], "semantic_size": 12, "semantic_dim": 6}
        | {
            "speech": {"window_samples": 4, "hop_samples": 2, "bands": 6, "conv_width": 4, "width": 8}
            | {"layers": 2, "heads": 2, "hidden": 8}
        },
    ),
    "longcat-causal": ("longcat", SMALL_LONGCAT | {"decoder_strides": [5, 3], "causal_decoder": True}),
    "nemo-causal": ("nemo_codec", SMALL_NEMO_CAUSAL),
    "dac": ("dac", {"strides": [2, 5], "encoder_width": 4, "decoder_width": 8, "quantizer": FACTORISED}),
    "dac-unfilled": (
        "dac",
        {"strides": [3, 2], "encoder_width": 4, "decoder_width": 8, "quantizer": FACTORISED, "fill": "none"},
    ),
    "snac": (
        "snac",
        {"strides": [2, 3], "encoder_width": 4, "decoder_width": 8, "quantizer": FACTORISED | {"strides": [4, 2, 1]}},
    ),
    "snac-attention": (
        "snac",
        {
            "strides": [4],
            "encoder_width": 32,
            "decoder_width": 64,
            "window": 4,
            "noise": False,
            "depthwise": False,
            "quantizer": FACTORISED | {"strides": [2, 1, 1]},
        },
    ),
    "speechtokenizer": (
        "speechtokenizer",
        {
            "seanet": {"width": 4, "strides": [2, 5], "latent_dim": 6, "lstm_bidirectional": True, "activation": "snake"},
            "semantic_dim": 5,
            "quantizer": RVQ,
        },
    ),
    "speechtokenizer-fusion": (
        "speechtokenizer",
        {
            "seanet": {"width": 4, "strides": [2, 5], "latent_dim": 6, "lstm_bidirectional": True},
            "semantic_dim": 5,
            "quantizer": RVQ,
            "fusion": {"semantic_dim": 4, "context_dim": 6, "heads": 2},
        },
    ),
    "bigcodec": (
        "bigcodec",
        {"strides": [2, 5], "encoder_width": 4, "decoder_width": 8, "latent_dim": 6}
        | {"quantizer": FACTORISED | {"num_codebooks": 1, "kmeans_init": True}},
    ),
    "wavtokenizer": (
        "wavtokenizer",
        {
            "encoder": {"width": 4, "strides": [2, 5], "latent_dim": 6},
            "width": 64,
            "hidden": 40,
            "blocks": 2,
            "window_samples": 40,
            "dropout": 0.0,
            "quantizer": {"kind": "vq", "codebook_size": 16},
        },
    ),
    "hificodec": (
        "hificodec",
        {
            "strides": [2, 5],
            "stride_kernels": [4, 11],
            "encoder_width": 8,
            "decoder_width": 8,
            "unit_kernels": [3, 5],
            "unit_dilations": [[1, 3], [1, 2]],
            "quantizer": {"kind": "grouped_vq", "codebook_size": 16, "update": "gradient"},
        },
    ),
    "sq_codec": (
        "sq_codec",
        {
            "pool": 2,
            "strides": [2, 5],
            "stride_kernels": [4, 10],
            "decoder_strides": [5, 2],
            "decoder_stride_kernels": [10, 4],
            "width": 4,
            "latent_dim": 3,
        },
    ),
    "stable_codec": (
        "stable_codec",
        {
            "patch_samples": 5,
            "encoder": SMALL_TAAE | {"units": True, "snake": True, "conformer": True},
            "decoder": SMALL_TAAE | {"units": True, "window": [2, 3]},
            "latent_dim": 4,
            "quantizer": {"kind": "fsq", "levels": [401, 401, 101, 101], "convention": "stable"},
            "normalize": "lufs",
        },
    ),
    "stable_codec-posthoc": (
        "stable_codec",
        {
            "channels": 2,
            "patch_samples": 4,
            "encoder": SMALL_TAAE | {"strides": [1, 3]},
            "decoder": SMALL_TAAE | {"strides": [1, 3], "multiples": [1, 2], "snake": True},
            "latent_dim": 3,
            "quantizer": {"kind": "residual_fsq", "levels": [63, 63, 63], "num_codebooks": 2, "scales": [1.0, 0.01]},
            "soft_clip": True,
        },
    ),
    "xcodec": ("xcodec", SMALL_XCODEC),
    "xcodec-frame": ("xcodec", SMALL_XCODEC | {"fill": "frame", "decoder_strides": [2, 10]}),
}
