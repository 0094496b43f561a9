//! The handler, with the real model, against what silero-vad's own library said (`expected.json`).

mod other_rates;
pub(crate) mod recording;

use modelet_sdk::testing::{OnnxModel, Reply, TestHost};
use modelet_sdk::{Error, Outputs, Request, Tensor};
use serde_json::{Value, json};

use crate::detector::{Detector, WINDOW};
use crate::event::Event;
use crate::segments::Edge;
use crate::voice;
use recording::{Recording, recordings, wav};

fn host() -> TestHost {
    TestHost::new().model("silero", OnnxModel::from_file("model/.fetched/silero_vad.onnx"))
}

/// Sends a body in pieces of this many bytes.
fn send(host: &TestHost, target: &str, body: &[u8], piece: usize) -> Reply {
    host.call_blocking(voice, Request::post(target).with_stream(body.chunks(piece)))
}

fn lines(reply: &Reply) -> Vec<Value> {
    assert_eq!(reply.status(), 200, "{}", reply.text());
    assert_eq!(reply.broken_off(), None);
    reply.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The lines that tell of these pieces of speech in a stream of `length` samples.
fn told(segments: &[(u64, u64)], length: u64) -> Vec<Value> {
    let mut events: Vec<Event> = Vec::new();
    for &(start, end) in segments {
        events.extend([Edge::Start(start).into(), Edge::End(end).into()]);
    }
    events.push(Event::done(length, segments.iter().map(|(start, end)| end - start).sum()));
    events.iter().map(|event| serde_json::to_value(event).unwrap()).collect()
}

/// The field at fault and what is said about it, before the answer has begun.
fn refused(target: &str, body: &[u8]) -> (String, String) {
    let reply = send(&host(), target, body, 1000);
    assert_eq!(reply.status(), 422, "{}", reply.text());
    let problem = reply.problem().unwrap();
    (problem.field.clone().unwrap_or_default(), problem.detail.clone())
}

#[test]
fn every_window_is_judged_as_the_reference_judges_it() {
    for recording in recordings() {
        let found: Vec<f32> = futures_of(&host(), async {
            let sound = recording.samples();
            let mut rest = sound.as_slice();
            let mut detector = Detector::load().await.unwrap();
            let mut found = Vec::new();
            while !rest.is_empty() {
                found.extend(detector.hear(&mut rest).await.unwrap());
            }
            found.extend(detector.finish().await.unwrap());
            found
        });
        assert_eq!(found.len(), recording.probabilities.len(), "{}", recording.file);
        for (window, (found, recorded)) in found.iter().zip(&recording.probabilities).enumerate() {
            let place = format!("window {window} of {}", recording.file);
            assert!((found - recorded).abs() < 1e-4, "{place}: {found} is not {recorded}");
        }
    }
}

#[test]
fn speech_is_found_where_the_reference_finds_it() {
    let host = host();
    for recording in recordings() {
        for answer in &recording.answers {
            let reply = send(&host, &answer.target(), &recording.bytes(), 4096);
            assert_eq!(reply.header("content-type"), Some("application/x-ndjson"));
            assert_eq!(lines(&reply), told(&answer.segments, recording.length), "{}", recording.file);
        }
    }
}

#[test]
fn it_does_not_matter_where_the_body_is_cut() {
    let recording = Recording::with_speech();
    let told = told(&recording.answers[0].segments, recording.length);
    for piece in [1, 7, 1023, 1 << 20] {
        assert_eq!(lines(&send(&host(), "/", &recording.bytes(), piece)), told, "pieces of {piece} bytes");
    }
}

#[test]
fn floats_and_two_channels_are_heard_as_the_same() {
    let recording = Recording::with_speech();
    let told = told(&recording.answers[0].segments, recording.length);
    let samples = recording.samples();
    let floats: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    assert_eq!(lines(&send(&host(), "/", &wav(3, 1, 16_000, 32, &floats), 999)), told);
    // What is on one side only is half as loud in the middle.
    let sides: Vec<u8> =
        samples.iter().flat_map(|sample| [2.0 * sample, 0.0]).flat_map(f32::to_le_bytes).collect();
    assert_eq!(lines(&send(&host(), "/", &wav(3, 2, 16_000, 32, &sides), 999)), told);
}

#[test]
fn nothing_at_all_is_no_speech() {
    let done = json!({ "event": "done", "duration_ms": 0, "speech_ms": 0 });
    assert_eq!(lines(&send(&host(), "/", &wav(1, 1, 16_000, 16, &[]), 10)), [done]);
}

#[test]
fn what_is_wrong_before_the_sound_is_a_problem() {
    let recording = Recording::with_speech().bytes();
    assert_eq!(refused("/?threshold=2", &recording).0, "threshold");
    assert_eq!(refused("/?speech_pad_ms=60", &recording).0, "speech_pad_ms");
    assert_eq!(refused("/?min_speech_duration_ms=-1", &recording).0, "min_speech_duration_ms");
    assert!(refused("/?treshold=0.5", &recording).1.contains("treshold"));
    assert_eq!(refused("/", b"").0, "body");
    assert_eq!(refused("/", b"ID3 and so on").0, "body");
    let (field, detail) = refused("/", &wav(1, 1, 16_001, 16, &[0; 4]));
    assert_eq!(field, "fmt.sample_rate");
    assert!(detail.ends_with("got 16001"), "{detail}");
}

#[test]
fn what_is_wrong_within_the_sound_is_the_last_line() {
    let recording = Recording::with_speech();
    let bytes = recording.bytes();
    let cut = lines(&send(&host(), "/", &bytes[..bytes.len() / 2], 4096));
    let before: Vec<_> = told(&recording.answers[0].segments, 0).into_iter().take(cut.len() - 1).collect();
    assert!(cut.len() > 4 && cut[..cut.len() - 1] == before, "{cut:?}");
    let last = cut.last().unwrap();
    assert_eq!(
        (&last["event"], &last["code"], &last["field"]),
        (&"error".into(), &"invalid_input".into(), &"data".into())
    );
    assert!(last["detail"].as_str().unwrap().contains("are missing"), "{last}");

    for wrong in [f32::NAN, f32::NEG_INFINITY, 1e30] {
        let floats: Vec<u8> = [0.5, 0.25, wrong, 0.5].into_iter().flat_map(f32::to_le_bytes).collect();
        let told = lines(&send(&host(), "/", &wav(3, 1, 48_000, 32, &floats), 5));
        let detail = told[0]["detail"].as_str().unwrap();
        assert!(detail.contains("frame 2") && told.len() == 1, "{told:?}");
    }
}

#[test]
fn a_model_that_fails_on_the_way_is_the_last_line_too() {
    let host = TestHost::new().model("silero", |_: &_| Err(Error::Overloaded("the queue is full".into())));
    let told = lines(&send(&host, "/", &Recording::with_speech().bytes(), 4096));
    assert_eq!(told.len(), 1);
    assert_eq!((&told[0]["event"], &told[0]["status"]), (&"error".into(), &503.into()));

    let host = TestHost::new().model("silero", |_: &_| {
        let state = Tensor::new([1], [0.0_f32])?;
        Ok(Outputs::from([("output", Tensor::new([1, 1], [f32::NAN])?), ("stateN", state)]))
    });
    let told = lines(&send(&host, "/", &wav(1, 1, 16_000, 16, &[0; 2 * WINDOW]), 4096));
    assert_eq!(told[0]["code"], "handler_error");
}

#[test]
fn a_caller_who_leaves_is_told_nothing_more() {
    let host = host().caller_leaves_after(2);
    let reply = send(&host, "/", &Recording::with_speech().bytes(), 4096);
    assert_eq!((reply.chunks().len(), reply.broken_off()), (2, None));
}

fn futures_of<T>(host: &TestHost, code: impl Future<Output = T>) -> T {
    futures::executor::block_on(host.run(code))
}
