"""Training steps over pictures: LlamaGen's VQ-16, TiTok's first stage, and a small network around a quantizer.

See `training.py`. Letters: B batch, H W pixels, D latent width, L positions.
"""

import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from tokenzoo.codecs.quantizers.parts.codebook import Codebook
from tokenzoo.train import TrainState, load_run, parse_run
from tokenzoo.zoo.convert import convert
from torch import Tensor, nn
from training_case import Sides, pictures, randomize

#: Settings of the MaskGIT-VQGAN that is TiTok's teacher.
MASKGIT: dict[str, Any] = {}


# --- LlamaGen -----------------------------------------------------------------------------------------------------------


def llamagen(folder: str, tiny: bool) -> Sides:
    """VQ-16 with pixels, LPIPS and PatchGAN, as `tokenizer/tokenizer_image/vq_train.py` trains it, the adversary from the start.

    LPIPS has random weights on both sides, and no dropout: in their script `vq_loss.train()` switches on that of its heads.
    """
    sys.path.insert(0, folder)
    from tokenizer.tokenizer_image import lpips, vq_loss, vq_model
    from torchvision.models import vgg16

    torch.manual_seed(0)
    with (
        mock.patch.object(lpips.models, "vgg16", return_value=vgg16(weights=None)),
        mock.patch.object(lpips.LPIPS, "load_from_pretrained"),
    ):
        loss = vq_loss.VQLoss(disc_start=0, disc_weight=0.5)
    model = vq_model.VQ_16()
    randomize(model, 0.02)
    model.quantize.codebook_used.requires_grad_(False)  # a buffer; on a GPU `to` makes it one that can be written
    for i in range(5):
        nn.init.uniform_(getattr(loss.perceptual_loss, f"lin{i}").model[-1].weight, 0.0, 0.1)
    model.train()
    loss.train()
    loss.perceptual_loss.eval()
    both = [torch.optim.Adam(m.parameters(), lr=1e-4, betas=(0.9, 0.95)) for m in (model, loss.discriminator)]

    def step(x: Tensor) -> dict[str, Tensor]:
        seen: dict[str, Tensor] = {}
        hooks = [loss.perceptual_loss.register_forward_hook(lambda m, i, o: seen.update(perceptual=o.detach().mean()))]
        both[0].zero_grad()
        x_hat, codebook = model(x)
        total = loss(codebook, x, x_hat, optimizer_idx=0, global_step=1)
        total.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        both[0].step()
        both[1].zero_grad()
        judge = loss(codebook, x, x_hat, optimizer_idx=1, global_step=1)
        judge.backward()
        nn.utils.clip_grad_norm_(loss.discriminator.parameters(), 1.0)
        both[1].step()
        hooks[0].remove()
        terms = {"pixel": F.mse_loss(x_hat.detach(), x), "perceptual": seen["perceptual"], "quantizer": sum(codebook[:3])}
        return _losses(terms) | {"loss/total": total.detach(), "discriminator/adversarial": 4 * judge.detach()}

    def ours() -> TrainState:
        with tempfile.TemporaryDirectory() as work:
            file = Path(work) / "vgg.safetensors"
            save_file(_vgg(loss.perceptual_loss), file)
            config = load_run(
                "image/llamagen-vq16",
                [f"losses.perceptual.weights={file}", "losses.perceptual.inputs=imagenet", "adversarial_start=0", "precision=float32"],
            )
            state = TrainState(config, tokenizer=convert("llamagen", {}, model.state_dict()))
        _patchgan(state.adversary.module.members["patch"], loss.discriminator)
        return state

    return Sides(step, ours, pictures(2, 32 if tiny else 128), {"model": model, "loss": loss})


# --- TiTok --------------------------------------------------------------------------------------------------------------


def titok(folder: str, tiny: bool) -> Sides:
    """TiTok's first stage as 1d-tokenizer's `train_one_epoch` takes it (`titok_s128.yaml`): ids of a frozen MaskGIT-VQGAN.

    The rate is constant. That of the second stage is not compared: its discriminator is another network here.
    """
    sys.path.insert(0, folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from modeling import titok as package
        from modeling.modules.ema_model import EMAModel
        from modeling.modules.losses import ReconstructionLoss_Stage1
    from omegaconf import OmegaConf

    vq = {"codebook_size": 4096, "token_size": 12, "use_l2_norm": True, "commitment_cost": 0.25, "finetune_decoder": False}
    vq |= {f"vit_{side}_{what}": value for side in ("enc", "dec") for what, value in (("model_size", "small"), ("patch_size", 16))}
    vq["num_latent_tokens"] = 128
    side = 64 if tiny else 256
    config = {"model": {"vq_model": vq}, "losses": {"quantizer_weight": 1.0}, "dataset": {"preprocessing": {"crop_size": side}}}
    torch.manual_seed(0)
    model = package.TiTok(OmegaConf.create(config)).train()
    randomize(model, 0.02)
    with mock.patch.object(package.torch, "load"), mock.patch.object(nn.Module, "load_state_dict"):
        teacher = package.PretrainedTokenizer("")
    nn.init.normal_(teacher.quantize.embedding.weight)
    loss, mean = ReconstructionLoss_Stage1(OmegaConf.create(config)), EMAModel(model.parameters(), decay=0.999, use_ema_warmup=True)
    plain = [p for n, p in model.named_parameters() if p.ndim < 2 or any(w in n for w in ("latent_tokens", "mask_token", "embed"))]
    rest = [p for p in model.parameters() if not any(p is q for q in plain)]
    groups = [{"params": plain, "weight_decay": 0.0}, {"params": rest, "weight_decay": 1e-4}]
    optimizer = torch.optim.AdamW(groups, lr=1e-4, betas=(0.9, 0.99))

    def step(x: Tensor) -> dict[str, Tensor]:
        teacher.eval()
        codes = teacher.encode(x)
        logits, extra = model(x)
        total, terms = loss(codes, logits, extra)
        total.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        mean.step(model.parameters())
        found = {"codes": terms["reconstruction_loss"], "quantizer": terms["quantizer_loss"]}
        return _losses(found) | {"loss/total": total.detach(), "grad_norm": norm}

    def ours() -> TrainState:
        with tempfile.TemporaryDirectory() as work:
            convert("maskgit-vqgan", MASKGIT, teacher.state_dict()).save_pretrained(work)
            schedule = "optimizer.schedule={kind: constant}"
            run = load_run(
                "image/titok-s128-stage1", [f"teachers.maskgit.model={work}", "precision=float32", "model=from_init", schedule]
            )
            return TrainState(run, tokenizer=convert("titok-legacy", config, model.state_dict()))

    return Sides(step, ours, pictures(2, side) / 2 + 0.5, {"model": model, "teacher": teacher})


# --- vector-quantize-pytorch --------------------------------------------------------------------------------------------


def plain_loop(kind: str, tiny: bool) -> Sides:
    """A small convolutional network around a quantizer of vector-quantize-pytorch, "vq" or "residual_vq", in a plain loop.

    Its residual stack passes the decoder's gradient to the encoder once for each level, ours once: only the first step is equal.
    """
    import vector_quantize_pytorch as package
    from tokenzoo.codecs.image.convnet import ConvDecoder, ConvEncoder, ConvTokenizer, ConvTokenizerConfig
    from tokenzoo.codecs.quantizers.residual_vq import ResidualVQConfig
    from tokenzoo.codecs.quantizers.vq import VQConfig

    torch.manual_seed(0)
    table: dict[str, Any] = {
        "codebook_size": 64 if tiny else 8192,
        "kmeans_init": False,
        "commitment_weight": 1.0,
        "replace_below": 0.0,
    }
    quantizer = VQConfig(**table) if kind == "vq" else ResidualVQConfig(num_codebooks=2 if tiny else 8, **table)
    config = ConvTokenizerConfig(widths=(16, 16, 16) if tiny else (64, 128, 256), latent_dim=32, quantizer=quantizer)
    size = {"dim": 32, "codebook_size": table["codebook_size"], "decay": 0.99, "rotation_trick": False}
    if kind == "vq":
        peer: nn.Module = package.VectorQuantize(**size)
    else:
        peer = package.ResidualVQ(**size, num_quantizers=quantizer.num_codebooks)
    model = nn.ModuleDict({"encoder": ConvEncoder(config), "quantizer": peer, "decoder": ConvDecoder(config)}).train()
    tables = [b for name, b in peer.named_buffers() if name.endswith("embed")]
    for i, embed in enumerate(tables):
        embed.copy_(0.7**i * torch.randn(embed.shape))
    for name, sums in peer.named_buffers():
        if name.endswith("embed_avg"):
            sums.copy_(peer.get_buffer(name.removesuffix("_avg")))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-4, betas=(0.9, 0.99))

    def step(x: Tensor) -> dict[str, Tensor]:
        z = model["encoder"](x)
        z_q, _, commitment = model["quantizer"](z.flatten(2).transpose(1, 2))
        x_hat = model["decoder"](z_q.transpose(1, 2).unflatten(2, z.shape[2:]))
        pixel, commitment = (x - x_hat).abs().mean(), commitment.sum()
        total = pixel + commitment
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        return _losses({"pixel": pixel, "quantizer": commitment, "total": total})

    def ours() -> TrainState:
        own = ConvTokenizer(config)
        own.encoder.load_state_dict(model["encoder"].state_dict())
        own.decoder.load_state_dict(model["decoder"].state_dict())
        books = [m for m in own.quantizer.modules() if isinstance(m, Codebook)]
        for book, embed in zip(books, tables, strict=True):
            book.embed.copy_(embed[0])
            book.sums.copy_(embed[0])
        run = {
            "data": {"kind": "images"},
            "output": "unused",
            "losses": {"pixel": {"distance": "l1"}, "quantizer": {}},
            "optimizer": {"kind": "adam", "lr": 3e-4, "betas": [0.9, 0.99], "schedule": {"kind": "constant"}},
            "grad_clip": 0.0,
            "ema": {"decay": 0.0},
            "device": "cpu",
        }
        return TrainState(parse_run(run), tokenizer=own)

    return Sides(step, ours, pictures(2 if tiny else 8, 32 if tiny else 128), {"model": model})


def _losses(terms: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"loss/{name}": value.detach() for name, value in terms.items()}


def _vgg(theirs: nn.Module) -> dict[str, Tensor]:
    """Weights of their LPIPS under the names of our `VggDistance`."""
    out = {}
    for block in range(5):
        convs = [m for m in getattr(theirs.net, f"slice{block + 1}") if isinstance(m, nn.Conv2d)]
        for i, conv in enumerate(convs):
            out |= {f"blocks.{block}.{i}.weight": conv.weight, f"blocks.{block}.{i}.bias": conv.bias}
        out[f"heads.{block}"] = getattr(theirs, f"lin{block}").model[-1].weight.flatten()
    return {name: value.detach().clone().contiguous() for name, value in out.items()}


@torch.no_grad()
def _patchgan(ours: nn.Module, theirs: nn.Module) -> None:
    """Both are the same layers in the same order."""
    pairs = zip(ours.state_dict().items(), theirs.state_dict().items(), strict=True)
    ours.load_state_dict({name: value.clone() for (name, _), (_, value) in pairs})
