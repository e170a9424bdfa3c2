"""SEED's second tokenizer against the authors' outputs, its diffusion decoder against diffusers."""

import json

import pytest
import tokenzoo
import torch
from reference import load_io, reference_folder
from safetensors.torch import load_file
from tokenzoo.codecs.image.seed2.model import Seed2
from tokenzoo.codecs.layers.qformer import QFormer, QFormerConfig
from tokenzoo.codecs.serialize import CheckpointError, load_folder, save_folder
from tokenzoo.zoo.convert import convert, load_reference
from torch.testing import assert_close

CLOSE = {"atol": 1e-5, "rtol": 1e-4}


def parts(system):
    folder = reference_folder("image", system)
    return json.loads((folder / "config.json").read_text()), load_file(folder / "weights.safetensors"), load_io(folder)


def pictures(tok: Seed2, io) -> torch.Tensor:
    """The stored input is normalised as CLIP wants it; pictures are in 0..1."""
    return io["input"] * tok.pixel_std + tok.pixel_mean


def test_codes_reference():
    folder = reference_folder("image", "seed2-quantizer")
    tok, io = load_reference(folder), load_io(folder)
    x = io["query_output"].transpose(1, 2)
    assert_close(tok.encode_latents(x).transpose(1, 2), io["latent"], **CLOSE)
    tokens = tok.encode(x)
    assert torch.equal(tokens.ids[:, 0], io["ids"]) and torch.equal(tok.encode(x[1]).ids, tokens.ids[1:])
    assert_close(tok.quantizer.decode(tokens.ids).transpose(1, 2), io["quantized_from_ids"], **CLOSE)
    quantized = tok.quantizer(io["latent"].transpose(1, 2))
    assert_close(quantized.z_q.transpose(1, 2), io["quantized"], **CLOSE)
    assert_close(quantized.loss, io["quantizer_loss"][0], **CLOSE)
    assert_close(tok.decode(tokens).transpose(1, 2), io["query_output_up"], **CLOSE)
    assert_close(tok.semantic(tokens, pooled=True), io["image_embedding"], **CLOSE)
    assert_close(tok(x).features["embedding"][..., 0], io["image_embedding"], **CLOSE)
    assert_close(tok.semantic(tokens[1], pooled=True), io["image_embedding"][1:], **CLOSE)
    # another number of positions: ids and features are the same, an embedding there is none
    short = tok.encode(x[:, :, :5])
    assert torch.equal(short.ids, tokens.ids[:, :, :5])
    assert_close(tok.decode(short), tok.decode(tokens)[:, :, :5])
    assert not tok(x[:, :, :5]).features
    with pytest.raises(ValueError, match="8 positions"):
        tok.semantic(short, pooled=True)


def test_reference():
    folder = reference_folder("image", "seed2")
    tok, io = load_reference(folder), load_io(folder)
    x = pictures(tok, io)
    seen = tok.tower_norm(tok.tower((x - tok.pixel_mean) / tok.pixel_std, patches_only=False))
    assert_close(seen, io["image_embeds"], **CLOSE)
    assert_close(tok.query_features(x).transpose(1, 2), io["query_output"], **CLOSE)
    assert_close(tok.encode_latents(x).transpose(1, 2), io["latent"], **CLOSE)
    tokens = tok.encode(x)
    assert torch.equal(tokens.ids[:, 0], io["ids"]) and torch.equal(tok.encode(x[1]).ids, tokens.ids[1:])
    z_q = tok.quantizer.decode(tokens.ids)
    assert_close(z_q.transpose(1, 2), io["quantized_from_ids"], **CLOSE)
    assert_close(tok.codes.decode_latents(z_q).transpose(1, 2), io["query_output_up"], **CLOSE)
    assert_close(tok.semantic(tokens, pooled=True), io["image_embedding"], **CLOSE)
    with pytest.raises(ValueError, match="set_decoder"):
        tok.decode(tokens)


def test_queries_are_causal_where_there_are_32():
    """The authors' BERT looks at the number of queries; the published 32 are causal, the toy model's 8 are not."""
    config, state, io = parts("seed2")
    assert not convert("seed2", config, state).config.qformer.causal
    grown = dict(state)
    for key in ("query_tokens", "pos_embed", "pos_embed_image"):
        grown[key] = state[key].repeat(1, 4, 1)
    grown["distill_image_proj.weight"] = state["distill_image_proj.weight"].repeat(1, 4)
    tok = convert("seed2", {**config, "num_query_token": 32}, grown)
    assert tok.config.qformer.causal and tok.encode(pictures(tok, io)).ids.shape == (2, 1, 32)


@pytest.mark.parametrize("causal", [True, False])
def test_causal_queries_do_not_see_later_ones(causal):
    torch.manual_seed(0)
    former = QFormer(QFormerConfig(width=8, layers=2, heads=2, hidden=16, causal=causal), num_queries=5, memory_width=3)
    memory = torch.randn(1, 4, 3)
    before = former(memory)
    former.queries.data[3] += torch.randn(8)
    changed = (former(memory) - before).abs().amax(dim=2)[0] > 1e-6
    assert changed.tolist() == [not causal, not causal, not causal, True, True]


def test_reversed_qformer_makes_the_embedding():
    """`use_qformer_image`: the same BERT with one query in place of `image_down`."""
    config, state, io = parts("seed2")
    more = {k: v for k, v in state.items() if not k.startswith(("image_down", "distill_image_proj"))}
    rename = {k: k.replace("Qformer.", "Reverse_Qformer.") for k in state if k.startswith("Qformer.")}
    more |= {new: state[old] for old, new in rename.items()}
    for key in list(more):  # this one reads Q-Former features, not the tower's
        if key.startswith("Reverse_Qformer") and "crossattention.self" in key and key.endswith(("key.weight", "value.weight")):
            more[key] = torch.randn(36, 36, generator=torch.Generator().manual_seed(1)) * 0.1
    more |= {"reverse_tokens": state["query_tokens"][:, :1], "distill_image_proj.weight": torch.eye(36)[:24]}
    more["distill_image_proj.bias"] = torch.zeros(24)
    tok = convert("seed2", {**config, "use_qformer_image": True}, more)
    tokens = tok.encode(pictures(tok, io))
    assert torch.equal(tokens.ids[:, 0], io["ids"])
    features = tok.codes.decode_latents(tok.quantizer.decode(tokens.ids)).transpose(1, 2)
    head, reverse = tok.codes.head, tok.codes.head.reverse
    y = head.blocks[0](features + head.positions)
    assert_close(tok.semantic(tokens, pooled=True), reverse(y)[:, 0, :24], **CLOSE)


def test_strict():
    config, state, _ = parts("seed2")
    for change in ({"vit_model": "clip_L"}, {"blocks_for_image": False}, {"bert": {**config["bert"], "hidden_act": "relu"}}):
        with pytest.raises(ValueError, match="vit_model|blocks_for_image|hidden_act"):
            convert("seed2", {**config, **change}, state)
    with pytest.raises(CheckpointError, match="text_proj"):
        convert("seed2", config, {**state, "text_proj.weight": torch.ones(1)})
    with pytest.raises(CheckpointError):
        convert("seed2", config, {k: v for k, v in state.items() if k != "query_tokens"})


# --- the diffusion decoder --------------------------------------------------------------------------------------------------


def small(embedding_dim=24) -> Seed2:
    """A seed2 of a few numbers, without a diffusion decoder."""
    torch.manual_seed(0)
    tower = {"image_size": 12, "patch_size": 4, "width": 8, "layers": 1, "heads": 2, "hidden": 16, "registers": 0, "norm_out": "none"}
    codes = {"num_queries": 5, "width": 8, "code_dim": 4, "embedding_dim": embedding_dim, "head_layers": 1, "head_heads": 2}
    codes |= {"quantizer": {"kind": "vq", "codebook_size": 16, "update": "gradient", "kmeans_init": False}}
    qformer = {"width": 8, "layers": 2, "heads": 2, "hidden": 16, "causal": True}
    return tokenzoo.build_tokenizer("seed2", {"tower": tower, "qformer": qformer, "codes": codes}).eval()


def pipeline(tmp_path, kind="DDIMScheduler"):
    """A Stable unCLIP pipeline of diffusers with random weights, for embeddings of 24 numbers."""
    import diffusers
    from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, CLIPVisionConfig, CLIPVisionModelWithProjection

    (tmp_path / "vocab.json").write_text(json.dumps({"a</w>": 0, "<|startoftext|>": 1, "<|endoftext|>": 2}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    torch.manual_seed(0)
    text = CLIPTextConfig(
        vocab_size=3, hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=7, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    vision = CLIPVisionConfig(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, projection_dim=24)
    unet = diffusers.UNet2DConditionModel(
        sample_size=4, in_channels=3, out_channels=3, layers_per_block=1, block_out_channels=(8, 16), norm_num_groups=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=8, attention_head_dim=2, class_embed_type="projection", projection_class_embeddings_input_dim=48,
    )  # fmt: skip
    vae = diffusers.AutoencoderKL(
        block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4, latent_channels=3,
    )  # fmt: skip
    normalizer = StableUnCLIPImageNormalizer(embedding_dim=24)
    normalizer.mean.data.normal_()
    normalizer.std.data.uniform_(0.5, 2)
    steps = {"beta_schedule": "scaled_linear", "prediction_type": "v_prediction", "steps_offset": 1}
    if kind == "PNDMScheduler":
        steps["skip_prk_steps"] = True
    pipe = diffusers.StableUnCLIPImg2ImgPipeline(
        feature_extractor=None, image_encoder=CLIPVisionModelWithProjection(vision), image_normalizer=normalizer,
        image_noising_scheduler=diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
        tokenizer=CLIPTokenizer.from_pretrained(str(tmp_path), model_max_length=7), text_encoder=CLIPTextModel(text).eval(),
        unet=unet.eval(), scheduler=getattr(diffusers, kind)(**steps), vae=vae.eval(),
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.mark.parametrize("kind", ["DDIMScheduler", "PNDMScheduler", "EulerDiscreteScheduler"])
@pytest.mark.parametrize("guidance", [1.0, 10.0])
def test_diffusion_decoder_equals_the_pipeline(tmp_path, kind, guidance):
    pipe = pipeline(tmp_path, kind)
    tok = small().set_decoder(pipe)
    embedding = torch.randn(1, 24, generator=torch.Generator().manual_seed(2))
    noise = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(3))
    pipe.scheduler.set_timesteps(4)
    start = noise * pipe.scheduler.init_noise_sigma  # diffusers, unlike SEED's copy of it, takes given latents as they are
    theirs = pipe(
        prompt="", image_embeds=embedding, latents=start, num_inference_steps=4, guidance_scale=guidance, output_type="pt",
        generator=torch.Generator().manual_seed(5),
    ).images  # fmt: skip
    add = torch.randn(1, 24, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        ours = tok.decoder(embedding, noise=noise, embedding_noise=add, steps=4, guidance=guidance)
    assert ours.std() > 0.05
    assert_close(ours.clamp(0, 1), theirs, atol=1e-4, rtol=1e-4)
    assert_close(tok.decoder(embedding, noise=noise, seed=5, steps=4, guidance=guidance), ours, atol=1e-4, rtol=1e-4)


def test_pictures_at_last(tmp_path):
    tok = small()
    x = torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    tokens = tok.encode(x)
    with pytest.raises(ValueError, match="set_decoder"):
        tok.decode(tokens)
    out = tok(x)  # without a diffusion decoder the authors' training ends at the embedding
    assert torch.equal(out.x_hat, out.features["embedding"]) and torch.equal(out.x_hat[..., 0], tok.semantic(tokens, pooled=True))
    assert out.features["queries"].shape == out.features["queries_hat"].shape
    y = tok.set_decoder(pipeline(tmp_path)).decode(tokens, steps=2, seed=4)
    assert y.shape == x.shape and tok.decode(tokens, steps=2, original=False).shape == (2, 3, 8, 8)
    assert torch.equal(y, tok.decode(tokens, steps=2, seed=4)) and not torch.allclose(y, tok.decode(tokens, steps=2, seed=5), atol=1e-3)
    assert_close(tok.decode(tokens[1], steps=2, seed=4)[0], y[1], **CLOSE)
    noise = torch.randn(2, 3, 4, 4)
    assert_close(tok.decode(tokens[1], steps=2, noise=noise[1:])[0], tok.decode(tokens, steps=2, noise=noise)[1], **CLOSE)
    with pytest.raises(ValueError, match="1 noise for 2 items"):
        tok.decode(tokens, noise=noise[:1])
    wide = torch.rand(3, 20, 40)
    assert tok.decode(tok.encode(wide), steps=2).shape == (1, 3, 20, 40)
    # the diffusion decoder is saved too
    save_folder(tok, tmp_path / "saved")
    assert torch.equal(load_folder(tmp_path / "saved").decode(tokens, steps=2, seed=4), y)


def test_wrong_pipelines_are_refused(tmp_path):
    pipe = pipeline(tmp_path)
    with pytest.raises(ValueError, match="lacks unet"):
        small().set_decoder(object())
    with pytest.raises(ValueError, match="24 numbers"):
        small(embedding_dim=30).set_decoder(pipe)
