//! A call in tensors, of `modelet:handler/transform`.

use std::sync::Arc;

use http::{HeaderMap, StatusCode};
use modelet_types::{Code as ErrorCode, Tensor, TensorInfo};

use super::typed::{handler_problem, wit_invocation};
use super::{Handler, Lease, Terms, failed, invalid_response, logged};
use crate::bindings::function::modelet::handler::types as wit;
use crate::failure::Failure;
use crate::host::HeldTensors;
use crate::instance::{Exports, Instance};
use crate::invocation::{Invocation, Reply, ReplyBody, RequestBody, TensorRequest};

/// Answers one request.
pub(super) async fn answer(
    handler: Arc<Handler>,
    mut instance: Instance,
    invocation: Invocation,
    terms: Terms,
    lease: Lease,
) -> Result<Reply, Failure> {
    let about = wit_invocation(&invocation);
    let declared = invocation.outputs;
    let RequestBody::Tensors(TensorRequest { inputs, outputs: wanted }) = invocation.body else {
        return Err(Failure::host(ErrorCode::Internal, "a handler in tensors was asked in bytes"));
    };
    let inputs = instance.store.data_mut().hold_all(inputs).map_err(|error| {
        // It is within the limit of bytes; there is still that of handles.
        logged(
            Failure::host(ErrorCode::RequestTooLarge, format!("the inputs cannot be held: {error:?}")),
            &*terms.log,
        )
    })?;
    let given = match infer(&mut instance, about, inputs, wanted.clone()).await {
        Ok(Ok(given)) => given,
        Ok(Err(problem)) => {
            let failure = handler_problem(problem, instance.store.data());
            handler.put_back(instance, lease).await;
            return Err(failure);
        }
        Err(error) => return Err(failed(&error, instance.store.data())),
    };
    let host = instance.store.data_mut();
    let mut taken = Vec::with_capacity(given.len());
    for (name, handle) in &given {
        let tensor = host.take(handle).map_err(|error| failed(&error, host))?;
        taken.push((name.clone(), tensor));
    }
    let outputs = chosen(taken, &declared, &wanted).map_err(|failure| logged(failure, &*terms.log))?;
    let rest = handler.put_back(instance, lease).await;
    let body = ReplyBody::Tensors(outputs);
    Ok(Reply { status: StatusCode::OK, headers: HeaderMap::new(), body, rest })
}

async fn infer(
    instance: &mut Instance,
    about: wit::Invocation,
    inputs: HeldTensors,
    wanted: Vec<String>,
) -> wasmtime::Result<Result<HeldTensors, wit::Problem>> {
    let Exports::Transform(function) = &instance.exports else {
        return Err(wasmtime::Error::msg("a handler is asked in the types of its own interface"));
    };
    let transform = function.modelet_handler_transform();
    let answer = instance
        .store
        .run_concurrent(async |accessor| transform.call_infer(accessor, about, inputs, wanted).await);
    answer.await?
}

/// The outputs that are wanted, in their order, if they are as they are declared.
fn chosen(
    mut given: Vec<(String, Tensor)>,
    declared: &[TensorInfo],
    wanted: &[String],
) -> Result<Vec<(String, Tensor)>, Failure> {
    let is_wanted = |info: &&TensorInfo| wanted.is_empty() || wanted.contains(&info.name);
    let mut outputs = Vec::with_capacity(declared.len());
    for info in declared.iter().filter(is_wanted) {
        let Some(index) = given.iter().position(|(name, _)| *name == info.name) else {
            return Err(invalid_response(format!("the handler gave no output `{}`", info.name)));
        };
        let (name, tensor) = given.swap_remove(index);
        if let Some(difference) = info.difference(&tensor) {
            let detail = format!("the manifest declares the handler's output `{name}` with {difference}");
            return Err(invalid_response(detail));
        }
        outputs.push((name, tensor));
    }
    outputs.sort_by_key(|(name, _)| wanted.iter().position(|wanted| wanted == name));
    Ok(outputs)
}
