"""Calls the digits model with Triton's own clients over HTTP.

    oip_http.py HOST:PORT EXPECTED

Ends with an error if anything differs from what a Triton server would do; see digits.py.
"""

import asyncio
import time

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


def says_how_it_is_run(client):
    config = client.get_model_config(MODEL)
    assert config == client.get_model_config(MODEL, "1")
    assert (config["name"], config["max_batch_size"]) == (MODEL, 8), config
    assert config["input"] == [{"name": "input", "data_type": "TYPE_FP32", "dims": [64]}], config
    assert config["output"] == [{"name": "probabilities", "data_type": "TYPE_FP32", "dims": [10]}], config
    assert config["version_policy"] == {"specific": {"versions": [1]}}, config
    assert config["dynamic_batching"] == {"max_queue_delay_microseconds": 0}, config
    refused(lambda: client.get_model_config("nobody"), "404", "nobody")


def counts(client):
    def counted():
        (model,) = client.get_inference_statistics(MODEL, "1")["model_stats"]
        return model

    before = counted()
    check(client.infer(MODEL, inputs(tritonclient.http, IMAGES[:3])), 0, 3)
    refused(lambda: client.infer(MODEL, inputs(tritonclient.http, IMAGES[:, :3])), "400", "shape")
    after = counted()
    assert client.get_inference_statistics() == client.get_inference_statistics(MODEL)
    assert (after["name"], after["version"]) == (MODEL, "1"), after
    # Rows and runs; how much else has been asked is not known here.
    assert after["inference_count"] == before["inference_count"] + 3, (before, after)
    assert after["execution_count"] == before["execution_count"] + 1, (before, after)
    assert abs(after["last_inference"] / 1000 - time.time()) < 60, after
    for name, more in {"success": 1, "fail": 1, "queue": 1, "compute_input": 1, "compute_infer": 1}.items():
        old, new = before["inference_stats"][name], after["inference_stats"][name]
        assert new["count"] == old["count"] + more and new["ns"] > old["ns"], (name, before, after)
    sizes = {batch["batch_size"]: batch["compute_infer"] for batch in after["batch_stats"]}
    assert sum(size["count"] for size in sizes.values()) == after["execution_count"], after
    assert sizes[3]["count"] >= 1 and sizes[3]["ns"] > 0, after
    (memory,) = after["memory_usage"]
    assert memory["type"] == "CPU" and memory["byte_size"] > 0, after
    refused(lambda: client.get_inference_statistics("nobody"), "404", "nobody")
    refused(lambda: client.get_inference_statistics(MODEL, "7"), "404", "revision 7")


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
    says_how_it_is_run(client)
    counts(client)
    refuses(client)
    loads(client)
asyncio.run(infers_side_by_side())
