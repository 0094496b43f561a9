//! Tensors to and from rten's values: borrowed where the element type is rten's own, converted
//! where it is narrower inside.

use half::f16;
use modelet_types::tensor::{Element, InvalidTensor};
use modelet_types::{ElementType, Tensor, TensorInfo};
use rten::{DataType, Value, ValueOrView};
use rten_tensor::{Layout, Tensor as RtenTensor, TensorView};

use super::failed;
use crate::InferenceError;

/// The element type inside rten that a declared one is kept as, if there is one.
pub fn kept_as(declared: ElementType, may_narrow: bool) -> Option<DataType> {
    match declared {
        ElementType::F32 | ElementType::F16 => Some(DataType::Float),
        ElementType::F64 if may_narrow => Some(DataType::Float),
        ElementType::I32 | ElementType::I64 | ElementType::Boolean => Some(DataType::Int32),
        ElementType::I8 => Some(DataType::Int8),
        ElementType::U8 => Some(DataType::UInt8),
        _ => None,
    }
}

/// A tensor of the type that `info` declares, as rten takes it.
pub fn to_rten<'a>(tensor: &'a Tensor, info: &TensorInfo) -> Result<ValueOrView<'a>, InferenceError> {
    Ok(match info.element_type {
        ElementType::F32 => ValueOrView::View(view::<f32>(tensor)?.into()),
        ElementType::I32 => ValueOrView::View(view::<i32>(tensor)?.into()),
        ElementType::I8 => ValueOrView::View(view::<i8>(tensor)?.into()),
        ElementType::U8 => ValueOrView::View(view::<u8>(tensor)?.into()),
        ElementType::I64 => {
            let narrow = |&value: &i64| {
                i32::try_from(value).map_err(|_| {
                    InferenceError::InvalidInput(format!(
                        "input `{}` has the value {value}, and backend `rten` computes with 32-bit integers",
                        info.name
                    ))
                })
            };
            let values = elements::<i64>(tensor)?.iter().map(narrow).collect::<Result<Vec<i32>, _>>()?;
            owned(tensor.shape(), values)?
        }
        ElementType::Boolean => {
            let flags = tensor.as_bools().ok_or_else(|| failed("a tensor changed its type"))?;
            owned(tensor.shape(), flags.iter().map(|&flag| i32::from(flag)).collect())?
        }
        ElementType::F16 => {
            owned(tensor.shape(), elements::<f16>(tensor)?.iter().map(|value| value.to_f32()).collect())?
        }
        #[expect(clippy::cast_possible_truncation, reason = "the manifest chose this backend: module doc")]
        ElementType::F64 => {
            owned(tensor.shape(), elements::<f64>(tensor)?.iter().map(|&value| value as f32).collect())?
        }
        other => return Err(failed(format!("elements of type {other}"))),
    })
}

fn elements<T: Element>(tensor: &Tensor) -> Result<&[T], InferenceError> {
    tensor.as_slice().ok_or_else(|| failed("a tensor changed its type"))
}

fn view<T: Element>(tensor: &Tensor) -> Result<TensorView<'_, T>, InferenceError> {
    TensorView::try_from_data(tensor.shape(), elements(tensor)?).map_err(failed)
}

fn owned<T>(shape: &[usize], values: Vec<T>) -> Result<ValueOrView<'static>, InferenceError>
where
    Value: From<RtenTensor<T>>,
{
    let tensor = RtenTensor::try_from_data(shape, values).map_err(failed)?;
    Ok(ValueOrView::Value(tensor.into()))
}

/// What rten gave for the output that `info` declares.
pub fn from_rten(value: Value, info: &TensorInfo) -> Result<Tensor, InferenceError> {
    let tensor = match (value, info.element_type) {
        (Value::FloatTensor(tensor), ElementType::F32) => keep(tensor),
        (Value::FloatTensor(tensor), ElementType::F16) => convert(tensor, f16::from_f32),
        (Value::FloatTensor(tensor), ElementType::F64) => convert(tensor, |value: f32| f64::from(value)),
        (Value::Int32Tensor(tensor), ElementType::I32) => keep(tensor),
        (Value::Int32Tensor(tensor), ElementType::I64) => convert(tensor, |value: i32| i64::from(value)),
        (Value::Int32Tensor(tensor), ElementType::Boolean) => {
            let shape = tensor.shape().to_vec();
            let flags: Vec<bool> = tensor.into_data().into_iter().map(|value| value != 0).collect();
            Tensor::from_bools(&shape, &flags)
        }
        (Value::Int8Tensor(tensor), ElementType::I8) => keep(tensor),
        (Value::UInt8Tensor(tensor), ElementType::U8) => keep(tensor),
        (other, declared) => {
            let found = other.dtype();
            return Err(failed(format!("output `{}` is {found}, but declared as {declared}", info.name)));
        }
    };
    tensor.map_err(|e| failed(format!("output `{}`: {e}", info.name)))
}

fn keep<T: Element>(tensor: RtenTensor<T>) -> Result<Tensor, InvalidTensor> {
    let shape = tensor.shape().to_vec();
    Tensor::from_vec(&shape, tensor.into_data())
}

fn convert<T: Copy, U: Element>(tensor: RtenTensor<T>, to: impl Fn(T) -> U) -> Result<Tensor, InvalidTensor> {
    let shape = tensor.shape().to_vec();
    Tensor::from_vec(&shape, tensor.into_data().into_iter().map(to).collect())
}
