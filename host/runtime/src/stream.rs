//! A streamed answer: its handler in a task of its own, and what the caller reads of it.
//!
//! The task ends by itself, at the latest at the invocation's deadline, also while the caller reads
//! nothing: then the place is given back and the account closed. The reader only learns of it. A
//! reader that leaves ends the task, and with it the handler.

use bytes::Bytes;
use futures::{Stream, stream};
use http_body::Frame;
use modelet_engine::{BodyStream, Failure};
use modelet_observe::Outcome;
use modelet_types::{Code, Problem};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::account::Account;
use crate::admission::Permit;

/// Starts the handler of `body`. The account is closed before the stream's end is seen.
pub(crate) fn start(
    body: BodyStream,
    mut account: Account,
    permit: Permit,
    status: u16,
) -> impl Stream<Item = Result<Frame<Bytes>, Failure>> + Send + 'static {
    let BodyStream { run, chunks, written_bytes } = body;
    account.response_bytes = written_bytes;
    let (ended, end) = oneshot::channel();
    // A set of one, which aborts its task when it is dropped.
    let mut task = JoinSet::new();
    task.spawn(async move {
        let result = run.await;
        // The next invocation need not wait for this one's record.
        drop(permit);
        let outcome = match &result {
            Ok(()) => Outcome::Ok,
            Err(failure) => Outcome::Failed(failure.code()),
        };
        let closed = account.close(status, outcome).await;
        // Without its record even a complete answer must not look like one. The reader may be gone.
        let _ = ended.send(closed.map_err(Failure::from).and(result));
    });
    stream::unfold(Some((chunks, end, task)), |state| async move {
        let (mut chunks, end, task) = state?;
        if let Some(chunk) = chunks.recv().await {
            return Some((Ok(chunk), Some((chunks, end, task))));
        }
        let result = end.await.unwrap_or_else(|_| {
            Err(Problem::new(Code::Internal, "the invocation ended without a word of how").into())
        });
        result.err().map(|failure| (Err(failure), None))
    })
}

#[cfg(test)]
mod tests {
    use std::future;
    use std::sync::Arc;
    use std::time::Duration;

    use futures::future::BoxFuture;
    use futures::stream::BoxStream;
    use futures::{FutureExt, StreamExt};
    use modelet_observe::LedgerConfig;
    use modelet_types::InvocationId;
    use tokio::sync::mpsc;

    use super::*;
    use crate::testing::TestRuntime;

    /// The answer of a handler that has written one piece and goes on as `run`.
    async fn answer(
        test: &TestRuntime,
        run: BoxFuture<'static, Result<(), Failure>>,
    ) -> BoxStream<'static, Result<Frame<Bytes>, Failure>> {
        test.publish(1);
        let revision = test.revision();
        let permit = revision.admission.enter(|| Ok(())).await.unwrap();
        let mut account = Account::open(&test.runtime, &revision, InvocationId::generate()).unwrap();
        account.open_stream(200).await.unwrap();
        let (sender, chunks) = mpsc::channel(1);
        sender.send(Frame::data(Bytes::from_static(b"first"))).await.unwrap();
        let run = run.map(|result| {
            drop(sender);
            result
        });
        let body = BodyStream { run: run.boxed(), chunks, written_bytes: Arc::new(5.into()) };
        start(body, account, permit, 200).boxed()
    }

    fn data(frame: Result<Frame<Bytes>, Failure>) -> Result<Bytes, Failure> {
        frame.map(|frame| frame.into_data().unwrap())
    }

    /// Waits until the stream is closed, and gives its only record.
    async fn closed(test: &TestRuntime) -> (Outcome, u64) {
        let closing = async {
            while test.ledger.stats().open_streams > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), closing).await.expect("the stream is closed");
        let records = test.records();
        assert_eq!(records.len(), 1, "{records:?}");
        assert_eq!(test.revision().admission.running(), 0);
        (records[0].outcome, records[0].response_bytes)
    }

    #[tokio::test]
    async fn a_stream_that_nobody_reads_ends_with_its_handler() {
        let test = TestRuntime::start(LedgerConfig::default());
        let failure = Failure::from(Problem::new(Code::WallTimeExceeded, "it took too long"));
        let answer = answer(&test, future::ready(Err(failure.clone())).boxed()).await;
        assert_eq!(closed(&test).await, (Outcome::Failed(Code::WallTimeExceeded), 5));
        let pieces: Vec<_> = answer.map(data).collect().await;
        assert_eq!(pieces, [Ok(Bytes::from_static(b"first")), Err(failure)]);
    }

    #[tokio::test]
    async fn a_whole_answer_has_its_record_before_its_end_is_seen() {
        let test = TestRuntime::start(LedgerConfig::default());
        let pieces: Vec<_> = answer(&test, future::ready(Ok(())).boxed()).await.map(data).collect().await;
        assert_eq!(test.ledger.stats().open_streams, 0);
        assert_eq!(pieces, [Ok(Bytes::from_static(b"first"))]);
        assert_eq!(closed(&test).await, (Outcome::Ok, 5));
    }

    #[tokio::test]
    async fn a_reader_who_leaves_ends_the_handler() {
        let test = TestRuntime::start(LedgerConfig::default());
        let mut answer = answer(&test, future::pending().boxed()).await;
        assert_eq!(answer.next().await.map(data), Some(Ok(Bytes::from_static(b"first"))));
        drop(answer);
        assert_eq!(closed(&test).await, (Outcome::Failed(Code::Cancelled), 5));
    }
}
