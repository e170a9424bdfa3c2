"""Pictures of two classes that differ faintly, and how well the codes of a tokenizer show which class each is of."""

import torch
from tokenzoo.codecs.tokenizer import Tokenizer
from torch import Tensor
from torch.nn import functional as F

#: A batch of media, and the class of each: "a" or "b".
Named = tuple[Tensor, list[str]]


def scenes(count: int, seed: int) -> Named:
    """Pictures `[count, 3, 16, 16]` in -1..1: strong smooth colours, and a faint stripe pattern, upright ("a") or lying ("b")."""
    g = torch.Generator().manual_seed(seed)
    smooth = F.interpolate(torch.rand(count, 3, 2, 2, generator=g) * 1.6 - 0.8, size=(16, 16), mode="bilinear")
    stripes = torch.tensor([0.12, -0.12]).repeat(8).expand(16, 16)
    kinds = torch.randint(2, (count,), generator=g)
    return smooth + torch.stack([stripes, stripes.t()])[kinds][:, None], ["ab"[k] for k in kinds.tolist()]


@torch.no_grad()
def probed(model: Tokenizer, fitted: Named, unseen: Named) -> float:
    """Share of `unseen` media whose class a linear map of the codes gives, fitted on the codes of `fitted` by ridge regression."""
    model.eval()
    codes = [F.pad(model(x).quantized.z_q.flatten(1).double(), (0, 1), value=1.0) for x, _ in (fitted, unseen)]
    y, want = (torch.tensor([1.0 if n == "a" else -1.0 for n in names]).double() for _, names in (fitted, unseen))
    a, b = codes
    w = torch.linalg.solve(a.t() @ a + 0.1 * torch.eye(a.shape[1]).double(), a.t() @ y)
    return float(((b @ w).sign() == want).double().mean())
