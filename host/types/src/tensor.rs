//! Tensors: a shape, an element type and immutable, counted data.

mod element;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

pub use element::{Element, ElementType};

/// Dimensions, outermost first. Four fit without an allocation.
pub type Shape = SmallVec<[usize; 4]>;

/// The most dimensions that a tensor may have; no real model has more.
pub const MAX_RANK: usize = 16;

/// Why a tensor cannot be made.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum InvalidTensor {
    /// The product of the shape is not the number of elements.
    #[error("shape {shape:?} has {wanted} elements, but {got} were given")]
    Length {
        /// The shape that was asked for.
        shape: Shape,
        /// Its product.
        wanted: usize,
        /// The number of elements given.
        got: usize,
    },
    /// The product of the shape is more than a machine word.
    #[error("the shape has more elements than can be counted")]
    Overflow,
    /// More dimensions than [`MAX_RANK`].
    #[error("{0} dimensions are more than {MAX_RANK}")]
    Rank(usize),
}

/// The number of elements that `shape` describes; 1 for a scalar.
///
/// # Errors
/// If the product does not fit a `usize`, or there are more than [`MAX_RANK`] dimensions.
pub fn element_count(shape: &[usize]) -> Result<usize, InvalidTensor> {
    // A zero makes the product 0 however large the rest is, so it must not hide an overflow.
    extent(shape)?;
    Ok(shape.iter().product())
}

/// What the dimensions that are not 0 make together: what a model may make of a tensor without elements.
///
/// # Errors
/// As for [`element_count`].
pub fn extent(shape: &[usize]) -> Result<usize, InvalidTensor> {
    if shape.len() > MAX_RANK {
        return Err(InvalidTensor::Rank(shape.len()));
    }
    shape
        .iter()
        .try_fold(1_usize, |product, &dim| product.checked_mul(dim.max(1)))
        .ok_or(InvalidTensor::Overflow)
}

/// The elements in row-major order.
#[derive(Clone)]
enum Data {
    /// Native-endian elements of one size, aligned for their type when made from a `Vec` of it.
    Fixed(Bytes),
    Text(Arc<[Box<str>]>),
}

/// A tensor. Cloning shares the data.
#[derive(Clone)]
pub struct Tensor {
    shape: Shape,
    element_type: ElementType,
    data: Data,
}

impl Tensor {
    /// Takes over `elements` without a copy.
    ///
    /// # Errors
    /// If their number is not the product of `shape`.
    pub fn from_vec<T: Element>(shape: &[usize], elements: Vec<T>) -> Result<Self, InvalidTensor> {
        check_length(shape, elements.len())?;
        let data = Bytes::from_owner(AsBytes(elements));
        Ok(Self { shape: shape.into(), element_type: T::TYPE, data: Data::Fixed(data) })
    }

    /// A tensor of truth values.
    ///
    /// # Errors
    /// If their number is not the product of `shape`.
    pub fn from_bools(shape: &[usize], elements: &[bool]) -> Result<Self, InvalidTensor> {
        check_length(shape, elements.len())?;
        let data = elements.iter().map(|&b| u8::from(b)).collect::<Vec<_>>().into();
        Ok(Self { shape: shape.into(), element_type: ElementType::Boolean, data: Data::Fixed(data) })
    }

    /// Reads elements from little-endian bytes: without a copy where they are aligned. A truth value is
    /// one byte, and true unless 0.
    ///
    /// # Errors
    /// If the bytes are not as many as `shape` needs. Text has no such form: it has as many elements as
    /// the bytes would be texts of no length.
    pub fn from_le_bytes(
        shape: &[usize],
        element_type: ElementType,
        bytes: Bytes,
    ) -> Result<Self, InvalidTensor> {
        const { assert!(cfg!(target_endian = "little"), "the elements of tensors are native-endian") };
        let size = element_type.size_bytes().unwrap_or(usize::MAX);
        if !bytes.len().is_multiple_of(size) {
            let wanted = element_count(shape)?;
            return Err(InvalidTensor::Length { shape: shape.into(), wanted, got: bytes.len() / size });
        }
        check_length(shape, bytes.len() / size)?;
        let data = match element_type {
            ElementType::Boolean => bytes.iter().map(|&b| u8::from(b != 0)).collect::<Vec<_>>().into(),
            // Every other size is also the alignment.
            _ if bytes.as_ptr().addr().is_multiple_of(size) => bytes,
            _ => aligned(&bytes),
        };
        Ok(Self { shape: shape.into(), element_type, data: Data::Fixed(data) })
    }

    /// A tensor of texts.
    ///
    /// # Errors
    /// If their number is not the product of `shape`.
    pub fn from_texts(shape: &[usize], elements: Vec<Box<str>>) -> Result<Self, InvalidTensor> {
        check_length(shape, elements.len())?;
        let data = Data::Text(elements.into());
        Ok(Self { shape: shape.into(), element_type: ElementType::Text, data })
    }

    /// The dimensions, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// What every element is.
    pub fn element_type(&self) -> ElementType {
        self.element_type
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Memory that the data takes, for budgets: what the elements hold and, for text, their handles.
    pub fn byte_len(&self) -> usize {
        match &self.data {
            Data::Fixed(bytes) => bytes.len(),
            Data::Text(texts) => texts.iter().map(|t| t.len() + size_of::<Box<str>>()).sum(),
        }
    }

    /// The elements, if they are of type `T`.
    pub fn as_slice<T: Element>(&self) -> Option<&[T]> {
        match &self.data {
            Data::Fixed(bytes) if self.element_type == T::TYPE => {
                Some(bytemuck::try_cast_slice(bytes).expect("data of a tensor is aligned for its type"))
            }
            _ => None,
        }
    }

    /// The truth values as bytes 0 and 1, if they are that.
    pub fn as_bools(&self) -> Option<&[u8]> {
        match &self.data {
            Data::Fixed(bytes) if self.element_type == ElementType::Boolean => Some(bytes),
            _ => None,
        }
    }

    /// The bytes of the elements, native-endian and aligned for their type; `None` for text.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match &self.data {
            Data::Fixed(bytes) => Some(bytes),
            Data::Text(_) => None,
        }
    }

    /// The texts, if they are that.
    pub fn as_texts(&self) -> Option<&[Box<str>]> {
        match &self.data {
            Data::Text(texts) => Some(texts),
            Data::Fixed(_) => None,
        }
    }
}

/// Putting tensors together along their first dimension, and taking them apart again.
impl Tensor {
    /// The tensors one after another. They are of one type and have the same dimensions after the first;
    /// with `pad`, the second may differ, and the shorter ones are filled up with that value. `None` if they
    /// do not fit together, or are texts to be filled up.
    pub fn concat(tensors: &[&Self], pad: Option<i64>) -> Option<Self> {
        let (first, others) = tensors.split_first()?;
        let open = if pad.is_some() { 2 } else { 1 };
        let fits = |other: &&Self| {
            other.element_type == first.element_type
                && other.shape.len() == first.shape.len()
                && other.shape.get(open..) == first.shape.get(open..)
        };
        if first.shape.len() < open || !others.iter().all(fits) {
            return None;
        }
        let mut shape = first.shape.clone();
        shape[0] = tensors.iter().map(|tensor| tensor.shape[0]).sum();
        if pad.is_some() {
            shape[1] = tensors.iter().map(|tensor| tensor.shape[1]).max()?;
        }
        let count = element_count(&shape).ok()?;
        let data = match first.element_type.size_bytes() {
            None if pad.is_some() => return None,
            None => {
                Data::Text(tensors.iter().flat_map(|t| t.as_texts().unwrap_or_default()).cloned().collect())
            }
            Some(size) => {
                let row = |tensor: &Self| tensor.shape[1..].iter().product::<usize>() * size;
                let mut buffer = Buffer::of(count.checked_mul(size)?);
                for tensor in tensors {
                    let bytes = tensor.as_bytes()?;
                    let row = row(tensor);
                    let wide = shape[1..].iter().product::<usize>() * size;
                    if row == wide {
                        buffer.push(bytes);
                        continue;
                    }
                    let filling = first.element_type.le_bytes(pad?)?.repeat((wide - row) / size);
                    for index in 0..tensor.shape[0] {
                        buffer.push(&bytes[index * row..(index + 1) * row]);
                        buffer.push(&filling);
                    }
                }
                Data::Fixed(buffer.finish())
            }
        };
        Some(Self { shape, element_type: first.element_type, data })
    }

    /// A copy of the rows of a range, which does not keep the others in memory; `None` if there are not so
    /// many.
    pub fn rows(&self, range: std::ops::Range<usize>) -> Option<Self> {
        let all = *self.shape.first()?;
        if range.start > range.end || range.end > all {
            return None;
        }
        let row: usize = self.shape[1..].iter().product();
        let mut shape = self.shape.clone();
        shape[0] = range.len();
        let data = match &self.data {
            Data::Fixed(bytes) => {
                let row = row * self.element_type.size_bytes()?;
                Data::Fixed(aligned(&bytes[range.start * row..range.end * row]))
            }
            Data::Text(texts) => Data::Text(texts[range.start * row..range.end * row].into()),
        };
        Some(Self { shape, element_type: self.element_type, data })
    }
}

impl fmt::Debug for Tensor {
    /// Shape and type only: tensors are a caller's data and do not belong in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?}", self.element_type, &self.shape[..])
    }
}

fn check_length(shape: &[usize], got: usize) -> Result<(), InvalidTensor> {
    let wanted = element_count(shape)?;
    if wanted == got {
        return Ok(());
    }
    Err(InvalidTensor::Length { shape: shape.into(), wanted, got })
}

/// A copy that is aligned for every element type.
fn aligned(bytes: &[u8]) -> Bytes {
    let mut buffer = Buffer::of(bytes.len());
    buffer.push(bytes);
    buffer.finish()
}

/// Bytes that are written one after another, aligned for every element type.
struct Buffer {
    words: Vec<u64>,
    written: usize,
}

impl Buffer {
    fn of(bytes: usize) -> Self {
        Self { words: vec![0; bytes.div_ceil(size_of::<u64>())], written: 0 }
    }

    fn push(&mut self, bytes: &[u8]) {
        let end = self.written + bytes.len();
        bytemuck::cast_slice_mut(&mut self.words)[self.written..end].copy_from_slice(bytes);
        self.written = end;
    }

    fn finish(self) -> Bytes {
        Bytes::from_owner(AsBytes(self.words)).slice(..self.written)
    }
}

/// Lets `Bytes` own a typed vector, so that its alignment is kept.
struct AsBytes<T>(Vec<T>);

impl<T: Element> AsRef<[u8]> for AsBytes<T> {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

/// One declared input or output of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TensorInfo {
    /// The name by which it is given or asked for.
    pub name: String,
    /// What every element is.
    pub element_type: ElementType,
    /// The dimensions, outermost first; `None` where each call chooses.
    pub shape: Vec<Option<usize>>,
}

impl TensorInfo {
    /// Says what keeps `tensor` from being this input, if anything does.
    pub fn mismatch(&self, tensor: &Tensor) -> Option<String> {
        self.difference(tensor).map(|difference| format!("input `{}` takes {difference}", self.name))
    }

    /// Says in what `tensor` is not as it is declared here, if in anything: what is declared, and what it has.
    pub fn difference(&self, tensor: &Tensor) -> Option<String> {
        if tensor.element_type() != self.element_type {
            let (declared, got) = (self.element_type, tensor.element_type());
            return Some(format!("elements of type {declared}, but got {got}"));
        }
        let fits = self.shape.len() == tensor.shape().len()
            && self.shape.iter().zip(tensor.shape()).all(|(want, &got)| want.is_none_or(|w| w == got));
        if fits {
            return None;
        }
        let wanted: Vec<String> =
            self.shape.iter().map(|dim| dim.map_or_else(|| "any".into(), |d| d.to_string())).collect();
        Some(format!("shape [{}], but got {:?}", wanted.join(", "), tensor.shape()))
    }
}

/// The declared inputs and outputs of a model, in the model's order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Signature {
    /// What a run needs.
    pub inputs: Vec<TensorInfo>,
    /// What a run can give.
    pub outputs: Vec<TensorInfo>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_alignment_of_a_vector() {
        let tensor = Tensor::from_vec(&[2, 2], vec![1.0_f64, 2.0, 3.0, 4.0]).unwrap();
        assert_eq!(tensor.as_slice::<f64>().unwrap()[3], 4.0);
        assert_eq!(tensor.byte_len(), 32);
        assert!(tensor.as_slice::<i64>().is_none());
    }

    #[test]
    fn reads_bytes_wherever_they_stand() {
        let bytes = Bytes::from([&[0_u8][..], bytemuck::cast_slice(&[1.5_f64, -2.0])].concat());
        for start in 0..8 {
            let moved = Bytes::from([&vec![0_u8; start][..], &bytes[1..]].concat()).slice(start..);
            let tensor = Tensor::from_le_bytes(&[2], ElementType::F64, moved).unwrap();
            assert_eq!(tensor.as_slice::<f64>(), Some(&[1.5, -2.0][..]));
        }
        let bools = Tensor::from_le_bytes(&[3], ElementType::Boolean, Bytes::from_static(&[0, 1, 7]));
        assert_eq!(bools.unwrap().as_bools(), Some(&[0, 1, 1][..]));
        for (length, element_type) in [(7, ElementType::F32), (12, ElementType::F32), (8, ElementType::Text)]
        {
            let bytes = Bytes::from(vec![0; length]);
            assert!(Tensor::from_le_bytes(&[2], element_type, bytes).is_err(), "{length} {element_type}");
        }
    }

    #[test]
    fn goes_together_and_apart_along_the_first_dimension() {
        let short = Tensor::from_vec(&[1, 2], vec![1_i32, 2]).unwrap();
        let long = Tensor::from_vec(&[2, 3], vec![3_i32, 4, 5, 6, 7, 8]).unwrap();
        assert!(Tensor::concat(&[&short, &long], None).is_none());
        let padded = Tensor::concat(&[&short, &long], Some(-1)).unwrap();
        assert_eq!(padded.shape(), [3, 3]);
        assert_eq!(padded.as_slice::<i32>().unwrap(), [1, 2, -1, 3, 4, 5, 6, 7, 8]);
        let back = padded.rows(1..3).unwrap();
        assert_eq!((back.shape(), back.as_slice::<i32>()), (long.shape(), long.as_slice()));
        assert_eq!(padded.rows(2..2).unwrap().len(), 0);
        assert!(padded.rows(2..4).is_none());
        let twice = Tensor::concat(&[&long, &long], None).unwrap();
        assert_eq!(twice.rows(2..4).unwrap().as_slice::<i32>(), long.as_slice());

        let text = |text: &str| Tensor::from_texts(&[1], vec![text.into()]).unwrap();
        let both = Tensor::concat(&[&text("a"), &text("b")], None).unwrap();
        assert_eq!(both.rows(1..2).unwrap().as_texts().unwrap(), ["b".into()]);
        let scalar = Tensor::from_vec(&[], vec![1_u8]).unwrap();
        assert!(Tensor::concat(&[&scalar], None).is_none() && scalar.rows(0..0).is_none());
    }

    #[test]
    fn rejects_shapes_that_do_not_fit() {
        let error = Tensor::from_vec(&[3], vec![1_u8]).unwrap_err();
        assert_eq!(error.to_string(), "shape [3] has 3 elements, but 1 were given");
        assert_eq!(element_count(&[usize::MAX, 2]), Err(InvalidTensor::Overflow));
        assert_eq!(element_count(&[0, usize::MAX, 2]), Err(InvalidTensor::Overflow));
        assert_eq!(element_count(&[1; 17]), Err(InvalidTensor::Rank(17)));
        assert_eq!(element_count(&[]), Ok(1));
        assert_eq!(element_count(&[0, 5]), Ok(0));
    }

    #[test]
    fn an_empty_tensor_has_a_slice() {
        let tensor = Tensor::from_vec::<f32>(&[0, 4], vec![]).unwrap();
        assert_eq!(tensor.as_slice::<f32>(), Some(&[][..]));
    }
}
