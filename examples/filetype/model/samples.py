"""Makes the binary samples among the requests; those that are text are written by hand.

    python3 examples/filetype/model/samples.py

Needs only the standard library, and always makes the same bytes.
"""

import gzip
import io
import math
import random
import struct
import tarfile
import wave
import zipfile
import zlib
from pathlib import Path

REQUESTS = Path(__file__).resolve().parents[1] / "requests"
MODIFIED = (2024, 5, 17, 9, 30, 0)


def png():
    """A gradient of 32 by 32 pixels."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes(v for x in range(32) for v in (8 * x, 8 * y, 128)) for y in range(32))
    header = struct.pack(">IIBBBBB", 32, 32, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def zip_archive():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in ("notes.md", "stations.csv", "stack.py"):
            entry = zipfile.ZipInfo(f"project/{name}", MODIFIED)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, (REQUESTS / name).read_bytes(), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def tar_archive():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in ("notes.md", "stations.csv"):
            data = (REQUESTS / name).read_bytes()
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def tone():
    """A fifth of a second of 440 Hz."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        samples = (round(9000 * math.sin(2 * math.pi * 440 * at / 8000)) for at in range(1600))
        sound.writeframes(b"".join(struct.pack("<h", sample) for sample in samples))
    return buffer.getvalue()


def long_python():
    """More than two blocks of source, with white space around it, so that both edges are cut."""
    functions = (
        f"def rule_{number}(order):\n    return order.total > {number} and order.country in COUNTRIES\n\n\n"
        for number in range(140)
    )
    return ("\n\n  \n" + 'COUNTRIES = {"pt", "es", "fr"}\n\n\n' + "".join(functions) + "\n\x0b\n").encode()


SAMPLES = {
    "gradient.png": png,
    "bundle.zip": zip_archive,
    "bundle.tar": tar_archive,
    "order.json.gz": lambda: gzip.compress((REQUESTS / "order.json").read_bytes(), 9, mtime=0),
    "tone.wav": tone,
    "rules.py": long_python,
    "noise.bin": lambda: random.Random(1142).randbytes(3000),
    "blank.txt": lambda: b" \t\r\n" * 1500,
}


def main():
    for name, make in SAMPLES.items():
        (REQUESTS / name).write_bytes(make())
    print(f"{len(SAMPLES)} files in {REQUESTS}")


if __name__ == "__main__":
    main()
