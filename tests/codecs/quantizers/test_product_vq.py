"""Product codebooks: ids over combinations of small tables. Run: pytest tests/codecs/quantizers/test_product_vq.py"""

import numpy as np
import pytest
import torch
from quantizer_checks import check_contract, check_gradient, check_mask, latents
from reference import load_io, reference_folder
from safetensors.torch import load_file
from tokenzoo.codecs.config import ConfigError
from tokenzoo.codecs.quantizers import build


def quantizer(**config):
    torch.manual_seed(1)
    defaults = {"dim": 6, "codebook_sizes": (9, 7, 5), "codebook_dim": 4, "kmeans_init": False, "normalize": True}
    q = build("product_vq", **(defaults | config))
    with torch.no_grad():
        for table in q.tables:
            table.codebook.embed.normal_()
    return q


@pytest.mark.parametrize("combine", [True, False])
def test_equals_plain_reference(combine):
    q, z = quantizer(combine=combine).eval(), latents(2, 6, 9)
    rows = z.double().numpy().transpose(0, 2, 1).reshape(-1, 6)
    found, values, commitment = [], [], []
    for table in q.tables:
        w, b, u, c, embed = (
            x.detach().double().numpy()
            for x in (table.in_proj.weight, table.in_proj.bias, table.out_proj.weight, table.out_proj.bias, table.codebook.embed)
        )
        p = rows @ w.T + b
        one = p / np.linalg.norm(p, axis=1, keepdims=True), embed / np.linalg.norm(embed, axis=1, keepdims=True)
        found.append((one[0] @ one[1].T).argmax(1))
        values.append(embed[found[-1]] @ u.T + c)
        commitment.append(((p - embed[found[-1]]) ** 2).mean())
    out = q(z)
    assert out.ids.shape == ((2, 1, 9) if combine else (2, 3, 9))
    assert q.codebook_sizes == ((315,) if combine else (9, 7, 5))
    expected = (found[0] * 7 + found[1]) * 5 + found[2] if combine else np.stack(found)
    assert np.array_equal(out.ids.numpy().transpose(1, 0, 2).reshape(-1 if combine else 3, *([] if combine else [18])), expected)
    np.testing.assert_allclose(out.z_q.detach().numpy().transpose(0, 2, 1).reshape(-1, 6), np.concatenate(values, 1), atol=1e-6)
    assert out.loss.item() == pytest.approx(0.25 * np.mean(commitment), rel=1e-5)


@pytest.mark.parametrize("config", [{}, {"combine": False, "update": "gradient", "gradient": "rotation"}])
def test_contract(config):
    q, z = quantizer(**config), latents(3, 6, 30)
    check_contract(q, z)
    check_gradient(q, z)
    check_mask(q, z)


def test_tables_learn():
    q = quantizer(decay=0.8, kmeans_init=True).train()
    rows = latents(8, 6, 64)
    for _ in range(20):
        out = q(rows)
    assert all(table.codebook.is_ready() for table in q.tables)
    assert [len(ids.unique()) for ids in q._separate(out.ids)] == [9, 7, 5]
    assert len(out.ids.unique()) > 100
    q.freeze()
    before = q.tables[1].codebook.embed.clone()
    q(rows)
    assert torch.equal(before, q.tables[1].codebook.embed)


def test_errors():
    for bad, text in [
        ({"dim": 7}, "multiple of the 3"),
        ({"codebook_sizes": (1024, 1024), "dim": 6}, "2.18 combinations"),
        ({"codebook_sizes": ()}, "size of each table"),
        ({"codebook_dim": 0}, "grouped_vq"),
    ]:
        with pytest.raises(ConfigError, match=text):
            quantizer(**bad)
    assert quantizer(codebook_sizes=(1024, 1024), combine=False).codebook_sizes == (1024, 1024)


def test_authors_longcat():
    """Three residual levels, each a product of two tables."""
    folder = reference_folder("audio", "longcat-audio-codec")
    weights, io = load_file(folder / "weights.safetensors"), load_io(folder)
    q = build("residual_vq", dim=24, num_codebooks=3, product=2, codebook_size=12, codebook_dim=8, normalize=True, update="gradient")
    state = {}
    for level in range(3):
        theirs = f"enc.acoustic_quantizer.quantizers.{level}"
        for i, letter in enumerate("ab"):
            mine = f"levels.{level}.tables.{i}"
            state[f"{mine}.codebook.embed"] = weights[f"{theirs}.codebook_{letter}.weight"]
            for proj in ("in_proj", "out_proj"):
                v, g = (weights[f"{theirs}.{proj}_{letter}.weight_{x}"][..., 0] for x in "vg")
                state[f"{mine}.{proj}.weight"] = v * g / v.norm(dim=1, keepdim=True)
                state[f"{mine}.{proj}.bias"] = weights[f"{theirs}.{proj}_{letter}.bias"]
    q.load_state_dict(state, strict=True)
    for case in ("mult_b1", "odd_b1", "mult_b2"):
        ids = q.encode(io[f"{case}.latent"])
        assert torch.equal(ids, io[f"{case}.ids"])
        torch.testing.assert_close(q.decode(ids), io[f"{case}.quantized_from_ids"], atol=1e-5, rtol=1e-4)
