"""Records what ONNX Runtime, run from Python, answers for held-out images of the digits data.

    .cache/venv-examples/bin/python examples/digits/model/record.py

writes `expected.json` (the first 60 held-out images, right or wrong: none is picked) and the sample
requests. The golden rows in `modelet.toml` are the first three of these cases and follow by hand.
See `train.py` for the environment.
"""

import json
from pathlib import Path

import numpy as np
import onnxruntime

from train import MODEL, split

EXAMPLE = MODEL.parents[1]
CASES = 60
BATCH = 8


def shortest(values):
    """The shortest decimals that read back as the same f32."""
    return [float(str(np.float32(value))) for value in values]


def main():
    _, pixels, _, labels = split()
    pixels, labels = pixels[:CASES], labels[:CASES]
    session = onnxruntime.InferenceSession(MODEL, providers=["CPUExecutionProvider"])
    (probabilities,) = session.run(["probabilities"], {"input": (pixels / 16).astype(np.float32)})

    cases = [
        {
            "pixels": image.astype(int).tolist(),
            "label": int(label),
            "digit": int(row.argmax()),
            "probabilities": shortest(row),
        }
        for image, label, row in zip(pixels, labels, probabilities, strict=True)
    ]
    assert {case["label"] for case in cases} == set(range(10)), "every digit occurs"
    right = sum(case["label"] == case["digit"] for case in cases)

    lines = ",\n".join("    " + json.dumps(case) for case in cases)
    recorded_with = f"onnxruntime {onnxruntime.__version__}"
    Path(EXAMPLE / "expected.json").write_text(
        f'{{\n  "recorded_with": "{recorded_with}",\n  "tolerance": 1e-4,\n  "cases": [\n{lines}\n  ]\n}}\n'
    )
    requests = EXAMPLE / "requests"
    (requests / "one.json").write_text(json.dumps({"pixels": cases[0]["pixels"]}) + "\n")
    (requests / "bare.json").write_text(json.dumps(cases[1]["pixels"]) + "\n")
    (requests / "batch.json").write_text(
        json.dumps({"images": [case["pixels"] for case in cases[:BATCH]]}) + "\n"
    )
    print(f"{recorded_with}: {right} of {CASES} answers equal the true label")


if __name__ == "__main__":
    main()
