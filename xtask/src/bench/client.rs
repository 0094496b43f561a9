//! One client that keeps its connection, for calls that are timed or checked one by one.
//!
//! As plain as can be, because what a client does counts as the server's time: one write, and reads
//! until the answer is whole. It sleeps while it waits: asking the socket again and again took the
//! second of two cores from the host, and doubled the p99 of a wake.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use super::keys;

/// Longer than any call takes, on a machine that is very busy.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Calls one after another, on one connection.
#[derive(Default)]
pub struct Client {
    /// The authority that the connection goes to.
    authority: String,
    connection: Option<TcpStream>,
}

/// An answer of success, and what it cost.
pub struct Timed {
    /// The answer.
    pub value: Value,
    /// From the request's first byte to the answer's last.
    pub took: Duration,
    /// What the host says that waking took of that; `None` if the function was awake.
    pub wake: Option<Duration>,
}

impl Client {
    pub fn new() -> Self {
        Self::default()
    }

    /// Gets a JSON answer.
    ///
    /// # Errors
    /// If there is none, or its status is not one of success.
    pub fn get(&mut self, url: &str) -> anyhow::Result<Value> {
        Ok(self.call("GET", url, &[]).with_context(|| format!("GET {url}"))?.value)
    }

    /// Posts JSON, and says how long the answer took.
    ///
    /// # Errors
    /// If there is no answer, or its status is not one of success.
    pub fn post(&mut self, url: &str, body: &[u8]) -> anyhow::Result<Timed> {
        self.call("POST", url, body).with_context(|| format!("POST {url}"))
    }

    /// Puts bytes.
    ///
    /// # Errors
    /// If there is no answer, or its status is not one of success.
    pub fn put(&mut self, url: &str, body: &[u8]) -> anyhow::Result<Timed> {
        self.call("PUT", url, body).with_context(|| format!("PUT {url}"))
    }

    fn call(&mut self, method: &str, url: &str, body: &[u8]) -> anyhow::Result<Timed> {
        let rest = url.strip_prefix("http://").context("the address is not one of http")?;
        let slash = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = (&rest[..slash], rest.get(slash..).filter(|path| !path.is_empty()));
        let head = format!(
            "{method} {} HTTP/1.1\r\nhost: {authority}\r\ncontent-type: application/json\r\n\
             {}content-length: {}\r\n\r\n",
            path.unwrap_or("/"),
            keys::line(&url[..url.len() - rest.len() + slash]),
            body.len()
        );
        let request = [head.as_bytes(), body].concat();
        let mut connection = match self.connection.take() {
            Some(connection) if self.authority == authority => connection,
            _ => connect(authority)?,
        };
        let began = Instant::now();
        connection.write_all(&request)?;
        let answer = receive(&mut connection)?;
        let took = began.elapsed();
        (self.authority, self.connection) = (authority.to_owned(), Some(connection));
        answer.timed(took)
    }
}

fn connect(authority: &str) -> anyhow::Result<TcpStream> {
    let connection = TcpStream::connect(authority)?;
    connection.set_nodelay(true)?;
    connection.set_read_timeout(Some(TIMEOUT))?;
    Ok(connection)
}

/// An answer that came whole.
struct Answer {
    status: u16,
    wake: Option<Duration>,
    body: Vec<u8>,
}

impl Answer {
    fn timed(self, took: Duration) -> anyhow::Result<Timed> {
        let text = String::from_utf8_lossy(&self.body);
        ensure!((200..300).contains(&self.status), "answered {}: {text}", self.status);
        Ok(Timed { value: serde_json::from_str(&text)?, took, wake: self.wake })
    }
}

fn receive(connection: &mut TcpStream) -> anyhow::Result<Answer> {
    let mut received = Vec::with_capacity(1 << 16);
    let mut piece = [0; 1 << 14];
    loop {
        match connection.read(&mut piece) {
            Ok(0) => bail!("the connection was closed in the middle of the answer"),
            Ok(read) => received.extend_from_slice(&piece[..read]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                bail!("no answer came within {} s", TIMEOUT.as_secs())
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        }
        if let Some(answer) = parse(&received)? {
            return Ok(answer);
        }
    }
}

/// The answer, if it is there to its end.
fn parse(received: &[u8]) -> anyhow::Result<Option<Answer>> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(body) = head.parse(received)? else { return Ok(None) };
    let number = |name: &str| {
        let header = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(header.value).ok()?.parse::<u64>().ok()
    };
    let length = number("content-length").context("the answer does not say how long it is")?;
    let body = &received[body..];
    if (body.len() as u64) < length {
        return Ok(None);
    }
    let status = head.code.context("the answer has no status")?;
    let wake = number("modelet-wake-us").map(Duration::from_micros);
    Ok(Some(Answer { status, wake, body: body.to_vec() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_there_when_its_last_byte_is() {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nmodelet-wake-us: 70\r\n\r\n{}";
        for end in 0..whole.len() {
            assert!(parse(&whole[..end]).unwrap().is_none(), "{end}");
        }
        let answer = parse(whole).unwrap().unwrap();
        assert_eq!((answer.status, answer.wake), (200, Some(Duration::from_micros(70))));
        assert_eq!(answer.timed(Duration::ZERO).unwrap().value, serde_json::json!({}));
        let unbounded = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        assert!(parse(unbounded).is_err());
    }
}
