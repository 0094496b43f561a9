//! The process with the models of a tenant that is not trusted, ended from outside while it is called.

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::support::{Answer, Api, Digit, TestHost, digits, digits_model, until};

/// Memory that the processes of this host may have, by which they are told from those of other tests; more than
/// they need, and a number that no other test has.
const MEMORY_BYTES: u64 = (1 << 30) + (613 << 12);
/// How often the process is killed.
const KILLS: usize = 10;
const CLIENTS: usize = 4;

/// The process in which models are loaded and run: it has lanes, which a spare one has not.
fn worker() -> Option<u32> {
    let mark = format!("memory_bytes={MEMORY_BYTES}");
    let processes = fs::read_dir("/proc").expect("the system lists its processes");
    processes.flatten().find_map(|process| {
        // Of one that has ended and was not waited for, this is empty.
        let arguments = fs::read(process.path().join("cmdline")).ok()?;
        let mut arguments = arguments.split(|&byte| byte == 0);
        let is_ours = arguments.nth(1)? == b"model-worker" && arguments.any(|word| word == mark.as_bytes());
        let has_lanes = || {
            let threads = fs::read_dir(process.path().join("task")).into_iter().flatten().flatten();
            let names = threads.filter_map(|thread| fs::read_to_string(thread.path().join("comm")).ok());
            names.into_iter().any(|name| name.starts_with("lane-"))
        };
        (is_ours && has_lanes()).then(|| process.file_name().to_str()?.parse().ok())?
    })
}

fn request(image: &Digit) -> Value {
    let row: Vec<f32> = image.pixels.iter().map(|&ink| f32::from(ink) / 16.0).collect();
    json!({ "inputs": [{ "name": "input", "datatype": "FP32", "shape": [1, 64], "data": row }] })
}

#[track_caller]
fn assert_shows(answer: &Answer, image: &Digit) {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = answer.json();
    let found = answer["outputs"][0]["data"].as_array().unwrap();
    assert_eq!(found.len(), 10, "{answer}");
    for (expected, found) in image.probabilities.iter().zip(found) {
        assert!((expected - found.as_f64().unwrap()).abs() <= 1e-4, "{expected} {found}");
    }
}

#[derive(Default)]
struct Clients {
    served: AtomicUsize,
    lost: AtomicUsize,
    is_over: AtomicBool,
}

impl Clients {
    /// Calls until it is over. Every answer is right, or says that the process was lost and when to try again.
    async fn call(self: Arc<Self>, host: Api, images: Arc<[Digit]>) {
        for image in images.iter().cycle() {
            if self.is_over.load(Ordering::Relaxed) {
                return;
            }
            let answer = host.post("/v2/models/digits/infer", &request(image)).await;
            if answer.status == 200 {
                assert_shows(&answer, image);
                self.served.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            assert_eq!(answer.status, 503, "{}", answer.text());
            assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 1);
            assert!(!answer.json()["error"].as_str().unwrap().is_empty(), "{}", answer.text());
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn are_served(&self) {
        let before = self.served.load(Ordering::Relaxed);
        until("calls to be served", async || {
            (self.served.load(Ordering::Relaxed) > before + 20).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_process_that_is_killed_ten_times_costs_only_the_calls_that_run_in_it() {
    let inference = json!({ "worker_memory_bytes": MEMORY_BYTES, "workers": 2 });
    let host = TestHost::start_with(&json!({ "inference": inference })).await;
    let trust = json!({ "trust": "untrusted" });
    host.put("/api/v1/tenants/default/trust", &trust).await.expect(200);
    let model = host.upload(digits_model()).await;
    host.deploy("digits", &json!({ "models": { "model": { "artifact": model } } })).await;

    let images: Arc<[Digit]> = digits().into();
    let clients = Arc::new(Clients::default());
    let calling: Vec<_> = (0..CLIENTS)
        .map(|_| tokio::spawn(Arc::clone(&clients).call((*host).clone(), Arc::clone(&images))))
        .collect();
    for killed in 1..=KILLS {
        clients.are_served().await;
        let pid = until("the process", async || worker()).await.to_string();
        assert!(Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
        until("its end to be counted", async || {
            let lost = host.metric("modelet_worker_processes_lost_total", "").await;
            (lost >= killed as f64).then_some(())
        })
        .await;
    }
    clients.are_served().await;
    clients.is_over.store(true, Ordering::Relaxed);
    for client in calling {
        client.await.unwrap();
    }
    let answer = host.post("/v2/models/digits/infer", &request(&images[0])).await;
    assert_shows(&answer, &images[0]);
    assert_eq!(host.metric("modelet_worker_processes_lost_total", "").await, KILLS as f64);

    // Each call has its one record, whatever became of it.
    let (served, lost) = (clients.served.load(Ordering::Relaxed) + 1, clients.lost.load(Ordering::Relaxed));
    let counted = async |code: &str| {
        host.metric("modelet_invocations_total", &format!("code=\"{code}\"")).await as usize
    };
    assert_eq!((counted("ok").await, counted("worker_lost").await), (served, lost));
}
