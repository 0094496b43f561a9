use modelet_types::ElementType;

use super::wire::{Message, Value};
use super::*;

/// A field of bytes; every length here takes one byte.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u8::try_from(bytes.len()).unwrap();
    assert!(length < 0x80);
    [&[number << 3 | 2, length], bytes].concat()
}

fn value_info(name: &str, element_type: u8, dims: &[&[u8]]) -> Vec<u8> {
    let shape: Vec<u8> = dims.iter().flat_map(|dim| field(1, dim)).collect();
    let tensor = [&[1 << 3, element_type][..], &field(2, &shape)].concat();
    [field(1, name.as_bytes()), field(2, &field(1, &tensor))].concat()
}

fn model(graph: &[Vec<u8>]) -> Vec<u8> {
    field(7, &graph.concat())
}

#[test]
fn reads_the_signature() {
    let facts = read(&model(&[
        field(11, &value_info("x", 1, &[&field(2, b"n"), &[1 << 3, 3], &[1 << 3, 0], &[]])),
        // A weight that is listed as an input has a default, so nobody has to give it.
        field(11, &value_info("w", 1, &[])),
        field(5, &field(8, b"w")),
        field(12, &value_info("y", 7, &[])),
        // A sequence is no tensor.
        field(12, &[field(1, b"z"), field(2, &field(4, &[]))].concat()),
    ]))
    .unwrap();
    let Signature { inputs, outputs } = facts.signature;
    assert_eq!((inputs.len(), outputs.len()), (1, 1));
    assert_eq!((inputs[0].name.as_str(), inputs[0].element_type), ("x", ElementType::F32));
    assert_eq!(inputs[0].shape, [None, Some(3), None, None]);
    assert_eq!((outputs[0].name.as_str(), outputs[0].element_type), ("y", ElementType::I64));
    assert!(facts.cost_follows_shapes);
}

#[test]
fn finds_operators_whose_cost_is_in_the_values() {
    let cost_follows_shapes = |operator: &str, domain: &str| {
        let node = [field(4, operator.as_bytes()), field(7, domain.as_bytes())].concat();
        read(&model(&[field(1, &node), field(12, &value_info("y", 1, &[]))])).unwrap().cost_follows_shapes
    };
    assert!(cost_follows_shapes("Gemm", "") && cost_follows_shapes("Scaler", "ai.onnx.ml"));
    assert!(!cost_follows_shapes("Loop", "") && !cost_follows_shapes("BeamSearch", "com.microsoft"));
}

#[test]
fn a_model_without_a_tensor_to_give_is_refused() {
    let error = read(&model(&[field(11, &value_info("x", 1, &[]))])).unwrap_err();
    assert_eq!(error.to_string(), "the model declares no output that is a tensor");
}

#[test]
fn the_wire_format_is_read_to_its_limits() {
    fn fields(bytes: &[u8]) -> Vec<Option<(u32, Value<'_>)>> {
        Message::new(bytes).fields().map(Result::ok).collect()
    }
    // The largest number, a field of each fixed size, and one of bytes.
    let max = [&[0x08][..], &[0xff; 9], &[0x01]].concat();
    assert_eq!(fields(&max), [Some((1, Value::Varint(u64::MAX)))]);
    assert_eq!(fields(&[0x0d, 0, 0, 0, 0]), [Some((1, Value::Fixed))]);
    assert_eq!(fields(&[0x09, 0, 0, 0, 0, 0, 0, 0]), [None], "one byte short");
    assert_eq!(fields(&[0x0a, 1, 7, 0x0a]), [Some((1, Value::Bytes(&[7]))), None]);
    assert_eq!(fields(&[0x0b]), [None], "a group");
    assert_eq!(fields(&[0x02, 0]), [None], "field 0");
    assert_eq!(fields(&[0xff, 0xff, 0xff, 0xff, 0x1f, 0]), [None], "a field number over 2^29");
}
