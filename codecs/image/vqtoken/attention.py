"""Attention of a clip's map to its codebook: K vectors that also know where and when their codes are in the clip.

Read from `VQToken/vq_attn.py` and its call in `llava/model/llava_arch.py` of Hai-chao-Zhang/VQToken @ 019f89f (BSD-3-Clause). A query
is the map of one frame, its code numbers read as floats and projected; layers of PyTorch's `TransformerDecoder` (self-attention,
attention to the codebook, MLP of 2048) give as many vectors as codes. Names of the weights are those in the authors' class.

Differs: in the authors' code, a clip of more frames than codes gets a vector for each frame. Here K frames are taken, evenly spaced.

Letters: B batch, T frames, N positions of a frame, K codes, C width.
"""

import torch
from torch import Tensor, nn


class MapAttention(nn.Module):
    """Maps `[B, T, N]` and codebooks `[B, K, C]` to vectors `[B, K, C]`.

    Args:
        positions: N.
        width: C.
        heads, layers: of the attention.
    """

    def __init__(self, positions: int, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.to_q_proj = nn.Linear(positions, width)
        self.transformer_decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(width, heads, batch_first=True), layers)
        for weight in self.parameters():
            if weight.ndim > 1:
                nn.init.xavier_uniform_(weight)
        nn.init.zeros_(self.to_q_proj.bias)

    def forward(self, maps: Tensor, tables: Tensor) -> Tensor:
        frames, codes = maps.shape[1], tables.shape[1]
        at = torch.arange(codes, device=maps.device)
        at = at % frames if frames <= codes else at * frames // codes
        return self.transformer_decoder(self.to_q_proj(maps[:, at].to(tables.dtype)), tables)
