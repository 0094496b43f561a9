"""Trains the iris model and records its answers.

    python3 -m venv .venv
    .venv/bin/pip install numpy==2.4.6 onnx==1.23.0 onnxruntime==1.32.0 scikit-learn==1.9.1
    .venv/bin/python model/make_model.py

Writes `iris.onnx` (multinomial logistic regression as two plain operators, which every backend runs)
and `golden.json` (what ONNX Runtime answers for one flower of each species).

    features f32[batch, 4], centimetres: sepal length and width, petal length and width
      -> probabilities f32[batch, 3]: setosa, versicolor, virginica
"""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

HERE = Path(__file__).parent


def main():
    features, species = load_iris(return_X_y=True)
    classifier = LogisticRegression(max_iter=1000).fit(features, species)
    print(f"right for {classifier.score(features, species):.1%} of {len(species)} flowers")

    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["features", "weight", "bias"], ["scores"]),
            # The axis is spelt out: its default changed between opsets.
            helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
        ],
        "iris",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 3])],
        [
            numpy_helper.from_array(classifier.coef_.T.astype(np.float32), "weight"),
            numpy_helper.from_array(classifier.intercept_.astype(np.float32), "bias"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, HERE / "iris.onnx")

    session = onnxruntime.InferenceSession(HERE / "iris.onnx", providers=["CPUExecutionProvider"])
    runs = []
    for first in (0, 50, 100):  # the first flower of each species
        flower = features[first : first + 1].astype(np.float32)
        (probabilities,) = session.run(["probabilities"], {"features": flower})
        runs.append(
            {
                "inputs": {"features": literal(flower)},
                "outputs": {"probabilities": literal(probabilities)},
                "tolerance": 1e-4,
            }
        )
    text = ",\n  ".join(json.dumps(run) for run in runs)
    (HERE / "golden.json").write_text(f"[\n  {text}\n]\n")


def literal(array):
    """A tensor as JSON, every number with as few digits as bring it back."""
    numbers = [float(str(number)) for number in array.ravel()]
    return {"shape": list(array.shape), "f32": numbers}


if __name__ == "__main__":
    main()
