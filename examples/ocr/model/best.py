"""Writes `best.onnx`: the likeliest class of each place, and its probability.

    .cache/venv-examples/bin/python examples/ocr/model/best.py

It stands behind the recognition model, so that of 6,625 probabilities a place two numbers enter the
handler. Needs the package `onnx`; always writes the same bytes.
"""

from pathlib import Path

import onnx
from onnx import TensorProto, helper


def main():
    probabilities = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["lines", "places", "classes"])
    outputs = [
        helper.make_tensor_value_info("class", TensorProto.INT64, ["lines", "places"]),
        helper.make_tensor_value_info("score", TensorProto.FLOAT, ["lines", "places"]),
    ]
    nodes = [
        helper.make_node("ArgMax", ["probabilities"], ["class"], axis=2, keepdims=0),
        helper.make_node("ReduceMax", ["probabilities"], ["score"], axes=[2], keepdims=0),
    ]
    graph = helper.make_graph(nodes, "best", [probabilities], outputs)
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="modelet"
    )
    onnx.checker.check_model(model, full_check=True)
    path = Path(__file__).with_name("best.onnx")
    path.write_bytes(model.SerializeToString(deterministic=True))
    print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
