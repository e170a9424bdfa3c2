"""Clips to tokens, to a small causal transformer, to sound: the whole way of a speech language model, in plain PyTorch.

    python speech_language_model.py [--clips FOLDER] [--steps 300] [-o OUT]

1. `tokenize` writes the clips as shards (default: the shipped sentence).
2. `TokenDataset` packs two codebooks, interleaved, into blocks.
3. A transformer learns them.
4. It draws; `PackingLogitsProcessor` allows only ids that may come next, so that the result always decodes: OUT/drawn.wav.

With transformers in place of the small model: docs/language-models.md; other frameworks: docs/trainers.md.
"""

import argparse
from importlib import resources
from pathlib import Path

import tokenzoo
import torch
import torch.nn.functional as F
from tokenzoo.zoo.corpus import Pace, TokenDataset, tokenize
from tokenzoo.zoo.corpus.generation import PackingLogitsProcessor
from tokenzoo.zoo.media_out import write_audio
from torch import Tensor, nn

MODEL = "speech-16khz-4kbps"
SENTENCE = resources.files("tokenzoo").joinpath("zoo/demo/media/speech.flac")


class Causal(nn.Module):
    """Logits `[B, S, V]` of the next id from ids `[B, S]`."""

    def __init__(self, vocab_size: int, longest: int, width: int = 128, layers: int = 3) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(vocab_size, width), nn.Embedding(longest, width)
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0.0, batch_first=True, norm_first=True)
        self.trunk = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(width, vocab_size)

    def forward(self, ids: Tensor) -> Tensor:
        steps = torch.arange(ids.shape[1])
        mask = steps[:, None] < steps[None, :]  # True: may not attend, as it is later
        return self.head(self.trunk(self.embed(ids) + self.place(steps), mask=mask))


@torch.no_grad()
def draw(model: Causal, packing, positions: int) -> Tensor:
    """Ids `[1, S]` of `positions` positions, begin and end token included."""
    allowed, ids = PackingLogitsProcessor(packing, positions=positions), torch.tensor([[packing.begin_id]])
    while ids[0, -1] != packing.end_id:
        logits = allowed(ids, model(ids)[:, -1])
        ids = torch.cat([ids, torch.multinomial(logits.softmax(-1), 1)], dim=-1)
    return ids


def main(words: list[str] | None = None) -> tuple[float, float]:
    """See the module's docstring. Returns nats an id before and after training."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=Path, default=SENTENCE, help="a folder of sound")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--positions", type=int, default=100, help="of the drawn sound; 50 a second")
    parser.add_argument("-o", "--out", type=Path, default=Path("speech_out"))
    given = parser.parse_args(words)
    torch.manual_seed(0)
    tokenize(MODEL, str(given.clips), given.out / "tokens", pace=Pace(workers=1))
    data = TokenDataset(given.out / "tokens", packing="interleaved", codebooks=2, block=256)

    model = Causal(data.vocab_size, longest=2 * given.positions + 257)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    losses: list[float] = []
    for batch in data.loader(4, stop=4 * given.steps):
        logits = model(batch["input_ids"])[:, :-1]
        loss = F.cross_entropy(logits.flatten(0, 1), batch["labels"][:, 1:].flatten(), ignore_index=-100)  # labels are not shifted
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    print(f"{losses[0]:.2f} nats an id before, {losses[-1]:.2f} after {len(losses)} steps")

    found = data.packing.unpack(draw(model.eval(), data.packing, given.positions))
    tok = tokenzoo.load(MODEL, part="decoder")
    write_audio(given.out / "drawn.wav", tok.decode(found.tokens)[0], tok.spec.sample_rate_hz)
    return losses[0], losses[-1]


if __name__ == "__main__":
    main()
