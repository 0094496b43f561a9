use modelet_types::{ElementType, TensorInfo};

use super::*;

const LIMITS: Limits = Limits {
    tensor_bytes: 1_000,
    request_body_bytes: 10_000,
    response_body_bytes: 10_000,
    ..Limits::HIGHEST
};

fn codec() -> RestCodec {
    with(&HeaderMap::new())
}

fn with(headers: &HeaderMap) -> RestCodec {
    RestCodec::new("digits".parse().unwrap(), RevisionNumber(3), headers.clone())
}

fn read(json: &str) -> Result<TensorRequest, Problem> {
    codec().read(json.as_bytes(), Bytes::new(), &LIMITS)
}

/// The only input of a request.
fn input(datatype: &str, shape: &str, data: &str) -> Result<Tensor, Problem> {
    let input = format!(r#"{{"name":"x","datatype":"{datatype}","shape":{shape},"data":{data}}}"#);
    read(&format!(r#"{{"inputs":[{input}]}}"#)).map(|request| request.inputs[0].1.clone())
}

#[test]
fn reads_flat_and_nested_lists_of_every_type() {
    let tensor = input("FP32", "[2,2]", "[[1, 2.5], [-3e0, 4]]").unwrap();
    assert_eq!(tensor.as_slice(), Some(&[1.0_f32, 2.5, -3.0, 4.0][..]));
    assert_eq!(input("FP32", "[2,2]", "[1,2.5,-3,4]").unwrap().as_slice::<f32>(), tensor.as_slice::<f32>());
    assert_eq!(input("INT64", "[2]", "[-1, 2.0]").unwrap().as_slice(), Some(&[-1_i64, 2][..]));
    assert_eq!(input("BOOL", "[3]", "[true, 0, 1]").unwrap().as_bools(), Some(&[1, 0, 1][..]));
    let texts = input("BYTES", "[1,2]", r#"[["é", ""]]"#).unwrap();
    assert_eq!(texts.as_texts().unwrap(), ["é".into(), "".into()]);
    for (_, name) in super::super::DATATYPES.iter().filter(|(_, name)| *name != "BYTES") {
        assert_eq!(input(name, "[1]", "[1]").unwrap().len(), 1, "{name}");
        assert_eq!(input(name, "[0,4]", "[]").unwrap().len(), 0, "{name}");
    }
    assert_eq!(input("FP32", "[2,0,3]", "[[],[]]").unwrap().shape(), [2, 0, 3]);
    assert_eq!(input("FP64", "[]", "[7]").unwrap().shape(), [0_usize; 0]);
}

#[test]
fn names_what_is_wrong() {
    let wrong = |datatype, shape, data| {
        let problem = input(datatype, shape, data).unwrap_err();
        (problem.field.unwrap_or_default(), problem.detail.into_owned())
    };
    for (datatype, shape, data, field, says) in [
        ("FP31", "[1]", "[1]", "inputs[0].datatype", "FP32"),
        ("FP32", "[-1]", "[1]", "inputs[0].shape", "negative"),
        ("FP32", "[2]", "[1]", "inputs[0].data", "2 elements, but 1"),
        ("FP32", "[1]", "[1,2]", "inputs[0].data", "more were given"),
        ("FP32", "[2,3]", "[[1,2],[3,4],[5,6]]", "inputs[0].data", "one at depth 1 has 2 entries"),
        ("FP32", "[2,2]", "[[1,2],3]", "inputs[0].data", "side by side"),
        ("FP32", "[2]", "[[[1]],[[2]]]", "inputs[0].data", "nested otherwise"),
        ("FP32", "[1]", "[1e39]", "inputs[0].data", "no FP32"),
        ("UINT8", "[1]", "[256]", "inputs[0].data", "256 is no UINT8"),
        ("INT32", "[1]", "[1.5]", "inputs[0].data", "1.5 is no INT32"),
        ("INT32", "[1]", "[null]", "inputs[0].data", "null is no INT32"),
        ("BYTES", "[1]", "[1]", "inputs[0].data", "1 is no text"),
        ("FP32", "[1]", "7", "inputs[0].data", "a list"),
        ("FP64", "[126]", "[]", "inputs[0]", "limits.tensor_bytes"),
        ("FP32", "[9223372036854775807,9]", "[]", "inputs[0].shape", "more elements than can be counted"),
    ] {
        let (at, detail) = wrong(datatype, shape, data);
        assert_eq!(at, field, "{datatype} {shape} {data}: {detail}");
        assert!(detail.contains(says), "{datatype} {shape} {data}: {detail}");
    }
    assert_eq!(read("{}").unwrap_err().field.as_deref(), Some("inputs"));
    assert_eq!(read(r#"{"inputs":[]} {}"#).unwrap_err().field.as_deref(), Some("body"));
    let nameless = read(r#"{"inputs":[{"name":7}]}"#).unwrap_err();
    assert_eq!(nameless.field.as_deref(), Some("inputs[0].name"));
    let shared = r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1],
        "parameters":{"shared_memory_region":"r"}}]}"#;
    let problem = read(shared).unwrap_err();
    assert_eq!(problem.field.as_deref(), Some("inputs[0].parameters.shared_memory_region"));
}

#[test]
fn texts_count_with_their_bytes() {
    let fits = format!("[\"{}\"]", "x".repeat(1_000 - size_of::<Box<str>>()));
    assert!(input("BYTES", "[1]", &fits).is_ok());
    let over = format!("[\"{}\"]", "x".repeat(1_001 - size_of::<Box<str>>()));
    assert_eq!(input("BYTES", "[1]", &over).unwrap_err().code, Code::RequestTooLarge);
}

/// What a client of Triton sends: two inputs in binary, of which one are texts.
fn binary_request(tail: &[u8]) -> (HeaderMap, Bytes) {
    let json = r#"{"id":"7","parameters":{"binary_data_output":true},"inputs":[
        {"name":"x","datatype":"FP32","shape":[2],"parameters":{"binary_data_size":8}},
        {"name":"t","datatype":"BYTES","shape":[1],"parameters":{"binary_data_size":6}}]}"#;
    let mut body = json.as_bytes().to_vec();
    body.extend_from_slice(bytemuck_bytes(&[1.5, -2.0]).as_slice());
    body.extend_from_slice(&[2, 0, 0, 0, b'h', b'i']);
    body.extend_from_slice(tail);
    let length = HeaderValue::from(json.len());
    (HeaderMap::from_iter([(HEADER_LENGTH, length)]), body.into())
}

fn bytemuck_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[test]
fn reads_and_writes_binary_tensors() {
    let (headers, body) = binary_request(&[]);
    let mut codec = with(&headers);
    let request = codec.decode(body, &Signature::default(), &LIMITS).unwrap();
    assert_eq!(request.inputs[0].1.as_slice(), Some(&[1.5_f32, -2.0][..]));
    assert_eq!(request.inputs[1].1.as_texts().unwrap(), ["hi".into()]);

    let outputs = request.inputs;
    let Encoded { headers, body } = codec.encode(outputs, &LIMITS).unwrap();
    let length: usize = headers[HEADER_LENGTH].to_str().unwrap().parse().unwrap();
    let head: serde_json::Value = serde_json::from_slice(&body[..length]).unwrap();
    assert_eq!(head["id"], "7");
    assert_eq!(head["model_version"], "3");
    assert_eq!(head["outputs"][0]["parameters"]["binary_data_size"], 8);
    assert_eq!(body[length..length + 8], bytemuck_bytes(&[1.5, -2.0])[..]);
    assert_eq!(body[length + 8..], [2, 0, 0, 0, b'h', b'i']);
}

#[test]
fn refuses_binary_tensors_that_do_not_fit_the_body() {
    let signature = Signature::default();
    let refused = |headers: &HeaderMap, body: Bytes| {
        with(headers).decode(body, &signature, &LIMITS).unwrap_err().field.unwrap()
    };
    let (headers, body) = binary_request(&[1]);
    assert_eq!(refused(&headers, body), "body");
    let (headers, body) = binary_request(&[]);
    assert_eq!(refused(&headers, body.slice(..body.len() - 1)), "inputs[1].parameters.binary_data_size");
    let long = HeaderMap::from_iter([(HEADER_LENGTH, HeaderValue::from_static("1000000"))]);
    assert_eq!(refused(&long, body.clone()), HEADER_LENGTH.as_str());
    let none = HeaderMap::from_iter([(HEADER_LENGTH, HeaderValue::from_static("-1"))]);
    assert_eq!(refused(&none, body), HEADER_LENGTH.as_str());
}

#[test]
fn a_body_without_json_is_the_only_input() {
    let headers = HeaderMap::from_iter([(HEADER_LENGTH, HeaderValue::from_static("0"))]);
    let info = |shape: &[Option<usize>]| TensorInfo {
        name: "x".into(),
        element_type: ElementType::F32,
        shape: shape.to_vec(),
    };
    let body = Bytes::from(bytemuck_bytes(&[1.0, 2.0, 3.0, 4.0]));
    let decode = |inputs: Vec<TensorInfo>| {
        let signature = Signature { inputs, outputs: Vec::new() };
        with(&headers).decode(body.clone(), &signature, &LIMITS)
    };
    assert_eq!(decode(vec![info(&[None, Some(2)])]).unwrap().inputs[0].1.shape(), [2, 2]);
    for inputs in [vec![info(&[None, None])], vec![info(&[Some(3)])], vec![info(&[]), info(&[])]] {
        assert_eq!(decode(inputs).unwrap_err().field.as_deref(), Some("body"));
    }
}

#[test]
fn outputs_are_written_as_each_asks() {
    let mut codec = codec();
    let request = r#"{"inputs":[],"outputs":[{"name":"a","parameters":{"binary_data":true}},{"name":"b"}]}"#;
    assert_eq!(codec.read(request.as_bytes(), Bytes::new(), &LIMITS).unwrap().outputs, ["a", "b"]);
    let tensor = Tensor::from_vec(&[2], vec![0.5_f32, f32::NAN]).unwrap();
    let outputs = vec![("a".to_owned(), tensor.clone()), ("b".to_owned(), tensor)];
    let Encoded { headers, body } = codec.encode(outputs, &LIMITS).unwrap();
    let length: usize = headers[HEADER_LENGTH].to_str().unwrap().parse().unwrap();
    let head: serde_json::Value = serde_json::from_slice(&body[..length]).unwrap();
    assert_eq!(body.len(), length + 8);
    assert_eq!(head["outputs"][0].get("data"), None);
    assert_eq!(head["outputs"][1]["data"], serde_json::json!([0.5, null]));
}

#[test]
fn a_response_stops_at_its_limit() {
    let tensor = Tensor::from_vec(&[5_000], vec![1.0_f32; 5_000]).unwrap();
    let problem = codec().encode(vec![("a".to_owned(), tensor)], &LIMITS).unwrap_err();
    assert_eq!(problem.code, Code::ResponseTooLarge);
}
