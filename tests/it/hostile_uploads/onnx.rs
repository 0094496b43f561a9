//! A model file written by hand, in the wire format of protocol buffers.

/// A field that holds bytes: a text, or another message.
fn bytes(field: u8, content: &[u8]) -> Vec<u8> {
    let mut head = vec![field << 3 | 2];
    let mut length = content.len();
    while length >= 0x80 {
        head.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    head.push(length as u8);
    [&head[..], content].concat()
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
    model(&graph)
}

fn model(graph: &[u8]) -> Vec<u8> {
    [number(1, 8), bytes(7, graph), bytes(8, &number(2, 17))].concat()
}

/// A value of two numbers.
fn numbers(name: &str) -> Vec<u8> {
    let shape = bytes(1, &number(1, 2));
    let tensor_type = [number(1, 1), bytes(2, &shape)].concat();
    [bytes(1, name.as_bytes()), bytes(2, &bytes(1, &tensor_type))].concat()
}

fn node(operator: &str, from: &str, to: &str) -> Vec<u8> {
    let [from, to] = [bytes(1, from.as_bytes()), bytes(2, to.as_bytes())];
    bytes(1, &[from, to, bytes(4, operator.as_bytes())].concat())
}

/// `y = -x`, and an output that is a sequence of sequences, and so on.
pub fn with_nested_type(depth: usize) -> Vec<u8> {
    // Sequences of f32 tensors.
    let nested = (0..depth).fold(bytes(1, &number(1, 1)), |element, _| bytes(4, &bytes(1, &element)));
    let output = [bytes(1, b"z"), bytes(2, &nested)].concat();
    let graph =
        [node("Neg", "x", "y"), bytes(11, &numbers("x")), bytes(12, &numbers("y")), bytes(12, &output)];
    model(&graph.concat())
}

/// `y = -(-(... -x))`.
pub fn with_chain(length: usize) -> Vec<u8> {
    let name = |index: usize| match index {
        0 => "x".to_owned(),
        index if index == length => "y".to_owned(),
        index => format!("v{index}"),
    };
    let nodes = (0..length).flat_map(|index| node("Neg", &name(index), &name(index + 1)));
    let graph: Vec<u8> = nodes.chain(bytes(11, &numbers("x"))).chain(bytes(12, &numbers("y"))).collect();
    model(&graph)
}
