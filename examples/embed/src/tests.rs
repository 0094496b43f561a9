//! The handler and its tokenizer against what the references answered (`expected.json`).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use modelet_sdk::testing::{Reply, TestHost};
use modelet_sdk::{Error, Inputs, Outputs, Request, Tensor};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{WIDTH, embed};
use crate::tokenizer::encode;

#[derive(Deserialize)]
struct Expected {
    cases: Vec<Case>,
    corners: Vec<Case>,
    unicode: Unicode,
    related: (usize, usize),
    unrelated: (usize, usize),
}

#[derive(Deserialize)]
struct Case {
    text: String,
    ids: Vec<u32>,
    #[serde(default)]
    embedding: Vec<f32>,
}

#[derive(Deserialize)]
struct Unicode {
    block: u32,
    crc32: Vec<u32>,
}

fn expected() -> Expected {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("expected.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Answers a batch with what was recorded for the tokens that its mask leaves visible.
fn recorded(inputs: &Inputs) -> Result<Outputs, Error> {
    let ids = inputs.get("input_ids").expect("given").to_vec::<i64>()?;
    let mask = inputs.get("attention_mask").expect("given").to_vec::<i64>()?;
    let width = inputs.get("input_ids").expect("given").shape()[1];
    let cases = expected().cases;
    let mut values: Vec<f32> = Vec::new();
    for (ids, mask) in ids.chunks(width).zip(mask.chunks(width)) {
        let visible: Vec<i64> =
            ids.iter().zip(mask).filter(|(_, seen)| **seen == 1).map(|(id, _)| *id).collect();
        let case =
            cases.iter().find(|case| case.ids.iter().map(|&id| i64::from(id)).eq(visible.iter().copied()));
        values.extend(&case.expect("only recorded texts are sent").embedding);
    }
    let vectors = Tensor::new([values.len() / WIDTH, WIDTH], values)?;
    Ok(Outputs::from([("sentence_embedding", vectors)]))
}

fn post(body: &Value) -> Reply {
    TestHost::new().model("minilm", recorded).call_blocking(embed, Request::post("/").with_json(body))
}

/// The field at fault and what is said about it.
fn refused(body: &Value) -> (String, String) {
    let reply = post(body);
    assert_eq!(reply.status(), 422, "{}", reply.text());
    let problem = reply.problem().unwrap();
    (problem.field.clone().unwrap_or_default(), problem.detail.clone())
}

#[test]
fn tokenizes_every_recorded_text_as_the_reference() {
    let Expected { cases, corners, .. } = expected();
    for case in cases.iter().chain(&corners) {
        assert_eq!(encode(&case.text), case.ids, "{:?}", case.text);
    }
}

/// Each code point, between letters and by itself.
#[test]
fn tokenizes_all_of_unicode_as_the_reference() {
    let Unicode { block, crc32 } = expected().unicode;
    assert_eq!(u64::from(block) * crc32.len() as u64, 0x11_0000);
    for (start, expected) in (0..).step_by(block as usize).zip(crc32) {
        let mut checksum = crc32fast::Hasher::new();
        for character in (start..start + block).filter_map(char::from_u32) {
            for id in encode(&format!("a{character}b {character}")) {
                checksum.update(&id.to_le_bytes());
            }
        }
        assert_eq!(checksum.finalize(), expected, "code points from U+{start:04X}");
    }
}

#[test]
fn answers_one_text_with_one_vector() {
    for case in expected().cases {
        let answer: BTreeMap<String, Vec<f32>> = post(&json!({ "text": case.text })).json();
        assert_eq!(answer, BTreeMap::from([("embedding".into(), case.embedding)]));
    }
}

#[test]
fn answers_texts_of_any_length_in_their_order() {
    // More than one batch, and longest first where the batches are shortest first.
    let mut cases = expected().cases;
    cases.sort_by_key(|case| std::cmp::Reverse(case.ids.len()));
    let texts: Vec<&str> = cases.iter().map(|case| case.text.as_str()).collect();
    let answer: BTreeMap<String, Vec<Vec<f32>>> = post(&json!({ "texts": texts })).json();
    let vectors = cases.iter().map(|case| case.embedding.clone()).collect();
    assert_eq!(answer, BTreeMap::from([("embeddings".into(), vectors)]));
}

#[test]
fn the_recorded_vectors_tell_related_texts_from_others() {
    let Expected { cases, related, unrelated, .. } = expected();
    let cosine = |(left, right): (usize, usize)| -> f32 {
        let pairs = cases[left].embedding.iter().zip(&cases[right].embedding);
        pairs.map(|(left, right)| left * right).sum()
    };
    assert!(cosine(related) > 0.4 && cosine(unrelated) < 0.1);
}

#[test]
fn names_the_field_at_fault() {
    assert_eq!(
        refused(&json!({ "texts": [] })),
        ("texts".into(), "texts: must be 1 to 64 texts, got 0".into())
    );
    assert_eq!(refused(&json!({ "texts": vec!["a"; 65] })).0, "texts");
    assert_eq!(refused(&json!({ "texts": ["a", 1] })).0, "texts[1]");
    assert_eq!(refused(&json!({ "text": 1 })).0, "text");
    assert!(refused(&json!({})).1.contains("one of `text` and `texts`"));
    assert!(refused(&json!({ "text": "a", "texts": ["a"] })).1.contains("one of `text` and `texts`"));
    assert!(refused(&json!({ "txt": "a" })).1.contains("txt"));
}
