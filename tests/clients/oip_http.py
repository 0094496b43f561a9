"""Calls the digits model with Triton's own clients over HTTP.

    oip_http.py HOST:PORT EXPECTED

Ends with an error if anything differs from what a Triton server would do; see digits.py.
"""

import asyncio

import numpy
import tritonclient.http
import tritonclient.http.aio

from digits import ADDRESS, IMAGES, MODEL, check, refused, with_key


def inputs(module, images, binary=True):
    tensor = module.InferInput("input", images.shape, "FP32")
    tensor.set_data_from_numpy(images, binary_data=binary)
    return [tensor]


def outputs(module, binary):
    return [module.InferRequestedOutput("probabilities", binary_data=binary)]


def describes_itself(client):
    assert client.is_server_live() and client.is_server_ready()
    server = client.get_server_metadata()
    assert server["name"] == "modelet" and "binary_tensor_data" in server["extensions"], server
    assert client.is_model_ready(MODEL) and client.is_model_ready(MODEL, "1")
    assert not client.is_model_ready("nobody") and not client.is_model_ready(MODEL, "7")
    model = client.get_model_metadata(MODEL)
    assert model["inputs"] == [{"name": "input", "datatype": "FP32", "shape": [-1, 64]}], model
    assert model["versions"] == ["1"] and model["platform"].endswith("_onnx"), model
    index = client.get_model_repository_index()
    assert index == [{"name": MODEL, "version": "1", "state": "READY", "reason": ""}], index


def infers(client):
    module = tritonclient.http
    for binary in (True, False):
        for first in range(len(IMAGES)):
            given = inputs(module, IMAGES[first : first + 1], binary)
            check(client.infer(MODEL, given, outputs=outputs(module, binary)), first, 1)
    # All at once, of a named version, with an id; without outputs the client asks for all in binary.
    result = client.infer(MODEL, inputs(module, IMAGES), model_version="1", request_id="seven")
    check(result, 0, len(IMAGES))
    response = result.get_response()
    assert (response["model_name"], response["model_version"], response["id"]) == (MODEL, "1", "seven")
    for coding in ("gzip", "deflate"):
        given = inputs(module, IMAGES)
        result = client.infer(
            MODEL, given, request_compression_algorithm=coding, response_compression_algorithm=coding
        )
        check(result, 0, len(IMAGES))
    waiting = [client.async_infer(MODEL, inputs(module, IMAGES[i : i + 1])) for i in range(32)]
    for i, request in enumerate(waiting):
        check(request.get_result(), i, 1)


def refuses(client):
    module = tritonclient.http
    refused(lambda: client.infer("nobody", inputs(module, IMAGES)), "404", "nobody")
    refused(lambda: client.infer(MODEL, inputs(module, IMAGES), model_version="7"), "404", "revision 7")
    refused(lambda: client.infer(MODEL, inputs(module, IMAGES[:, :3])), "400", "shape")
    wrong = module.InferInput("pixels", IMAGES.shape, "FP32")
    wrong.set_data_from_numpy(IMAGES)
    refused(lambda: client.infer(MODEL, [wrong]), "400", "pixels")
    integers = module.InferInput("input", IMAGES.shape, "INT64")
    integers.set_data_from_numpy(IMAGES.astype(numpy.int64))
    refused(lambda: client.infer(MODEL, [integers]), "400", "type f32")
    unknown = [module.InferRequestedOutput("logits")]
    refused(lambda: client.infer(MODEL, inputs(module, IMAGES), outputs=unknown), "400", "logits")
    refused(lambda: client.load_model("nobody"), "404", "nobody")


def loads(client):
    client.unload_model(MODEL)
    # It is ready all the same: a request would wake it.
    assert client.is_model_ready(MODEL)
    client.load_model(MODEL)
    check(client.infer(MODEL, inputs(tritonclient.http, IMAGES)), 0, len(IMAGES))


async def infers_side_by_side():
    module = tritonclient.http.aio
    async with module.InferenceServerClient(ADDRESS) as client:
        with_key(client)
        assert await client.is_model_ready(MODEL)
        calls = [client.infer(MODEL, inputs(module, IMAGES[i : i + 1])) for i in range(len(IMAGES))]
        for i, result in enumerate(await asyncio.gather(*calls)):
            check(result, i, 1)


def asks_for_a_key():
    with tritonclient.http.InferenceServerClient(ADDRESS) as client:
        assert client.is_server_live() and client.is_server_ready() and not client.is_model_ready(MODEL)
        refused(lambda: client.infer(MODEL, inputs(tritonclient.http, IMAGES)), "401", "needs a key")
        refused(lambda: client.get_server_metadata(), "401", "needs a key")


asks_for_a_key()
with tritonclient.http.InferenceServerClient(ADDRESS, concurrency=8) as client:
    with_key(client)
    describes_itself(client)
    infers(client)
    refuses(client)
    loads(client)
asyncio.run(infers_side_by_side())
