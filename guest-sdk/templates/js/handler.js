// The handler: the contract in `wit/` on one side, the functions of `iris.js` on the other.
//
// This module runs when the component is built, and what it holds then is what a call begins with. So
// what takes long belongs at its top.

import { get } from "wasi:config/store@0.2.0-rc.1";
import { Model } from "modelet:inference/blocking-models@0.1.0";
import { Tensor } from "modelet:inference/tensors@0.1.0";
import { Refused, postprocess, preprocess } from "./iris.js";

const decoder = new TextDecoder("utf-8", { fatal: true });
const encoder = new TextEncoder();
const JSON_TYPE = [["content-type", encoder.encode("application/json")]];

// Whose turn it is if the model cannot run: the caller's, try again, or the author's.
const PROBLEMS = {
  "invalid-input": [422, "invalid_input"],
  overloaded: [503, "overloaded"],
  "deadline-exceeded": [504, "wall_time_exceeded"],
  cancelled: [499, "cancelled"],
  backend: [500, "backend_failed"],
};

export const blockingHandler = {
  handle(_request, body) {
    try {
      const features = preprocess(text(body));
      const answer = postprocess(infer(features), Number(get("min_confidence") ?? 0));
      return [{ status: 200, headers: JSON_TYPE }, encoder.encode(JSON.stringify(answer))];
    } catch (error) {
      throw problem(error);
    }
  },
};

function text(body) {
  try {
    return decoder.decode(body);
  } catch {
    throw new Refused("the body is not UTF-8 text", undefined, 400);
  }
}

/** What the model `iris` makes of one flower. Waiting for it is the host's. */
function infer(features) {
  // Dropped at the end of the call in any case; but an instance may answer many calls.
  const held = [];
  const hold = (handle) => (held.push(handle), handle);
  try {
    const model = hold(Model.load("iris"));
    const shape = new BigUint64Array([1n, 4n]);
    const tensor = hold(Tensor.create(shape, { tag: "f32", val: Float32Array.from(features) }));
    const [[, output]] = model.infer([["features", tensor]], ["probabilities"]);
    return hold(output).elements().val;
  } finally {
    for (const handle of held) handle[Symbol.dispose]();
  }
}

/** The problem for the caller; what is none is thrown on, which ends the instance. */
function problem(error) {
  if (error instanceof Refused) {
    return { status: error.status, code: "invalid_input", detail: error.message, field: error.field };
  }
  // What the host's functions throw has the error of the contract as its payload.
  const { tag, val } = error.payload ?? {};
  if (tag === undefined) {
    return error;
  }
  const [status, code] = PROBLEMS[tag] ?? [500, "handler_error"];
  return { status, code, detail: val ?? tag };
}
