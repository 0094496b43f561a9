"""Writes an ONNX file with nothing but the standard library.

A graph is a list of nodes and weights, encoded as the protocol buffers of the `onnx.proto` schema
(https://github.com/onnx/onnx/blob/main/onnx/onnx.proto), of which this knows only what `convert.py`
needs. The same graph always gives the same bytes, so that the result can be pinned by its SHA-256.
"""

import array
import struct
import sys

FLOAT, INT64 = 1, 7
_VARINT, _BYTES, _FIXED32 = 0, 2, 5


def _varint(value):
    value &= (1 << 64) - 1  # A negative number is its two's complement in 64 bits.
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _integer(field, value):
    return _varint(field << 3 | _VARINT) + _varint(value)


def _message(field, value):
    """A field that is a message, a string or bytes."""
    value = value.encode() if isinstance(value, str) else value
    return b"".join((_varint(field << 3 | _BYTES), _varint(len(value)), value))


def _tensor(name, element_type, shape, data):
    dims = b"".join(_integer(1, dim) for dim in shape)
    return b"".join((dims, _integer(2, element_type), _message(8, name), _message(9, data)))


def _value_info(name, element_type, shape):
    """The type of an input or an output; a dimension is a number or the name of a free one."""
    dims = b"".join(
        _message(1, _message(2, dim) if isinstance(dim, str) else _integer(1, dim)) for dim in shape
    )
    tensor_type = _integer(1, element_type) + _message(2, dims)
    return _message(1, name) + _message(2, _message(1, tensor_type))


def _attribute(name, value):
    if isinstance(value, float):
        body = _varint(2 << 3 | _FIXED32) + struct.pack("<f", value) + _integer(20, 1)
    elif isinstance(value, int):
        body = _integer(3, value) + _integer(20, 2)
    else:
        body = b"".join(_integer(8, item) for item in value) + _integer(20, 7)
    return _message(1, name) + body


class Graph:
    """A graph under construction. Values are known by their names."""

    def __init__(self, name, opset):
        self._name = name
        self._opset = opset
        self._nodes = []
        self._weights = []
        self._inputs = []
        self._outputs = []

    def input(self, name, element_type, shape):
        self._inputs.append(_value_info(name, element_type, shape))
        return name

    def output(self, name, element_type, shape):
        self._outputs.append(_value_info(name, element_type, shape))

    def weight(self, name, shape, data):
        """A float tensor from the bytes of its little-endian values."""
        self._weights.append(_tensor(name, FLOAT, shape, data))
        return name

    def scalar(self, name, value):
        return self.weight(name, [], struct.pack("<f", value))

    def integers(self, name, values):
        self._weights.append(_tensor(name, INT64, [len(values)], struct.pack(f"<{len(values)}q", *values)))
        return name

    def node(self, operator, inputs, output=None, **attributes):
        """Appends a node with one output, named after its place unless told otherwise."""
        output = output or f"{operator}_{len(self._nodes)}"
        fields = [_message(1, name) for name in inputs]
        fields += [_message(2, output), _message(3, output), _message(4, operator)]
        fields += [_message(5, _attribute(name, value)) for name, value in attributes.items()]
        self._nodes.append(b"".join(fields))
        return output

    def encode(self):
        graph = [_message(1, node) for node in self._nodes]
        graph.append(_message(2, self._name))
        graph += [_message(5, weight) for weight in self._weights]
        graph += [_message(11, value) for value in self._inputs]
        graph += [_message(12, value) for value in self._outputs]
        opset = _message(1, "") + _integer(2, self._opset)
        # IR version 8 is the one that came with opset 17 and the oldest that all readers know.
        return _integer(1, 8) + _message(2, "modelet") + _message(7, b"".join(graph)) + _message(8, opset)


def transpose(rows, columns, data):
    """Turns the bytes of a row-major float matrix into those of its transpose."""
    values = array.array("f", data)
    if values.itemsize != 4 or len(values) != rows * columns:
        sys.exit(f"a {rows} by {columns} matrix of f32 has {len(values)} values")
    return b"".join(values[column::columns].tobytes() for column in range(columns))
