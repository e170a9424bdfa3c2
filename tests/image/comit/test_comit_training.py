"""What COMiT's messages hold after a short run. Run: pytest -m effect -s tests/image/comit/test_comit_training.py"""

import pytest
import torch
from effects import effect
from small_runs import held_out, photo_crops, trained, write_photo
from tokenzoo.codecs.families import build_tokenizer
from tokenzoo.train.files import load_run

SIDE = 16
SMALL = [
    f"data.crop={SIDE}", f"model.config.image_size=[{SIDE},{SIDE}]", f"model.config.crop_size={SIDE // 2}", "batch_size=16",
    "model.config.network.layers=2", "model.config.time_sampling=uniform", "losses.commitment=null", "losses.alignment=null",
    "model.config.train_crops=4", "model.config.whole_first=0", "model.config.gradient_crops=2", "optimizer.lr=1e-3",
]  # fmt: skip
QUARTERS = [(top, left, SIDE // 2, SIDE // 2) for top in (0, SIDE // 2) for left in (0, SIDE // 2)]
pytestmark = [pytest.mark.slow, pytest.mark.effect]


@pytest.fixture(scope="module")
def tok(tmp_path_factory):
    folder = tmp_path_factory.mktemp("comit")
    start = save_with_a_trained_vae(folder / "start", steps=120)
    return trained("image/comit-debug", write_photo(folder / "photo"), folder / "run", *SMALL, f"init={start}", "steps=600")


def save_with_a_trained_vae(folder, *, steps):
    """A COMiT whose VAE has learned to give pictures back: the latents of an untrained one have nothing that a message could say."""
    made = load_run("image/comit-debug", [*SMALL, "data.train=none", "data.valid=[]", "output=none"]).model
    tok, x = build_tokenizer(made.family, made.config), photo_crops(2000, SIDE, (-1.0, 1.0))
    vae, channels, g = tok.vae.requires_grad_(True), tok.latent_shape[0], torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(vae.parameters(), lr=2e-3)
    for _ in range(steps):
        some = x[torch.randint(len(x), (32,), generator=g)]
        z = vae.encode(some).latent_dist.parameters[:, :channels]
        variance = z.var((0, 2, 3))
        unit = (z.mean((0, 2, 3)).square() + variance - variance.log()).sum()
        error = (vae.decode(z + 0.05 * torch.randn(z.shape, generator=g)).sample - some).square().mean()
        optimizer.zero_grad()
        (error + 0.01 * unit).backward()
        optimizer.step()
    tok.vae.requires_grad_(False)
    tok.eval().save_pretrained(folder)
    return folder


@torch.no_grad()
def messages(tok, x, crops):
    """Vectors `[B, d, N]` of the messages after these crops."""
    return tok.quantizer.decode(tok.encode(x, crops=crops).ids)


@torch.no_grad()
def velocity_error(tok, x, message):
    """Mean square error `[h, w]` of the velocity near noise, where the message tells most, under messages `[B, d, N]`."""
    clean = tok.vae_encode(x)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(5))
    times = (0.8, 0.9, 1.0)
    found = [tok.velocity(t * noise + (1 - t) * clean, torch.full((len(x),), t), message) for t in times]
    return torch.stack([(v - (noise - clean)).square() for v in found]).mean((0, 1, 2))


def test_the_picture_is_drawn_from_its_message(tok):
    x = held_out(96, SIDE, (-1.0, 1.0))
    message = messages(tok, x, QUARTERS)
    own, others = (float(velocity_error(tok, x, m).mean()) for m in (message, message.roll(1, 0)))
    figure = "error of the velocity near noise, under the picture's message, and another picture's"
    effect("message (COMiT)", figure, with_=own, without=others)
    assert own < 0.9 * others, (own, others)


def test_more_crops_bring_the_velocity_nearer(tok):
    x = held_out(96, SIDE, (-1.0, 1.0))
    tokens, errors = tok.encode(x, crops=QUARTERS[:1]), []
    for k in range(4):
        tokens = tok.update(tokens, x, QUARTERS[k]) if k else tokens
        errors.append(float(velocity_error(tok, x, tok.quantizer.decode(tokens.ids)).mean()))
    for k in (1, 3):
        effect("crops (COMiT)", f"error of the velocity, {k + 1} quarters read, and one", with_=errors[k], without=errors[0])
    assert errors[1] < errors[0] - 0.01 and errors[3] < errors[0] - 0.02, errors


def test_a_message_tells_most_of_the_half_that_it_saw(tok):
    x, half = held_out(96, SIDE, (-1.0, 1.0)), SIDE // 2
    left, right = (velocity_error(tok, x, messages(tok, x, [(0, start, SIDE, half)])) for start in (0, half))
    middle = left.shape[1] // 2
    seen = float(left[:, :middle].mean() + right[:, middle:].mean()) / 2
    unseen = float(right[:, :middle].mean() + left[:, middle:].mean()) / 2  # the same halves, under the message of the other one
    effect("crops (COMiT)", "error of the velocity of a half, that half read, and the other", with_=seen, without=unseen)
    assert seen < unseen - 0.03, (seen, unseen)
