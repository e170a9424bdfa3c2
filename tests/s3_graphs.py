"""ONNX files like CosyVoice's, made on the spot: constants by the nodes that take them, and the graph of such nodes."""

import re
from typing import Any

import torch
from tokenzoo.codecs.layouts.systems import converter
from torch import Tensor


def graph_of(tok: Any, *, fused_norms: bool = True) -> dict[str, Tensor]:
    """The constants of the graph that torch's exporter makes of a tokenizer of the family `s3`, by node, as `read_onnx` returns them.

    Args:
        tok: the tokenizer.
        fused_norms: a LayerNorm is one node (v2); False: several, of which Mul and Add_1 have the weights (v1, v3).
    """
    out: dict[str, Tensor] = {}
    for key, value in converter("s3tokenizer").write(tok.state_dict(), tok.config).items():
        out |= _node(key, value, fused_norms)
    first, second = tok.config.strides
    return out | {"/conv1/Conv/strides": torch.tensor([first]), "/conv2/Conv/strides": torch.tensor([second])}


def _node(key: str, value: Tensor, fused_norms: bool) -> dict[str, Tensor]:
    """One of the port's weights as the node that takes it, and what else follows from it."""
    *path, last = key.removeprefix("encoder.").split(".")
    if key.endswith("positional_embedding"):
        return {"/Slice/operand": value}
    if key.endswith("_codebook.embed"):
        node = "/quantizer/rq/model/layers.0/_codebook"
        return {f"{node}/MatMul/operand": value.t(), f"{node}/Pow_1/operand": value.t()}
    if "project_down" in key:
        powers = {"/quantizer/Mul_1/operand": 3.0 ** torch.arange(8)}  # no weight
        node = "/quantizer/project_in"
        return powers | ({f"{node}/MatMul/operand": value.t()} if last == "weight" else {f"{node}/Add/operand": value})
    if path[0].startswith("conv"):
        return {f"/{path[0]}/Conv/{last}": value}
    node = "/" + re.sub(r"mlp/(\d)", r"mlp/mlp.\1", re.sub(r"^blocks/(\d+)", r"blocks.\1", "/".join(path)))
    if path[-1] == "fsmn_block":
        return {f"{node}/Conv/weight": value, f"{node}/Conv/strides": torch.tensor([1])}
    if path[-1].endswith("_ln"):
        step = f"LayerNormalization/{last}" if fused_norms else "Mul/operand" if last == "weight" else "Add_1/operand"
        return {f"{node}/{step}": value}
    return {f"{node}/MatMul/operand": value.t()} if last == "weight" else {f"{node}/Add/operand": value}


def onnx_bytes(state: dict[str, Tensor]) -> bytes:
    """An ONNX file whose nodes take these constants; biases are first inputs, as exporters have it, and one of them a Constant node."""
    from onnx import helper, numpy_helper

    nodes: dict[str, list[tuple[str, Tensor]]] = {}
    for key, value in state.items():
        node, _, last = key.rpartition("/")
        nodes.setdefault(node, []).append((last, value))
    made, initializers = [], []
    for number, (name, own) in enumerate(nodes.items()):
        kind = re.sub(r"_\d+$", "", name.rpartition("/")[2])
        inputs, attributes, data = [], {}, f"data_{number}"
        for last, value in own:
            if last == "strides":
                attributes["strides"] = value.tolist()
                continue
            constant = numpy_helper.from_array(value.contiguous().numpy(), f"onnx::{kind}_{number}_{last}")
            if name.endswith("attn/out/Add"):
                made.append(helper.make_node("Constant", [], [constant.name], value=constant))
            else:
                initializers.append(constant)
            inputs.append(constant.name)
        ordered = [inputs[0], data] if kind == "Add" else [data, *inputs]
        made.append(helper.make_node(kind, ordered, [f"{name}_output_0"], name=name, **attributes))
    one = numpy_helper.from_array(torch.tensor(2.0).numpy(), "scalar")
    made.append(helper.make_node("Pow", ["x", "scalar"], ["y"], name="/blocks.0/attn_ln/Pow"))
    graph = helper.make_graph(made, "main_graph", [], [], initializer=[*initializers, one])
    return helper.make_model(graph).SerializeToString()
