//! A handler that uses what its manifest grants: keys and values in both drafts of the standard, secrets,
//! and requests.
//!
//! It is a component only: built for the machine itself, the crate is empty.
#![cfg(target_family = "wasm")]

#[allow(unsafe_code, missing_docs, clippy::all, reason = "generated")]
mod bindings {
    wit_bindgen::generate!({
        path: "../../../wit/deps/wasi-keyvalue-draft2",
        world: "imports",
    });
}

#[allow(unsafe_code, missing_docs, clippy::all, reason = "generated")]
mod draft {
    wit_bindgen::generate!({
        path: "../../../wit/deps/wasi-keyvalue",
        world: "imports",
    });
}

mod hostile;

use bindings::wasi::keyvalue::atomics::{self, Cas, CasError};
use bindings::wasi::keyvalue::batch;
use bindings::wasi::keyvalue::store::{self, Bucket, Error};
use draft::wasi::keyvalue as older;
use modelet_sdk::{Problem, Request, Response, call, http};

#[modelet_sdk::handler]
async fn route(request: Request) -> Result<Response, Problem> {
    match request.path() {
        "/open" => call(open, request).await,
        "/get" => call(get, request).await,
        "/set" => call(set, request).await,
        "/delete" => call(delete, request).await,
        "/keys" => call(keys, request).await,
        "/pages" => call(pages, request).await,
        "/many" => call(many, request).await,
        "/increment" => call(increment, request).await,
        "/append" => call(append, request).await,
        "/stale-swap" => call(stale_swap, request).await,
        "/older" => call(older_draft, request).await,
        "/secret" => call(secret, request).await,
        "/configuration" => call(configuration, request).await,
        "/tell" => call(tell, request).await,
        "/ask" => call(ask, request).await,
        "/ask-all" => call(ask_all, request).await,
        "/panic" => call(panic, request).await,
        path if path.starts_with("/hostile/") => hostile::route(request).await,
        path => Err(Problem::not_found(format!("there is nothing at {path}"))),
    }
}

/// What went wrong, as the answer of a handler that does not hide it.
fn problem(error: Error) -> Problem {
    match error {
        Error::NoSuchStore => Problem::new(404, "no_such_store", "there is no such store"),
        Error::AccessDenied => Problem::new(403, "access_denied", "access is denied"),
        Error::Other(detail) => Problem::new(409, "other", detail),
    }
}

fn bucket() -> Result<Bucket, Problem> {
    store::open("default").map_err(problem)
}

/// `KEY=VALUE` of a body.
fn entry(body: &str) -> Result<(&str, &str), Problem> {
    body.split_once('=').ok_or_else(|| Problem::new(422, "no_entry", "the body is KEY=VALUE"))
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, Problem> {
    text.parse().map_err(|_| Problem::new(422, "no_number", format!("`{text}` is not a number")))
}

async fn open(identifier: String) -> Result<String, Problem> {
    store::open(&identifier).map(|_| "opened".into()).map_err(problem)
}

async fn get(key: String) -> Result<Vec<u8>, Problem> {
    let value = bucket()?.get(&key).map_err(problem)?;
    value.ok_or_else(|| Problem::not_found("the key has no value"))
}

async fn set(body: String) -> Result<(), Problem> {
    let (key, value) = entry(&body)?;
    bucket()?.set(key, value.as_bytes()).map_err(problem)
}

async fn delete(key: String) -> Result<String, Problem> {
    let bucket = bucket()?;
    let before = bucket.exists(&key).map_err(problem)?;
    bucket.delete(&key).map_err(problem)?;
    Ok(format!("{before} {}", bucket.exists(&key).map_err(problem)?))
}

/// Every key.
async fn keys() -> Result<String, Problem> {
    Ok(all_keys(&bucket()?)?.concat().join(" "))
}

/// How many keys are on each page, after as many were set as the body says.
async fn pages(count: String) -> Result<String, Problem> {
    let (bucket, count): (_, usize) = (bucket()?, number(&count)?);
    let entries: Vec<(String, Vec<u8>)> = (0..count).map(|n| (format!("key-{n}"), Vec::new())).collect();
    for some in entries.chunks(1_000) {
        batch::set_many(&bucket, some).map_err(problem)?;
    }
    let pages = all_keys(&bucket)?;
    let mut all: Vec<&String> = pages.iter().flatten().collect();
    all.sort_unstable();
    all.dedup();
    let sizes: Vec<String> = pages.iter().map(|page| page.len().to_string()).collect();
    Ok(format!("{} of {}", sizes.join(" "), all.len()))
}

fn all_keys(bucket: &Bucket) -> Result<Vec<Vec<String>>, Problem> {
    let mut pages = Vec::new();
    let mut cursor = None;
    loop {
        let page = bucket.list_keys(cursor.as_deref()).map_err(problem)?;
        pages.push(page.keys);
        cursor = page.cursor;
        if cursor.is_none() {
            return Ok(pages);
        }
    }
}

async fn many() -> Result<String, Problem> {
    let bucket = bucket()?;
    let entries = [("a", "1"), ("b", "2"), ("a", "3")];
    let entries: Vec<_> = entries.map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec())).into();
    batch::set_many(&bucket, &entries).map_err(problem)?;
    let names = ["b", "nothing", "a"].map(str::to_owned);
    let shown = batch::get_many(&bucket, &names).map_err(problem)?.into_iter().map(|found| match found {
        Some((key, value)) => format!("{key}={}", String::from_utf8_lossy(&value)),
        None => "none".into(),
    });
    let shown: Vec<String> = shown.collect();
    batch::delete_many(&bucket, &names).map_err(problem)?;
    let left = all_keys(&bucket)?.concat().len();
    Ok(format!("{} {left}", shown.join(" ")))
}

/// Adds `VALUE` to `KEY`.
async fn increment(body: String) -> Result<String, Problem> {
    let (key, delta) = entry(&body)?;
    let delta = number(delta)?;
    Ok(atomics::increment(&bucket()?, key, delta).map_err(problem)?.to_string())
}

/// Appends a byte to `list`, and tries again for as long as somebody else is faster. Says how often.
async fn append(byte: String) -> Result<String, Problem> {
    let mut cas = Cas::new(&bucket()?, "list").map_err(problem)?;
    let mut tries = 1;
    loop {
        let mut value = cas.current().map_err(problem)?.unwrap_or_default();
        value.extend_from_slice(byte.as_bytes());
        match atomics::swap(cas, &value) {
            Ok(()) => return Ok(tries.to_string()),
            Err(CasError::CasFailed(newer)) => cas = newer,
            Err(CasError::StoreError(error)) => return Err(problem(error)),
        }
        tries += 1;
    }
}

/// A swap after the key was written, with the same value even, and then with the handle that it gave.
async fn stale_swap() -> Result<String, Problem> {
    let bucket = bucket()?;
    bucket.set("stale", b"first").map_err(problem)?;
    let cas = Cas::new(&bucket, "stale").map_err(problem)?;
    bucket.set("stale", b"first").map_err(problem)?;
    let Err(CasError::CasFailed(newer)) = atomics::swap(cas, b"lost") else {
        return Ok("a stale swap succeeded".into());
    };
    let seen = newer.current().map_err(problem)?.unwrap_or_default();
    let again = atomics::swap(newer, b"second").is_ok();
    let value = bucket.get("stale").map_err(problem)?.unwrap_or_default();
    Ok(format!("{} {again} {}", String::from_utf8_lossy(&seen), String::from_utf8_lossy(&value)))
}

/// The same bucket through the older draft.
async fn older_draft() -> Result<String, Problem> {
    let failed = |error: older::store::Error| Problem::new(409, "older", format!("{error:?}"));
    let bucket = older::store::open("").map_err(failed)?;
    bucket.set("older", b"x").map_err(failed)?;
    let sum = older::atomics::increment(&bucket, "sum", 41).map_err(failed)?;
    let sum = older::atomics::increment(&bucket, "sum", 1).map_err(failed)? + sum;
    let found = older::batch::get_many(&bucket, &["older".to_owned()]).map_err(failed)?;
    let page = bucket.list_keys(None).map_err(failed)?;
    let exists = bucket.exists("older").map_err(failed)?;
    let same = self::bucket()?.get("older").map_err(problem)?;
    Ok(format!("{sum} {found:?} {:?} {:?} {exists} {same:?}", page.keys, page.cursor))
}

async fn secret(name: String) -> Result<String, Problem> {
    modelet_sdk::config::secret(&name).ok_or_else(|| Problem::not_found("there is no such secret"))
}

/// Every key of the configuration with its value, as a handler might print it.
async fn configuration() -> String {
    let shown = modelet_sdk::__private::bindings::wasi::config::store::get_all();
    format!("{shown:?}")
}

/// Sends what follows the first line to the address that is the first, and passes the answer on.
async fn ask(body: String) -> Result<Response, Problem> {
    let (url, body) =
        body.split_once('\n').ok_or_else(|| Problem::bad_request("the body is URL, line, body"))?;
    let answer = http::post(url).header("X-Asked", "yes").body(body).send().await?;
    if answer.status() >= 400 {
        return Err(answer.into());
    }
    let told = answer.headers().get("content-type").unwrap_or("none").to_owned();
    Ok(Response::new(answer.bytes()).with_status(answer.status()).with_header("x-content-type", told))
}

/// The answers of every address, a line each, which are waited for together.
async fn ask_all(urls: String) -> Result<String, Problem> {
    let answers = urls.lines().map(async |url| http::get(url).send().await?.ok()?.text().map(str::to_owned));
    Ok(futures::future::try_join_all(answers).await?.concat())
}

/// Fails with a secret in its words.
async fn panic(name: String) -> Result<(), Problem> {
    panic!("it does not open with {}", secret(name).await?)
}

/// Writes a secret to the log in every way, on purpose.
async fn tell(name: String) -> Result<(), Problem> {
    let value = secret(name).await?;
    println!("stdout has {value} in it");
    eprintln!("stderr has {value} in it");
    modelet_sdk::log::warn!("the log has {value} in it");
    Ok(())
}
