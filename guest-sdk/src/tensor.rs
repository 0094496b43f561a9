//! Tensors held by the host.
//!
//! A handler makes them from slices and reads them back as vectors. Between models they are handed
//! on as they are: their elements never enter the handler.

#[cfg(feature = "ndarray")]
mod array;

use std::fmt;

use crate::element::{Element, ElementType, Elements, ElementsRef};
use crate::error::Error;
use crate::host;

/// A tensor held by the host. Immutable; dropping it gives its memory back.
///
/// ```
/// use modelet_sdk::Tensor;
///
/// let tensor = Tensor::new([2, 2], [1.0_f32, 2.0, 3.0, 4.0])?;
/// assert_eq!(tensor.shape(), [2, 2]);
/// assert_eq!(tensor.to_vec::<f32>()?[3], 4.0);
/// # Ok::<(), modelet_sdk::Error>(())
/// ```
pub struct Tensor(pub(crate) host::Tensor);

impl Tensor {
    /// A tensor of `shape` (outermost dimension first, `[]` for a scalar) with `elements` in
    /// row-major order, given as a slice, an array or a vector.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] if the number of elements is not the product of the shape,
    /// [`Error::Overloaded`] if the invocation's limit of live tensor bytes or of handles is
    /// reached.
    pub fn new<T: Element>(shape: impl AsRef<[usize]>, elements: impl AsRef<[T]>) -> Result<Self, Error> {
        T::create(&wide(shape.as_ref()), elements.as_ref()).map(Self)
    }

    /// A tensor of texts. See [`Tensor::new`].
    ///
    /// # Errors
    /// As for [`Tensor::new`].
    pub fn from_texts<S: AsRef<str>>(shape: impl AsRef<[usize]>, texts: &[S]) -> Result<Self, Error> {
        let texts: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
        host::Tensor::create(&wide(shape.as_ref()), ElementsRef::Text(&texts)).map(Self)
    }

    /// A tensor of elements whose type is known when the handler runs only.
    ///
    /// # Errors
    /// As for [`Tensor::new`].
    pub fn from_elements(shape: impl AsRef<[usize]>, elements: &Elements) -> Result<Self, Error> {
        let shape = wide(shape.as_ref());
        let create = |elements| host::Tensor::create(&shape, elements).map(Self);
        macro_rules! by_type {
            ($($variant:ident)+) => {
                match elements {
                    $(Elements::$variant(elements) => create(ElementsRef::$variant(elements)),)+
                    Elements::Text(texts) => {
                        create(ElementsRef::Text(&texts.iter().map(String::as_str).collect::<Vec<_>>()))
                    }
                }
            };
        }
        by_type! { Boolean U8 U16 U32 U64 I8 I16 I32 I64 F16 Bf16 F32 F64 }
    }

    /// The dimensions, outermost first; empty for a scalar.
    pub fn shape(&self) -> Vec<usize> {
        let narrow = |dim| usize::try_from(dim).expect("a tensor in memory has dimensions that fit it");
        self.0.shape().into_iter().map(narrow).collect()
    }

    /// The type of every element.
    pub fn element_type(&self) -> ElementType {
        self.0.element_type()
    }

    /// A copy of the elements, whatever their type.
    pub fn elements(&self) -> Elements {
        self.0.elements()
    }

    /// A copy of the elements in row-major order.
    ///
    /// # Errors
    /// [`Error::WrongElementType`] if they are not of type `T`.
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>, Error> {
        let elements = self.elements();
        let got = elements.element_type();
        T::take(elements).ok_or(Error::WrongElementType { wanted: T::TYPE, got })
    }

    /// The only element.
    ///
    /// # Errors
    /// [`Error::WrongElementType`] if it is not of type `T`, [`Error::WrongShape`] if there is not
    /// exactly one.
    pub fn to_scalar<T: Element>(&self) -> Result<T, Error> {
        let mut elements = self.to_vec::<T>()?;
        match (elements.pop(), elements.is_empty()) {
            (Some(element), true) => Ok(element),
            _ => Err(Error::WrongShape { wanted: "one element".into(), got: self.shape() }),
        }
    }
}

#[cfg(not(target_family = "wasm"))]
impl Tensor {
    /// The same tensor once more, for a double that gives it out several times. A component cannot:
    /// the contract's handles have one owner.
    pub(crate) fn share(&self) -> Self {
        Self(self.0.clone())
    }
}

impl fmt::Debug for Tensor {
    /// Shape and type only: tensors are a caller's data and do not belong in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?}", self.element_type(), self.shape())
    }
}

/// One declared input or output of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorInfo {
    /// The name by which it is given or asked for.
    pub name: String,
    /// What every element is.
    pub element_type: ElementType,
    /// The dimensions, outermost first; `None` where each call chooses.
    pub shape: Vec<Option<usize>>,
}

fn wide(shape: &[usize]) -> Vec<u64> {
    shape.iter().map(|&dim| dim as u64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_comes_back_as_it_went() {
        fn check<T: Element + PartialEq + fmt::Debug>(element: T) {
            let tensor = Tensor::new([1, 2], vec![element.clone(), element.clone()]).unwrap();
            assert_eq!(tensor.element_type(), T::TYPE);
            assert_eq!(tensor.to_vec::<T>().unwrap(), [element.clone(), element]);
            let again = Tensor::from_elements(tensor.shape(), &tensor.elements()).unwrap();
            assert_eq!(again.elements(), tensor.elements());
        }
        check(true);
        check(1_u8);
        check(2_u16);
        check(3_u32);
        check(4_u64);
        check(-1_i8);
        check(-2_i16);
        check(-3_i32);
        check(-4_i64);
        check(0.5_f32);
        check(0.25_f64);
        check("text".to_owned());
        #[cfg(feature = "half")]
        {
            check(half::f16::from_f32(0.5));
            check(half::bf16::from_f32(0.5));
        }
    }

    #[test]
    fn takes_slices_arrays_and_vectors() {
        let elements = vec![1.0_f32, 2.0];
        Tensor::new([2], &elements[..]).unwrap();
        Tensor::new([2], &elements).unwrap();
        Tensor::new(vec![2], [1.0_f32, 2.0]).unwrap();
        assert_eq!(Tensor::from_texts([2], &["a", "b"]).unwrap().to_vec::<String>().unwrap(), ["a", "b"]);
    }

    #[test]
    fn says_what_does_not_fit() {
        let error = Tensor::new([2, 3], [0_u8; 5]).unwrap_err();
        assert_eq!(error.to_string(), "shape [2, 3] has 6 elements, but 5 were given");
        let tensor = Tensor::new([2], [1_i64, 2]).unwrap();
        let error = tensor.to_vec::<f32>().unwrap_err();
        assert_eq!(error.to_string(), "the elements are of type i64, but were asked for as f32");
        let error = tensor.to_scalar::<i64>().unwrap_err();
        assert_eq!(error.to_string(), "the tensor has shape [2], but one element was asked for");
        assert_eq!(Tensor::new([], [7_i64]).unwrap().to_scalar::<i64>(), Ok(7));
    }

    #[test]
    fn debug_shows_no_data() {
        assert_eq!(format!("{:?}", Tensor::new([1, 2], [41.5_f32, 42.5]).unwrap()), "f32[1, 2]");
    }
}
