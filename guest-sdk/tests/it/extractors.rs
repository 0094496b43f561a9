//! What arguments are made from, and what is said when they cannot be made.

use modelet_sdk::testing::TestHost;
use modelet_sdk::{BodyStream, Headers, Invocation, Json, Problem, Query, Request};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch {
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    label: String,
    values: Vec<f32>,
}

async fn sum(Json(batch): Json<Batch>) -> String {
    batch.rows.iter().map(|row| format!("{}={};", row.label, row.values.iter().sum::<f32>())).collect()
}

fn refused(body: &str) -> Problem {
    let reply = TestHost::new().call_blocking(sum, Request::post("/").with_body(body));
    reply.problem().unwrap_or_else(|| panic!("answered {}", reply.text())).clone()
}

#[test]
fn json_is_read_whatever_the_content_type() {
    let body = r#"{"rows": [{"label": "a", "values": [1, 2.5]}]}"#;
    let request = Request::post("/").with_header("Content-Type", "text/plain").with_body(body);
    assert_eq!(TestHost::new().call_blocking(sum, request).text(), "a=3.5;");
}

#[test]
fn json_of_the_wrong_type_names_the_field() {
    let problem = refused(r#"{"rows": [{"label": "a", "values": [1, 2, "x"]}]}"#);
    assert_eq!((problem.status, problem.code.as_str()), (422, "invalid_input"));
    assert_eq!(problem.field.as_deref(), Some("rows[0].values[2]"));
    assert_eq!(problem.detail, r#"rows[0].values[2]: invalid type: string "x", expected f32"#);
}

#[test]
fn missing_and_unknown_fields_are_named() {
    let missing = refused(r#"{"rows": [{"label": "a"}]}"#);
    assert_eq!(missing.field.as_deref(), Some("rows[0].values"));
    assert_eq!(refused("{}").field.as_deref(), Some("rows"));
    let unknown = refused(r#"{"rows": [], "row": 1}"#);
    assert_eq!(unknown.field.as_deref(), Some("row"));
    assert!(unknown.detail.contains("expected `rows`"), "{}", unknown.detail);
}

#[test]
fn what_is_no_json_is_another_problem() {
    for (body, reason) in [("", "is empty"), ("{", "is not JSON: EOF"), (r#"{"rows": []} x"#, "trailing")] {
        let problem = refused(body);
        assert_eq!(problem.status, 400, "{body}");
        assert!(problem.detail.contains(reason), "{}", problem.detail);
        assert_eq!(problem.field, None);
    }
}

#[test]
fn a_whole_body_of_the_wrong_type_has_no_field() {
    let problem = refused("7");
    assert_eq!((problem.status, problem.field), (422, None));
}

#[derive(Deserialize)]
struct Options {
    top: usize,
    label: Option<String>,
}

async fn options(Query(options): Query<Options>) -> String {
    format!("{} {:?}", options.top, options.label)
}

#[test]
fn the_query_is_decoded() {
    let reply = TestHost::new().call_blocking(options, Request::get("/?top=3&label=a%20b%2Bc+d"));
    assert_eq!(reply.text(), r#"3 Some("a b+c d")"#);
}

#[test]
fn a_parameter_at_fault_is_named() {
    for (target, reason) in [("/?top=x", "invalid digit"), ("/", "missing field `top`")] {
        let reply = TestHost::new().call_blocking(options, Request::get(target));
        let problem = reply.problem().unwrap();
        assert_eq!((problem.status, problem.field.as_deref()), (422, Some("top")));
        assert!(problem.detail.contains(reason), "{}", problem.detail);
    }
}

#[test]
fn text_must_be_utf8() {
    async fn shout(text: String) -> String {
        text.to_uppercase()
    }
    let host = TestHost::new();
    assert_eq!(host.call_blocking(shout, Request::post("/").with_body("grün")).text(), "GRÜN");
    let reply = host.call_blocking(shout, Request::post("/").with_body(*b"ab\xff"));
    assert_eq!(reply.status(), 400);
    assert!(reply.text().contains("the byte at 2"), "{}", reply.text());
}

#[test]
fn several_extractors_stand_side_by_side() {
    async fn echo(headers: Headers, invocation: Invocation, body: Vec<u8>) -> String {
        let language = headers.get("Accept-Language").unwrap_or("none");
        format!("{language} {} {}", invocation.revision, body.len())
    }
    let request = Request::post("/").with_header("accept-language", "de").with_body([0; 9]);
    assert_eq!(TestHost::new().call_blocking(echo, request).text(), "de 1 9");
}

#[test]
fn the_body_is_taken_once() {
    async fn greedy(_: Vec<u8>, _: String) {}
    let reply = TestHost::new().call_blocking(greedy, Request::post("/").with_body("x"));
    assert_eq!(reply.status(), 500);
    assert!(reply.text().contains("asks for the body twice"), "{}", reply.text());
}

#[test]
fn a_streamed_body_comes_in_chunks_or_at_once() {
    async fn chunks(mut body: BodyStream) -> String {
        let mut lengths = Vec::new();
        while let Some(chunk) = body.next().await {
            lengths.push(chunk.len());
        }
        format!("{lengths:?}")
    }
    async fn whole(body: String) -> String {
        body
    }
    let host = TestHost::new();
    let streamed = || Request::post("/").with_stream(["a", "bcd"]);
    assert_eq!(host.call_blocking(chunks, streamed()).text(), "[1, 3]");
    assert_eq!(host.call_blocking(whole, streamed()).text(), "abcd");
    assert_eq!(host.call_blocking(chunks, Request::post("/").with_body("abcd")).text(), "[4]");
    assert_eq!(host.call_blocking(chunks, Request::post("/")).text(), "[]");
}
