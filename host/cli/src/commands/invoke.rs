//! `modelet invoke`: calls a function as any HTTP client would.

mod body;

use std::io::Write as _;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use modelet_types::{Code, FunctionName, Limits};
use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::client::Client;
use crate::client::problem::HostProblem;
use crate::error::Error;
use crate::output::{DIM, Output, aside, bytes, in_one_line};

const EXAMPLES: &str = "\
Examples:
  modelet invoke digits --data '{\"pixels\": [0, 0, 5]}'
  modelet invoke digits --data @request.json
  cat photo.png | modelet invoke filetype --data @-
  modelet invoke my-fn models/info --query verbose=1    GET /f/default/my-fn/models/info?verbose=1
  modelet invoke my-fn --data hello -H 'content-type: text/plain' -i

The answer's body goes to standard output as it arrives; -i adds status and headers on standard
error. A status of 400 or more is exit code 1, or the one that fits the host's own error.";

/// The invocation's id, in an answer's headers.
const INVOCATION: &str = "modelet-invocation-id";
/// The revision that answered. The host's own refusals have none.
const REVISION: &str = "modelet-revision";

/// Call a function.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The function.
    function: FunctionName,
    /// Path below the function's address.
    #[arg(default_value = "")]
    path: String,
    /// The request's body: a text, @FILE, or @- for standard input.
    #[arg(long, short, value_name = "TEXT|@FILE|@-")]
    data: Option<String>,
    /// A header; may be given several times.
    #[arg(long, short = 'H', value_name = "NAME: VALUE", value_parser = header)]
    header: Vec<(HeaderName, HeaderValue)>,
    /// The method: by default POST with --data, else GET.
    #[arg(long, short = 'X', value_name = "METHOD")]
    method: Option<Method>,
    /// A parameter of the query; may be given several times.
    #[arg(long, short, value_name = "NAME=VALUE", value_parser = parameter)]
    query: Vec<(String, String)>,
    /// Print status and headers to standard error.
    #[arg(long, short, visible_short_alias = 'v')]
    include: bool,
}

/// Calls the function and prints its answer.
///
/// # Errors
/// If the body cannot be read, the host cannot be reached or refuses, the answer breaks off, standard
/// output cannot be written, or the answer's status is 400 or more.
pub async fn run(arguments: &Arguments, client: &Client, output: Output) -> anyhow::Result<()> {
    let response = call(arguments, client).await?;
    let status = response.status();
    if arguments.include && !output.is_json() {
        print_head(&response);
    }
    let response = unless_refused(response).await?;
    if output.is_json() {
        let answer = describe(response).await?;
        output.answer(&answer, String::new)?;
    } else {
        print_body(response).await?;
    }
    if status.is_client_error() || status.is_server_error() {
        return Err(Error::Answered(status).into());
    }
    Ok(())
}

async fn call(arguments: &Arguments, client: &Client) -> anyhow::Result<Response> {
    let body = arguments.data.as_deref().map(body::read).transpose()?;
    let default_method = if body.is_some() { Method::POST } else { Method::GET };
    let method = arguments.method.clone().unwrap_or(default_method);
    let (tenant, function) = (client.tenant().await?, &arguments.function);
    let path = format!("/f/{tenant}/{function}/{}", arguments.path.trim_start_matches('/'));
    let mut request = client.request(method, &path)?;
    let body_bytes = body.as_ref().map_or(0, Vec::len) as u64;
    if !arguments.query.is_empty() {
        request = request.query(&arguments.query);
    }
    if let Some(bytes) = body {
        if !arguments.header.iter().any(|(name, _)| name == CONTENT_TYPE) {
            request = request.header(CONTENT_TYPE, body::content_type(&bytes));
        }
        request = request.body(bytes);
    }
    for (name, value) in &arguments.header {
        request = request.header(name, value);
    }
    Ok(client.send_raw(request).await.map_err(|error| with_likely_cause(error, body_bytes))?)
}

/// Adds to a broken connection what is likely behind it. A host that refuses a body closes the
/// connection after its answer, and the answer can be lost while the body is still being sent.
fn with_likely_cause(error: Error, body_bytes: u64) -> Error {
    match error {
        Error::Protocol(reason) if body_bytes > Limits::default().request_body_bytes => {
            Error::Protocol(format!(
                "{reason}; perhaps the body of {} is over `limits.request_body_bytes` in the function's \
                 modelet.toml",
                bytes(body_bytes)
            ))
        }
        other => other,
    }
}

/// Gives the answer back unless it is the host's, which failed or refused the invocation. A handler
/// may well answer with a problem of its own, which belongs on standard output.
async fn unless_refused(response: Response) -> anyhow::Result<Response> {
    let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if !content_type.is_some_and(|value| value.starts_with("application/problem+json")) {
        return Ok(response);
    }
    let (status, headers) = (response.status(), response.headers().clone());
    let body = response.bytes().await.context("the answer broke off")?;
    let problem = HostProblem::parse(status, &headers, &body);
    if !headers.contains_key(REVISION) || problem.code().is_some_and(is_the_hosts) {
        return Err(Error::from(Box::new(problem)).into());
    }
    let mut whole = http::Response::new(body);
    *whole.status_mut() = status;
    *whole.headers_mut() = headers;
    Ok(whole.into())
}

/// Whether the host uses the code for an invocation that reached a revision. The others are of
/// those that handlers use too.
fn is_the_hosts(code: Code) -> bool {
    !matches!(
        code,
        Code::InvalidInput | Code::NotFound | Code::Conflict | Code::MethodNotAllowed | Code::RequestTooLarge
    )
}

fn print_head(response: &Response) {
    aside(format!("{DIM}{:?} {}{DIM:#}", response.version(), response.status()));
    for (name, value) in response.headers() {
        let value = String::from_utf8_lossy(value.as_bytes());
        aside(format!("{DIM}{name}:{DIM:#} {}", in_one_line(&value)));
    }
}

/// Copies the body to standard output, as it arrives.
async fn print_body(mut response: Response) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let broken = |error| Error::Protocol(format!("the answer broke off: {error}"));
    let mut last = None;
    while let Some(chunk) = response.chunk().await.map_err(broken)? {
        out.write_all(&chunk)?;
        out.flush()?;
        last = chunk.last().copied().or(last);
    }
    // A prompt should not follow the answer on its line.
    if std::io::IsTerminal::is_terminal(&out) && last.is_some_and(|byte| byte != b'\n') {
        writeln!(out)?;
    }
    Ok(())
}

/// The whole answer as one object.
async fn describe(response: Response) -> anyhow::Result<Value> {
    let status = response.status().as_u16();
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let one = |name: &str| response.headers().get(name).map(text);
    let (invocation, revision) =
        (one(INVOCATION), one(REVISION).and_then(|number| number.parse::<u64>().ok()));
    let headers: serde_json::Map<_, _> =
        response.headers().iter().map(|(name, value)| (name.to_string(), text(value).into())).collect();
    let bytes = response.bytes().await.context("the answer broke off")?;
    let mut answer =
        json!({ "status": status, "invocation": invocation, "revision": revision, "headers": headers });
    match (serde_json::from_slice::<Value>(&bytes), std::str::from_utf8(&bytes)) {
        (Ok(body), _) => answer["body"] = body,
        (_, Ok(body)) => answer["body"] = body.into(),
        _ => answer["body_base64"] = STANDARD.encode(&bytes).into(),
    }
    Ok(answer)
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("write `name: value`")?;
    let name = name.trim().parse().map_err(|_| format!("`{name}` is not a header's name"))?;
    let value = value.trim().parse().map_err(|_| format!("the value of `{name}` is not a header's"))?;
    Ok((name, value))
}

fn parameter(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write `name=value`")?;
    Ok((name.into(), value.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn is_refused(headers: &[(&str, &str)], code: &str) -> bool {
        let builder =
            headers.iter().fold(http::Response::builder().status(500), |b, (n, v)| b.header(*n, *v));
        let body = format!(r#"{{"status":500,"detail":"d","code":"{code}"}}"#);
        match unless_refused(builder.body(body.clone()).unwrap().into()).await {
            Ok(response) => {
                assert_eq!(response.text().await.unwrap(), body, "the answer is whole");
                false
            }
            Err(_) => true,
        }
    }

    #[tokio::test]
    async fn tells_the_hosts_problems_from_a_handlers() {
        const PROBLEM: (&str, &str) = ("content-type", "application/problem+json");
        const FROM_REVISION: (&str, &str) = (REVISION, "3");
        assert!(is_refused(&[PROBLEM], "not_found").await);
        assert!(is_refused(&[PROBLEM, FROM_REVISION], "handler_trap").await);
        assert!(!is_refused(&[PROBLEM, FROM_REVISION], "not_found").await);
        assert!(!is_refused(&[PROBLEM, FROM_REVISION], "out_of_ink").await);
        assert!(!is_refused(&[("content-type", "text/plain")], "internal").await);
    }

    #[test]
    fn a_connection_that_breaks_under_a_large_body_is_explained() {
        let shown =
            |body_bytes| with_likely_cause(Error::Protocol("broken pipe".into()), body_bytes).to_string();
        let limit = Limits::default().request_body_bytes;
        assert_eq!(shown(limit), "broken pipe");
        assert!(shown(limit + 1).contains("`limits.request_body_bytes`"));
    }

    #[test]
    fn reads_headers_as_curl_does() {
        assert_eq!(header("X-A: b:c").unwrap(), ("x-a".parse().unwrap(), "b:c".parse().unwrap()));
        assert!(header("no colon").is_err());
        assert!(header("b ad: x").is_err());
    }

    #[tokio::test]
    async fn describes_bodies_of_every_kind() {
        let describe = async |body: &'static [u8]| describe(http::Response::new(body).into()).await.unwrap();
        assert_eq!(describe(b"{\"a\":1}").await["body"]["a"], 1);
        assert_eq!(describe(b"plain").await["body"], "plain");
        assert_eq!(describe(b"\xff\x00").await["body_base64"], "/wA=");
    }
}
