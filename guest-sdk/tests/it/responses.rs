//! What can be answered, at once and as a stream.

use futures::stream;
use modelet_sdk::testing::TestHost;
use modelet_sdk::{Error, IntoResponse, Json, Problem, Request, Response};

fn answered<T: IntoResponse>(answer: T) -> modelet_sdk::testing::Reply {
    TestHost::new().call_blocking(async move || answer, Request::get("/"))
}

#[test]
fn every_kind_has_its_status_and_type() {
    let text = answered("hello");
    assert_eq!((text.status(), text.header("Content-Type")), (200, Some("text/plain; charset=utf-8")));
    let json = answered((202, Json(vec![1, 2])));
    assert_eq!((json.status(), json.header("content-type")), (202, Some("application/json")));
    assert_eq!(json.text(), "[1,2]");
    let bytes = answered(vec![0_u8, 1]);
    assert_eq!((bytes.bytes(), bytes.header("content-type")), (vec![0, 1], Some("application/octet-stream")));
    assert_eq!(answered(()).status(), 204);
    assert_eq!(answered(Problem::not_found("no")).status(), 404);
    assert_eq!(answered(Err::<(), _>(Error::DeadlineExceeded)).status(), 504);
}

#[test]
fn a_response_is_built_by_hand() {
    let response = Response::new("<svg/>").with_status(201).with_header("content-type", "image/svg+xml");
    let reply = answered(response);
    assert_eq!((reply.status(), reply.text().as_str()), (201, "<svg/>"));
    assert_eq!(reply.header("content-type"), Some("image/svg+xml"));
}

#[test]
fn what_cannot_be_written_as_json_is_the_handlers_mistake() {
    let map = std::collections::BTreeMap::from([((1, 2), 3)]);
    let reply = answered(Json(map));
    assert_eq!(reply.status(), 500);
    assert!(reply.text().contains("cannot be written as JSON"), "{}", reply.text());
}

fn counting(to: usize, then: Result<(), Problem>) -> Response {
    Response::stream(async move |body| {
        for number in 0..to {
            body.write(format!("{number}\n")).await?;
        }
        then
    })
}

#[test]
fn a_stream_is_written_after_the_handler_returned() {
    let reply = answered(counting(3, Ok(())).with_header("content-type", "text/plain"));
    assert_eq!(reply.text(), "0\n1\n2\n");
    assert_eq!(reply.chunks().len(), 3);
    assert_eq!(reply.broken_off(), None);
}

#[test]
fn a_stream_that_fails_is_broken_off() {
    let reply = answered(counting(1, Err(Problem::internal("the model stopped"))));
    assert_eq!(reply.text(), "0\n");
    assert_eq!(reply.broken_off().unwrap().detail, "the model stopped");
}

#[test]
fn a_caller_who_leaves_ends_the_stream_and_is_no_failure() {
    let host = TestHost::new().caller_leaves_after(2);
    let reply = host.call_blocking(async || counting(1000, Ok(())), Request::get("/"));
    assert_eq!(reply.chunks().len(), 2);
    assert_eq!(reply.broken_off(), None);
}

#[test]
fn items_of_a_stream_become_the_body() {
    let reply = answered(Response::from_stream(stream::iter(["a", "", "bc"])));
    assert_eq!(reply.chunks(), [b"a".to_vec(), b"bc".to_vec()]);
}
