"""Calls the handler in tensors around the digits model with Triton's own clients, over HTTP and gRPC.

    oip_tensors.py HOST:PORT EXPECTED

Ends with an error if anything differs from what a Triton server would do; see digits.py.
"""

import json
import sys

import numpy
import tritonclient.grpc
import tritonclient.http

from digits import ADDRESS, ANSWERS, close, refused, with_key

FUNCTION = "ink"
NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
with open(sys.argv[2]) as file:
    CASES = json.load(file)["cases"]
PIXELS = numpy.array([case["pixels"] for case in CASES], dtype=numpy.uint8)
LABELS = [NAMES[answer.argmax()] for answer in ANSWERS]


def inputs(module, pixels, ask=""):
    tensor = module.InferInput("pixels", pixels.shape, "UINT8")
    tensor.set_data_from_numpy(pixels)
    asked = module.InferInput("ask", [1], "BYTES")
    asked.set_data_from_numpy(numpy.array([ask], dtype=object))
    return [asked, tensor]


def answers(client, module):
    result = client.infer(FUNCTION, inputs(module, PIXELS))
    close(result.as_numpy("probabilities"), ANSWERS)
    assert [name.decode() for name in result.as_numpy("label")] == LABELS, result.as_numpy("label")
    assert result.as_numpy("more") is None, "it is not declared"
    wanted = [module.InferRequestedOutput(name) for name in ("probabilities", "label")]
    result = client.infer(FUNCTION, inputs(module, PIXELS[:3]), outputs=wanted)
    close(result.as_numpy("probabilities"), ANSWERS[:3])
    result = client.infer(FUNCTION, inputs(module, PIXELS[:1]), outputs=wanted[1:], model_version="1")
    assert result.as_numpy("probabilities") is None and result.as_numpy("label")[0].decode() == LABELS[0]


def refuses(client, module, invalid, unavailable, bad):
    refused(lambda: client.infer(FUNCTION, inputs(module, PIXELS, "refuse")), invalid, "draw darker")
    refused(lambda: client.infer(FUNCTION, inputs(module, PIXELS, "give up")), unavailable, "try again later")
    refused(lambda: client.infer(FUNCTION, inputs(module, PIXELS[:, :3])), bad, "shape")
    refused(lambda: client.infer(FUNCTION, inputs(module, PIXELS)[:1]), bad, "pixels")
    unknown = [module.InferRequestedOutput("more")]
    refused(lambda: client.infer(FUNCTION, inputs(module, PIXELS), outputs=unknown), bad, "more")


with tritonclient.http.InferenceServerClient(ADDRESS) as client:
    with_key(client)
    assert client.is_model_ready(FUNCTION)
    metadata = client.get_model_metadata(FUNCTION)
    assert metadata["platform"] == "modelet_wasm", metadata
    assert metadata["inputs"][1] == {"name": "pixels", "datatype": "UINT8", "shape": [-1, 64]}, metadata
    assert [output["name"] for output in metadata["outputs"]] == ["label", "probabilities"], metadata
    config = client.get_model_config(FUNCTION)
    assert (config["backend"], config["max_batch_size"]) == ("modelet", 0), config
    assert config["output"][0] == {"name": "label", "data_type": "TYPE_STRING", "dims": [-1]}, config
    client.unload_model(FUNCTION)
    client.load_model(FUNCTION)
    answers(client, tritonclient.http)
    refuses(client, tritonclient.http, "422", "503", "400")
    (counted,) = client.get_inference_statistics(FUNCTION)["model_stats"]
    assert counted["inference_stats"]["success"]["count"] == 3, counted
    assert counted["inference_stats"]["fail"]["count"] == 5, counted
with tritonclient.grpc.InferenceServerClient(ADDRESS) as client:
    with_key(client)
    assert client.get_model_metadata(FUNCTION).outputs[0].datatype == "BYTES"
    answers(client, tritonclient.grpc)
    invalid = "StatusCode.INVALID_ARGUMENT"
    refuses(client, tritonclient.grpc, invalid, "StatusCode.UNAVAILABLE", invalid)
