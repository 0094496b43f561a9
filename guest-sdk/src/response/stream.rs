//! Bodies that are written after the handler has returned.

use std::future::Future;
use std::pin::Pin;

use crate::error::Error;
use crate::host;
use crate::problem::Problem;

/// Where a streamed body is written. See [`Response::stream`](crate::Response::stream).
pub struct BodyWriter {
    host: host::BodyWriter,
    caller_left: bool,
}

impl BodyWriter {
    /// Sends bytes to the caller and waits until the host has taken them.
    ///
    /// # Errors
    /// [`Error::Cancelled`] once the caller has left.
    pub async fn write(&mut self, chunk: impl Into<Vec<u8>>) -> Result<(), Error> {
        let chunk = chunk.into();
        // An empty write could never tell whether somebody still reads.
        if chunk.is_empty() {
            return Ok(());
        }
        if self.caller_left || !self.host.write(chunk).await {
            self.caller_left = true;
            return Err(Error::Cancelled);
        }
        Ok(())
    }
}

type Written = Pin<Box<dyn Future<Output = ()>>>;

/// The code that writes a body.
pub(crate) struct Producer(Box<dyn FnOnce(host::BodyWriter) -> Written>);

impl Producer {
    pub(crate) fn new<E: Into<Problem> + 'static>(
        write: impl AsyncFnOnce(&mut BodyWriter) -> Result<(), E> + 'static,
    ) -> Self {
        Self(Box::new(move |host| {
            Box::pin(async move {
                let mut writer = BodyWriter { host, caller_left: false };
                match write(&mut writer).await {
                    // The stream is still open here, as it must be: closing it would say that the
                    // response is complete.
                    Err(error) if !writer.caller_left => writer.host.fail(error.into()),
                    // It was written, or nobody is there to be told what went wrong.
                    _ => {}
                }
            })
        }))
    }

    /// Writes the body and ends the response.
    pub(crate) async fn run(self, host: host::BodyWriter) {
        (self.0)(host).await;
    }
}
