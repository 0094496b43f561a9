//! The floor of the benchmarks: what an example costs when one program does nothing else.
//!
//! A bare axum server that calls ONNX Runtime in the request's own task. It reads and answers the
//! same JSON as `examples/digits`, or takes files as `examples/filetype` does, on the allocator that the host
//! uses, and has none of what the host is for: no sandbox, no limits, no accounting, one model that never
//! sleeps.

mod file;
mod model;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use clap::Parser;
use serde::Deserialize;
use tokio::net::TcpListener;

use model::{Model, PIXELS, Reading};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The value of full ink; the model takes pixels from 0 to 1.
const FULL_INK: f32 = 16.0;

/// Answers `POST /` with the digit that an image shows, or with what a file is.
#[derive(Debug, Parser)]
struct Arguments {
    /// The ONNX Runtime library, `libonnxruntime.so`.
    #[arg(long)]
    library: PathBuf,
    /// The model.
    #[arg(long)]
    model: PathBuf,
    /// Where to listen.
    #[arg(long, required_unless_present = "once")]
    listen: Option<SocketAddr>,
    /// Take files, for a model of file types, and not images of digits.
    #[arg(long)]
    files: bool,
    /// Instead of serving, load a model of texts, run it once on one of 32 tokens, and print how many
    /// milliseconds that took.
    #[arg(long)]
    once: bool,
}

/// One image, row by row.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Image {
    pixels: Vec<f32>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Arguments { library, model, listen, files, once } = Arguments::parse();
    if once {
        println!("{}", model::load_and_run_ms(&library, &model)?);
        return Ok(());
    }
    let listen = listen.context("say where to listen")?;
    let threads = std::thread::available_parallelism().context("cannot count the cores")?;
    let model = Arc::new(Model::load(&library, &model, threads.get())?);
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let route = if files { post(tell) } else { post(read) };
    let routes = Router::new().route("/", route).with_state(model);
    axum::serve(listener, routes).await.context("cannot serve")
}

async fn read(
    State(model): State<Arc<Model>>,
    Json(Image { mut pixels }): Json<Image>,
) -> Result<Json<Reading>, (StatusCode, String)> {
    if pixels.len() != PIXELS || pixels.iter().any(|pixel| !(0.0..=FULL_INK).contains(pixel)) {
        let reason = format!("`pixels` must be {PIXELS} numbers from 0 to {FULL_INK}");
        return Err((StatusCode::UNPROCESSABLE_ENTITY, reason));
    }
    for pixel in &mut pixels {
        *pixel /= FULL_INK;
    }
    let reading = model.read(pixels).map_err(|e| (StatusCode::INTERNAL_SERVER_ERROR, e.to_string()))?;
    Ok(Json(reading))
}

async fn tell(State(model): State<Arc<Model>>, body: Bytes) -> Result<Json<Reading>, (StatusCode, String)> {
    let told = model.tell(file::row(&body));
    told.map(Json).map_err(|e| (StatusCode::INTERNAL_SERVER_ERROR, e.to_string()))
}
