//! Both forms of handler around models, and what surrounds them: errors, configuration, log.

use modelet_sdk::log::{Level, info, warn};
use modelet_sdk::testing::{LogLine, RecordedModel, TestHost};
use modelet_sdk::{
    Error, Handler, Inputs, Json, Model, Outputs, Problem, Query, Request, Response, Tensor, call, config,
    http, try_join,
};
use serde::Deserialize;

/// Keeps between the two steps what the answer needs.
#[derive(Default)]
struct Scaled {
    unit: String,
}

#[derive(Deserialize)]
struct Unit {
    unit: String,
}

#[modelet_sdk::handler(model = "scale", outputs = ["scaled"])]
impl Handler for Scaled {
    type Request = (Query<Unit>, Json<Vec<f32>>);
    type Response = String;

    fn preprocess(&mut self, (Query(unit), Json(values)): Self::Request) -> Result<Inputs, Problem> {
        if values.is_empty() {
            return Err(Problem::invalid("values", "must not be empty"));
        }
        self.unit = unit.unit;
        Ok(Inputs::new().with("values", Tensor::new([values.len()], values)?))
    }

    fn postprocess(self, outputs: Outputs) -> Result<String, Problem> {
        assert_eq!(outputs.len(), 1, "only `scaled` was asked for");
        Ok(format!("{:?} {}", outputs.get("scaled")?.to_vec::<f32>()?, self.unit))
    }
}

/// Doubles, and gives more than it is asked for.
fn doubling(inputs: &Inputs) -> Result<Outputs, Error> {
    let values = inputs.get("values").ok_or(Error::InvalidInput("input `values` is missing".into()))?;
    let scaled: Vec<f32> = values.to_vec::<f32>()?.iter().map(|x| 2.0 * x).collect();
    let tensor = || Tensor::new([scaled.len()], &scaled);
    Ok(Outputs::from([("raw", tensor()?), ("scaled", tensor()?)]))
}

#[test]
fn pre_and_postprocess_surround_the_model() {
    let host = TestHost::new().model("scale", doubling);
    let request = Request::post("/?unit=cm").with_json(&[1.0, 2.5]);
    let reply = host.call_blocking(Scaled::default(), request);
    assert_eq!((reply.status(), reply.text().as_str()), (200, "[2.0, 5.0] cm"));
}

#[test]
fn a_refused_request_does_not_run_the_model() {
    fn never(_: &Inputs) -> Result<Outputs, Error> {
        panic!("the model must not run")
    }
    let host = TestHost::new().model("scale", never);
    let reply = host.call_blocking(Scaled::default(), Request::post("/?unit=cm").with_json(&[0.0; 0]));
    assert_eq!(reply.header("content-type"), Some("application/problem+json"));
    let body: serde_json::Value = reply.json();
    assert_eq!(body["field"], "values");
    assert_eq!(body["detail"], "values: must not be empty");
}

#[test]
fn the_models_errors_become_problems() {
    let status = |error: Error| {
        let host = TestHost::new().model("scale", move |_: &Inputs| Err(error.clone()));
        host.call_blocking(Scaled::default(), Request::post("/?unit=cm").with_json(&[1.0])).status()
    };
    assert_eq!(status(Error::InvalidInput("input `values` takes shape [any, 3]".into())), 422);
    assert_eq!(status(Error::Overloaded("the queue is full".into())), 503);
    assert_eq!(status(Error::DeadlineExceeded), 504);
    assert_eq!(status(Error::Backend("MatMul: shapes do not fit".into())), 500);
}

#[test]
fn a_model_that_is_not_there_is_named() {
    let host = TestHost::new().model("scales", doubling);
    let reply = host.call_blocking(Scaled::default(), Request::post("/?unit=cm").with_json(&[1.0]));
    assert_eq!(reply.problem().unwrap().detail, "there is no model `scale`; there is [`scales`]");
}

#[test]
fn steps_are_tested_by_themselves_without_a_host() {
    let mut handler = Scaled::default();
    let request = (Query(Unit { unit: "m".into() }), Json(vec![1.0]));
    let inputs = handler.preprocess(request).unwrap();
    assert_eq!(inputs.get("values").unwrap().to_vec::<f32>().unwrap(), [1.0]);
    let outputs = Outputs::from([("scaled", Tensor::new([1], [9.0_f32]).unwrap())]);
    assert_eq!(handler.postprocess(outputs).unwrap(), "[9.0] m");
}

enum Refusal {
    TooMany(usize),
}

impl From<Refusal> for Problem {
    fn from(Refusal::TooMany(count): Refusal) -> Self {
        Self::new(413, "too_many", format!("{count} values are more than 2"))
    }
}

/// Two models at once, the second on what the first one gave.
#[modelet_sdk::handler]
async fn chain(Json(values): Json<Vec<f32>>) -> Result<Json<Vec<f32>>, Problem> {
    if values.len() > 2 {
        Err(Refusal::TooMany(values.len()))?;
    }
    let values = Tensor::new([values.len()], values)?;
    let (first, second) = try_join!(Model::load("first"), Model::load("second"))?;
    assert_eq!(first.name(), "first");
    let once = first.infer_outputs([("values", &values)], &["scaled"]).await?.into_one()?;
    let (twice, again) = try_join!(second.infer([("values", &once)]), second.infer([("values", &once)]))?;
    assert_eq!(twice.at(1)?.elements(), again.at(1)?.elements());
    Ok(Json(twice.get("scaled")?.to_vec()?))
}

#[test]
fn models_are_chained_and_run_at_once() {
    let host = TestHost::new().model("first", doubling).model("second", doubling);
    let reply = host.call_blocking(chain, Request::post("/").with_json(&[1.0, 2.0]));
    assert_eq!(reply.json::<Vec<f32>>(), [4.0, 8.0]);
}

#[test]
fn an_error_of_ones_own_is_a_problem() {
    let reply = TestHost::new().call_blocking(chain, Request::post("/").with_json(&[1.0, 2.0, 3.0]));
    let problem = reply.problem().unwrap();
    assert_eq!((problem.status, problem.code.as_str()), (413, "too_many"));
}

#[test]
fn an_output_that_is_not_there_is_an_invalid_input() {
    let host = TestHost::new().model("m", doubling);
    let error = futures::executor::block_on(host.run(async {
        let values = Tensor::new([1], [1.0_f32])?;
        Model::load("m").await?.infer_outputs([("values", &values)], &["logits"]).await.map(|_| ())
    }));
    let message = "there is no output `logits`; the model gave [`raw`, `scaled`]";
    assert_eq!(error, Err(Error::InvalidInput(message.into())));
}

#[test]
fn a_recording_stands_for_the_model() {
    let recording = r#"[{"inputs": {"values": {"shape": [2], "f32": [1, 2.5]}},
                         "outputs": {"scaled": {"shape": [2], "f32": [7, 8]}}}]"#;
    let host = TestHost::new().model("scale", RecordedModel::from_json(recording));
    let post =
        |values: &[f32]| host.call_blocking(Scaled::default(), Request::post("/?unit=cm").with_json(values));
    assert_eq!(post(&[1.0, 2.5]).text(), "[7.0, 8.0] cm");
    // Again: a recording is not used up.
    assert_eq!(post(&[1.0, 2.5]).status(), 200);
    assert!(post(&[3.0]).text().contains("no recorded run"));
}

#[test]
fn requests_are_routed_by_hand() {
    async fn health() -> &'static str {
        "ok"
    }
    async fn route(request: Request) -> Result<Response, Problem> {
        match (request.method(), request.path()) {
            ("POST", "/chain") => call(chain, request).await,
            ("GET", "/health") => call(health, request).await,
            (_, "/health" | "/chain") => Err(Problem::method_not_allowed("not that way")),
            (_, path) => Err(Problem::not_found(format!("there is nothing at {path}"))),
        }
    }
    let host = TestHost::new().model("first", doubling).model("second", doubling);
    assert_eq!(host.call_blocking(route, Request::get("/health")).text(), "ok");
    let reply = host.call_blocking(route, Request::post("/chain").with_json(&[1.0]));
    assert_eq!(reply.json::<Vec<f32>>(), [4.0]);
    assert_eq!(host.call_blocking(route, Request::get("/chain")).status(), 405);
    assert_eq!(host.call_blocking(route, Request::get("/x")).status(), 404);
}

#[test]
fn configuration_is_the_tests_own() {
    async fn threshold() -> Result<String, Problem> {
        Ok(format!("{:?} {:?}", config::get("name"), config::parse::<f32>("threshold")?))
    }
    let host = TestHost::new().config("threshold", "0.5");
    assert_eq!(host.call_blocking(threshold, Request::get("/")).text(), "None Some(0.5)");
    let host = TestHost::new().config("threshold", "half");
    let reply = host.call_blocking(threshold, Request::get("/"));
    assert_eq!(reply.status(), 500);
    let detail = &reply.problem().unwrap().detail;
    assert_eq!(detail, "config key `threshold`: invalid float literal, got `half`");
}

#[test]
fn the_log_is_kept_apart_for_each_host() {
    async fn noisy() {
        info!("{} rows", 3);
        warn!("odd");
    }
    let (host, other) = (TestHost::new(), TestHost::new());
    host.call_blocking(noisy, Request::get("/"));
    let line =
        |level, message: &str| LogLine { level, context: "it::handlers".into(), message: message.into() };
    assert_eq!(host.log(), [line(Level::Info, "3 rows"), line(Level::Warn, "odd")]);
    assert_eq!(other.log(), []);
}

#[test]
fn a_handler_in_tensors_is_called_with_its_inputs() {
    #[modelet_sdk::transform]
    async fn twice(inputs: Inputs) -> Result<Outputs, Problem> {
        let mut outputs = Model::load("first").await?.infer([("values", inputs.required("value")?)]).await?;
        Ok(Outputs::from([("result", outputs.take("scaled")?)]))
    }
    let host = TestHost::new().model("first", doubling);
    let value = Tensor::new([1], [21.0_f32]).unwrap();
    let outputs = futures::executor::block_on(host.run(twice(Inputs::from([("value", value)])))).unwrap();
    assert_eq!(outputs.get("result").unwrap().to_vec::<f32>().unwrap(), [42.0]);
    let missing = futures::executor::block_on(host.run(twice(Inputs::new()))).unwrap_err();
    assert_eq!((missing.status, missing.detail.contains("`value`")), (422, true));
}

#[test]
fn requests_are_answered_by_the_test() {
    async fn ask(url: String) -> Result<String, Problem> {
        let answer = http::post(url).json(&[1, 2])?.send().await?;
        Ok(answer.ok()?.text()?.to_owned())
    }
    let host = TestHost::new().http(|request: &http::Request| {
        assert_eq!((request.method(), request.bytes()), ("POST", &b"[1,2]"[..]));
        assert_eq!(request.headers().get("Content-Type"), Some("application/json"));
        match request.url() {
            "http://sum.modelet.internal/" => Ok(http::Response::new(200, "3")),
            _ => Ok(http::Response::new(404, r#"{ "detail": "there is no such function" }"#)),
        }
    });
    let call = |url: &str| host.call_blocking(ask, Request::post("/").with_body(url));
    assert_eq!(call("http://sum.modelet.internal/").text(), "3");
    let refused = call("http://other.modelet.internal/");
    assert_eq!(refused.status(), 502);
    assert_eq!(refused.problem().unwrap().detail, "the answer has status 404: there is no such function");
    assert_eq!(call("sum").status(), 422, "as on a host");
    let without =
        TestHost::new().call_blocking(ask, Request::post("/").with_body("http://sum.modelet.internal/"));
    assert_eq!(without.status(), 500);
}
