//! A model file written by hand, in the wire format of protocol buffers.

/// A field that holds bytes: a text, or another message.
fn bytes(field: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).expect("the messages here are short");
    assert!(length < 0x80, "a longer length takes two bytes");
    [&[field << 3 | 2, length], content].concat()
}

/// A field that holds a small number.
fn number(field: u8, value: u8) -> Vec<u8> {
    vec![field << 3, value]
}

/// `y = x + w`, where the two numbers of `w` are in another file. Field numbers are those of
/// onnx.proto, <https://github.com/onnx/onnx/blob/v1.17.0/onnx/onnx.proto>.
pub fn with_external_weights(location: &str) -> Vec<u8> {
    const FLOAT: u8 = 1;
    const EXTERNAL: u8 = 1;
    let place = [bytes(1, b"location"), bytes(2, location.as_bytes())].concat();
    let weights =
        [number(1, 2), number(2, FLOAT), bytes(8, b"w"), bytes(13, &place), number(14, EXTERNAL)].concat();
    let shape = bytes(1, &number(1, 2));
    let tensor_type = [number(1, FLOAT), bytes(2, &shape)].concat();
    let value = |name: &[u8]| [bytes(1, name), bytes(2, &bytes(1, &tensor_type))].concat();
    let node = [bytes(1, b"x"), bytes(1, b"w"), bytes(2, b"y"), bytes(4, b"Add")].concat();
    let graph = [
        bytes(1, &node),
        bytes(2, b"g"),
        bytes(5, &weights),
        bytes(11, &value(b"x")),
        bytes(12, &value(b"y")),
    ]
    .concat();
    let graph_length = u8::try_from(graph.len() % 0x80).expect("less than 128") | 0x80;
    let graph_rest = u8::try_from(graph.len() / 0x80).expect("the graph is short");
    [number(1, 8), vec![7 << 3 | 2, graph_length, graph_rest], graph, bytes(8, &number(2, 17))].concat()
}
