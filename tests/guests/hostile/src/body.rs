//! Attacks by what is written: to the log and to the caller.

use std::hint::black_box;
use std::time::Duration;

use modelet_sdk::{Problem, Query, Response, log};

use crate::Amount;

const LINE: &str = "a line of sixty-four bytes, and so on and so on and so on, ......";
const CHUNK_BYTES: usize = 64 << 10;

pub(crate) async fn flood_the_log(Query(lines): Query<Amount>) -> String {
    for _ in 0..lines.n {
        log::info!("{LINE}");
    }
    "flooded".into()
}

/// One line that does not end.
pub(crate) async fn flood_standard_error(Query(lines): Query<Amount>) -> String {
    for _ in 0..lines.n {
        eprint!("{LINE}");
    }
    "flooded".into()
}

pub(crate) async fn one_large_body(Query(bytes): Query<Amount>) -> Vec<u8> {
    vec![b'x'; bytes.n]
}

pub(crate) async fn one_long_stream(Query(bytes): Query<Amount>) -> Response {
    Response::stream(async move |body| {
        for _ in 0..bytes.n.div_ceil(CHUNK_BYTES) {
            body.write(vec![b'x'; CHUNK_BYTES]).await?;
        }
        Ok::<_, Problem>(())
    })
}

pub(crate) async fn trap_mid_stream() -> Response {
    Response::stream(async |body| {
        body.write("the first half").await?;
        // Gives the host the time to send it on.
        std::thread::sleep(Duration::from_millis(50));
        black_box(Err::<(), _>("the second half is missing")).expect("trap in the middle of a stream");
        Ok::<_, Problem>(())
    })
}

pub(crate) async fn loop_mid_stream() -> Response {
    Response::stream(async |body| {
        body.write("the first half").await?;
        if black_box(true) {
            crate::compute::spin();
        }
        Ok::<_, Problem>(())
    })
}

/// A response inside the response.
pub(crate) async fn header_with_a_line_end() -> Response {
    Response::new("").with_header("x-split", "1\r\nset-cookie: stolen=1")
}

/// 101 would hand the connection over.
pub(crate) async fn status_of_the_protocol() -> Response {
    Response::new("").with_status(101)
}
