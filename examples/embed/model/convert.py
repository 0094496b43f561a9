"""Turns all-MiniLM-L6-v2 from safetensors into one ONNX file, tokens in, sentence vector out.

    python3 examples/embed/model/convert.py model.safetensors minilm.onnx

`examples/fetch.py` runs this. It needs only the standard library, and neither PyTorch nor ONNX.

The graph is the encoder of BERT (https://arxiv.org/abs/1810.04805) with 6 layers, 12 heads and 384
dimensions, and behind it what sentence-transformers does for this model: the mean over the tokens
that are not padding, divided by its length.

    input_ids, attention_mask, token_type_ids i64[batch, tokens] -> sentence_embedding f32[batch, 384]
"""

import json
import math
import struct
import sys
from pathlib import Path

from onnx_writer import FLOAT, INT64, Graph, transpose

LAYERS = 6
HEADS = 12
WIDTH = 384
HEAD_WIDTH = WIDTH // HEADS
LAYER_NORM_EPSILON = 1e-12
# Added to the attention scores of padding, after which exp() makes them exactly 0.
MASKED = -10_000.0


class Safetensors:
    """The weights in a file of https://github.com/huggingface/safetensors."""

    def __init__(self, path):
        self._data = Path(path).read_bytes()
        (length,) = struct.unpack_from("<Q", self._data)
        self._start = 8 + length
        self._index = json.loads(self._data[8 : self._start])

    def __call__(self, name):
        """A weight's shape and the bytes of its values."""
        entry = self._index[name]
        if entry["dtype"] != "F32":
            sys.exit(f"weight {name} is {entry['dtype']}, not F32")
        begin, end = entry["data_offsets"]
        return entry["shape"], self._data[self._start + begin : self._start + end]


class Encoder:
    """Builds the graph, part by part, from the weights."""

    def __init__(self, weights):
        self.weights = weights
        self.graph = Graph("all-MiniLM-L6-v2", opset=17)
        self.one = self.graph.scalar("one", 1.0)
        self.half = self.graph.scalar("half", 0.5)
        self.sqrt_half = self.graph.scalar("sqrt_half", math.sqrt(0.5))
        self.score_scale = self.graph.scalar("score_scale", 1.0 / math.sqrt(HEAD_WIDTH))
        self.to_heads = self.graph.integers("to_heads", [0, 0, HEADS, HEAD_WIDTH])
        self.from_heads = self.graph.integers("from_heads", [0, 0, WIDTH])

    def node(self, operator, *inputs, **attributes):
        return self.graph.node(operator, inputs, **attributes)

    def weight(self, name):
        shape, data = self.weights(name)
        return self.graph.weight(name, shape, data)

    def linear(self, x, name):
        """The file stores [out, in] as PyTorch does; MatMul wants [in, out]."""
        (rows, columns), data = self.weights(f"{name}.weight")
        matrix = self.graph.weight(f"{name}.weight", [columns, rows], transpose(rows, columns, data))
        return self.node("Add", self.node("MatMul", x, matrix), self.weight(f"{name}.bias"))

    def layer_norm(self, x, name):
        scale, bias = self.weight(f"{name}.weight"), self.weight(f"{name}.bias")
        return self.node("LayerNormalization", x, scale, bias, axis=-1, epsilon=LAYER_NORM_EPSILON)

    def embeddings(self, input_ids, token_type_ids):
        words = self.node("Gather", self.weight("embeddings.word_embeddings.weight"), input_ids)
        types = self.node("Gather", self.weight("embeddings.token_type_embeddings.weight"), token_type_ids)
        tokens = self.node("Gather", self.node("Shape", input_ids), self.graph.integers("tokens_axis", [1]))
        positions = self.node(
            "Slice",
            self.weight("embeddings.position_embeddings.weight"),
            self.graph.integers("first_position", [0]),
            tokens,
            self.graph.integers("position_axis", [0]),
        )
        total = self.node("Add", self.node("Add", words, types), positions)
        return self.layer_norm(total, "embeddings.LayerNorm")

    def attention(self, x, mask_scores, name):
        heads = {}
        # Keys are laid out as the right-hand side of the product with the queries.
        for part, order in ("query", [0, 2, 1, 3]), ("key", [0, 2, 3, 1]), ("value", [0, 2, 1, 3]):
            split = self.node("Reshape", self.linear(x, f"{name}.self.{part}"), self.to_heads)
            heads[part] = self.node("Transpose", split, perm=order)
        scores = self.node("Mul", self.node("MatMul", heads["query"], heads["key"]), self.score_scale)
        shares = self.node("Softmax", self.node("Add", scores, mask_scores), axis=-1)
        mixed = self.node("Transpose", self.node("MatMul", shares, heads["value"]), perm=[0, 2, 1, 3])
        return self.linear(self.node("Reshape", mixed, self.from_heads), f"{name}.output.dense")

    def gelu(self, x):
        """The exact form, x/2 (1 + erf(x/√2)), which backends recognise and fuse."""
        erf = self.node("Erf", self.node("Mul", x, self.sqrt_half))
        return self.node("Mul", self.node("Mul", x, self.node("Add", erf, self.one)), self.half)

    def layer(self, x, mask_scores, name):
        attended = self.attention(x, mask_scores, f"{name}.attention")
        x = self.layer_norm(self.node("Add", attended, x), f"{name}.attention.output.LayerNorm")
        inner = self.gelu(self.linear(x, f"{name}.intermediate.dense"))
        outer = self.linear(inner, f"{name}.output.dense")
        return self.layer_norm(self.node("Add", outer, x), f"{name}.output.LayerNorm")

    def build(self):
        graph = self.graph
        input_ids, attention_mask, token_type_ids = (
            graph.input(name, INT64, ["batch", "tokens"])
            for name in ("input_ids", "attention_mask", "token_type_ids")
        )
        mask = self.node("Cast", attention_mask, to=FLOAT)
        over_heads = self.node("Unsqueeze", mask, graph.integers("head_axes", [1, 2]))
        mask_scores = self.node(
            "Mul", self.node("Sub", self.one, over_heads), graph.scalar("masked", MASKED)
        )
        x = self.embeddings(input_ids, token_type_ids)
        for index in range(LAYERS):
            x = self.layer(x, mask_scores, f"encoder.layer.{index}")

        token_axis = graph.integers("token_axis", [1])
        over_width = self.node("Unsqueeze", mask, graph.integers("width_axis", [2]))
        total = self.node("ReduceSum", self.node("Mul", x, over_width), token_axis, keepdims=0)
        count = self.node("ReduceSum", over_width, token_axis, keepdims=0)
        mean = self.node("Div", total, count)
        squares = self.node("ReduceSum", self.node("Mul", mean, mean), token_axis, keepdims=1)
        graph.node("Div", [mean, self.node("Sqrt", squares)], output="sentence_embedding")
        graph.output("sentence_embedding", FLOAT, ["batch", WIDTH])
        return graph.encode()


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: convert.py SAFETENSORS ONNX")
    if sys.byteorder != "little":
        sys.exit("the weights are little-endian and this machine is not")
    Path(sys.argv[2]).write_bytes(Encoder(Safetensors(sys.argv[1])).build())


if __name__ == "__main__":
    main()
