"""Random codes behind a random map. Run: pytest tests/codecs/quantizers/test_random_projection.py"""

import numpy as np
import torch
from quantizer_checks import check_contract, check_gradient, latents
from tokenzoo.codecs.quantizers import build


def test_ids_are_the_largest_cosines():
    q, z = build("random_projection", dim=8, num_codebooks=2, codebook_size=40, codebook_dim=4), latents(2, 8, 9)
    rows = z.double().numpy().transpose(0, 2, 1).reshape(-1, 8)
    for head in range(2):
        projected, codes = rows @ q.projection[head].double().numpy().T, q.codes[head].double().numpy()
        np.testing.assert_allclose(np.linalg.norm(codes, axis=1), 1, atol=1e-6)
        cosine = projected @ codes.T / np.linalg.norm(projected, axis=1, keepdims=True)
        assert np.array_equal(q.encode(z)[:, head].numpy().ravel(), cosine.argmax(1))
    assert torch.equal(q.encode(z), q.encode(3 * z)), "lengths do not count"


def test_contract():
    q, z = build("random_projection", dim=8, num_codebooks=2, codebook_size=40, codebook_dim=4), latents(3, 8, 20)
    check_contract(q, z)
    check_gradient(q, z)
    assert not list(q.parameters()) and q(z).loss == 0


def test_what_is_decoded_has_the_codes_as_its_projections():
    q = build("random_projection", dim=16, num_codebooks=2, codebook_size=40, codebook_dim=4)
    ids = q.encode(latents(1, 16, 7))
    projected = torch.einsum("hdc,bcl->bhdl", q.projection, q.decode(ids))
    expected = torch.stack([table[at] for table, at in zip(q.codes, ids[0], strict=True)])  # [H, L, d]
    torch.testing.assert_close(projected[0], expected.transpose(1, 2), atol=1e-5, rtol=1e-4)


def test_seeds_differ_and_are_saved():
    one, two = (build("random_projection", dim=8, codebook_size=40, seed=s) for s in (0, 1))
    z = latents(1, 8, 50)
    assert not torch.equal(one.encode(z), two.encode(z))
    two.load_state_dict(one.state_dict())
    assert torch.equal(one.encode(z), two.encode(z))
