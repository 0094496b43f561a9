//! A double of the host, so that handlers are tested natively, without a server.
//!
//! ```
//! use modelet_sdk::testing::TestHost;
//! use modelet_sdk::{Inputs, Json, Model, Outputs, Problem, Request, Tensor};
//!
//! #[modelet_sdk::handler]
//! async fn double(Json(value): Json<f32>) -> Result<Json<f32>, Problem> {
//!     let input = Tensor::new([1], [value])?;
//!     let outputs = Model::load("doubler").await?.infer([("x", &input)]).await?;
//!     Ok(Json(outputs.into_one()?.to_scalar()?))
//! }
//!
//! let host = TestHost::new().model("doubler", |inputs: &Inputs| {
//!     let x = inputs.get("x").expect("given").to_scalar::<f32>()?;
//!     Ok(Outputs::from([("y", Tensor::new([1], [2.0 * x])?)]))
//! });
//! let reply = host.call_blocking(double, Request::post("/").with_json(&21.0));
//! assert_eq!(reply.json::<f32>(), 42.0);
//! ```
//!
//! A model is a closure as above, a [`RecordedModel`] that knows the answers of the real one, or,
//! with the feature `testing-rten`, an `OnnxModel` that runs the real file.
//!
//! What the double does not have are the host's limits, its deadlines and its queues.

mod literal;
#[cfg(feature = "testing-rten")]
mod onnx;
mod recorded;
mod reply;
mod request;

#[cfg(feature = "testing-rten")]
pub use onnx::OnnxModel;
pub use recorded::RecordedModel;
pub use reply::Reply;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use crate::error::Error;
use crate::handler::{Call, call};
use crate::host;
use crate::host::double::{InWorld, Written};
use crate::http;
use crate::log::Level;
use crate::model::{Inputs, Outputs};
use crate::request::Request;
use crate::response::ResponseBody;
use crate::tensor::TensorInfo;

/// Stands for a model in tests.
pub trait TestModel: Send + Sync + 'static {
    /// The inputs that the model declares; by default it does not say.
    fn inputs(&self) -> Vec<TensorInfo> {
        Vec::new()
    }

    /// The outputs that the model declares; by default it does not say.
    fn outputs(&self) -> Vec<TensorInfo> {
        Vec::new()
    }

    /// Runs the model for all of its outputs.
    ///
    /// # Errors
    /// Whatever the handler under test is to meet.
    fn infer(&self, inputs: &Inputs) -> Result<Outputs, Error>;
}

impl<F> TestModel for F
where
    F: Fn(&Inputs) -> Result<Outputs, Error> + Send + Sync + 'static,
{
    fn infer(&self, inputs: &Inputs) -> Result<Outputs, Error> {
        self(inputs)
    }
}

/// One line of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct LogLine {
    /// How much it matters.
    pub level: Level,
    /// The Rust module that wrote it, unless it says otherwise.
    pub context: String,
    /// The text.
    pub message: String,
}

/// Answers the requests that a handler makes.
type HttpAnswers = dyn Fn(&http::Request) -> Result<http::Response, Error> + Send + Sync;

/// What a handler under test finds around it.
#[derive(Default)]
pub(crate) struct World {
    models: BTreeMap<String, Arc<dyn TestModel>>,
    config: BTreeMap<String, String>,
    http: Option<Arc<HttpAnswers>>,
    log: Mutex<Vec<LogLine>>,
}

impl World {
    pub(crate) fn model(&self, name: &str) -> Result<Arc<dyn TestModel>, Error> {
        self.models.get(name).cloned().ok_or_else(|| {
            let names: Vec<_> = self.models.keys().map(|name| format!("`{name}`")).collect();
            Error::NotFound(format!("there is no model `{name}`; there is [{}]", names.join(", ")))
        })
    }

    pub(crate) fn http(&self, request: &http::Request) -> Result<http::Response, Error> {
        let Some(answers) = &self.http else {
            let detail = format!("nobody answers {} here; see `TestHost::http`", request.url());
            return Err(Error::NotAllowed(detail));
        };
        answers(request)
    }

    pub(crate) fn config(&self, key: &str) -> Option<String> {
        self.config.get(key).cloned()
    }

    pub(crate) fn log(&self, level: Level, context: &str, message: &str) {
        self.lines().push(LogLine { level, context: context.into(), message: message.into() });
    }

    fn lines(&self) -> std::sync::MutexGuard<'_, Vec<LogLine>> {
        self.log.lock().expect("nothing panics while it holds the log")
    }
}

/// A double of the host, with the models and the configuration that a test gives it.
#[derive(Default)]
pub struct TestHost {
    world: Arc<World>,
    caller_leaves_after: Option<usize>,
}

impl TestHost {
    /// A host without models.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a model under the name that the handler loads.
    #[must_use]
    pub fn model(mut self, name: impl Into<String>, model: impl TestModel) -> Self {
        self.world_mut().models.insert(name.into(), Arc::new(model));
        self
    }

    /// Sets a key of the configuration.
    #[must_use]
    pub fn config(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.world_mut().config.insert(key.into(), value.into());
        self
    }

    /// Sets a secret, as the manifest grants it and `modelet secret set` gives it a value.
    #[must_use]
    pub fn secret(self, name: &str, value: impl Into<String>) -> Self {
        self.config(format!("{}{name}", crate::config::SECRET_PREFIX), value)
    }

    /// Answers the requests that the handler makes ([`http`]). Without this it may make none.
    #[must_use]
    pub fn http(
        mut self,
        answers: impl Fn(&http::Request) -> Result<http::Response, Error> + Send + Sync + 'static,
    ) -> Self {
        self.world_mut().http = Some(Arc::new(answers));
        self
    }

    /// Lets the caller leave after this many chunks of a streamed response.
    #[must_use]
    pub fn caller_leaves_after(mut self, chunks: usize) -> Self {
        self.caller_leaves_after = Some(chunks);
        self
    }

    /// Has `handler` answer `request`: an `async fn`, or a value of a [`Handler`](crate::Handler).
    /// A streamed response is written to its end.
    pub fn call<Args>(&self, handler: impl Call<Args>, request: Request) -> impl Future<Output = Reply> {
        let caller_leaves_after = self.caller_leaves_after;
        self.run(async move {
            let response = match call(handler, request).await {
                Ok(response) => response,
                Err(problem) => return Reply::of_problem(problem),
            };
            let written = Rc::new(RefCell::new(Written { caller_leaves_after, ..Written::default() }));
            match response.body {
                ResponseBody::Bytes(bytes) => written.borrow_mut().chunks.push(bytes),
                ResponseBody::Stream(producer) => producer.run(host::BodyWriter(written.clone())).await,
            }
            let Written { chunks, failure, .. } = written.take();
            Reply::new(response.status, response.headers, chunks, failure)
        })
    }

    /// The same, for tests that are not `async`.
    pub fn call_blocking<Args>(&self, handler: impl Call<Args>, request: Request) -> Reply {
        futures::executor::block_on(self.call(handler, request))
    }

    /// Runs code that loads models, logs or reads the configuration: a handler in tensors, which is called with its
    /// inputs, or what is no handler.
    pub fn run<F: Future>(&self, code: F) -> impl Future<Output = F::Output> {
        #[cfg(feature = "log")]
        crate::log::facade::install();
        InWorld::new(self.world.clone(), code)
    }

    /// What has been logged so far.
    pub fn log(&self) -> Vec<LogLine> {
        self.world.lines().clone()
    }

    fn world_mut(&mut self) -> &mut World {
        Arc::get_mut(&mut self.world).expect("the world is shared with calls, and none borrows this builder")
    }
}
