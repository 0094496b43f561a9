// What stands around the model, against the answers recorded in `../digits/expected.json`.
//
// `modelet test` runs these: Node.js alone, without a host.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { Refused, postprocess, preprocess } from "./digits.js";

const { cases } = JSON.parse(readFileSync(new URL("../digits/expected.json", import.meta.url), "utf8"));
const scaled = (image) => image.map((pixel) => pixel / 16);
const read = (value) => {
  const { pixels, many } = preprocess(JSON.stringify(value));
  return { pixels: [...pixels], many };
};

test("scales every recorded image in all forms", () => {
  for (const { pixels } of cases) {
    assert.deepEqual(read(pixels), { pixels: scaled(pixels), many: false });
    assert.deepEqual(read({ pixels }), { pixels: scaled(pixels), many: false });
  }
  const images = cases.map(({ pixels }) => pixels);
  assert.deepEqual(read({ images }), { pixels: images.flatMap(scaled), many: true });
});

test("names the field at fault", () => {
  const good = Array(64).fill(0);
  const bad = good.with(3, 99);
  for (const [value, field] of [
    [bad, "[3]"],
    [{ pixels: bad }, "pixels[3]"],
    [{ images: [good, bad] }, "images[1][3]"],
    [{ pixels: good.with(0, true) }, "pixels[0]"],
    [{ pixels: good.with(0, null) }, "pixels[0]"],
    [{ pixels: good.slice(1) }, "pixels"],
    [{ images: [good, [0, 0]] }, "images[1]"],
    [{ images: [] }, "images"],
    [{ images: Array(257).fill(good) }, "images"],
    [{ pixel: good }, "pixel"],
    [{}, "pixels"],
    [{ pixels: good, images: [good] }, undefined],
    [[...good, 0], undefined],
    ["seven", undefined],
    [null, undefined],
  ]) {
    assert.throws(
      () => read(value),
      (error) => error instanceof Refused && error.field === field,
      JSON.stringify(value).slice(0, 40),
    );
  }
});

test("tells what is no JSON from what does not fit", () => {
  for (const body of ["", "{", "[".repeat(1000)]) {
    assert.throws(() => preprocess(body), (error) => error.status === 400);
  }
});

test("reads every recorded answer", () => {
  for (const { probabilities, digit } of cases) {
    const answer = postprocess(Float32Array.from(probabilities), false);
    assert.equal(answer.digit, digit);
    assert.ok(Math.abs(answer.confidence - Math.max(...probabilities)) < 1e-5);
  }
});

test("reads a batch in its order", () => {
  const all = Float32Array.from(cases.flatMap(({ probabilities }) => probabilities));
  assert.deepEqual(postprocess(all, true).digits.map(({ digit }) => digit), cases.map(({ digit }) => digit));
});
