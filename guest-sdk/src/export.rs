//! The export of the contract: from its request to a handler and back.

use std::sync::Once;

use crate::bindings::exports::modelet::handler::handler as contract;
use crate::bindings::modelet::inference::tensors;
use crate::bindings::wit_stream;
use crate::extract::{Headers, Invocation};
use crate::handler::Call;
use crate::host;
use crate::log::Level;
use crate::model::{Inputs, Outputs};
use crate::problem::Problem;
use crate::request::{Request, RequestBody};
use crate::response::{Response, ResponseBody};
use crate::tensor::Tensor;

/// Answers one request of the host.
pub async fn answer<Args>(
    handler: impl Call<Args>,
    request: contract::Request,
    body: contract::Body,
) -> Result<(contract::Response, contract::Body), contract::Problem> {
    prepare();
    match handler.call(from_contract(request, body)).await {
        Ok(response) => Ok(to_contract(response)),
        Err(problem) => Err(problem.into()),
    }
}

/// Answers one request in tensors.
pub async fn transform<E: Into<Problem>>(
    handler: impl AsyncFnOnce(Inputs) -> Result<Outputs, E>,
    inputs: Vec<(String, tensors::Tensor)>,
) -> Result<Vec<(String, tensors::Tensor)>, contract::Problem> {
    prepare();
    let inputs = inputs.into_iter().map(|(name, tensor)| (name, Tensor(host::Tensor::received(tensor))));
    match handler(inputs.collect()).await {
        Ok(outputs) => Ok(outputs.into_iter().map(|(name, tensor)| (name, tensor.0.sent())).collect()),
        Err(error) => Err(error.into().into()),
    }
}

impl From<Problem> for contract::Problem {
    fn from(Problem { status, code, detail, field }: Problem) -> Self {
        Self { status, code, detail, field }
    }
}

/// What an instance needs before its first request. Instances are made per request unless the
/// manifest says otherwise, so this stays small.
fn prepare() {
    static PREPARED: Once = Once::new();
    PREPARED.call_once(|| {
        // It takes the place of the standard hook, which would print to standard error; the host
        // logs that too, and the message would be there twice.
        std::panic::set_hook(Box::new(|panic| {
            host::log(Level::Critical, "panic", &panic.to_string());
        }));
        #[cfg(feature = "log")]
        crate::log::facade::install();
    });
}

fn from_contract(request: contract::Request, body: contract::Body) -> Request {
    Request {
        method: request.method,
        path: request.path,
        query: request.query,
        headers: Headers(request.headers),
        invocation: Invocation {
            id: request.invocation.id,
            function: request.invocation.function,
            revision: request.invocation.revision,
            remaining_ms: request.invocation.remaining_ms,
        },
        body: match body {
            contract::Body::Bytes(bytes) => RequestBody::Bytes(bytes),
            contract::Body::Stream(stream) => RequestBody::Stream(host::BodyReader::new(stream)),
        },
    }
}

fn to_contract(response: Response) -> (contract::Response, contract::Body) {
    let body = match response.body {
        ResponseBody::Bytes(bytes) => contract::Body::Bytes(bytes),
        ResponseBody::Stream(producer) => {
            let (writer, reader) = wit_stream::new::<u8>();
            // It goes on after the export has returned, for as long as the host reads.
            wit_bindgen::spawn_local(producer.run(host::BodyWriter(writer)));
            contract::Body::Stream(reader)
        }
    };
    (contract::Response { status: response.status, headers: response.headers }, body)
}
