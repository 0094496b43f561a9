"""Trains the digits model: scikit-learn's handwritten digits, one hidden layer, written as ONNX.

    python3 -m venv .cache/venv-examples
    .cache/venv-examples/bin/pip install -r examples/requirements.txt
    .cache/venv-examples/bin/python examples/digits/model/train.py

The graph is four plain operators (Gemm, Relu, Gemm, Softmax), so that every backend runs it:

    input f32[batch, 64], pixels row by row, 0 (paper) to 1 (ink)
      -> probabilities f32[batch, 10], one for each digit

`digits.onnx` is committed; running this again replaces it, after which `record.py` has to run too.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

MODEL = Path(__file__).with_name("digits.onnx")
HIDDEN = 64
SEED = 7


def split():
    """The training and the held-out part of the data: pixels 0 to 16, and labels.

    `record.py` takes its images from the held-out part, which no training has seen.
    """
    pixels, labels = load_digits(return_X_y=True)
    return train_test_split(pixels, labels, test_size=0.25, random_state=SEED, stratify=labels)


def to_onnx(classifier):
    """Writes a fitted one-hidden-layer classifier as a graph of plain operators."""
    weights = {}
    for layer, (matrix, bias) in enumerate(zip(classifier.coefs_, classifier.intercepts_, strict=True)):
        weights[f"weight{layer}"] = matrix.astype(np.float32)
        weights[f"bias{layer}"] = bias.astype(np.float32)
    nodes = [
        helper.make_node("Gemm", ["input", "weight0", "bias0"], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["activated"]),
        helper.make_node("Gemm", ["activated", "weight1", "bias1"], ["scores"]),
        # The axis is spelt out: its default changed between opsets.
        helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 64])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 10])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def main():
    train_pixels, test_pixels, train_labels, test_labels = split()
    classifier = MLPClassifier((HIDDEN,), max_iter=400, random_state=SEED)
    classifier.fit(train_pixels / 16, train_labels)
    accuracy = classifier.score(test_pixels / 16, test_labels)
    if accuracy < 0.96:
        raise SystemExit(f"accuracy {accuracy:.3f} on {len(test_labels)} held-out images is below 0.96")
    onnx.save(to_onnx(classifier), MODEL)
    print(f"{MODEL}: {MODEL.stat().st_size} bytes, accuracy {accuracy:.3f} on {len(test_labels)} held-out images")


if __name__ == "__main__":
    main()
