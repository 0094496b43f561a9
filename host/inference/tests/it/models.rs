//! ONNX files made in memory (onnx.proto), small enough to read here.

/// A protocol buffers message under construction.
#[derive(Clone, Default)]
pub struct Message(Vec<u8>);

impl Message {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn int(mut self, field: u64, value: i64) -> Self {
        self.varint(field << 3);
        self.varint(value.cast_unsigned());
        self
    }

    pub fn bytes(mut self, field: u64, value: impl AsRef<[u8]>) -> Self {
        self.varint(field << 3 | 2);
        self.varint(value.as_ref().len() as u64);
        self.0.extend_from_slice(value.as_ref());
        self
    }

    pub fn all(self, field: u64, values: &[Message]) -> Self {
        values.iter().fold(self, |message, value| message.bytes(field, value))
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

impl AsRef<[u8]> for Message {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// `TensorProto.DataType`.
pub const F32: i64 = 1;
pub const I32: i64 = 6;
pub const I64: i64 = 7;
pub const TEXT: i64 = 8;
pub const BOOL: i64 = 9;
pub const F64: i64 = 11;

/// A `ValueInfoProto`. A negative dimension is one that each call chooses.
pub fn value(name: &str, element_type: i64, shape: &[i64]) -> Message {
    let dim = |&dim: &i64| {
        if dim < 0 { Message::new().bytes(2, "n") } else { Message::new().int(1, dim) }
    };
    let dims: Vec<Message> = shape.iter().map(dim).collect();
    let tensor = Message::new().int(1, element_type).bytes(2, Message::new().all(1, &dims));
    Message::new().bytes(1, name).bytes(2, Message::new().bytes(1, tensor))
}

/// A `TensorProto` with its data inside.
pub fn tensor(name: &str, element_type: i64, dims: &[i64], raw: &[u8]) -> Message {
    let message = dims.iter().fold(Message::new(), |message, &dim| message.int(1, dim));
    message.int(2, element_type).bytes(8, name).bytes(9, raw)
}

pub fn f32_tensor(name: &str, dims: &[i64], values: &[f32]) -> Message {
    let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    tensor(name, F32, dims, &raw)
}

/// A `NodeProto`.
pub fn node(operator: &str, inputs: &[&str], outputs: &[&str]) -> Message {
    let message = inputs.iter().fold(Message::new(), |message, input| message.bytes(1, input));
    let message = outputs.iter().fold(message, |message, output| message.bytes(2, output));
    message.bytes(3, outputs.concat()).bytes(4, operator)
}

/// An integer attribute (`AttributeProto`).
pub fn int_attribute(name: &str, value: i64) -> Message {
    Message::new().bytes(1, name).int(3, value).int(20, 2)
}

/// An attribute that is a graph.
pub fn graph_attribute(name: &str, graph: &Message) -> Message {
    Message::new().bytes(1, name).bytes(6, graph).int(20, 5)
}

/// A `GraphProto`.
pub fn graph(nodes: &[Message], inputs: &[Message], outputs: &[Message], weights: &[Message]) -> Message {
    Message::new().all(1, nodes).bytes(2, "g").all(5, weights).all(11, inputs).all(12, outputs)
}

/// A `ModelProto` of opset 17.
pub fn model(graph: &Message) -> Vec<u8> {
    let opset = Message::new().bytes(1, "").int(2, 17);
    Message::new().int(1, 8).bytes(8, opset).bytes(7, graph).0
}

/// `y = x · [[1, 2], [3, 4]] + [10, 20]` over rows, and `m = max(x)` of each row.
pub fn affine() -> Vec<u8> {
    let nodes = [
        node("MatMul", &["x", "w"], &["xw"]),
        node("Add", &["xw", "b"], &["y"]),
        node("ReduceMax", &["x"], &["m"])
            .bytes(5, int_attribute("keepdims", 0))
            .bytes(5, Message::new().bytes(1, "axes").int(8, 1).int(20, 7)),
    ];
    let weights = [f32_tensor("w", &[2, 2], &[1.0, 2.0, 3.0, 4.0]), f32_tensor("b", &[2], &[10.0, 20.0])];
    let outputs = [value("y", F32, &[-1, 2]), value("m", F32, &[-1])];
    model(&graph(&nodes, &[value("x", F32, &[-1, 2])], &outputs, &weights))
}

/// One operator over its inputs, each of one dimension.
pub fn operator(operator: &str, inputs: &[(&str, i64)], output: (&str, i64)) -> Vec<u8> {
    let names: Vec<&str> = inputs.iter().map(|(name, _)| *name).collect();
    let values: Vec<Message> = inputs.iter().map(|(name, t)| value(name, *t, &[-1])).collect();
    model(&graph(&[node(operator, &names, &[output.0])], &values, &[value(output.0, output.1, &[-1])], &[]))
}

/// Multiplies a square matrix of ones with itself as often as the scalar `times` says: as long a
/// run as is wanted, in steps short enough to stop between.
pub fn long_loop() -> Vec<u8> {
    let body = graph(
        &[
            node("Identity", &["go"], &["go_on"]),
            node("MatMul", &["m", "w"], &["mw"]),
            node("Mul", &["mw", "scale"], &["next"]),
        ],
        &[value("i", I64, &[]), value("go", BOOL, &[]), value("m", F32, &[64, 64])],
        &[value("go_on", BOOL, &[]), value("next", F32, &[64, 64])],
        &[],
    );
    let ones = vec![1.0_f32; 64 * 64];
    let weights = [
        f32_tensor("w", &[64, 64], &ones),
        f32_tensor("scale", &[1], &[1.0 / 64.0]),
        tensor("yes", BOOL, &[], &[1]),
    ];
    let nodes = [node("Loop", &["times", "yes", "w"], &["y"]).bytes(5, graph_attribute("body", &body))];
    model(&graph(&nodes, &[value("times", I64, &[])], &[value("y", F32, &[64, 64])], &weights))
}

/// `y = f(f(... f(x)))`, `length` times.
pub fn chain(operator: &str, length: usize) -> Vec<u8> {
    between(length, |from, to| node(operator, &[from], &[to]))
}

/// `y = x^(2^times)`, as so many multiplications of a value with itself.
pub fn squares(times: usize) -> Vec<u8> {
    between(times, |from, to| node("Mul", &[from, from], &[to]))
}

fn between(steps: usize, step: impl Fn(&str, &str) -> Message) -> Vec<u8> {
    let mut names: Vec<String> = (0..=steps).map(|i| format!("v{i}")).collect();
    names[0] = "x".into();
    names[steps] = "y".into();
    let nodes: Vec<Message> = names.windows(2).map(|pair| step(&pair[0], &pair[1])).collect();
    model(&graph(&nodes, &[value("x", F32, &[2])], &[value("y", F32, &[2])], &[]))
}
