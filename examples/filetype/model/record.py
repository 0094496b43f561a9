"""Records what Magika's own Python library, on ONNX Runtime, says about the sample files.

    python3 -m venv .cache/venv-examples
    .cache/venv-examples/bin/pip install -r examples/requirements.txt
    .cache/venv-examples/bin/python examples/filetype/model/record.py

writes `expected.json` and `golden.json`. The samples are the files in `requests/`.
"""

import json
import struct
import zlib
from pathlib import Path

import magika
import numpy as np
import onnxruntime

EXAMPLE = Path(__file__).resolve().parents[1]
# What goes into the manifest: one text, and one binary file.
GOLDEN = ("stack.py", "gradient.png")


class Recorder(magika.Magika):
    """The library as it is, except that it keeps what it gave to the model and got back."""

    def _get_raw_predictions(self, features):
        (entry,) = features
        self.row = entry[1].beg + entry[1].end
        predictions = super()._get_raw_predictions(features)
        (self.probabilities,) = predictions
        return predictions

    def record(self, path):
        self.row = self.probabilities = None
        prediction = self.identify_bytes(path.read_bytes()).prediction
        output = prediction.output
        answer = {
            "label": str(output.label),
            "confidence": shortest(prediction.score),
            "mime_type": output.mime_type,
            "group": output.group,
            "description": output.description,
            "extensions": output.extensions,
            "is_text": output.is_text,
        }
        case = {"file": f"requests/{path.name}", "answer": answer}
        if self.row is not None:
            answer["model_label"] = str(prediction.dl.label)
            case["row_crc32"] = zlib.crc32(struct.pack(f"<{len(self.row)}i", *self.row))
        return case


def shortest(value):
    """The shortest decimal that reads back as the same f32."""
    return float(str(np.float32(value)))


def golden(recorder, name):
    recorder.record(EXAMPLE / "requests" / name)
    return {
        "inputs": {"bytes": {"shape": [1, len(recorder.row)], "i32": recorder.row}},
        "outputs": {
            "target_label": {
                "shape": [1, len(recorder.probabilities)],
                "f32": [shortest(value) for value in recorder.probabilities],
            }
        },
        "tolerance": 1e-4,
    }


def main():
    recorder = Recorder()
    cases = [recorder.record(path) for path in sorted((EXAMPLE / "requests").iterdir())]
    lines = ",\n".join("    " + json.dumps(case, ensure_ascii=False) for case in cases)
    versions = f"magika {magika.__version__}, onnxruntime {onnxruntime.__version__}"
    (EXAMPLE / "expected.json").write_text(
        f'{{\n  "recorded_with": "{versions}",\n  "tolerance": 1e-3,\n  "cases": [\n{lines}\n  ]\n}}\n'
    )
    rows = ",\n".join(json.dumps(golden(recorder, name)) for name in GOLDEN)
    (EXAMPLE / "model" / "golden.json").write_text(f"[\n{rows}\n]\n")
    for case in cases:
        print(f"{case['file']:28} {case['answer']['label']:10} {case['answer']['confidence']:.4f}")


if __name__ == "__main__":
    main()
