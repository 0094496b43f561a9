"""Calls the digits model with Triton's own clients over gRPC.

    oip_grpc.py HOST:PORT EXPECTED

Ends with an error if anything differs from what a Triton server would do; see digits.py.
"""

import asyncio
import queue

import grpc
import numpy
import tritonclient.grpc
import tritonclient.grpc.aio
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

from digits import ADDRESS, ANSWERS, AUTHORIZATION, IMAGES, MODEL, check, close, refused, with_key


def inputs(images):
    tensor = tritonclient.grpc.InferInput("input", images.shape, "FP32")
    tensor.set_data_from_numpy(images)
    return [tensor]


def describes_itself(client):
    assert client.is_server_live() and client.is_server_ready()
    server = client.get_server_metadata()
    assert server.name == "modelet" and "model_repository" in server.extensions, server
    assert client.is_model_ready(MODEL) and client.is_model_ready(MODEL, "1")
    assert not client.is_model_ready("nobody") and not client.is_model_ready(MODEL, "7")
    model = client.get_model_metadata(MODEL)
    assert [(i.name, i.datatype, list(i.shape)) for i in model.inputs] == [("input", "FP32", [-1, 64])]
    assert list(model.versions) == ["1"] and model.platform.endswith("_onnx"), model
    index = client.get_model_repository_index()
    assert [(m.name, m.version, m.state) for m in index.models] == [(MODEL, "1", "READY")], index


def infers(client):
    for first in range(len(IMAGES)):
        check(client.infer(MODEL, inputs(IMAGES[first : first + 1])), first, 1)
    wanted = [tritonclient.grpc.InferRequestedOutput("probabilities")]
    result = client.infer(MODEL, inputs(IMAGES), model_version="1", outputs=wanted, request_id="seven")
    check(result, 0, len(IMAGES))
    response = result.get_response()
    assert (response.model_name, response.model_version, response.id) == (MODEL, "1", "seven")
    answers = queue.Queue()
    for i in range(32):
        client.async_infer(
            MODEL, inputs(IMAGES[i : i + 1]), callback=lambda result, error, i=i: answers.put((i, result, error))
        )
    for _ in range(32):
        i, result, error = answers.get(timeout=60)
        assert error is None, error
        check(result, i, 1)


def infers_from_typed_contents():
    """What clients send that do not know of raw contents."""
    with grpc.insecure_channel(ADDRESS) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        request = service_pb2.ModelInferRequest(model_name=MODEL)
        tensor = request.inputs.add(name="input", datatype="FP32", shape=[1, 64])
        tensor.contents.fp32_contents.extend(IMAGES[0].tolist())
        response, call = stub.ModelInfer.with_call(request, metadata=[("authorization", AUTHORIZATION)])
        found = numpy.frombuffer(response.raw_output_contents[0], dtype=numpy.float32)
        close(found, ANSWERS[0])
        metadata = dict(call.initial_metadata())
        assert metadata["modelet-revision"] == "1" and metadata["modelet-invocation-id"], metadata


def says_how_it_is_run(client):
    config = client.get_model_config(MODEL).config
    assert (config.name, config.max_batch_size) == (MODEL, 8), config
    data_type = model_config_pb2.TYPE_FP32
    assert [(i.name, i.data_type, list(i.dims)) for i in config.input] == [("input", data_type, [64])], config
    assert [(o.name, list(o.dims)) for o in config.output] == [("probabilities", [10])], config
    assert config.HasField("dynamic_batching") and not config.response_cache.enable, config
    assert list(config.version_policy.specific.versions) == [1], config


def counts(client):
    (before,) = client.get_inference_statistics(MODEL).model_stats
    check(client.infer(MODEL, inputs(IMAGES[:3])), 0, 3)
    (after,) = client.get_inference_statistics(MODEL, "1").model_stats
    assert after.inference_count == before.inference_count + 3, (before, after)
    assert after.execution_count == before.execution_count + 1, (before, after)
    success = after.inference_stats.success
    assert success.count == before.inference_stats.success.count + 1 and success.ns > 0, after
    assert sum(batch.compute_infer.count for batch in after.batch_stats) == after.execution_count, after
    assert after.memory_usage[0].byte_size > 0, after
    (everything,) = client.get_inference_statistics().model_stats
    assert everything.name == MODEL, everything
    refused(lambda: client.get_inference_statistics("nobody"), "StatusCode.NOT_FOUND", "nobody")


def refuses(client):
    refused(lambda: client.infer("nobody", inputs(IMAGES)), "StatusCode.NOT_FOUND", "nobody")
    refused(lambda: client.infer(MODEL, inputs(IMAGES), model_version="7"), "StatusCode.NOT_FOUND", "revision 7")
    refused(lambda: client.infer(MODEL, inputs(IMAGES[:, :3])), "StatusCode.INVALID_ARGUMENT", "shape")
    refused(lambda: client.get_trace_settings(MODEL), "StatusCode.UNIMPLEMENTED", "TraceSetting")
    refused(lambda: client.load_model("nobody"), "StatusCode.NOT_FOUND", "nobody")


def loads(client):
    client.unload_model(MODEL)
    # It is ready all the same: a request would wake it.
    assert client.is_model_ready(MODEL)
    client.load_model(MODEL)
    check(client.infer(MODEL, inputs(IMAGES)), 0, len(IMAGES))


async def infers_side_by_side():
    async with tritonclient.grpc.aio.InferenceServerClient(ADDRESS) as client:
        with_key(client)
        assert await client.is_model_ready(MODEL)
        calls = [client.infer(MODEL, inputs(IMAGES[i : i + 1])) for i in range(len(IMAGES))]
        for i, result in enumerate(await asyncio.gather(*calls)):
            check(result, i, 1)


def asks_for_a_key():
    with tritonclient.grpc.InferenceServerClient(ADDRESS) as client:
        assert client.is_server_live() and client.is_server_ready()
        refused(lambda: client.infer(MODEL, inputs(IMAGES)), "StatusCode.UNAUTHENTICATED", "needs a key")
        refused(lambda: client.is_model_ready(MODEL), "StatusCode.UNAUTHENTICATED", "needs a key")
        refused(lambda: client.get_server_metadata(), "StatusCode.UNAUTHENTICATED", "needs a key")


asks_for_a_key()
with tritonclient.grpc.InferenceServerClient(ADDRESS) as client:
    with_key(client)
    describes_itself(client)
    infers(client)
    says_how_it_is_run(client)
    counts(client)
    refuses(client)
    loads(client)
infers_from_typed_contents()
asyncio.run(infers_side_by_side())
