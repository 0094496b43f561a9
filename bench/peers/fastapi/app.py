"""The digits example as one would write it with FastAPI: same requests, same answers.

The session runs on the event loop, which is the fastest form for a model of a few microseconds: a
plain `def` route would add a change of threads to each request. `MODEL` names the model's file.
"""

import os

import numpy as np
import onnxruntime as ort
from fastapi import FastAPI, HTTPException, Request

PIXELS = 64
FULL_INK = 16

options = ort.SessionOptions()
options.intra_op_num_threads = 1
session = ort.InferenceSession(os.environ["MODEL"], options, providers=["CPUExecutionProvider"])

app = FastAPI()


@app.post("/")
async def read(request: Request):
    try:
        image = np.asarray((await request.json())["pixels"], np.float32).reshape(1, PIXELS)
    except (KeyError, TypeError, ValueError) as error:
        raise HTTPException(422, f"`pixels` must be {PIXELS} numbers") from error
    if not ((image >= 0) & (image <= FULL_INK)).all():
        raise HTTPException(422, f"`pixels` must be numbers from 0 to {FULL_INK}")
    (probabilities,) = session.run(["probabilities"], {"input": image / FULL_INK})
    digit = int(probabilities[0].argmax())
    return {"digit": digit, "confidence": float(probabilities[0, digit])}
