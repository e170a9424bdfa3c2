"""The transformer inside the kinds that embed and predict in ways of their own. Letters: N sequences, S steps, D width."""

from typing import Any

import torch
from torch import Tensor, nn

from ..sampling import cache_name


class Trunk(nn.Module):
    """A Llama of transformers from embedded steps to states, without tables of ids."""

    def __init__(self, width: int, layers: int, heads: int) -> None:
        from transformers import LlamaConfig, LlamaModel

        super().__init__()
        shape: dict[str, Any] = {"hidden_size": width, "intermediate_size": 3 * width, "num_hidden_layers": layers}
        shape |= {"num_attention_heads": heads, "max_position_embeddings": 2**16}
        config = LlamaConfig(vocab_size=1, bos_token_id=None, eos_token_id=None, **shape)
        self.net = LlamaModel(config)
        self.net.set_input_embeddings(nn.Identity())  # no ids come here

    def forward(self, x: Tensor, *, mask: Tensor | None = None, positions: Tensor | None = None) -> Tensor:
        """States of all steps.

        Args:
            x: `[N, S, D]`.
            mask: bool `[N, 1, S, S]`, True where step q attends to step k; None: no step attends to a later one.
            positions: int64 `[N, S]`; None: counted from 0.

        Returns:
            `[N, S, D]`.
        """
        return self.net(inputs_embeds=x, attention_mask=mask, position_ids=positions, use_cache=False).last_hidden_state

    def step(self, x: Tensor, cache: Any = None) -> tuple[Tensor, Any]:
        """State `[N, D]` of the last of new steps `[N, S, D]` after those in `cache`, and the cache with them; causal."""
        name = cache_name(self.net)
        result = self.net(inputs_embeds=x, use_cache=True, **{name: cache})
        return result.last_hidden_state[:, -1], getattr(result, name)


class SumOfTables(nn.Module):
    """A vector for the K ids of a position: the sum of one row of each of K tables, without `[N, K, D]` in between."""

    offsets: Tensor

    def __init__(self, sizes: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.randn(sum(sizes), width) * len(sizes) ** -0.5)
        starts = [sum(sizes[:k]) for k in range(len(sizes))]
        self.register_buffer("offsets", torch.tensor(starts), persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        """ids `[N, K]`, each counted from 0 in its table, to `[N, D]`."""
        return nn.functional.embedding_bag(ids + self.offsets, self.rows, mode="sum")
