"""What stands around the model, against the answers recorded in `../digits/expected.json`.

`modelet test` runs these: Python alone, without a host.
"""

import json
import unittest
from pathlib import Path

import digits

EXPECTED = json.loads((Path(__file__).parent / "../digits/expected.json").read_text())["cases"]


def preprocess(value):
    return digits.preprocess(json.dumps(value))


class Preprocess(unittest.TestCase):
    def test_scales_every_recorded_image_in_all_forms(self):
        for case in EXPECTED:
            scaled = [pixel / 16 for pixel in case["pixels"]]
            self.assertEqual(preprocess(case["pixels"]), (scaled, False))
            self.assertEqual(preprocess({"pixels": case["pixels"]}), (scaled, False))
        images = [case["pixels"] for case in EXPECTED]
        pixels, many = preprocess({"images": images})
        self.assertTrue(many)
        self.assertEqual(pixels, [pixel / 16 for image in images for pixel in image])

    def test_names_the_field_at_fault(self):
        good, bad = [0] * 64, [0] * 3 + [99] + [0] * 60
        for value, field in [
            (bad, "[3]"),
            ({"pixels": bad}, "pixels[3]"),
            ({"images": [good, bad]}, "images[1][3]"),
            ({"pixels": [True] * 64}, "pixels[0]"),
            ({"pixels": [float("nan")] * 64}, "pixels[0]"),
            ({"pixels": [0] * 63}, "pixels"),
            ({"images": [good, [0, 0]]}, "images[1]"),
            ({"images": []}, "images"),
            ({"images": [good] * 257}, "images"),
            ({"pixel": good}, "pixel"),
            ({}, "pixels"),
            ({"pixels": good, "images": [good]}, None),
            ([0] * 65, None),
            ("seven", None),
        ]:
            with self.subTest(field), self.assertRaises(digits.Refused) as raised:
                preprocess(value)
            self.assertEqual(raised.exception.field, field)

    def test_tells_what_is_no_json_from_what_does_not_fit(self):
        for body in (b"", b"\xff", "{", "[" * 100_000):
            with self.assertRaises(digits.Refused) as raised:
                digits.preprocess(body)
            self.assertEqual(raised.exception.status, 400)


class Postprocess(unittest.TestCase):
    def test_reads_every_recorded_answer(self):
        for case in EXPECTED:
            answer = json.loads(digits.postprocess(case["probabilities"], False))
            self.assertEqual(answer["digit"], case["digit"])
            self.assertAlmostEqual(answer["confidence"], max(case["probabilities"]), places=5)

    def test_reads_a_batch_in_its_order(self):
        probabilities = [number for case in EXPECTED for number in case["probabilities"]]
        answer = json.loads(digits.postprocess(probabilities, True))
        read = [reading["digit"] for reading in answer["digits"]]
        self.assertEqual(read, [case["digit"] for case in EXPECTED])


if __name__ == "__main__":
    unittest.main()
