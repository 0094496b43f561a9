//! Request bodies: bounded in bytes and in time, whether gathered or streamed on.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use modelet_types::{Code, Problem};
use tokio::time::{Instant, timeout, timeout_at};

use crate::budget::{BodyBudget, Claim};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A body that is gathered must come at this rate, on average and after [`GRACE`]: a byte now and
/// then would keep its memory for ever. Slower than any connection that a person would wait at.
const MIN_BYTES_PER_SECOND: u64 = 16 << 10;

/// A small body may take this long however slowly it comes.
const GRACE: Duration = Duration::from_secs(30);

/// What bodies are held to.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    /// The most bytes.
    pub(crate) limit: u64,
    /// The longest pause.
    pub(crate) idle_timeout: Duration,
}

impl Bounds {
    /// Refuses a body that is announced as too large before any of it is read.
    pub(crate) fn check_announced(&self, body: &impl Body) -> Result<(), Problem> {
        self.check(body.size_hint().lower())
    }

    /// Refuses a body of more bytes than the limit.
    pub(crate) fn check(&self, bytes: u64) -> Result<(), Problem> {
        if bytes > self.limit { Err(self.too_large()) } else { Ok(()) }
    }

    fn too_large(&self) -> Problem {
        let detail = format!(
            "the request's body is over the limit of {} bytes (limits.request_body_bytes)",
            self.limit
        );
        Problem::new(Code::RequestTooLarge, detail).at("body")
    }

    /// The next frame of `body`; `None` at its end.
    async fn next<B>(&self, body: &mut B) -> Result<Option<Frame<Bytes>>, Problem>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
    {
        match timeout(self.idle_timeout, body.frame()).await {
            Ok(Some(Ok(frame))) => Ok(Some(frame)),
            Ok(Some(Err(error))) => {
                let detail = format!("the request's body broke off: {}", error.into());
                Err(Problem::new(Code::Cancelled, detail))
            }
            Ok(None) => Ok(None),
            Err(_) => {
                let pause = self.idle_timeout.as_secs_f64();
                let detail = format!("no byte of the request's body came for {pause} s");
                Err(Problem::new(Code::RequestTimeout, detail).at("body"))
            }
        }
    }
}

/// Gathers all of `body`, taking memory for it from `budget` as it arrives.
///
/// # Errors
/// If it is larger than its limit, pauses for too long, comes too slowly, breaks off, or if there
/// is no memory for it.
pub(crate) async fn gather<B>(body: B, bounds: Bounds, budget: &BodyBudget) -> Result<(Bytes, Claim), Problem>
where
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    bounds.check_announced(&body)?;
    let mut body = pin!(body);
    let began = Instant::now();
    let mut claim = Claim::default();
    let mut received = 0;
    let mut first = Bytes::new();
    let mut gathered = BytesMut::new();
    loop {
        let due = began + GRACE + Duration::from_secs(received / MIN_BYTES_PER_SECOND);
        let next = timeout_at(due, bounds.next(&mut body)).await.unwrap_or_else(|_| {
            let detail = format!(
                "the request's body comes too slowly: {received} bytes in {} s",
                began.elapsed().as_secs()
            );
            Err(Problem::new(Code::RequestTimeout, detail).at("body"))
        });
        let Some(frame) = next? else { break };
        // A handler that is given bytes has no use for trailers.
        let Ok(piece) = frame.into_data() else { continue };
        received += piece.len() as u64;
        if received > bounds.limit {
            return Err(bounds.too_large());
        }
        budget.take(&mut claim, piece.len()).await?;
        // Most bodies are one piece, which needs no copy.
        if first.is_empty() && gathered.is_empty() {
            first = piece;
        } else {
            gathered.extend_from_slice(&std::mem::take(&mut first));
            gathered.extend_from_slice(&piece);
        }
    }
    Ok((if gathered.is_empty() { first } else { gathered.freeze() }, claim))
}

/// Streams `body` on, adding up its bytes in `received`, until it ends or leaves its bounds.
pub(crate) fn stream_on<B>(
    body: B,
    bounds: Bounds,
    received: Arc<AtomicU64>,
) -> BoxStream<'static, Result<Frame<Bytes>, Problem>>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    stream::unfold(Some(Box::pin(body)), move |body| {
        let received = received.clone();
        async move {
            let mut body = body?;
            match bounds.next(&mut body).await {
                Ok(Some(frame)) => {
                    let length = frame.data_ref().map_or(0, Bytes::len) as u64;
                    let total = received.fetch_add(length, Relaxed) + length;
                    if total > bounds.limit {
                        return Some((Err(bounds.too_large()), None));
                    }
                    Some((Ok(frame), Some(body)))
                }
                Ok(None) => None,
                Err(problem) => Some((Err(problem), None)),
            }
        }
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::io;

    use http_body_util::StreamBody;

    use super::*;

    const IDLE: Duration = Duration::from_secs(10);

    fn bounds(limit: u64) -> Bounds {
        Bounds { limit, idle_timeout: IDLE }
    }

    fn body(pieces: &'static [&'static str]) -> impl Body<Data = Bytes, Error = Infallible> + Send + 'static {
        StreamBody::new(stream::iter(
            pieces.iter().map(|piece| Ok(Frame::data(Bytes::from_static(piece.as_bytes())))),
        ))
    }

    /// A body of one byte each `pause`, for ever.
    fn trickle(pause: Duration) -> impl Body<Data = Bytes, Error = Infallible> + Send + 'static {
        StreamBody::new(stream::unfold((), move |()| async move {
            tokio::time::sleep(pause).await;
            Some((Ok(Frame::data(Bytes::from_static(b"x"))), ()))
        }))
    }

    fn broken() -> impl Body<Data = Bytes, Error = io::Error> + Send + 'static {
        StreamBody::new(stream::iter([
            Ok(Frame::data(Bytes::from_static(b"half"))),
            Err(io::Error::other("the connection was closed")),
        ]))
    }

    async fn gather_all<B>(body: B, limit: u64) -> Result<Bytes, Problem>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>>,
    {
        gather(body, bounds(limit), &BodyBudget::new(1_000)).await.map(|(bytes, _)| bytes)
    }

    /// The error that a stream ends in.
    async fn end<B>(body: B, limit: u64) -> Problem
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let pieces: Vec<_> = stream_on(body, bounds(limit), Arc::default()).collect().await;
        pieces.into_iter().last().unwrap().unwrap_err()
    }

    #[tokio::test]
    async fn gathers_up_to_the_limit() {
        assert_eq!(gather_all(body(&["ab", "", "cd", "e"]), 5).await.unwrap(), "abcde");
        assert_eq!(gather_all(body(&["", "ab"]), 5).await.unwrap(), "ab");
        assert_eq!(gather_all(body(&[]), 0).await.unwrap(), "");
        let problem = gather_all(body(&["ab", "cd"]), 3).await.unwrap_err();
        assert_eq!((problem.code, problem.field.as_deref()), (Code::RequestTooLarge, Some("body")));
    }

    #[tokio::test]
    async fn a_body_gives_its_memory_back_when_it_is_done_with_or_refused() {
        let budget = BodyBudget::new(4);
        let (_, claim) = gather(body(&["ab", "cd"]), bounds(4), &budget).await.unwrap();
        drop(claim);
        assert!(gather(body(&["ab", "cd"]), bounds(3), &budget).await.is_err());
        assert!(gather(broken(), bounds(4), &budget).await.is_err());
        assert!(gather(body(&["abcd"]), bounds(4), &budget).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn without_memory_a_body_is_refused() {
        let budget = BodyBudget::new(4);
        let (_, _claim) = gather(body(&["ab"]), bounds(4), &budget).await.unwrap();
        let refused = gather(body(&["abc"]), bounds(4), &budget).await.err().unwrap();
        assert_eq!(refused.code, Code::Overloaded);
    }

    #[tokio::test(start_paused = true)]
    async fn a_trickle_that_never_pauses_for_long_has_an_end_all_the_same() {
        let began = Instant::now();
        let problem = gather_all(trickle(Duration::from_secs(1)), 1_000).await.unwrap_err();
        assert_eq!(problem.code, Code::RequestTimeout);
        assert_eq!(began.elapsed().as_secs(), GRACE.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_ends_a_gathered_and_a_streamed_body() {
        let paused = || trickle(IDLE * 2);
        assert_eq!(gather_all(paused(), 1_000).await.unwrap_err().code, Code::RequestTimeout);
        assert_eq!(end(paused(), 1_000).await.code, Code::RequestTimeout);
    }

    #[tokio::test]
    async fn a_stream_says_how_it_left_its_bounds() {
        let received = Arc::new(AtomicU64::new(0));
        let pieces: Vec<_> = stream_on(body(&["ab", "cd"]), bounds(3), received.clone()).collect().await;
        assert_eq!(pieces[0].as_ref().unwrap().data_ref().unwrap(), "ab");
        assert_eq!((pieces.len(), received.load(Relaxed)), (2, 4));
        assert_eq!(end(body(&["ab", "cd"]), 3).await.code, Code::RequestTooLarge);
        assert_eq!(end(broken(), 10).await.code, Code::Cancelled);
    }
}
