//! Tells the species of an iris from four measurements.

use modelet_sdk::{Handler, Inputs, Json, Outputs, Problem, Tensor, config};
use serde::{Deserialize, Serialize};

/// In the order of the model's output.
const SPECIES: [&str; 3] = ["setosa", "versicolor", "virginica"];

/// The request's body; centimetres.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flower {
    sepal_length: f32,
    sepal_width: f32,
    petal_length: f32,
    petal_width: f32,
}

/// The answer's body.
#[derive(Serialize)]
pub struct Answer {
    /// `unknown` if no species is as likely as the configuration's `min_confidence`.
    species: &'static str,
    /// The probability of the likeliest species, from 0 to 1.
    confidence: f32,
}

/// The handler. One value answers one request, so it can keep what `postprocess` needs.
#[derive(Default)]
pub struct Iris;

#[modelet_sdk::handler(model = "iris")]
impl Handler for Iris {
    type Request = Json<Flower>;
    type Response = Json<Answer>;

    fn preprocess(&mut self, Json(flower): Self::Request) -> Result<Inputs, Problem> {
        let measurements = [
            ("sepal_length", flower.sepal_length),
            ("sepal_width", flower.sepal_width),
            ("petal_length", flower.petal_length),
            ("petal_width", flower.petal_width),
        ];
        for (field, centimetres) in measurements {
            if !(0.0..=30.0).contains(&centimetres) {
                return Err(Problem::invalid(field, format!("must be from 0 to 30, got {centimetres}")));
            }
        }
        let features = Tensor::new([1, 4], measurements.map(|(_, centimetres)| centimetres))?;
        Ok(Inputs::from([("features", features)]))
    }

    fn postprocess(self, outputs: Outputs) -> Result<Self::Response, Problem> {
        let probabilities = outputs.get("probabilities")?.to_vec::<f32>()?;
        let likeliest = SPECIES.into_iter().zip(probabilities).max_by(|a, b| a.1.total_cmp(&b.1));
        let (species, confidence) = likeliest.ok_or_else(|| Problem::internal("the model gave nothing"))?;
        let min_confidence = config::parse("min_confidence")?.unwrap_or(0.0);
        Ok(Json(Answer { species: if confidence < min_confidence { "unknown" } else { species }, confidence }))
    }
}

#[cfg(test)]
mod tests {
    use modelet_sdk::Request;
    use modelet_sdk::testing::TestHost;
    use serde_json::{Value, json};

    use super::Iris;

    /// The model's recorded answers stand for the model; they know the flowers of these tests.
    #[cfg(not(feature = "real-model"))]
    fn host() -> TestHost {
        TestHost::new().model("iris", modelet_sdk::testing::RecordedModel::from_file("model/golden.json"))
    }

    /// The model itself.
    #[cfg(feature = "real-model")]
    fn host() -> TestHost {
        TestHost::new().model("iris", modelet_sdk::testing::OnnxModel::from_file("model/iris.onnx"))
    }

    fn flower(petal_length: f32) -> Value {
        json!({ "sepal_length": 5.1, "sepal_width": 3.5, "petal_length": petal_length, "petal_width": 0.2 })
    }

    #[test]
    fn tells_the_species_of_the_sample_request() {
        let request = Request::post("/").with_body(include_str!("../requests/setosa.json"));
        let reply = host().call_blocking(Iris, request);
        assert_eq!(reply.json::<Value>()["species"], "setosa");
    }

    #[test]
    fn does_not_guess() {
        let host = host().config("min_confidence", "0.9999");
        let reply = host.call_blocking(Iris, Request::post("/").with_json(&flower(1.4)));
        assert_eq!(reply.json::<Value>()["species"], "unknown");
    }

    #[test]
    fn names_the_field_at_fault() {
        let reply = host().call_blocking(Iris, Request::post("/").with_json(&flower(-1.0)));
        assert_eq!(reply.status(), 422);
        assert_eq!(reply.problem().unwrap().field.as_deref(), Some("petal_length"));
        let reply = host().call_blocking(Iris, Request::post("/").with_json(&json!({ "sepal_length": "5 cm" })));
        assert_eq!(reply.problem().unwrap().field.as_deref(), Some("sepal_length"));
    }
}
