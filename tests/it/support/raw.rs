//! A caller by hand: for what no HTTP client does, such as leaving an answer unread.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::Api;

/// One connection to a host.
pub struct RawCaller {
    connection: TcpStream,
    received: Vec<u8>,
}

impl RawCaller {
    /// Connects with a small buffer for what the host sends, and sends `request`,
    /// with the host's key.
    pub async fn send(host: &Api, request: &str) -> Self {
        let address = host.base().strip_prefix("http://").expect("hosts are asked over HTTP");
        let socket = TcpSocket::new_v4().expect("a socket can be had");
        socket.set_recv_buffer_size(4_096).expect("the buffer can be made small");
        let connection = socket.connect(address.parse().expect("the base is an address")).await;
        let connection = connection.expect("the host listens");
        let mut caller = Self { connection, received: Vec::new() };
        let (line, rest) = request.split_once("\r\n").expect("a request begins with its line");
        caller.go_on(&format!("{line}\r\nauthorization: Bearer {}\r\n{rest}", host.key())).await;
        caller
    }

    /// Sends more.
    pub async fn go_on(&mut self, more: &str) {
        self.connection.write_all(more.as_bytes()).await.expect("the host reads");
    }

    /// Reads until `text` has come, and not much further.
    pub async fn read_until(&mut self, text: &str) {
        let reading = async {
            while !self.received().contains(text) {
                let mut piece = [0; 64];
                let read = self.connection.read(&mut piece).await.expect("the connection lasts");
                assert_ne!(read, 0, "no {text:?} in {:?}", self.received());
                self.received.extend_from_slice(&piece[..read]);
            }
        };
        tokio::time::timeout(super::DEADLINE, reading)
            .await
            .unwrap_or_else(|_| panic!("no {text:?} in time"));
    }

    /// Everything until the host closes the connection.
    pub async fn read_to_end(mut self) -> String {
        let reading = self.connection.read_to_end(&mut self.received);
        let read = tokio::time::timeout(super::DEADLINE, reading).await.expect("the host closes in time");
        read.expect("the connection ends in order");
        self.received()
    }

    fn received(&self) -> String {
        String::from_utf8_lossy(&self.received).into_owned()
    }
}
