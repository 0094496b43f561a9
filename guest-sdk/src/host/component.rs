//! The seam inside a component: the imports of the contract under this crate's types.

use wit_bindgen::rt::async_support::{StreamReader, StreamResult, StreamWriter};

use crate::bindings::modelet::inference::{models, tensors};
use crate::bindings::wasi::config::store;
use crate::bindings::wasi::logging::logging;
use crate::element::{ElementType, Elements, ElementsRef, with_element_types};
use crate::error::Error;
use crate::log::Level;
use crate::problem::Problem;
use crate::tensor::TensorInfo;

pub(crate) use super::outgoing::send;

/// What one read of a streamed body asks for. Large enough that the calls cost little beside the
/// copy, small enough for many at once.
const READ_BYTES: usize = 64 << 10;

#[doc(hidden)]
pub struct Tensor(tensors::Tensor);

impl Tensor {
    /// One that came with a request.
    pub(crate) fn received(tensor: tensors::Tensor) -> Self {
        Self(tensor)
    }

    /// For an answer.
    pub(crate) fn sent(self) -> tensors::Tensor {
        self.0
    }

    pub(crate) fn create(shape: &[u64], elements: ElementsRef<'_>) -> Result<Self, Error> {
        Ok(Self(tensors::Tensor::create(shape, elements.into())?))
    }

    pub(crate) fn shape(&self) -> Vec<u64> {
        self.0.shape()
    }

    pub(crate) fn element_type(&self) -> ElementType {
        self.0.element_type().into()
    }

    pub(crate) fn elements(&self) -> Elements {
        self.0.elements().into()
    }
}

pub(crate) struct Model(models::Model);

impl Model {
    pub(crate) async fn load(name: String) -> Result<Self, Error> {
        Ok(Self(models::Model::load(name).await?))
    }

    pub(crate) fn inputs(&self) -> Vec<TensorInfo> {
        self.0.inputs().into_iter().map(TensorInfo::from).collect()
    }

    pub(crate) fn outputs(&self) -> Vec<TensorInfo> {
        self.0.outputs().into_iter().map(TensorInfo::from).collect()
    }

    pub(crate) async fn infer(
        &self,
        inputs: Vec<(String, &Tensor)>,
        outputs: Vec<String>,
    ) -> Result<Vec<(String, Tensor)>, Error> {
        let inputs = inputs.into_iter().map(|(name, tensor)| (name, &tensor.0)).collect();
        let outputs = self.0.infer(inputs, outputs).await?;
        Ok(outputs.into_iter().map(|(name, tensor)| (name, Tensor(tensor))).collect())
    }
}

pub(crate) struct BodyReader {
    stream: StreamReader<u8>,
    ended: bool,
}

impl BodyReader {
    pub(crate) fn new(stream: StreamReader<u8>) -> Self {
        Self { stream, ended: false }
    }

    pub(crate) async fn read(&mut self) -> Option<Vec<u8>> {
        while !self.ended {
            let (result, chunk) = self.stream.read(Vec::with_capacity(READ_BYTES)).await;
            // The last bytes and the end may come together.
            self.ended = !matches!(result, StreamResult::Complete(_));
            if !chunk.is_empty() {
                return Some(chunk);
            }
        }
        None
    }
}

pub(crate) struct BodyWriter(pub(crate) StreamWriter<u8>);

impl BodyWriter {
    pub(crate) async fn write(&mut self, chunk: Vec<u8>) -> bool {
        self.0.write_all(chunk).await.is_empty()
    }

    /// Traps, which is how the contract breaks a response off.
    pub(crate) fn fail(&mut self, problem: Problem) {
        panic!("the response's body failed: {problem}");
    }
}

pub(crate) fn config(key: &str) -> Option<String> {
    match store::get(key) {
        Ok(value) => value,
        // The host answers from memory; if it cannot, nothing that this handler does is sound.
        Err(error) => panic!("the host cannot read its configuration: {error:?}"),
    }
}

pub(crate) fn log(level: Level, context: &str, message: &str) {
    let level = match level {
        Level::Trace => logging::Level::Trace,
        Level::Debug => logging::Level::Debug,
        Level::Info => logging::Level::Info,
        Level::Warn => logging::Level::Warn,
        Level::Error => logging::Level::Error,
        Level::Critical => logging::Level::Critical,
    };
    logging::log(level, context, message);
}

impl From<tensors::Error> for Error {
    fn from(error: tensors::Error) -> Self {
        match error {
            tensors::Error::NotFound(detail) => Self::NotFound(detail),
            tensors::Error::NotAllowed(detail) => Self::NotAllowed(detail),
            tensors::Error::InvalidInput(detail) => Self::InvalidInput(detail),
            tensors::Error::Overloaded(detail) => Self::Overloaded(detail),
            tensors::Error::DeadlineExceeded => Self::DeadlineExceeded,
            tensors::Error::Cancelled => Self::Cancelled,
            tensors::Error::Backend(detail) => Self::Backend(detail),
        }
    }
}

impl From<models::TensorInfo> for TensorInfo {
    fn from(info: models::TensorInfo) -> Self {
        let narrow = |dim: Option<u64>| dim.and_then(|dim| usize::try_from(dim).ok());
        Self {
            name: info.name,
            element_type: info.element_type.into(),
            shape: info.shape.into_iter().map(narrow).collect(),
        }
    }
}

macro_rules! conversions {
    ($($variant:ident)+) => {
        impl From<tensors::ElementType> for ElementType {
            fn from(element_type: tensors::ElementType) -> Self {
                match element_type {
                    $(tensors::ElementType::$variant => Self::$variant,)+
                }
            }
        }

        impl From<tensors::ElementsResult> for Elements {
            fn from(elements: tensors::ElementsResult) -> Self {
                match elements {
                    $(tensors::ElementsResult::$variant(elements) => Self::$variant(elements),)+
                }
            }
        }

        impl<'a> From<ElementsRef<'a>> for tensors::ElementsParam<'a> {
            fn from(elements: ElementsRef<'a>) -> Self {
                match elements {
                    $(ElementsRef::$variant(elements) => Self::$variant(elements),)+
                }
            }
        }
    };
}
with_element_types!(conversions);
