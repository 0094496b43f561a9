"""Trains the forest: scikit-learn's random forest on its irises, converted to ONNX as it is.

    python3 -m venv .cache/venv-examples
    .cache/venv-examples/bin/pip install -r examples/requirements.txt
    .cache/venv-examples/bin/python examples/iris-forest/model/train.py

The classes are texts, and the graph is one operator of `ai.onnx.ml`, which takes the measures of flowers and
gives their species and how many of the trees say so:

    features f32[batch, 4], centimetres: length and width of the sepal, then of the petal
      -> label text[batch]
      -> probabilities f32[batch, 3], in the order of the classes' names

`forest.onnx` is committed; running this again replaces it, after which `record.py` has to run too.
"""

from pathlib import Path

import onnx
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split

MODEL = Path(__file__).with_name("forest.onnx")
TREES = 50
SEED = 7


def split():
    """The training and the held-out part of the data: measures in centimetres, and species by name.

    `record.py` takes its flowers from the held-out part, which no training has seen.
    """
    irises = load_iris()
    species = irises.target_names[irises.target].astype(object)
    return train_test_split(irises.data, species, test_size=0.3, random_state=SEED, stratify=species)


def train():
    features, _, species, _ = split()
    return RandomForestClassifier(TREES, random_state=SEED).fit(features, species)


def convert(forest):
    """Without `zipmap`, which would make a list of maps of the probabilities, and models give tensors."""
    model = to_onnx(
        forest,
        initial_types=[("features", FloatTensorType([None, 4]))],
        options={"zipmap": False},
        target_opset={"": 17, "ai.onnx.ml": 3},
    )
    model.graph.name = "iris-forest"
    onnx.checker.check_model(model, full_check=True)
    return model


def main():
    forest = train()
    _, features, _, species = split()
    accuracy = forest.score(features, species)
    if accuracy < 0.94:
        raise SystemExit(f"accuracy {accuracy:.3f} on {len(species)} held-out flowers is below 0.94")
    onnx.save(convert(forest), MODEL)
    print(f"{MODEL}: {MODEL.stat().st_size} bytes, accuracy {accuracy:.3f} on {len(species)} held-out flowers")


if __name__ == "__main__":
    main()
