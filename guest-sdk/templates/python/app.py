"""The handler: the contract in `wit/` on one side, the functions of `iris.py` on the other.

This module is imported when the component is built, and what it holds then is what a call begins
with. So what takes long belongs at its top, and every import too: at run time there are no files.
"""

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.handler import Body_Bytes
from wit_world.imports import store, tensors
from wit_world.imports.models import Model
from wit_world.imports.tensors import Elements_F32, Tensor
from wit_world.imports.types import Problem, Response

import iris

JSON = [("content-type", b"application/json")]

# Whose turn it is if the model cannot run: the caller's, try again, or the author's.
PROBLEMS = {
    tensors.Error_InvalidInput: (422, "invalid_input"),
    tensors.Error_Overloaded: (503, "overloaded"),
    tensors.Error_DeadlineExceeded: (504, "wall_time_exceeded"),
    tensors.Error_Cancelled: (499, "cancelled"),
    tensors.Error_Backend: (500, "backend_failed"),
}


class Handler(exports.Handler):
    async def handle(self, request, body):
        # An exception of another kind ends the instance; its traceback is in the function's log.
        try:
            features = iris.preprocess(body.value)
            probabilities = await infer(features)
            return Response(200, JSON), Body_Bytes(iris.postprocess(probabilities, min_confidence()))
        except iris.Refused as refused:
            problem = Problem(refused.status, "invalid_input", str(refused), refused.field)
            raise Err(problem) from None


async def infer(features):
    """What the model `iris` makes of one flower."""
    try:
        with await Model.load("iris") as model, Tensor.create([1, 4], Elements_F32(features)) as tensor:
            [(_, output)] = await model.infer([("features", tensor)], ["probabilities"])
            with output:
                return output.elements().value
    except Err as error:
        status, code = PROBLEMS.get(type(error.value), (500, "handler_error"))
        raise Err(Problem(status, code, getattr(error.value, "value", code), None)) from None


def min_confidence():
    """From `[config]` in modelet.toml."""
    return float(store.get("min_confidence") or 0)
