"""Records what ONNX Runtime, run from Python, answers for held-out irises.

    .cache/venv-examples/bin/python examples/iris-forest/model/record.py

writes `expected.json` (every held-out flower, right or wrong), `model/golden.json` (the first five of them,
which run at deploy) and the sample requests. scikit-learn's own forest, trained again, has to say the same.
See `train.py` for the environment.
"""

import json
from pathlib import Path

import numpy as np
import onnxruntime

from train import MODEL, split, train

EXAMPLE = MODEL.parents[1]
GOLDEN = 5
TOLERANCE = 1e-4


def shortest(values):
    """The shortest decimals that read back as the same f32."""
    return [float(str(np.float32(value))) for value in values]


def tensor(element_type, rows):
    """A tensor as manifests have it."""
    values = np.array(rows, dtype=object)
    return {"shape": list(values.shape), element_type: values.ravel().tolist()}


def request(cases):
    """A request in the Open Inference Protocol."""
    rows = [case["features"] for case in cases]
    shape = [len(rows), len(rows[0])]
    return {"inputs": [{"name": "features", "datatype": "FP32", "shape": shape, "data": rows}]}


def write(path, value):
    Path(EXAMPLE / path).write_text(json.dumps(value) + "\n")


def main():
    _, features, _, species = split()
    features = features.astype(np.float32)
    session = onnxruntime.InferenceSession(MODEL, providers=["CPUExecutionProvider"])
    labels, probabilities = session.run(["label", "probabilities"], {"features": features})
    forest = train()
    assert (forest.predict(features) == labels).all(), "scikit-learn says otherwise"
    np.testing.assert_allclose(forest.predict_proba(features), probabilities, atol=1e-6)

    cases = [
        {"features": shortest(row), "species": truth, "label": label, "probabilities": shortest(chances)}
        for row, truth, label, chances in zip(features, species, labels, probabilities, strict=True)
    ]
    right = sum(case["species"] == case["label"] for case in cases)
    assert right < len(cases) and {case["label"] for case in cases} == set(species), "every species, and a mistake"

    lines = ",\n".join("    " + json.dumps(case) for case in cases)
    recorded_with = f"onnxruntime {onnxruntime.__version__}"
    Path(EXAMPLE / "expected.json").write_text(
        f'{{\n  "recorded_with": "{recorded_with}",\n  "tolerance": {TOLERANCE},\n  "cases": [\n{lines}\n  ]\n}}\n'
    )
    golden = cases[:GOLDEN]
    answers = {
        "inputs": {"features": tensor("f32", [case["features"] for case in golden])},
        "outputs": {
            "label": tensor("text", [case["label"] for case in golden]),
            "probabilities": tensor("f32", [case["probabilities"] for case in golden]),
        },
        "tolerance": TOLERANCE,
    }
    write("model/golden.json", [answers])
    write("requests/one.json", request(cases[:1]))
    write("requests/batch.json", request(cases))
    print(f"{recorded_with}: {right} of {len(cases)} labels are the true species")


if __name__ == "__main__":
    main()
