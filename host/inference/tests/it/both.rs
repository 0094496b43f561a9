//! What every backend promises, wherever it is.

use std::time::{Duration, Instant};

use modelet_inference::{BackendId, InferenceConfig, InferenceError, RunRequest, SessionKey};

use crate::models::{self, BOOL, F32, F64, I32, I64};
use crate::service::{BOTH, config, request, run, tensor, until};

use super::{APART, start, with};

fn rows(values: &[f32]) -> (&'static str, modelet_types::Tensor) {
    ("x", tensor(&[values.len() / 2, 2], values))
}

#[tokio::test]
async fn computes_named_outputs_in_the_order_asked_for() {
    let service = start();
    for backend in BOTH {
        let session = service.session(backend, &models::affine()).await;
        let all = run(&session, &[rows(&[1.0, 1.0, 2.0, 0.0])]).await.unwrap();
        let names: Vec<&str> = all.outputs.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["y", "m"]);
        assert_eq!(all.outputs[0].1.shape(), [2, 2]);
        assert_eq!(all.outputs[0].1.as_slice::<f32>().unwrap(), [14.0, 26.0, 12.0, 24.0]);
        assert_eq!(all.outputs[1].1.as_slice::<f32>().unwrap(), [1.0, 2.0]);
        let chosen = RunRequest { outputs: vec!["m".into(), "y".into()], ..request(&[rows(&[5.0, 7.0])]) };
        let chosen = session.run(chosen).await.unwrap();
        assert_eq!(chosen.outputs[0].0, "m");
        assert_eq!(chosen.outputs[1].1.as_slice::<f32>().unwrap(), [36.0, 58.0]);
        assert!(all.cpu_time > Duration::ZERO && all.cpu_time < Duration::from_secs(1), "{all:?}");
    }
}

#[tokio::test]
async fn an_output_can_be_the_next_input() {
    let service = start();
    for backend in BOTH {
        let session = service.session(backend, &models::affine()).await;
        let first = run(&session, &[rows(&[0.0, 0.0])]).await.unwrap();
        let second = run(&session, &[("x", first.outputs[0].1.clone())]).await.unwrap();
        assert_eq!(second.outputs[0].1.as_slice::<f32>().unwrap(), [80.0, 120.0]);
    }
}

#[tokio::test]
async fn an_empty_batch_is_a_batch() {
    let service = start();
    for backend in BOTH {
        let file = models::operator("Neg", &[("x", F32)], ("y", F32));
        let session = service.session(backend, &file).await;
        let output = run(&session, &[("x", tensor::<f32>(&[0], &[]))]).await.unwrap();
        assert_eq!(output.outputs[0].1.shape(), [0], "{backend}");
    }
}

#[tokio::test]
async fn declared_types_are_what_callers_see() {
    let service = start();
    for backend in BOTH {
        let file = models::operator("Add", &[("a", I64), ("b", I64)], ("c", I64));
        let session = service.session(backend, &file).await;
        let pair = [("a", tensor(&[2], &[1_i64, -5])), ("b", tensor(&[2], &[40_i64, 2]))];
        let output = run(&session, &pair).await.unwrap();
        assert_eq!(output.outputs[0].1.as_slice::<i64>().unwrap(), [41, -3]);

        let file = models::operator("Greater", &[("a", I32), ("b", I32)], ("c", BOOL));
        let session = service.session(backend, &file).await;
        let pair = [("a", tensor(&[2], &[1_i32, 5])), ("b", tensor(&[2], &[4_i32, 2]))];
        assert_eq!(run(&session, &pair).await.unwrap().outputs[0].1.as_bools().unwrap(), [0, 1]);

        let file = models::operator("Not", &[("a", BOOL)], ("b", BOOL));
        let session = service.session(backend, &file).await;
        let flags = modelet_types::Tensor::from_bools(&[2], &[true, false]).unwrap();
        assert_eq!(run(&session, &[("a", flags)]).await.unwrap().outputs[0].1.as_bools().unwrap(), [0, 1]);

        let file = models::operator("Neg", &[("a", F64)], ("b", F64));
        let session = service.session(backend, &file).await;
        let output = run(&session, &[("a", tensor(&[1], &[0.5_f64]))]).await.unwrap();
        assert_eq!(output.outputs[0].1.as_slice::<f64>().unwrap(), [-0.5]);
    }
}

#[tokio::test]
async fn a_wrong_request_is_named_before_anything_runs() {
    let service = start();
    for backend in BOTH {
        let session = service.session(backend, &models::affine()).await;
        let wrong = [
            (vec![], "input `x` of type f32 is missing"),
            (vec![("z", tensor(&[1], &[0.0_f32]))], "the model has no input `z`; it has `x`"),
            (vec![rows(&[0.0, 0.0]), rows(&[0.0, 0.0])], "input `x` is given twice"),
            (vec![("x", tensor(&[1, 2], &[0_i64, 0]))], "input `x` takes elements of type f32, but got i64"),
            (vec![("x", tensor(&[1, 3], &[0.0_f32; 3]))], "input `x` takes shape [any, 2], but got [1, 3]"),
        ];
        for (inputs, message) in wrong {
            assert_eq!(
                run(&session, &inputs).await.unwrap_err(),
                InferenceError::InvalidInput(message.into())
            );
        }
        let unknown = RunRequest { outputs: vec!["q".into()], ..request(&[rows(&[0.0, 0.0])]) };
        assert!(matches!(session.run(unknown).await, Err(InferenceError::InvalidInput(_))));
    }
    assert_eq!(service.inference.stats().single_runs, 0);
}

#[tokio::test]
async fn what_the_backend_refuses_is_an_error_and_the_session_goes_on() {
    let service = start();
    for backend in BOTH {
        let file = models::operator("Add", &[("a", F32), ("b", F32)], ("c", F32));
        let session = service.session(backend, &file).await;
        let apart = [("a", tensor(&[2], &[0.0_f32; 2])), ("b", tensor(&[3], &[0.0_f32; 3]))];
        let error = run(&session, &apart).await.unwrap_err();
        assert!(matches!(error, InferenceError::Backend { backend: b, .. } if b == backend), "{error}");
        let pair = [("a", tensor(&[1], &[1.0_f32])), ("b", tensor(&[1], &[2.0_f32]))];
        assert_eq!(run(&session, &pair).await.unwrap().outputs[0].1.as_slice::<f32>().unwrap(), [3.0]);
    }
}

#[tokio::test]
async fn integers_beyond_32_bits_are_refused_by_rten_and_computed_by_the_other() {
    let service = start();
    let file = models::operator("Add", &[("a", I64), ("b", I64)], ("c", I64));
    let pair = [("a", tensor(&[1], &[1_i64 << 40])), ("b", tensor(&[1], &[1_i64]))];
    let session = service.session(BackendId::Rten, &file).await;
    let error = run(&session, &pair).await.unwrap_err();
    assert!(matches!(error, InferenceError::InvalidInput(_)), "{error}");
    assert!(error.to_string().starts_with("input `a` has the value 1099511627776"), "{error}");
    let session = service.session(BackendId::Onnxruntime, &file).await;
    let output = run(&session, &pair).await.unwrap();
    assert_eq!(output.outputs[0].1.as_slice::<i64>().unwrap(), [(1 << 40) + 1]);
}

#[tokio::test]
async fn a_loop_is_never_inline() {
    let service = with(InferenceConfig { inline_threshold: Duration::from_secs(60), ..config() });
    for backend in BOTH {
        let session = service.session(backend, &models::long_loop()).await;
        for _ in 0..3 {
            run(&session, &[("times", tensor(&[], &[1_i64]))]).await.unwrap();
        }
    }
    assert_eq!(service.inference.stats().inline_runs, 0);
}

#[tokio::test]
async fn sessions_run_side_by_side() {
    let service = start();
    for backend in BOTH {
        let session = service.session(backend, &models::affine()).await;
        let runs = (0..200_u16).map(|i| {
            let session = session.clone();
            tokio::spawn(async move {
                let i = f32::from(i);
                let output = run(&session, &[rows(&[i, 0.0])]).await.unwrap();
                assert_eq!(output.outputs[0].1.as_slice::<f32>().unwrap(), [i + 10.0, 2.0 * i + 20.0]);
            })
        });
        for run in runs.collect::<Vec<_>>() {
            run.await.unwrap();
        }
    }
}

#[tokio::test]
async fn several_threads_for_a_run_give_the_same_answer_and_are_charged() {
    let service = start();
    for backend in BOTH {
        let file = models::long_loop();
        let key = SessionKey { threads: 2, ..service.key(backend, &file) };
        let session = service.inference.session(&key, &service.source(&file)).await.unwrap();
        let output = run(&session, &[("times", tensor(&[], &[20_i64]))]).await.unwrap();
        let values = output.outputs[0].1.as_slice::<f32>().unwrap();
        assert!(values.iter().all(|value| (value - 1.0).abs() < 1e-4), "{backend}: {}", values[0]);
        assert!(output.cpu_time > Duration::ZERO && !output.inline);
    }
}

#[tokio::test]
async fn a_deadline_is_kept_and_the_worker_comes_back() {
    for backend in BOTH {
        let service = with(InferenceConfig { workers: 1, ..config() });
        let session = service.session(backend, &models::long_loop()).await;
        // ONNX Runtime can be stopped, and a process ended, so the loop need not end; rten's in this process
        // ends after seconds.
        let times = match backend {
            BackendId::Onnxruntime => i64::MAX,
            BackendId::Rten if APART => i64::from(i32::MAX),
            BackendId::Rten => 60_000,
        };
        let begin = Instant::now();
        let slow = RunRequest {
            deadline: begin + Duration::from_millis(100),
            ..request(&[("times", tensor(&[], &[times]))])
        };
        assert_eq!(session.run(slow).await.unwrap_err(), InferenceError::DeadlineExceeded);
        let took = begin.elapsed();
        assert!(took >= Duration::from_millis(100) && took < Duration::from_secs(1), "{backend}: {took:?}");
        if backend == BackendId::Rten && !APART {
            assert_eq!(service.inference.stats().abandoned, 1, "it holds its worker, and is counted");
        }
        until("the run ends", || service.inference.stats().abandoned == 0).await;
        run(&session, &[("times", tensor(&[], &[1_i64]))]).await.unwrap();
    }
}

#[tokio::test]
async fn a_caller_that_leaves_stops_its_run() {
    let service = with(InferenceConfig { workers: 1, ..config() });
    let session = service.session(BackendId::Onnxruntime, &models::long_loop()).await;
    let endless = tokio::spawn({
        let session = session.clone();
        async move { run(&session, &[("times", tensor(&[], &[i64::MAX]))]).await }
    });
    until("the run begins", || service.inference.stats().workers_busy == 1).await;
    endless.abort();
    until("the worker is free", || service.inference.stats().workers_busy == 0).await;
    assert_eq!(service.inference.stats().abandoned, 0);
}

#[tokio::test]
async fn a_full_queue_refuses_and_callers_that_leave_make_room() {
    let service = with(InferenceConfig { workers: 1, queue: 2, ..config() });
    let session = service.session(BackendId::Onnxruntime, &models::long_loop()).await;
    let endless = || {
        let session = session.clone();
        tokio::spawn(async move { run(&session, &[("times", tensor(&[], &[i64::MAX]))]).await })
    };
    let running = endless();
    until("the run begins", || service.inference.stats().workers_busy == 1).await;
    let waiting = [endless(), endless()];
    until("two wait", || service.inference.stats().runs_waiting == 2).await;
    let error = run(&session, &[("times", tensor(&[], &[1_i64]))]).await.unwrap_err();
    assert_eq!(error, InferenceError::Overloaded { waiting: 2 });
    waiting.iter().for_each(|run| run.abort());
    until("none wait", || service.inference.stats().runs_waiting == 0).await;
    running.abort();
    run(&session, &[("times", tensor(&[], &[1_i64]))]).await.unwrap();
    assert_eq!(service.inference.stats().overloaded, 1);
}
