"""What every program here calls: the digits model, deployed without a handler as `digits`, with images and
with what ONNX Runtime answers for them.

Each takes HOST:PORT and examples/digits/expected.json, and the host's key in MODELET_KEY.
"""

import json
import os
import sys

import numpy
from tritonclient._plugin import InferenceServerClientPlugin
from tritonclient.utils import InferenceServerException

ADDRESS, EXPECTED = sys.argv[1:]
MODEL = "digits"
with open(EXPECTED) as file:
    RECORDING = json.load(file)
IMAGES = numpy.array([case["pixels"] for case in RECORDING["cases"]], dtype=numpy.float32) / 16
ANSWERS = numpy.array([case["probabilities"] for case in RECORDING["cases"]], dtype=numpy.float32)


AUTHORIZATION = "Bearer " + os.environ["MODELET_KEY"]


class Key(InferenceServerClientPlugin):
    """Sends the key with every request, in the way that Triton's clients have for it."""

    def __call__(self, request):
        request.headers["authorization"] = AUTHORIZATION


def with_key(client):
    client.register_plugin(Key())
    return client


def close(found, answers):
    numpy.testing.assert_allclose(found, answers, atol=RECORDING["tolerance"])


def check(result, first, count):
    found = result.as_numpy("probabilities")
    assert found.dtype == numpy.float32 and found.shape == (count, 10), found
    close(found, ANSWERS[first : first + count])


def refused(call, status, text):
    try:
        call()
    except InferenceServerException as error:
        assert error.status() == status and text in error.message(), (error.status(), error.message())
    else:
        raise AssertionError(f"not refused: {text}")
