"""Records what RapidOCR's own Python package, on ONNX Runtime, reads in the sample images.

    python3 -m venv .cache/venv-examples
    .cache/venv-examples/bin/pip install -r examples/requirements.txt
    .cache/venv-examples/bin/python examples/ocr/model/record.py

writes `expected.json` and the golden answers of the models. The images are the files in `requests/`,
drawn by `samples.py`. Run `examples/fetch.py ocr` first.
"""

import json
import zlib
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
from rapidocr_onnxruntime import RapidOCR

EXAMPLE = Path(__file__).resolve().parents[1]
FETCHED = EXAMPLE / "model" / ".fetched"


class Recorder(RapidOCR):
    """The package as it is, except that it keeps what it gave to the models."""

    def __init__(self):
        super().__init__()
        self.watch(self.text_det, "infer", "detection")
        self.watch(self.text_cls, "infer", "direction")
        self.watch(self.text_rec, "session", "recognition")

    def watch(self, owner, attribute, name):
        run = getattr(owner, attribute)

        class Watched:
            def __call__(_, batch):
                self.seen[name].append(batch)
                return run(batch)

        setattr(owner, attribute, Watched())

    def record(self, path):
        self.seen = {"detection": [], "direction": [], "recognition": []}
        found, _ = self(path.read_bytes())
        lines = [
            {"text": text, "score": round(score, 6), "box": [[shortest(x), shortest(y)] for x, y in corners]}
            for corners, text, score in found or []
        ]
        (picture,) = self.seen.pop("detection")
        inputs = {"detection": {"shape": picture.shape, "crc32": zlib.crc32(picture.tobytes())}}
        inputs |= {name: [batch.shape for batch in batches] for name, batches in self.seen.items()}
        return {"file": f"requests/{path.name}", "lines": lines, "inputs": inputs}


def shortest(value):
    """The shortest decimal that reads back as the same f32."""
    return float(str(np.float32(value)))


def word():
    """Black letters on white, drawn by OpenCV: 1 for white, -1 for black, as the models take it."""
    image = np.full((48, 96), 255, np.uint8)
    cv2.putText(image, "Inv", (6, 36), cv2.FONT_HERSHEY_SIMPLEX, 1.2, 0, 3, cv2.LINE_8)
    image = np.where(image > 127, 1, -1).astype(np.float32)
    return np.repeat(image[None, None], 3, axis=1)


def golden(name, image, digits, tolerance):
    """A run of a model, with its numbers cut to what the tolerance leaves of them."""
    session = onnxruntime.InferenceSession(FETCHED / f"{name}.onnx", providers=["CPUExecutionProvider"])
    (output,) = session.get_outputs()
    (values,) = session.run(None, {"x": image})

    def literal(array, digits):
        numbers = [round(float(value), digits) + 0.0 for value in array.ravel()]
        return {"shape": list(array.shape), "f32": [int(n) if n == int(n) else n for n in numbers]}

    run = {
        "inputs": {"x": literal(image, 0)},
        "outputs": {output.name: literal(values, digits)},
        "tolerance": tolerance,
    }
    path = EXAMPLE / "model" / f"golden_{name}.json"
    path.write_text("[" + json.dumps(run, separators=(",", ":")) + "]\n")
    print(f"{path.name}: {path.stat().st_size:,} bytes, {values.shape}, from {values.min():.4f} to {values.max():.4f}")


def main():
    recorder = Recorder()
    cases = [recorder.record(path) for path in sorted((EXAMPLE / "requests").iterdir())]
    lines = ",\n".join("    " + json.dumps(case, ensure_ascii=False) for case in cases)
    packages = ("rapidocr-onnxruntime", "onnxruntime", "opencv-python", "pillow")
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    (EXAMPLE / "expected.json").write_text(
        f'{{\n  "recorded_with": "{versions}",\n  "cases": [\n{lines}\n  ]\n}}\n'
    )
    for case in cases:
        print(case["file"])
        for line in case["lines"]:
            print(f"  {line['score']:.4f} {line['text']!r} {line['box']}")
    golden("det", word()[:, :, 8:40, 0:64], 4, 1e-3)
    golden("cls", word(), 6, 1e-3)
    golden("rec", word()[:, :, :, 0:40], 5, 1e-3)


if __name__ == "__main__":
    main()
