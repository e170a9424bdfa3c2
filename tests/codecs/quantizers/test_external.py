"""Quantizers of vector-quantize-pytorch behind this library's contract. Run: pytest tests/codecs/quantizers/test_external.py"""

import pytest
import torch
import vector_quantize_pytorch as peers
from quantizer_checks import check_gradient, latents
from tokenzoo.codecs.config import ConfigError, from_mapping, to_mapping
from tokenzoo.codecs.quantizers import QUANTIZERS, build
from tokenzoo.codecs.quantizers.external import External

CASES = [
    ("VectorQuantize", {"codebook_size": 64}, (64,)),
    ("VectorQuantize", {"codebook_size": 32, "codebook_dim": 4, "use_cosine_sim": True}, (32,)),
    ("VectorQuantize", {"codebook_size": 32, "heads": 2, "separate_codebook_per_head": True}, (32, 32)),
    ("VectorQuantize", {"codebook_size": 32, "heads": 2}, (32, 32)),
    ("ResidualVQ", {"codebook_size": 32, "num_quantizers": 3}, (32,) * 3),
    ("GroupedResidualVQ", {"codebook_size": 32, "num_quantizers": 3, "groups": 2}, (32,) * 6),
    ("SimVQ", {"codebook_size": 32}, (32,)),
    ("ResidualSimVQ", {"codebook_size": 32, "num_quantizers": 2}, (32, 32)),
    ("FSQ", {"levels": [8, 5, 5]}, (200,)),
    ("FSQ", {"levels": [8, 5, 5], "num_codebooks": 2}, (200, 200)),
    ("ResidualFSQ", {"levels": [8, 5, 5], "num_quantizers": 2}, (200, 200)),
    ("GroupedResidualFSQ", {"levels": [8, 5, 5], "num_quantizers": 2, "groups": 2}, (200,) * 4),
    ("LFQ", {"codebook_size": 64}, (64,)),
    ("LFQ", {"codebook_size": 64, "num_codebooks": 2}, (64, 64)),
    ("ResidualLFQ", {"codebook_size": 64, "num_quantizers": 2}, (64, 64)),
    ("GroupedResidualLFQ", {"codebook_size": 64, "num_quantizers": 2, "groups": 2}, (64,) * 4),
]


@pytest.mark.parametrize("name, options, sizes", CASES)
def test_same_as_the_peer_alone(name, options, sizes):
    q = build("external", dim=12, name=name, options=options)
    assert q.codebook_sizes == sizes
    z = latents(2, 12, 20)
    q.train()(z)  # some of them start their tables at the first training step
    q.eval()
    out = q(z)
    assert out.ids.shape == (2, len(sizes), 20)
    assert out.ids.dtype == torch.int64
    assert int(out.ids.max()) < sizes[0]
    torch.testing.assert_close(out.z_q, q.module(z.transpose(1, 2))[0].transpose(1, 2), atol=1e-5, rtol=1e-5)
    assert torch.equal(out.z_q, q.decode(out.ids))
    check_gradient(q, z)
    state = {k: v.clone() for k, v in q.state_dict().items()}
    q.train()
    assert torch.equal(q.encode(z), out.ids), "ids depend on the mode"
    assert q.module.training
    assert all(torch.equal(v, state[k]) for k, v in q.state_dict().items()), "encode changed the state"


@pytest.mark.parametrize("name, options, sizes", [c for c in CASES if c[0] in ("VectorQuantize", "ResidualVQ", "LFQ", "SimVQ")])
def test_losses_arrive(name, options, sizes):
    q = build("external", dim=12, name=name, options=options).train()
    z = latents(2, 12, 20).requires_grad_()
    out = q(z)
    (grad,) = torch.autograd.grad(out.loss, z)
    assert grad.abs().sum() > 0
    q.freeze()
    before = {k: v.clone() for k, v in q.state_dict().items()}
    q(z)
    assert all(torch.equal(v, before[k]) for k, v in q.state_dict().items())


def test_ready_objects_configs_and_state():
    module = peers.ResidualVQ(dim=12, num_quantizers=2, codebook_size=16)
    q = External.wrap(module, dim=12)
    assert q.codebook_sizes == (16, 16)
    assert q.module is module
    q = build("external", dim=12, name="FSQ", options={"levels": [4, 4, 4]})
    again = from_mapping(QUANTIZERS.resolve("external"), to_mapping(q.config)).build()
    again.load_state_dict(q.state_dict(), strict=True)
    assert torch.equal(q.encode(latents(1, 12, 9)), again.encode(latents(1, 12, 9)))


def test_errors():
    with pytest.raises(ConfigError, match="VectorQuantise"):
        build("external", dim=4, name="VectorQuantise")
    with pytest.raises(ConfigError, match="does not take options"):
        build("external", dim=4, name="FSQ", options={"codebook_size": 3})
    with pytest.raises(ConfigError, match="leave 'channel_first' out"):
        build("external", dim=4, name="SimVQ", options={"channel_first": True})
    with pytest.raises(ConfigError, match="channels first"):
        External.wrap(peers.SimVQ(dim=4, codebook_size=8, channel_first=True), dim=4)
    with pytest.raises(ConfigError, match="Linear cannot be adapted"):
        External.wrap(torch.nn.Linear(2, 2), dim=2)


def test_what_decodes_to_other_vectors_is_refused():
    """With `affine_param` the package's own inverse leaves a map out that training has moved."""
    with pytest.raises(ConfigError, match="decodes its ids to other vectors"):
        build("external", dim=16, name="VectorQuantize", options={"codebook_size": 32, "affine_param": True})
    with pytest.raises(ConfigError, match="return_indices"):
        build("external", dim=2, name="FSQ", options={"levels": [5, 4], "return_indices": False})
    state = torch.get_rng_state()
    build("external", dim=16, name="ResidualVQ", options={"codebook_size": 32, "num_quantizers": 2, "kmeans_init": True})
    tried = torch.get_rng_state()
    torch.set_rng_state(state)
    module = peers.ResidualVQ(dim=16, codebook_size=32, num_quantizers=2, kmeans_init=True)
    assert torch.equal(torch.get_rng_state(), tried) and not any(b.initted for b in module.modules() if hasattr(b, "initted"))
