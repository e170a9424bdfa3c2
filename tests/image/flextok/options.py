"""FlexTok: dictionaries of steps, of which hydra makes modules."""

from typing import Any

import torch
from image_cases import enliven
from layout_options import DROP, Sweep

_P = "flextok.model.preprocessors."


def _step(target: str, **values) -> dict[str, Any]:
    return {"_target_": "flextok." + target, **values}


def _transformer(side: str, **values) -> dict[str, Any]:
    keys = {"input_seq_read_key": f"{side}_packed", "output_seq_write_key": f"{side}_packed_out", "block_mask_read_key": f"{side}_mask"}
    sizes = {"dim": 16, "depth": 2, "head_dim": 8, "mlp_ratio": 4.0}
    return _step("model.trunks.transformers.FlexTransformer", **keys, **sizes, **values)


def _packer(side: str, parts: list[str], **values) -> dict[str, Any]:
    names = {f"{a}_packed_shapes_write_key": f"{side}_ps_{a}" for a in ("inner", "outer")}
    names |= {"packed_seq_write_key": f"{side}_packed", "block_mask_write_key": f"{side}_mask", "input_list_read_keys": parts}
    return _step("model.preprocessors.flex_seq_packing.BlockWiseSequencePacker", **names, **values)


def _unpacker(side: str, parts: list[str]) -> dict[str, Any]:
    names = {f"{a}_packed_shapes_read_key": f"{side}_ps_{a}" for a in ("inner", "outer")}
    names |= {"packed_seq_read_key": f"{side}_packed_out", "inner_seq_write_keys": [f"{p}_out" for p in parts]}
    return _step("model.postprocessors.seq_unpacking.SequenceUnpacker", **names)


def _patches(side: str) -> dict[str, Any]:
    keys = {"input_tensor_list_read_key": f"{side}_x_last", "patches_list_write_key": f"{side}_patches", "n_patches_write_key": "n"}
    return _step("model.preprocessors.patching.PatchEmbedder", **keys, channels_in=3, dim=16, patch_sizes=[2, 2], flatten_patches=False)


def _positions(key: str, sizes: list[int], **values) -> dict[str, Any]:
    return _step(
        "model.utils.posembs.PositionalEmbeddingAdder", read_key=key, write_key=key, dim=16, max_sizes=sizes, **values
    )


def _last(side: str, read: str) -> dict[str, Any]:
    op = _step("model.utils.dict_ops.channels_first_to_last", _partial_=True)
    return _step("model.utils.dict_ops.PerSampleOp", read_key=read, write_key=f"{side}_x_last", per_sample_op=op)


_LEARNT = {"posemb_type": "learnable_sum", "posemb_scaling": "absolute"}
_ENCODER = {
    "enc_channels_to_last": _last("enc", "vae_latents"),
    "enc_patch_emb": _patches("enc"),
    "enc_posemb": _positions("enc_patches", [4, 4], **_LEARNT),
    "enc_register_module": _step(
        "model.preprocessors.registers.Registers1D", input_tensor_list_read_key="enc_patches", registers_write_key="enc_registers",
        register_sizes_read_write_key="register_sizes", dim=16, n_min=6, n_max=6, size_sampling_mode="uniform", ordering_mode="nested",
    ),
    "enc_seq_packer": _packer("enc", ["enc_patches", "enc_registers"], mask_mode="causal_last", pad_to_multiple=128),
    "enc_transformer": _transformer("enc"),
    "enc_unpacker": _unpacker("enc", ["enc_patches", "enc_registers"]),
    "enc_to_latents": _step(
        "model.postprocessors.heads.LinearHead", read_key="enc_registers_out", write_key="enc_latents", dim=16, dim_out=3,
        use_mup_readout=False, weight_init_style="trunc_normal", dtype_override="fp32",
    ),
}  # fmt: skip
_DECODER = {
    "dec_from_latents": _step("model.preprocessors.linear.LinearLayer", read_key="quants", write_key="dec_registers", dim_in=3, dim=16),
    "dec_registers_posemb": _positions("dec_registers", [6], **_LEARNT),
    "dec_nested_dropout": _step(
        "model.preprocessors.token_dropout.MaskedNestedDropout", read_write_key="dec_registers", dim=16,
        eval_keep_k_read_key="eval_keep_k", size_sampling_mode="uniform_pow2",
    ),
    "dec_latent_dropout": _step(
        "model.preprocessors.nullcond.LearnedNullCond", read_write_key="dec_registers", dim=16, dropout_prob=0.2
    ),
    "dec_channels_to_last": _last("dec", "noised_latents"),
    "dec_patch_emb": _patches("dec"),
    "dec_posemb": _positions("dec_patches", [4, 4], **_LEARNT),
    "dec_time_embedder": _step(
        "model.preprocessors.time_embedding.TimestepEmbedder", timesteps_read_key="timesteps", time_embedding_write_key="temb", dim=16,
        frequency_embedding_size=8, max_timestep=1.0,
    ),
    "dec_seq_packer": _packer(
        "dec", ["dec_registers", "dec_patches"], mask_mode="full", emb_packing_fn_write_key="emb", per_subseq_embs=True
    ),
    "dec_transformer": _transformer("dec", adaLN_emb_read_key="temb", adaLN_packing_fn_read_key="emb", adaLN_expansion=2),
    "dec_unpacker": _unpacker("dec", ["dec_registers", "dec_patches"]),
    "dec_to_patches": _step(
        "model.postprocessors.heads.ToPatchesLinearHead", read_key="dec_patches_out", write_key="dec_x_out", dim=16, channels_out=3,
        patch_sizes=[2, 2], use_mup_readout=False, dtype_override="fp32", adaLN_emb_read_key="temb",
    ),
}  # fmt: skip
_WRAPPER = "flextok.model.utils.wrappers.SequentialModuleDictWrapper"
_TINY = {
    "vae": _step(
        "vae_wrapper.StableDiffusionVAE", images_read_key="rgb", vae_latents_read_key="a", vae_latents_write_key="vae_latents",
        images_reconst_write_key="b", latent_channels=3, scaling_factor=0.8, dtype_override="fp32", hf_hub_path=None,
        sample_posterior=True, force_vae_encode=False, frozen=True,
    ),
    "encoder": {"_target_": _WRAPPER, "module_dict": _ENCODER},
    "regularizer": _step(
        "regularizers.quantize_fsq.FSQ", latents_read_key="enc_latents", quants_write_key="quants", tokens_write_key="tokens",
        levels=[8, 5, 3], drop_quant_p=0.0, packed_call=True,
    ),
    "decoder": {"_target_": _WRAPPER, "module_dict": _DECODER},
    "flow_matching_noise_module": _step("flow_matching.noise_modules.MinRFNoiseModule", ln=True, stratisfied=False),
    "pipeline": _step("flow_matching.pipelines.MinRFPipeline", _partial_=True, out_channels=3),
    "vae_config": {
        "block_out_channels": [4, 4], "down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2,
        "layers_per_block": 1, "norm_num_groups": 2, "latent_channels": 3,
    },
}  # fmt: skip


def _enc(step: str, **values):
    return {"encoder": {"module_dict": {step: values}}}


def _dec(step: str, **values):
    return {"decoder": {"module_dict": {step: values}}}


SWEEPS = {
    "flextok": Sweep(
        tiny=_TINY,
        options={
            "as it is": {},
            "named at the top": {"_target_": "flextok.flextok_wrapper.FlexTok", "_convert_": "all"},
            "plain MLPs": {"encoder": {"module_dict": {"enc_transformer": {"gated_mlp": False}}}},
            "biases everywhere": _dec("dec_transformer", qkv_bias=True, proj_bias=True, mlp_bias=True),
            "without norms of queries and keys": _enc("enc_transformer", qk_norm=False),
            "another mask": _enc("enc_seq_packer", mask_mode="causal"),
            "no mask": _enc("enc_seq_packer", mask_mode=DROP),
            "means of registers": _enc("enc_register_module", ordering_mode="avg_pool", n_eval=3),
            "fewer tokens than registers": _enc("enc_register_module", n_eval=4),
            "no positions in the encoder": {"encoder": {"module_dict": {"enc_posemb": DROP}}},
            "waves": _dec("dec_posemb", posemb_type="sincos", posemb_scaling="interpolate"),
            "products": _enc("enc_posemb", posemb_type="learnable_prod"),
            "no positions of tokens": {"decoder": {"module_dict": {"dec_registers_posemb": DROP}}},
            "no classifier-free guidance": {"decoder": {"module_dict": {"dec_latent_dropout": DROP}}},
            "zeros for no condition": _dec("dec_latent_dropout", _target_=f"{_P}nullcond.ZeroNullCond", dim=DROP),
            "patches first": _dec("dec_seq_packer", input_list_read_keys=["dec_patches", "dec_registers"]),
            "one modulation for all": {
                "decoder": {"module_dict": {"dec_transformer": {"adaLN_expansion": 1}, "dec_seq_packer": {"per_subseq_embs": DROP}}}
            },
            "even times": {"flow_matching_noise_module": {"ln": False, "stratisfied": True, "mode_scale": 1.2}},
            "times up to 1000, by default": _dec("dec_time_embedder", max_timestep=DROP),
            "a wider decoder": _dec("dec_transformer", depth=1),
            "features for a loss": _dec("dec_transformer", intermediate_layers=[0], intermediate_layer_write_key="repa"),
            "the mean of the posterior": {"vae": {"sample_posterior": False}},
        },
        refused={
            "a readout of muP": (_enc("enc_to_latents", use_mup_readout=True), "use_mup_readout"),
            "rotary positions": (_dec("dec_transformer", rope_forward_read_key="rope"), "rope_forward_read_key"),
            "another norm": (_enc("enc_transformer", norm_layer={"_target_": "torch.nn.LayerNorm", "_partial_": True}), "norm_layer"),
            "scale of another repository": ({"vae": {"scaling_factor": None}}, "scaling_factor"),
            "a step more": ({"decoder": {"module_dict": {"more": _step("model.postprocessors.heads.MLPHead")}}}, "MLPHead"),
        },
        enliven=enliven,
        published=lambda state: state | {"vae.logvar": torch.zeros(())},
    )
}
