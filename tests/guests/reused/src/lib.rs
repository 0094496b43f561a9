//! A handler that remembers, and leaves things behind: what an instance that answers more than once
//! may keep, and what it must not.
//!
//! It is a component only: built for the machine itself, the crate is empty.
#![cfg(target_family = "wasm")]

use std::cell::RefCell;
use std::io::Write as _;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use modelet_sdk::{Problem, Request, Response, Tensor, call};

static ANSWERED: AtomicU32 = AtomicU32::new(0);

thread_local! {
    static STASH: RefCell<Option<Tensor>> = const { RefCell::new(None) };
}

#[modelet_sdk::handler]
async fn route(request: Request) -> Result<Response, Problem> {
    ANSWERED.fetch_add(1, Relaxed);
    match request.path() {
        "/count" => call(count, request).await,
        "/stream" => call(stream, request).await,
        "/problem" => Err(Problem::new(422, "on_purpose", "a problem of the handler's own")),
        "/trap" => panic!("on purpose"),
        "/burn" => call(burn, request).await,
        "/print" => call(unfinished_line, request).await,
        "/linger" => call(linger, request).await,
        "/stash" => call(stash, request).await,
        "/stale" => call(stale, request).await,
        "/unstash" => call(unstash, request).await,
        "/hoard" => call(hoard, request).await,
        path => Err(Problem::not_found(format!("there is nothing at {path}"))),
    }
}

/// Which invocation of this instance it is.
async fn count() -> String {
    ANSWERED.load(Relaxed).to_string()
}

/// The same as a stream.
async fn stream() -> Response {
    Response::stream(async move |answer| {
        answer.write(ANSWERED.load(Relaxed).to_string()).await?;
        Ok::<_, Problem>(())
    })
}

/// Uses more than half of a CPU limit of 100 ms.
async fn burn() -> String {
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(60) {}
    count().await
}

async fn unfinished_line() -> String {
    print!("line {}", ANSWERED.load(Relaxed));
    // Out of the guest's own buffer, which would keep it until the line ends.
    if let Err(error) = std::io::stdout().flush() {
        return error.to_string();
    }
    count().await
}

/// Goes on after the answer.
async fn linger() -> String {
    wit_bindgen::spawn_local(async {
        loop {
            wit_bindgen::yield_async().await;
        }
    });
    count().await
}

async fn stash() -> Result<String, Problem> {
    let tensor = Tensor::new([3], [1_u8, 2, 3])?;
    STASH.with_borrow_mut(|stash| *stash = Some(tensor));
    Ok(count().await)
}

/// Looks at what an earlier invocation has left.
async fn stale() -> String {
    STASH.with_borrow(|stash| format!("{:?}", stash.as_ref().map(Tensor::shape)))
}

/// Drops what an earlier invocation has left, while it holds something of its own.
async fn unstash() -> Result<String, Problem> {
    let own = Tensor::new([2], [7_u8, 8])?;
    STASH.with_borrow_mut(Option::take);
    Ok(format!("{:?} {:?}", own.shape(), own.to_vec::<u8>()?))
}

/// Leaves as many tensors behind as it may hold, and says how many.
async fn hoard() -> String {
    let mut held = 0;
    while let Ok(tensor) = Tensor::new([1], [0_u8]) {
        std::mem::forget(tensor);
        held += 1;
    }
    held.to_string()
}
