//! Requests to other functions of the tenant: by a name under [`FUNCTIONS_DOMAIN`], which no server outside
//! has, and without a connection.

use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use modelet_types::FunctionName;
use modelet_types::outbound::{FUNCTIONS_DOMAIN, OutboundScheme};
use tokio::sync::mpsc;
use tokio::time::timeout;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

use super::send::{Count, Destination, Transmission};
use crate::ports::{CallError, Frames, Functions};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The function that a request is for; `None` if it goes to a server.
///
/// # Errors
/// If there can be no such function.
pub(super) fn name_in(destination: &Destination) -> Option<Result<FunctionName, Error>> {
    let Destination { scheme, host, port } = destination;
    let name = host.to_ascii_lowercase().strip_suffix(FUNCTIONS_DOMAIN)?.strip_suffix('.')?.to_owned();
    if *scheme != OutboundScheme::Http || *port != scheme.default_port() {
        return Some(Err(Error::DestinationNotFound));
    }
    Some(name.parse().map_err(|_| Error::DestinationNotFound))
}

/// Calls a function, and holds both bodies to the limits of requests. `held` is given back with the response's
/// body.
pub(super) async fn call(
    functions: &dyn Functions,
    name: FunctionName,
    request: http::Request<WasiBody>,
    options: Option<RequestOptions>,
    count: Count,
    held: impl Send + 'static,
) -> Result<(http::Response<WasiBody>, Transmission), Error> {
    let (parts, body) = request.into_parts();
    let body = count.clone().counted(body, |limit| Error::HttpRequestBodySize(Some(limit)));
    let (sender, receiver) = mpsc::channel(1);
    let request = http::Request::from_parts(parts, arriving(receiver));
    let mut sending = Box::pin(send_all(body, sender));
    let called = async {
        let called = functions.call(name, request);
        match options.and_then(|options| options.first_byte_timeout) {
            Some(limit) => timeout(limit, called).await.map_err(|_| Error::ConnectionReadTimeout),
            None => Ok(called.await),
        }
    };
    let mut called = std::pin::pin!(called);
    let (called, transmission): (_, Transmission) = tokio::select! {
        called = &mut called => (called?, Box::new(sending)),
        sent = &mut sending => {
            sent?;
            (called.await?, Box::new(std::future::ready(Ok(()))))
        }
    };
    let response = called.map_err(|error| match error {
        CallError::TooDeep | CallError::TooMany => Error::LoopDetected,
        CallError::Failed => Error::ConnectionTerminated,
    })?;
    let response = response.map(|body| {
        let body = body.map_err(move |_| {
            // Kept while the body goes on.
            let _ = &held;
            Error::HttpResponseIncomplete
        });
        count.counted(body, |limit| Error::HttpResponseBodySize(Some(limit)))
    });
    Ok((response, transmission))
}

/// Sends a body to its end, also if nobody takes it any more: a function that answers without reading is no
/// reason for the handler that calls it to fail.
async fn send_all(mut body: WasiBody, to: mpsc::Sender<Result<Frame<Bytes>, BoxError>>) -> Result<(), Error> {
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => _ = to.send(Ok(frame)).await,
            Err(error) => {
                _ = to.send(Err(error.to_string().into())).await;
                return Err(error);
            }
        }
    }
    Ok(())
}

/// The body as the function gets it.
fn arriving(receiver: mpsc::Receiver<Result<Frame<Bytes>, BoxError>>) -> Frames {
    let frames = futures::stream::unfold(receiver, |mut receiver| async {
        let frame = receiver.recv().await?;
        Some((frame, receiver))
    });
    StreamBody::new(frames).boxed_unsync()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_have_names_in_a_domain_of_their_own() {
        let name = |scheme, host: &str, port| {
            let destination = Destination { scheme, host: host.into(), port };
            name_in(&destination).map(|name| name.map(|name| name.to_string()).map_err(|_| ()))
        };
        let http = OutboundScheme::Http;
        assert_eq!(name(http, "digits.modelet.internal", 80), Some(Ok("digits".into())));
        assert_eq!(name(http, "Digits.Modelet.Internal", 80), Some(Ok("digits".into())));
        for other in ["modelet.internal", "digits.example.com", "digitsmodelet.internal"] {
            assert_eq!(name(http, other, 80), None, "{other}");
        }
        assert_eq!(name(http, "a.b.modelet.internal", 80), Some(Err(())));
        assert_eq!(name(http, "digits.modelet.internal", 81), Some(Err(())));
        assert_eq!(name(OutboundScheme::Https, "digits.modelet.internal", 443), Some(Err(())));
    }
}
