"""Makes the request in which nobody speaks.

    python3 examples/voice/model/samples.py

Needs only the standard library, and always makes the same bytes.
"""

import math
import random
import struct
import wave
from pathlib import Path

REQUESTS = Path(__file__).resolve().parents[1] / "requests"
RATE = 16_000


def tones():
    """Two seconds of three notes over a little noise, the last within a window of the model."""
    noise = random.Random(20240517)
    for index in range(2 * RATE + 100):
        note = (440.0, 554.37, 659.26)[index // 10_700 % 3]
        yield 0.4 * math.sin(2 * math.pi * note * index / RATE) + noise.uniform(-0.02, 0.02)


def main():
    REQUESTS.mkdir(exist_ok=True)
    with wave.open(str(REQUESTS / "tones.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(b"".join(struct.pack("<h", round(32767 * sample)) for sample in tones()))


if __name__ == "__main__":
    main()
