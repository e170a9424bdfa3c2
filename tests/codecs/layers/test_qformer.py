"""Queries that read a memory, against PyTorch's attention. Run: pytest tests/codecs/layers/test_qformer.py"""

import pytest
import torch
from layer_references import randomised
from tokenzoo.codecs.layers.qformer import Attention, QFormer, QFormerConfig, QueryLayer
from torch import nn

QUERY = torch.randn(2, 5, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
MEMORY = torch.randn(2, 7, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def torchs(own: Attention, memory_width: int) -> nn.MultiheadAttention:
    theirs = nn.MultiheadAttention(12, 3, kdim=memory_width, vdim=memory_width, batch_first=True).double().eval()
    one = memory_width == 12
    state = {"in_proj_bias": torch.cat([own.q.bias, own.k.bias, own.v.bias])}
    state |= {"out_proj.weight": own.out.weight, "out_proj.bias": own.out.bias}
    if one:
        state["in_proj_weight"] = torch.cat([own.q.weight, own.k.weight, own.v.weight])
    else:
        state |= {f"{n}_proj_weight": getattr(own, n).weight for n in "qkv"}
    theirs.load_state_dict(state)
    return theirs


def test_attention_over_a_memory_of_another_width():
    own = randomised(Attention(12, 3, memory_width=8))
    torch.testing.assert_close(own(QUERY, MEMORY, MEMORY), torchs(own, 8)(QUERY, MEMORY, MEMORY)[0])


def test_causal_queries_see_themselves_and_earlier_ones():
    own = randomised(Attention(12, 3))
    later = torch.ones(5, 5, dtype=torch.bool).triu(1)
    expected = torchs(own, 12)(QUERY, QUERY, QUERY, attn_mask=later)[0]
    torch.testing.assert_close(own(QUERY, QUERY, QUERY, causal=True), expected)


def test_a_layer_of_detr_adds_positions_to_queries_and_keys_alone():
    own = randomised(QueryLayer(12, 3))
    memory, at, places = torch.randn(2, 7, 12).double(), torch.randn(5, 12).double(), torch.randn(7, 12).double()
    y = own.self_norm(QUERY)
    x = QUERY + torchs(own.self_attention, 12)(y + at, y + at, y)[0]
    x = x + torchs(own.cross_attention, 12)(own.cross_norm(x) + at, memory + places, memory)[0]
    torch.testing.assert_close(own(QUERY, memory, at, places), x + own.mlp(own.mlp_norm(x)))


def test_norms_stand_behind_the_sums_as_in_bert():
    config = QFormerConfig(width=12, layers=2, heads=3, hidden=20, memory_every=2, causal=True, eps=1e-6)
    own = randomised(QFormer(config, num_queries=5, memory_width=8))
    later = torch.ones(5, 5, dtype=torch.bool).triu(1)
    x = own.norm_in(own.queries).expand(2, -1, -1)
    for layer, reads in zip(own.layers, (True, False), strict=True):
        x = layer.self_norm(x + torchs(layer.self_attention, 12)(x, x, x, attn_mask=later)[0])
        assert (layer.cross_attention is not None) == reads
        if reads:
            x = layer.cross_norm(x + torchs(layer.cross_attention, 8)(x, MEMORY, MEMORY)[0])
        x = layer.mlp_norm(x + layer.mlp(x))
    torch.testing.assert_close(own(MEMORY), x)


def test_settings_that_fit_no_heads_are_refused():
    with pytest.raises(ValueError, match="does not divide"):
        QFormerConfig(width=10, heads=3)
    with pytest.raises(ValueError, match="counts layers"):
        QFormerConfig(memory_every=0)
