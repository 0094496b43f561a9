//! The seam outside a component: tensors in this process, and everything else from the test host
//! that runs the handler.
//!
//! Tensors need no test host, so that `preprocess` and `postprocess` can be tested by themselves.
//! They know no limits; those belong to the real host.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::element::{ElementType, Elements, ElementsRef};
use crate::error::Error;
use crate::http;
use crate::log::Level;
use crate::problem::Problem;
use crate::tensor::TensorInfo;
use crate::testing::{TestModel, World};

/// The most dimensions that a host accepts.
const MAX_RANK: usize = 16;

thread_local! {
    /// The world of the future that is being polled on this thread.
    static WORLD: RefCell<Option<Arc<World>>> = const { RefCell::new(None) };
}

fn world() -> Option<Arc<World>> {
    WORLD.with_borrow(Clone::clone)
}

/// Puts its world in place whenever `future` is polled, so that test hosts on several threads, or
/// taking turns on one, do not see each other's.
pub(crate) struct InWorld<F> {
    world: Arc<World>,
    future: Pin<Box<F>>,
}

impl<F: Future> InWorld<F> {
    pub(crate) fn new(world: Arc<World>, future: F) -> Self {
        Self { world, future: Box::pin(future) }
    }
}

impl<F: Future> Future for InWorld<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        /// Gives the thread back as it was, also when the handler panics.
        struct Restore(Option<Arc<World>>);
        impl Drop for Restore {
            fn drop(&mut self) {
                WORLD.set(self.0.take());
            }
        }
        let _restore = Restore(WORLD.replace(Some(self.world.clone())));
        self.future.as_mut().poll(context)
    }
}

struct Held {
    shape: Vec<u64>,
    elements: Elements,
}

#[doc(hidden)]
#[derive(Clone)]
pub struct Tensor(Arc<Held>);

impl Tensor {
    pub(crate) fn create(shape: &[u64], elements: ElementsRef<'_>) -> Result<Self, Error> {
        let elements = Elements::from(elements);
        if shape.len() > MAX_RANK {
            return Err(Error::InvalidInput(format!("{} dimensions are more than {MAX_RANK}", shape.len())));
        }
        let wanted = shape
            .iter()
            .try_fold(1_u64, |product, &dim| product.checked_mul(dim))
            .ok_or_else(|| Error::InvalidInput("the shape has more elements than can be counted".into()))?;
        if wanted != elements.len() as u64 {
            return Err(Error::InvalidInput(format!(
                "shape {shape:?} has {wanted} elements, but {} were given",
                elements.len()
            )));
        }
        Ok(Self(Arc::new(Held { shape: shape.to_vec(), elements })))
    }

    pub(crate) fn shape(&self) -> Vec<u64> {
        self.0.shape.clone()
    }

    pub(crate) fn element_type(&self) -> ElementType {
        self.0.elements.element_type()
    }

    pub(crate) fn elements(&self) -> Elements {
        self.0.elements.clone()
    }
}

impl From<ElementsRef<'_>> for Elements {
    fn from(elements: ElementsRef<'_>) -> Self {
        macro_rules! by_type {
            ($($variant:ident)+) => {
                match elements {
                    $(ElementsRef::$variant(elements) => Self::$variant(elements.to_vec()),)+
                    ElementsRef::Text(texts) => Self::Text(texts.iter().map(|&text| text.into()).collect()),
                }
            };
        }
        by_type! { Boolean U8 U16 U32 U64 I8 I16 I32 I64 F16 Bf16 F32 F64 }
    }
}

pub(crate) struct Model(Arc<dyn TestModel>);

impl Model {
    pub(crate) async fn load(name: String) -> Result<Self, Error> {
        let Some(world) = world() else {
            return Err(Error::NotFound(format!(
                "there is no model `{name}` outside a host; call the handler through a `TestHost`"
            )));
        };
        world.model(&name).map(Self)
    }

    pub(crate) fn inputs(&self) -> Vec<TensorInfo> {
        self.0.inputs()
    }

    pub(crate) fn outputs(&self) -> Vec<TensorInfo> {
        self.0.outputs()
    }

    pub(crate) async fn infer(
        &self,
        inputs: Vec<(String, &Tensor)>,
        outputs: Vec<String>,
    ) -> Result<Vec<(String, Tensor)>, Error> {
        let inputs: Vec<_> =
            inputs.into_iter().map(|(name, tensor)| (name, crate::Tensor(tensor.clone()))).collect();
        let mut given = self.0.infer(&inputs.into_iter().collect())?;
        if outputs.is_empty() {
            return Ok(given.into_iter().map(|(name, tensor)| (name, tensor.0)).collect());
        }
        outputs.into_iter().map(|name| given.take(&name).map(|tensor| (name, tensor.0))).collect()
    }
}

pub(crate) struct BodyReader(pub(crate) VecDeque<Vec<u8>>);

impl BodyReader {
    pub(crate) async fn read(&mut self) -> Option<Vec<u8>> {
        self.0.pop_front()
    }
}

/// What a streamed response has written, how many chunks its caller stays for, and why it failed.
#[derive(Default)]
pub(crate) struct Written {
    pub(crate) chunks: Vec<Vec<u8>>,
    pub(crate) caller_leaves_after: Option<usize>,
    pub(crate) failure: Option<Problem>,
}

pub(crate) struct BodyWriter(pub(crate) Rc<RefCell<Written>>);

impl BodyWriter {
    pub(crate) async fn write(&mut self, chunk: Vec<u8>) -> bool {
        let mut written = self.0.borrow_mut();
        if written.caller_leaves_after.is_some_and(|most| written.chunks.len() >= most) {
            return false;
        }
        written.chunks.push(chunk);
        true
    }

    pub(crate) fn fail(&mut self, problem: Problem) {
        self.0.borrow_mut().failure = Some(problem);
    }
}

pub(crate) async fn send(request: http::Request) -> Result<http::Response, Error> {
    // As on a host.
    http::parts_of(&request.url)?;
    match world() {
        Some(world) => world.http(&request),
        None => Err(Error::NotAllowed("there is nobody to ask outside a host; use a `TestHost`".into())),
    }
}

pub(crate) fn config(key: &str) -> Option<String> {
    world().and_then(|world| world.config(key))
}

pub(crate) fn log(level: Level, context: &str, message: &str) {
    match world() {
        Some(world) => world.log(level, context, message),
        None => eprintln!("{level} {context}: {message}"),
    }
}
