// `modelet test` runs these: Node.js alone, without a host. The model's answers are the recorded ones.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { Refused, SPECIES, postprocess, preprocess } from "./iris.js";

const read = (file) => JSON.parse(readFileSync(new URL(file, import.meta.url), "utf8"));
const golden = read("model/golden.json");
const flower = (changes) => JSON.stringify({ ...read("requests/setosa.json"), ...changes });

test("gives the features in the model's order", () => {
  assert.deepEqual(preprocess(flower()), golden[0].inputs.features.f32);
});

test("names the field at fault", () => {
  const wrong = { petal_length: -1, sepal_width: "5 cm", petal_width: null, colour: "red" };
  for (const [field, value] of Object.entries(wrong)) {
    assert.throws(() => preprocess(flower({ [field]: value })), (error) => error.field === field);
  }
});

test("refuses what is no flower", () => {
  for (const body of ["", "[1, 2]", "null", '{"sepal_length": 5.1}', '{"__proto__": 1}']) {
    assert.throws(() => preprocess(body), Refused);
  }
});

test("tells the species of the recorded answers", () => {
  golden.forEach((run, index) => {
    const probabilities = run.outputs.probabilities.f32;
    const answer = postprocess(Float32Array.from(probabilities), 0.5);
    assert.equal(answer.species, SPECIES[index]);
    assert.ok(Math.abs(answer.confidence - Math.max(...probabilities)) < 1e-6);
  });
});

test("does not guess", () => {
  assert.equal(postprocess([0.4, 0.35, 0.25], 0.5).species, "unknown");
});
