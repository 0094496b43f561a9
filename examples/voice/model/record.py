"""Records what silero-vad says about the recordings, with ONNX Runtime from Python.

    python3 examples/fetch.py voice
    python3 -m venv .cache/venv-examples
    .cache/venv-examples/bin/pip install -r examples/requirements.txt
    .cache/venv-examples/bin/python examples/voice/model/record.py

writes `expected.json` and `golden.json`. Where speech begins and ends is decided by the package's own
`get_speech_timestamps_from_probs`. Running the model is written anew here, in whole recordings, because
the package does that with torch.
"""

import importlib.util
import json
import random
import sys
import unittest.mock
import wave
from pathlib import Path

import numpy as np
import onnxruntime

EXAMPLE = Path(__file__).resolve().parents[1]
FETCHED = EXAMPLE / "model" / ".fetched"
REQUESTS = EXAMPLE / "requests"
RATE, WINDOW, CONTEXT = 16_000, 512, 64
RECORDINGS = [".fetched/reading.wav", ".fetched/conversation.wav", "tones.wav"]
# Besides the defaults.
SETTINGS = [
    {"threshold": 0.9, "neg_threshold": 0.8, "speech_pad_ms": 0},
    {"min_speech_duration_ms": 1500, "min_silence_duration_ms": 700, "speech_pad_ms": 200},
]
# Windows of the first recording, from one in which speech begins, that become golden.
GOLDEN = range(11, 14)


def package():
    """The package's own code. Of torch it only uses names, in what is needed here."""
    sys.modules["torch"] = unittest.mock.MagicMock()
    spec = importlib.util.spec_from_file_location("utils_vad", FETCHED / "utils_vad.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read(path):
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (RATE, 1, 2), path
        return np.frombuffer(file.readframes(file.getnframes()), dtype="<i2").astype(np.float32) / 32768


def runs(session, sound):
    """The model over a whole recording: inputs and outputs of each window."""
    windows = -(-len(sound) // WINDOW)
    padded = np.zeros(CONTEXT + windows * WINDOW, dtype=np.float32)
    padded[CONTEXT : CONTEXT + len(sound)] = sound
    state = np.zeros((2, 1, 128), dtype=np.float32)
    for start in range(0, windows * WINDOW, WINDOW):
        feeds = {
            "input": padded[np.newaxis, start : start + CONTEXT + WINDOW],
            "state": state,
            "sr": np.array(RATE, dtype=np.int64),
        }
        output, state = session.run(["output", "stateN"], feeds)
        yield feeds, {"output": output, "stateN": state}


def segments(vad, probabilities, length, settings):
    """Pairs of samples: where speech begins, and where it has ended."""
    found = vad.get_speech_timestamps_from_probs(probabilities, audio_length_samples=length, **settings)
    return [[int(one["start"]), int(one["end"])] for one in found]


def drawn(vad, generator):
    """Probabilities that wander as those of speech do, cut off anywhere, under settings drawn too."""
    percents, level = [], 0
    for _ in range(generator.randrange(1, 160)):
        if generator.random() < 0.15:
            level = generator.choice([2, 20, 40, 60, 97])
        percents.append(min(100, max(0, level + generator.randrange(-12, 13))))
    settings = {
        "threshold": generator.choice([0.5, 0.5, 0.3, 0.8]),
        "min_speech_duration_ms": generator.choice([250, 250, 0, 64, 100, 500]),
        "min_silence_duration_ms": generator.choice([100, 100, 0, 33, 64, 300]),
    }
    settings["speech_pad_ms"] = min(generator.choice([30, 30, 0, 150]), settings["min_silence_duration_ms"] // 2)
    if generator.random() < 0.3:
        settings["neg_threshold"] = round(settings["threshold"] * generator.choice([0.5, 1]), 2)
    length = len(percents) * WINDOW - generator.randrange(WINDOW)
    probabilities = [float(np.float32(percent / 100)) for percent in percents]
    found = segments(vad, probabilities, length, settings)
    return {"settings": settings, "percents": percents, "length": length, "segments": found}


def literal(array):
    """A tensor as a manifest writes it, with the shortest decimals that read back as the same f32."""
    if array.dtype == np.int64:
        return {"shape": list(array.shape), "i64": array.flatten().tolist()}
    return {"shape": list(array.shape), "f32": [float(str(value)) for value in array.flatten()]}


def agreement(found, length):
    """In how many of a thousand milliseconds people who marked the conversation agree."""
    marked = np.zeros(length * 1000 // RATE, dtype=bool)
    ours = np.zeros_like(marked)
    for line in (REQUESTS / ".fetched" / "conversation.rttm").read_text().splitlines():
        start, duration = (round(1000 * float(text)) for text in line.split()[3:5])
        marked[start : start + duration] = True
    for start, end in found:
        ours[start * 1000 // RATE : end * 1000 // RATE] = True
    return round(1000 * float(np.mean(marked == ours)))


def main():
    vad = package()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        FETCHED / "silero_vad.onnx", options, providers=["CPUExecutionProvider"]
    )
    cases, golden = [], []
    for name in RECORDINGS:
        sound = read(REQUESTS / name)
        windows = list(runs(session, sound))
        probabilities = [float(outputs["output"].item()) for _, outputs in windows]
        if not cases:
            golden = [
                {
                    "inputs": {key: literal(value) for key, value in windows[index][0].items()},
                    "outputs": {key: literal(value) for key, value in windows[index][1].items()},
                    "tolerance": 1e-4,
                }
                for index in GOLDEN
            ]
        answers = [
            {"settings": settings, "segments": segments(vad, probabilities, len(sound), settings)}
            for settings in [{}, *SETTINGS]
        ]
        cases.append(
            {
                "file": f"requests/{name}",
                "length": len(sound),
                "probabilities": [round(value, 6) for value in probabilities],
                "answers": answers,
            }
        )
        print(f"{name:28} {len(probabilities)} windows, speech at {answers[0]['segments']}")
        if "conversation" in name:
            print(f"  {agreement(answers[0]['segments'], len(sound)) / 10} % of the time as people marked it")

    generator = random.Random(20240517)
    rules = [drawn(vad, generator) for _ in range(80)]
    assert sum(len(rule["segments"]) for rule in rules) > 100
    head = f'"recorded_with": "silero-vad 6.2.3, onnxruntime {onnxruntime.__version__}", "tolerance": 1e-4'
    rows = [",\n".join(json.dumps(row) for row in rows) for rows in (cases, rules)]
    (EXAMPLE / "expected.json").write_text(
        f'{{\n{head},\n"cases": [\n{rows[0]}\n],\n"rules": [\n{rows[1]}\n]\n}}\n'
    )
    (EXAMPLE / "model" / "golden.json").write_text(
        "[\n" + ",\n".join(json.dumps(one) for one in golden) + "\n]\n"
    )


if __name__ == "__main__":
    main()
