"""`modelet test` runs these: Python alone, without a host. The model's answers are the recorded ones."""

import json
import unittest
from pathlib import Path

import iris

HERE = Path(__file__).parent
GOLDEN = json.loads((HERE / "model/golden.json").read_text())


def flower(**changes):
    return json.dumps(json.loads((HERE / "requests/setosa.json").read_text()) | changes)


class Preprocess(unittest.TestCase):
    def test_gives_the_features_in_the_models_order(self):
        self.assertEqual(iris.preprocess(flower()), GOLDEN[0]["inputs"]["features"]["f32"])

    def test_names_the_field_at_fault(self):
        wrong = {"petal_length": -1, "sepal_width": "5 cm", "petal_width": float("nan"), "colour": "red"}
        for field, value in wrong.items():
            with self.assertRaises(iris.Refused) as raised:
                iris.preprocess(flower(**{field: value}))
            self.assertEqual(raised.exception.field, field)

    def test_refuses_what_is_no_flower(self):
        for body in (b"", b"\xff", "[1, 2]", "[" * 100_000, '{"sepal_length": 5.1}'):
            with self.assertRaises(iris.Refused):
                iris.preprocess(body)


class Postprocess(unittest.TestCase):
    def test_tells_the_species_of_the_recorded_answers(self):
        for run, species in zip(GOLDEN, iris.SPECIES):
            probabilities = run["outputs"]["probabilities"]["f32"]
            answer = json.loads(iris.postprocess(probabilities, 0.5))
            self.assertEqual(answer, {"species": species, "confidence": round(max(probabilities), 6)})

    def test_does_not_guess(self):
        answer = json.loads(iris.postprocess([0.4, 0.35, 0.25], 0.5))
        self.assertEqual(answer, {"species": "unknown", "confidence": 0.4})


if __name__ == "__main__":
    unittest.main()
