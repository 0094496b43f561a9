"""Takes the alphabet out of the recognition model, one character a line.

    python3 examples/ocr/model/alphabet.py MODEL.onnx ALPHABET.txt

The model's classes have no names but in its metadata, under `character`, and a handler cannot read a
model's metadata. Needs only Python's standard library; `examples/fetch.py` runs it.
"""

import sys
from pathlib import Path

# Fields of `ModelProto` and `StringStringEntryProto` (onnx/onnx.proto).
METADATA_PROPS = 14
KEY, VALUE = 1, 2


def varint(data, at):
    """The number at a place, and the place behind it."""
    number = shift = 0
    while True:
        byte = data[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number, at


def fields(data):
    """Number and bytes of every field that has a length; all others are passed over."""
    at = 0
    while at < len(data):
        tag, at = varint(data, at)
        kind = tag & 7
        if kind == 2:
            length, at = varint(data, at)
            yield tag >> 3, data[at : at + length]
            at += length
        elif kind == 0:
            _, at = varint(data, at)
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            sys.exit(f"alphabet.py: the model has a field of kind {kind}, which protocol buffers do not have")


def metadata(model):
    entries = (dict(fields(entry)) for number, entry in fields(model) if number == METADATA_PROPS)
    return {bytes(entry[KEY]).decode(): bytes(entry[VALUE]).decode() for entry in entries}


def main():
    source, destination = map(Path, sys.argv[1:])
    known = metadata(memoryview(source.read_bytes()))
    if "character" not in known:
        sys.exit(f"alphabet.py: {source} has no alphabet in its metadata")
    destination.write_text("".join(line + "\n" for line in known["character"].splitlines()), encoding="utf-8")


if __name__ == "__main__":
    main()
