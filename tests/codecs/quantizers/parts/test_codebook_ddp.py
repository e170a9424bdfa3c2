"""Two processes (gloo, CPU) on halves of each batch equal one process on the whole; tables are the same on both.

    pytest tests/codecs/quantizers/parts/test_codebook_ddp.py
"""


import torch
from two_processes import run_two

# Runs in one process on whole batches, or in two on halves. DDP does not send buffers around: quantizers do without.
WORKER = """
import sys, torch
import torch.distributed as dist
from tokenzoo.codecs.quantizers import build

KINDS = {
    "vq": dict(kind="vq", codebook_size=32, kmeans_batches=2, replace_below=0.3, decay=0.8),
    "gradient": dict(kind="vq", codebook_size=32, update="gradient", replace_below=0.3, decay=0.8, normalize=True),
    "residual": dict(kind="residual_vq", codebook_size=16, num_codebooks=3, replace_below=0.3, decay=0.8),
    "shared": dict(kind="residual_vq", codebook_size=16, num_codebooks=3, shared_codebook=True, decay=0.8),
    "mimi": dict(kind="residual_vq", codebook_size=16, num_codebooks=3, split_first=True, codebook_dim=3, projection="shared"),
    "grouped": dict(kind="grouped_vq", codebook_size=16, groups=2, levels=2, replace_below=0.3, decay=0.8),
    "product": dict(kind="product_vq", codebook_sizes=(8, 6), codebook_dim=3, decay=0.8),
    "paired": dict(kind="paired_vq", codebook_size=16, semantic_dim=3, update="ema", kmeans_init=True, decay=0.8),
    "scales": dict(kind="multiscale_vq", codebook_size=16, scales=((1, 1), (2, 2), (4, 4)), update="ema", kmeans_init=True,
                   replace_below=0.3, phi_ratio=0.0),
    "kmeans": dict(kind="kmeans", codebook_size=12, iterations=8),
    "anchors": dict(kind="anchors", codebook_size=12, num_codebooks=3),
    "additive": dict(kind="additive_vq", codebook_size=16, num_codebooks=2, beam=4),
    "joint": dict(kind="additive_vq", codebook_size=16, num_codebooks=2, beam=4, iterations=4),
    "beam": dict(kind="residual_vq", codebook_size=16, num_codebooks=3, beam=3, replace_below=0.3, decay=0.8),
}

class Model(torch.nn.Module):
    def __init__(self, q):
        super().__init__()
        self.linear, self.q = torch.nn.Linear(6, 6), q

    def forward(self, x, mask):
        return self.q(self.linear(x.transpose(1, 2)).transpose(1, 2), mask=mask)

world = int(sys.argv[2])
if world > 1:
    dist.init_process_group("gloo")
rank = dist.get_rank() if world > 1 else 0
torch.set_num_threads(1)
results = {}
for name, config in KINDS.items():
    torch.manual_seed(0)
    q = build(dim=6, **config)
    data = torch.Generator().manual_seed(1)
    batches = [torch.randn(4, 6, 16, generator=data) for _ in range(6)]
    mask = None if name == "scales" else torch.rand(4, 16, generator=data) < 0.8
    mine = slice(4 * rank // world, 4 * (rank + 1) // world)
    if name in ("kmeans", "anchors", "joint"):
        q.fit(batches[0][mine])
    else:
        model = Model(q).train()
        if world > 1 and any(p.requires_grad for p in q.parameters()):
            model = torch.nn.parallel.DistributedDataParallel(model, broadcast_buffers=False, find_unused_parameters=True)
        for x in batches:
            out = model(x[mine], None if mask is None else mask[mine])
    state = {k: v.clone() for k, v in q.state_dict().items()}
    state["usage"], state["dead"], state["perplexity"] = q.usage(), q.dead(), q.perplexity()
    if world > 1:
        for key, value in state.items():
            other = [torch.empty_like(value) for _ in range(world)]
            dist.all_gather(other, value.contiguous())
            assert torch.equal(other[0], other[1]), f"{name}: {key} differs between ranks"
    results[name] = state
if rank == 0:
    torch.save(results, sys.argv[1])
if world > 1:
    dist.barrier()  # a process that leaves first takes connections away that the other still reads
    dist.destroy_process_group()
"""


def run(path, world):
    run_two(WORKER, path, world, world=world)
    return torch.load(path, weights_only=True)


def test_two_ranks_equal_one_process(tmp_path):
    one, two = run(tmp_path / "one.pt", 1), run(tmp_path / "two.pt", 2)
    assert len(one) == 14
    for name, state in one.items():
        for key, value in state.items():
            torch.testing.assert_close(
                two[name][key], value, atol=2e-5, rtol=1e-4, msg=lambda m, name=name, key=key: f"{name}: {key}\n{m}"
            )
