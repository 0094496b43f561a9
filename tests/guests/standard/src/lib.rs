//! A component of `wasi:http/incoming-handler@0.2`, made with wstd and nothing of Modelet.
//!
//! It is a component only: built for the machine itself, the crate is empty.
#![cfg(target_family = "wasm")]

use std::convert::Infallible;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use futures_lite::stream::{once_future, unfold};
use http_body_util::{BodyExt, StreamBody};
use wstd::http::body::{Body, Bytes, Frame};
use wstd::http::{Client, Error, Request, Response, StatusCode};

static ANSWERED: AtomicU32 = AtomicU32::new(0);

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    ANSWERED.fetch_add(1, Relaxed);
    match request.uri().path() {
        "/hello" => Ok(Response::new("hello".into())),
        "/count" => Ok(Response::new(ANSWERED.load(Relaxed).to_string().into())),
        "/address" => address(&request),
        "/echo" => Ok(Response::new(request.into_body())),
        "/length" => length(request).await,
        "/trailers" => trailers(request).await,
        "/lines" => Ok(lines()),
        "/flood" => Ok(flood()),
        "/fetch" => fetch(request).await,
        "/forward" => forward(request).await,
        "/print" => print(),
        "/trap" => panic!("on purpose"),
        "/loop" => loop {
            std::hint::spin_loop();
        },
        _ => Ok(Response::builder().status(StatusCode::NOT_FOUND).body(Body::empty())?),
    }
}

fn address(request: &Request<Body>) -> Result<Response<Body>, Error> {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let seen = format!("{} {} {:?}", request.method(), request.uri(), header("x-test"));
    Ok(Response::builder().status(StatusCode::ACCEPTED).header("x-seen", seen).body(Body::empty())?)
}

async fn length(request: Request<Body>) -> Result<Response<Body>, Error> {
    let length = request.into_body().bytes_contents().await?.len();
    Ok(Response::new(length.to_string().into()))
}

/// Answers with the request's trailers.
async fn trailers(request: Request<Body>) -> Result<Response<Body>, Error> {
    let collected = request.into_body().into_boxed_body().collect().await?;
    let trailers = collected.trailers().cloned().unwrap_or_default();
    let frames = once_future(async move { Ok::<_, Infallible>(Frame::<Bytes>::trailers(trailers)) });
    let named = Response::builder().header("trailer", "x-sum");
    Ok(named.body(Body::from_http_body(StreamBody::new(frames)))?)
}

/// A line at a time, each in a turn of its own.
fn lines() -> Response<Body> {
    let line = |number: u32| async move {
        wstd::task::sleep(wstd::time::Duration::from_millis(1)).await;
        (number < 5).then(|| (Ok::<_, Infallible>(Bytes::from(format!("{number}\n"))), number + 1))
    };
    Response::new(Body::from_try_stream(unfold(0, line)))
}

/// A body that never ends.
fn flood() -> Response<Body> {
    let piece = |()| async { Some((Ok::<_, Infallible>(Bytes::from(vec![b'x'; 65_536])), ())) };
    Response::new(Body::from_try_stream(unfold((), piece)))
}

/// Fetches the address in the query.
async fn fetch(request: Request<Body>) -> Result<Response<Body>, Error> {
    let address = request.uri().query().unwrap_or_default().to_owned();
    send(Request::get(address).body(Body::empty())).await
}

/// Sends the request on to the address in the query.
async fn forward(request: Request<Body>) -> Result<Response<Body>, Error> {
    let address = request.uri().query().unwrap_or_default().to_owned();
    let onward = Request::builder().method(request.method().clone()).uri(address);
    send(onward.body(request.into_body())).await
}

async fn send(request: Result<Request<Body>, impl ToString>) -> Result<Response<Body>, Error> {
    let fetched = match request {
        Ok(request) => Client::new().send(request).await.map_err(|error| format!("{error:?}")),
        Err(error) => Err(error.to_string()),
    };
    match fetched {
        Ok(response) => Ok(response),
        Err(error) => Ok(Response::builder().status(StatusCode::BAD_GATEWAY).body(error.into())?),
    }
}

fn print() -> Result<Response<Body>, Error> {
    println!("to standard output");
    Ok(Response::new(Body::empty()))
}
