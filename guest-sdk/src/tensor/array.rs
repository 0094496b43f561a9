//! Tensors from and to `ndarray`.

use ndarray::{Array, ArrayBase, Data, Dimension, IxDyn};

use super::Tensor;
use crate::element::Element;
use crate::error::Error;

impl Tensor {
    /// A tensor of an array or a view. One that is contiguous in row-major order is handed over
    /// without a copy of its own.
    ///
    /// # Errors
    /// As for [`Tensor::new`].
    pub fn from_array<T, S, D>(array: &ArrayBase<S, D>) -> Result<Self, Error>
    where
        T: Element,
        S: Data<Elem = T>,
        D: Dimension,
    {
        match array.as_slice() {
            Some(elements) => Self::new(array.shape(), elements),
            None => Self::new(array.shape(), array.iter().cloned().collect::<Vec<T>>()),
        }
    }

    /// A copy of the elements as an array of the dimensions `D`, such as `Ix2`.
    ///
    /// # Errors
    /// [`Error::WrongElementType`] if the elements are not of type `T`, [`Error::WrongShape`] if
    /// there are more or fewer dimensions than `D` has.
    pub fn to_array<T: Element, D: Dimension>(&self) -> Result<Array<T, D>, Error> {
        let shape = self.shape();
        let array = Array::from_shape_vec(IxDyn(&shape), self.to_vec::<T>()?)
            .expect("the host keeps the number of elements and the shape together");
        array.into_dimensionality().map_err(|_| {
            let rank = D::NDIM.map_or_else(|| "any".into(), |n| n.to_string());
            Error::WrongShape { wanted: format!("a rank of {rank}"), got: shape }
        })
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, Ix1, Ix2, array};

    use super::*;

    #[test]
    fn a_transposed_view_keeps_its_order() {
        let array = array![[1.0_f32, 2.0, 3.0], [4.0, 5.0, 6.0]];
        let tensor = Tensor::from_array(&array.t()).unwrap();
        assert_eq!(tensor.shape(), [3, 2]);
        assert_eq!(tensor.to_vec::<f32>().unwrap(), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        assert_eq!(tensor.to_array::<f32, Ix2>().unwrap(), array.t());
    }

    #[test]
    fn says_which_dimensions_do_not_fit() {
        let tensor = Tensor::from_array(&Array2::<i64>::zeros((1, 4))).unwrap();
        let error = tensor.to_array::<i64, Ix1>().unwrap_err();
        assert_eq!(error.to_string(), "the tensor has shape [1, 4], but a rank of 1 was asked for");
    }
}
