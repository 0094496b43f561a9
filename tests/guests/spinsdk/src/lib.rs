//! A component of `wasi:http/incoming-handler@0.2`, made with the Spin SDK and nothing of Modelet.
//! `fetch-js` and `http-python` do the same with other tools.
//!
//! It is a component only: built for the machine itself, the crate is empty.
#![cfg(target_family = "wasm")]
#![allow(unsafe_code, reason = "the SDK's macro makes the exports of a component")]

use futures::{SinkExt, StreamExt};
use spin_sdk::http::{self, Fields, IncomingRequest, OutgoingResponse, Request, Response, ResponseOutparam};

#[spin_sdk::http_component]
async fn handle(request: IncomingRequest, out: ResponseOutparam) {
    let target = request.path_with_query().unwrap_or_default();
    match target.rsplit('/').next().unwrap_or_default() {
        "echo" => echo(request, out).await,
        "fetch" => fetch(request, out).await,
        "print" => {
            println!("to standard output");
            answer(out, 200, Fields::new(), Vec::new()).await;
        }
        "loop" => loop {
            std::hint::spin_loop();
        },
        last => {
            let test = request.headers().get("x-test").concat();
            let seen = format!("{} {last} {}", request.method(), String::from_utf8_lossy(&test));
            let headers = [("x-seen".to_owned(), seen.into_bytes())];
            answer(out, 202, Fields::from_list(&headers).expect("HTTP allows the header"), Vec::new()).await;
        }
    }
}

/// Sends the body back as it comes.
async fn echo(request: IncomingRequest, out: ResponseOutparam) {
    let response = OutgoingResponse::new(Fields::new());
    let mut body = response.take_body();
    out.set(response);
    let mut chunks = request.into_body_stream();
    while let Some(chunk) = chunks.next().await {
        body.send(chunk.expect("the body comes whole")).await.expect("the caller reads on");
    }
}

/// Answers with what is at the address in the body.
async fn fetch(request: IncomingRequest, out: ResponseOutparam) {
    let address = request.into_body().await.expect("the body comes whole");
    let address = String::from_utf8(address).expect("the address is text");
    match http::send::<_, Response>(Request::get(address)).await {
        Ok(found) => answer(out, *found.status(), Fields::new(), found.into_body()).await,
        Err(error) => answer(out, 502, Fields::new(), error.to_string().into_bytes()).await,
    }
}

async fn answer(out: ResponseOutparam, status: u16, headers: Fields, body: Vec<u8>) {
    let response = OutgoingResponse::new(headers);
    response.set_status_code(status).expect("the status is one of HTTP");
    out.set_with_body(response, body).await.expect("the caller reads on");
}
