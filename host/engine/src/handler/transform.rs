//! A call in tensors, of `modelet:handler/transform`.

use std::sync::Arc;

use modelet_types::Code as ErrorCode;

use super::{Handler, Lease, Terms, failed, handler_problem, logged, misdirected, wit_invocation};
use crate::bindings::function::modelet::inference::tensors::Error;
use crate::failure::Failure;
use crate::instance::Instance;
use crate::invocation::{Invocation, NamedTensors, Rest, TensorRequest};

/// Answers one request.
pub(super) async fn answer(
    handler: Arc<Handler>,
    invocation: Invocation,
    request: TensorRequest,
    terms: Terms,
    lease: Lease,
) -> Result<(NamedTensors, Rest), Failure> {
    let mut instance = handler.instance(&invocation).await?;
    let about = wit_invocation(&invocation);
    let TensorRequest { inputs, outputs: wanted } = request;
    let inputs = instance.store.data_mut().hold_all(inputs).map_err(|error| {
        let detail = match error {
            Error::Overloaded(detail) => detail,
            other => format!("{other:?}"),
        };
        logged(Failure::host(ErrorCode::RequestTooLarge, format!("the inputs: {detail}")), &*terms.log)
    })?;
    let Instance { store, exports, .. } = &mut instance;
    let Some(function) = &exports.transform else { return Err(misdirected()) };
    let transform = function.modelet_handler_transform();
    let answer = store
        .run_concurrent(async |accessor| transform.call_infer(accessor, about, inputs, wanted).await)
        .await;
    let given = match answer.and_then(|answer| answer) {
        Ok(Ok(given)) => given,
        Ok(Err(problem)) => {
            let failure = handler_problem(problem, instance.store.data());
            handler.put_back(instance, lease).await;
            return Err(failure);
        }
        Err(error) => return Err(failed(&error, instance.store.data())),
    };
    let host = instance.store.data_mut();
    let mut outputs = NamedTensors::with_capacity(given.len());
    for (name, handle) in given {
        outputs.push((name, host.take(&handle).map_err(|error| failed(&error, host))?));
    }
    Ok((outputs, handler.put_back(instance, lease).await))
}
