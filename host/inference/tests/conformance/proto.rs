//! What the tests have in their files (onnx.proto), as far as it is needed to run them. The host's own
//! reader steps over the data of tensors, and would be judged by itself if it read these.

use bytes::Bytes;
use modelet_types::tensor::Shape;
use modelet_types::{ElementType, Tensor};
use prost::Message;

#[derive(Clone, PartialEq, Message)]
pub struct ModelProto {
    #[prost(message, optional, tag = "7")]
    pub graph: Option<GraphProto>,
}

#[derive(Clone, PartialEq, Message)]
pub struct GraphProto {
    #[prost(message, repeated, tag = "11")]
    pub input: Vec<ValueInfoProto>,
    #[prost(message, repeated, tag = "12")]
    pub output: Vec<ValueInfoProto>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ValueInfoProto {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, optional, tag = "2")]
    pub declared: Option<TypeProto>,
}

#[derive(Clone, PartialEq, Message)]
pub struct TypeProto {
    #[prost(message, optional, tag = "1")]
    pub tensor: Option<TensorTypeProto>,
}

#[derive(Clone, PartialEq, Message)]
pub struct TensorTypeProto {
    #[prost(int32, tag = "1")]
    pub element_type: i32,
}

impl ValueInfoProto {
    /// `TensorProto.DataType` of a tensor; `None` for what is no tensor.
    pub fn element_type(&self) -> Option<i32> {
        Some(self.declared.as_ref()?.tensor.as_ref()?.element_type)
    }
}

#[derive(Clone, PartialEq, Message)]
pub struct TensorProto {
    #[prost(int64, repeated, tag = "1")]
    pub dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    pub data_type: i32,
    #[prost(float, repeated, tag = "4")]
    pub float_data: Vec<f32>,
    /// Of every type of up to 32 bits, the 16-bit floats as their bits among them.
    #[prost(int32, repeated, tag = "5")]
    pub int32_data: Vec<i32>,
    #[prost(bytes = "vec", repeated, tag = "6")]
    pub string_data: Vec<Vec<u8>>,
    #[prost(int64, repeated, tag = "7")]
    pub int64_data: Vec<i64>,
    #[prost(bytes = "vec", optional, tag = "9")]
    pub raw_data: Option<Vec<u8>>,
    #[prost(double, repeated, tag = "10")]
    pub double_data: Vec<f64>,
    #[prost(uint64, repeated, tag = "11")]
    pub uint64_data: Vec<u64>,
}

pub const UINT16: i32 = 4;
pub const BFLOAT16: i32 = 16;

impl TensorProto {
    /// The tensor that is written here; or why the host has none like it.
    pub fn to_tensor(&self) -> Result<Tensor, String> {
        let shape: Shape = self.dims.iter().map(|&dim| usize::try_from(dim).unwrap()).collect();
        let element_type = self.element_type()?;
        if element_type == ElementType::Text {
            let text = |bytes: &Vec<u8>| String::from_utf8(bytes.clone()).map(String::into_boxed_str);
            let texts: Result<_, _> = self.string_data.iter().map(text).collect();
            let texts = texts.map_err(|_| "a text is not UTF-8")?;
            return Tensor::from_texts(&shape, texts).map_err(|error| error.to_string());
        }
        let bytes = self.raw_data.clone().unwrap_or_else(|| self.listed(element_type));
        Tensor::from_le_bytes(&shape, element_type, Bytes::from(bytes)).map_err(|error| error.to_string())
    }

    /// The elements of the list that holds those of this type, as bytes.
    fn listed(&self, element_type: ElementType) -> Vec<u8> {
        fn bytes<T: Copy, const N: usize>(list: &[T], of: impl Fn(T) -> [u8; N]) -> Vec<u8> {
            list.iter().flat_map(|&element| of(element)).collect()
        }
        match element_type {
            ElementType::F32 => bytes(&self.float_data, f32::to_le_bytes),
            ElementType::F64 => bytes(&self.double_data, f64::to_le_bytes),
            ElementType::I64 => bytes(&self.int64_data, i64::to_le_bytes),
            ElementType::U64 => bytes(&self.uint64_data, u64::to_le_bytes),
            ElementType::U32 => bytes(&self.uint64_data, |n| u32::try_from(n).unwrap().to_le_bytes()),
            ElementType::I32 => bytes(&self.int32_data, i32::to_le_bytes),
            ElementType::Boolean | ElementType::U8 | ElementType::I8 => {
                bytes(&self.int32_data, |n| [n as u8])
            }
            ElementType::U16 | ElementType::I16 | ElementType::F16 | ElementType::Bf16 => {
                bytes(&self.int32_data, |n| (n as u16).to_le_bytes())
            }
            ElementType::Text => unreachable!("texts are no bytes of one size"),
        }
    }

    /// `TensorProto.DataType`.
    fn element_type(&self) -> Result<ElementType, String> {
        Ok(match self.data_type {
            1 => ElementType::F32,
            2 => ElementType::U8,
            3 => ElementType::I8,
            UINT16 => ElementType::U16,
            5 => ElementType::I16,
            6 => ElementType::I32,
            7 => ElementType::I64,
            8 => ElementType::Text,
            9 => ElementType::Boolean,
            10 => ElementType::F16,
            11 => ElementType::F64,
            12 => ElementType::U32,
            13 => ElementType::U64,
            BFLOAT16 => ElementType::Bf16,
            other => return Err(format!("the host has no element type {other}")),
        })
    }
}
