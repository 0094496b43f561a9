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
fn only_operators_known_to_do_the_same_work_on_any_values_are_trusted_to() {
    let output = || field(12, &value_info("y", 1, &[]));
    let cost_follows_shapes = |operator: &str, domain: &str| {
        let node = [field(4, operator.as_bytes()), field(7, domain.as_bytes())].concat();
        read(&model(&[field(1, &node), output()])).unwrap().cost_follows_shapes
    };
    for (operator, domain) in [("Gemm", ""), ("Conv", "ai.onnx"), ("Scaler", "ai.onnx.ml")] {
        assert!(cost_follows_shapes(operator, domain), "{operator}");
    }
    for operator in [
        "Loop",
        "If",
        "Scan",
        "SequenceMap",
        "HammingWindow",
        "MelWeightMatrix",
        "DFT",
        "MaxUnpool",
        "Col2Im",
        "AffineGrid",
        "Resize",
        "OneHot",
        "NonZero",
        "LSTM",
        "NoSuchOperator",
        "Scaler",
    ] {
        assert!(!cost_follows_shapes(operator, ""), "{operator}");
    }
    assert!(!cost_follows_shapes("Gemm", "com.microsoft"), "another domain's");
    assert!(!cost_follows_shapes("TreeEnsembleClassifier", "ai.onnx.ml"));

    let neg = field(1, &field(4, b"Neg"));
    let facts = |graph: &[Vec<u8>]| read(&model(graph)).unwrap();
    assert!(facts(&[neg.clone(), output()]).cost_follows_shapes);
    let branch = field(5, &field(6, &neg));
    let with_branch = field(1, &[field(4, b"Neg"), branch].concat());
    assert!(!facts(&[with_branch, output()]).cost_follows_shapes, "a graph inside");
    let text = field(11, &value_info("x", 8, &[]));
    assert!(!facts(&[neg.clone(), text, output()]).cost_follows_shapes, "text has lengths");
    // An operator of the standard's name that the model defines.
    let own = [model(&[neg, output()]), vec![0xca, 0x01, 5], field(1, b"Neg")].concat();
    assert!(!read(&own).unwrap().cost_follows_shapes);
}

#[test]
fn chains_go_through_subgraphs() {
    let neg = |from: &[u8], to: &[u8]| field(1, &[field(1, from), field(2, to), field(4, b"Neg")].concat());
    let branch =
        field(5, &field(6, &[neg(b"a", b"i"), neg(b"i", b"j"), field(12, &field(1, b"j"))].concat()));
    let parts = [field(1, b"c"), field(2, b"b"), field(4, b"If"), branch].concat();
    let nodes = [neg(b"b", b"y"), field(1, &parts), neg(b"x", b"a")].concat();
    let facts = read(&model(&[nodes, field(12, &value_info("y", 1, &[]))])).unwrap();
    assert_eq!(facts.longest_chain, 1 + (1 + 2) + 1);
}

#[test]
fn types_of_types_and_their_dimensions_have_limits() {
    let nested = |kind: u8, inner: u8, depth: usize| {
        let innermost = field(1, &[1 << 3, 1]);
        (0..depth).fold(innermost, |element, _| field(kind, &field(inner, &element)))
    };
    let error = |graph: Vec<u8>| read(&model(&[graph, field(12, &value_info("y", 1, &[]))])).unwrap_err();
    for (kind, inner) in [(4, 1), (5, 2), (9, 1)] {
        let deep = nested(kind, inner, 20);
        let info = field(2, &deep);
        for number in [11, 12, 13] {
            let facts = read(&model(&[field(number, &info), field(12, &value_info("y", 1, &[]))]));
            assert_eq!(facts.is_ok(), number != 11, "an input of such a type is refused, and others are not");
        }
    }
    let ranks = |count: usize| -> Vec<u8> {
        let shape: Vec<u8> = std::iter::repeat_n(field(1, &[]), count).flatten().collect();
        field(13, &field(2, &field(1, &field(2, &shape))))
    };
    assert!(read(&model(&[ranks(16), field(12, &value_info("y", 1, &[]))])).is_ok());
    assert!(error(ranks(17)).to_string().contains("more than 16 dimensions"));
    let weight: Vec<u8> = std::iter::repeat_n([1 << 3, 1], 17).flatten().collect();
    assert!(error(field(5, &weight)).to_string().contains("has 17 dimensions"));
}

#[test]
fn the_examples_may_be_run_inline() {
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples");
    let facts = |file: &str| std::fs::read(format!("{examples}/{file}")).map(|bytes| read(&bytes).unwrap());
    let digits = facts("digits/model/digits.onnx").unwrap();
    assert!(
        digits.cost_follows_shapes && digits.longest_chain < 100 && digits.longest_sum < 100,
        "{digits:?}"
    );
    // Not on every machine: these are fetched.
    for file in ["embed/model/.fetched/minilm.onnx", "filetype/model/.fetched/magika.onnx"] {
        let Ok(facts) = facts(file) else { continue };
        assert!(facts.cost_follows_shapes, "{file}");
        assert!(facts.longest_chain < 1000 && facts.longest_sum < 1000, "{file}: {facts:?}");
    }
}

#[test]
fn a_model_without_a_tensor_to_give_is_refused() {
    let error = read(&model(&[field(11, &value_info("x", 1, &[]))])).unwrap_err();
    assert_eq!(error.to_string(), "the model declares no output that can be given");
    let sequence = [field(1, b"s"), field(2, &field(4, &field(1, &field(1, &[1 << 3, 1]))))].concat();
    let error = read(&model(&[field(12, &sequence)])).unwrap_err();
    assert!(error.to_string().contains("output `s` is a sequence"), "{error}");
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
