//! Request bodies: bounded, whether gathered or streamed on.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use http_body::Body;
use http_body_util::BodyExt;
use modelet_types::{Code, Problem};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

fn too_large(limit: u64) -> Problem {
    let detail = format!("the request's body is over the limit of {limit} bytes (limits.request_body_bytes)");
    Problem::new(Code::RequestTooLarge, detail)
}

/// Gathers all of `body`.
///
/// # Errors
/// If it is larger than `limit`, pauses for longer than `idle_timeout`, or breaks off.
pub(crate) async fn gather<B>(body: B, limit: u64, idle_timeout: Duration) -> Result<Bytes, Problem>
where
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    // What is announced as too large is refused before any of it is read.
    if body.size_hint().lower() > limit {
        return Err(too_large(limit));
    }
    let mut body = pin!(body);
    let mut first: Option<Bytes> = None;
    let mut gathered = BytesMut::new();
    loop {
        let frame = match tokio::time::timeout(idle_timeout, body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(error))) => {
                let detail = format!("the request's body broke off: {}", error.into());
                return Err(Problem::new(Code::Cancelled, detail));
            }
            Ok(None) => break,
            Err(_) => {
                let detail = format!("no byte of the request's body came for {} s", idle_timeout.as_secs());
                return Err(Problem::new(Code::RequestTimeout, detail));
            }
        };
        let Ok(data) = frame.into_data() else { continue };
        let so_far = first.as_ref().map_or(0, Bytes::len) + gathered.len();
        if (so_far + data.len()) as u64 > limit {
            return Err(too_large(limit));
        }
        match &first {
            // Most bodies are one frame, which needs no copy.
            None => first = Some(data),
            Some(earlier) => {
                if gathered.is_empty() {
                    gathered.extend_from_slice(earlier);
                    first = Some(Bytes::new());
                }
                gathered.extend_from_slice(&data);
            }
        }
    }
    Ok(if gathered.is_empty() { first.unwrap_or_default() } else { gathered.freeze() })
}

/// Streams `body` on, adding up its bytes in `received`; breaks off when it is over `limit`.
pub(crate) fn stream_on<B>(
    body: B,
    limit: u64,
    received: Arc<AtomicU64>,
) -> BoxStream<'static, io::Result<Bytes>>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    stream::unfold(Some(Box::pin(body)), move |body| {
        let received = received.clone();
        async move {
            let mut body = body?;
            loop {
                match body.frame().await? {
                    Ok(frame) => {
                        let Ok(data) = frame.into_data() else { continue };
                        let total = received.fetch_add(data.len() as u64, Relaxed) + data.len() as u64;
                        if total > limit {
                            return Some((Err(io::Error::other(too_large(limit))), None));
                        }
                        return Some((Ok(data), Some(body)));
                    }
                    Err(error) => return Some((Err(io::Error::other(error)), None)),
                }
            }
        }
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body::Frame;
    use http_body_util::StreamBody;

    use super::*;

    fn body(pieces: &'static [&'static str]) -> impl Body<Data = Bytes, Error = Infallible> + Send + 'static {
        StreamBody::new(stream::iter(
            pieces.iter().map(|piece| Ok(Frame::data(Bytes::from_static(piece.as_bytes())))),
        ))
    }

    #[tokio::test]
    async fn gathers_up_to_the_limit() {
        let idle = Duration::from_secs(1);
        assert_eq!(gather(body(&["ab", "", "cd", "e"]), 5, idle).await.unwrap(), "abcde");
        assert_eq!(gather(body(&[]), 0, idle).await.unwrap(), "");
        let problem = gather(body(&["ab", "cd"]), 3, idle).await.unwrap_err();
        assert_eq!(problem.code, Code::RequestTooLarge);
    }

    #[tokio::test]
    async fn a_stream_over_the_limit_ends_in_an_error() {
        let received = Arc::new(AtomicU64::new(0));
        let pieces: Vec<_> = stream_on(body(&["ab", "cd"]), 3, received.clone()).collect().await;
        assert!(pieces[0].is_ok() && pieces[1].is_err());
        assert_eq!((pieces.len(), received.load(Relaxed)), (2, 4));
    }
}
