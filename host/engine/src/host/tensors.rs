//! `modelet:inference/tensors`: tensors that live in the host, with their budget.

use half::{bf16, f16};
use modelet_types::tensor::InvalidTensor;
use modelet_types::{ElementType, Tensor};
use wasmtime::component::Resource;

use super::Host;
use super::holdings::{Full, Held};
use crate::bindings::function::modelet::inference::tensors;
use crate::bindings::function::modelet::inference::tensors::{Elements, Error};
use crate::ports::InferError;

/// Tensors by name, as a guest has them.
pub(crate) type HeldTensors = Vec<(String, Resource<Tensor>)>;

impl Host {
    /// Gives the guest a handle to `tensor`, within the limits of tensor bytes and of handles.
    pub(super) fn hold(&mut self, tensor: Tensor) -> Result<Resource<Tensor>, Error> {
        let bytes = tensor.byte_len() as u64;
        let limit = self.limits.tensor_bytes;
        let held = self.holdings.tensor_bytes();
        if bytes > limit.saturating_sub(held) {
            return Err(Error::Overloaded(format!(
                "{held} bytes of tensors are held and {bytes} more are over the limit of {limit} \
                 (limits.tensor_bytes): drop tensors that are no longer needed"
            )));
        }
        let number = self.holdings.push(Held::Tensor(tensor)).map_err(|full| self.handles_full(full))?;
        Ok(Resource::new_own(number))
    }

    pub(super) fn handles_full(&self, _: Full) -> Error {
        let limit = self.limits.handles;
        Error::Overloaded(format!("{limit} handles are held, which is the limit (limits.handles)"))
    }

    /// Gives the guest handles to `tensors`: all of them, or none and an error.
    pub(crate) fn hold_all(&mut self, tensors: Vec<(String, Tensor)>) -> Result<HeldTensors, Error> {
        let mut held = HeldTensors::with_capacity(tensors.len());
        for (name, tensor) in tensors {
            match self.hold(tensor) {
                Ok(handle) => held.push((name, handle)),
                Err(error) => {
                    for (_, handle) in held {
                        self.holdings.remove(handle.rep()).expect("it is held");
                    }
                    return Err(error);
                }
            }
        }
        Ok(held)
    }

    /// Takes the tensor back that the guest gives away.
    pub(crate) fn take(&mut self, handle: &Resource<Tensor>) -> wasmtime::Result<Tensor> {
        let tensor = self.tensor(handle)?;
        self.holdings.remove(handle.rep())?;
        Ok(tensor)
    }

    pub(super) fn tensor(&self, handle: &Resource<Tensor>) -> wasmtime::Result<Tensor> {
        Ok(self.holdings.tensor(handle.rep())?.clone())
    }
}

impl tensors::Host for Host {}

impl tensors::HostTensor for Host {
    fn create(
        &mut self,
        shape: Vec<u64>,
        elements: Elements,
    ) -> wasmtime::Result<Result<Resource<Tensor>, Error>> {
        let tensor = tensor_of(&shape, elements).map_err(|error| Error::InvalidInput(error.to_string()));
        Ok(tensor.and_then(|tensor| self.hold(tensor)))
    }

    fn shape(&mut self, handle: Resource<Tensor>) -> wasmtime::Result<Vec<u64>> {
        Ok(self.holdings.tensor(handle.rep())?.shape().iter().map(|&dim| dim as u64).collect())
    }

    fn element_type(&mut self, handle: Resource<Tensor>) -> wasmtime::Result<tensors::ElementType> {
        Ok(self.holdings.tensor(handle.rep())?.element_type().into())
    }

    fn elements(&mut self, handle: Resource<Tensor>) -> wasmtime::Result<Elements> {
        Ok(elements_of(self.holdings.tensor(handle.rep())?))
    }

    fn drop(&mut self, handle: Resource<Tensor>) -> wasmtime::Result<()> {
        self.holdings.remove(handle.rep())
    }
}

fn tensor_of(shape: &[u64], elements: Elements) -> Result<Tensor, InvalidTensor> {
    let shape: Vec<usize> = shape
        .iter()
        .map(|&dim| usize::try_from(dim).map_err(|_| InvalidTensor::Overflow))
        .collect::<Result<_, _>>()?;
    let shape = &shape[..];
    match elements {
        Elements::Boolean(v) => Tensor::from_bools(shape, &v),
        Elements::U8(v) => Tensor::from_vec(shape, v),
        Elements::U16(v) => Tensor::from_vec(shape, v),
        Elements::U32(v) => Tensor::from_vec(shape, v),
        Elements::U64(v) => Tensor::from_vec(shape, v),
        Elements::I8(v) => Tensor::from_vec(shape, v),
        Elements::I16(v) => Tensor::from_vec(shape, v),
        Elements::I32(v) => Tensor::from_vec(shape, v),
        Elements::I64(v) => Tensor::from_vec(shape, v),
        Elements::F16(v) => Tensor::from_vec(shape, v.into_iter().map(f16::from_bits).collect()),
        Elements::Bf16(v) => Tensor::from_vec(shape, v.into_iter().map(bf16::from_bits).collect()),
        Elements::F32(v) => Tensor::from_vec(shape, v),
        Elements::F64(v) => Tensor::from_vec(shape, v),
        Elements::Text(v) => Tensor::from_texts(shape, v.into_iter().map(String::into_boxed_str).collect()),
    }
}

fn elements_of(tensor: &Tensor) -> Elements {
    fn copy<T: modelet_types::tensor::Element>(tensor: &Tensor) -> Vec<T> {
        tensor.as_slice().expect("the type was looked at").to_vec()
    }
    match tensor.element_type() {
        ElementType::Boolean => {
            let bytes = tensor.as_bools().expect("the type was looked at");
            Elements::Boolean(bytes.iter().map(|&b| b != 0).collect())
        }
        ElementType::U8 => Elements::U8(copy(tensor)),
        ElementType::U16 => Elements::U16(copy(tensor)),
        ElementType::U32 => Elements::U32(copy(tensor)),
        ElementType::U64 => Elements::U64(copy(tensor)),
        ElementType::I8 => Elements::I8(copy(tensor)),
        ElementType::I16 => Elements::I16(copy(tensor)),
        ElementType::I32 => Elements::I32(copy(tensor)),
        ElementType::I64 => Elements::I64(copy(tensor)),
        ElementType::F16 => Elements::F16(copy::<f16>(tensor).into_iter().map(f16::to_bits).collect()),
        ElementType::Bf16 => Elements::Bf16(copy::<bf16>(tensor).into_iter().map(bf16::to_bits).collect()),
        ElementType::F32 => Elements::F32(copy(tensor)),
        ElementType::F64 => Elements::F64(copy(tensor)),
        ElementType::Text => {
            let texts = tensor.as_texts().expect("the type was looked at");
            Elements::Text(texts.iter().map(|text| text.to_string()).collect())
        }
    }
}

impl From<ElementType> for tensors::ElementType {
    fn from(element_type: ElementType) -> Self {
        match element_type {
            ElementType::Boolean => Self::Boolean,
            ElementType::U8 => Self::U8,
            ElementType::U16 => Self::U16,
            ElementType::U32 => Self::U32,
            ElementType::U64 => Self::U64,
            ElementType::I8 => Self::I8,
            ElementType::I16 => Self::I16,
            ElementType::I32 => Self::I32,
            ElementType::I64 => Self::I64,
            ElementType::F16 => Self::F16,
            ElementType::Bf16 => Self::Bf16,
            ElementType::F32 => Self::F32,
            ElementType::F64 => Self::F64,
            ElementType::Text => Self::Text,
        }
    }
}

impl From<InferError> for Error {
    fn from(error: InferError) -> Self {
        match error {
            InferError::NotFound(text) => Self::NotFound(text),
            InferError::NotAllowed(text) => Self::NotAllowed(text),
            InferError::InvalidInput(text) => Self::InvalidInput(text),
            InferError::Overloaded(text) => Self::Overloaded(text),
            InferError::DeadlineExceeded => Self::DeadlineExceeded,
            InferError::Cancelled => Self::Cancelled,
            InferError::Backend(text) => Self::Backend(text),
        }
    }
}
