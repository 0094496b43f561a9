//! What is promised of tensors that are written out, for any bytes; see docs/fuzzing.md.

use crate::tensor::{Tensor, TensorInfo, element_count};
use crate::tensor_json::TensorLiteral;

/// Bytes of memory for each byte of JSON: an empty text takes three, and 16 as a tensor's element.
const MAX_GROWTH: usize = 6;

/// Reads a literal, which is what a manifest's golden answers are made of, and the tensor that it is.
///
/// # Panics
/// If a literal is not read back from what is written of it, or a tensor contradicts itself.
pub fn tensor(data: &[u8]) {
    let Ok(literal) = serde_json::from_slice::<TensorLiteral>(data) else { return };
    let written = serde_json::to_vec(&literal).expect("a literal can be written");
    let read: TensorLiteral = serde_json::from_slice(&written).expect("what was written is a literal");
    assert_eq!(read, literal);
    let Ok(tensor) = literal.to_tensor() else { return };
    assert_eq!(element_count(tensor.shape()), Ok(tensor.len()));
    assert_eq!(tensor.shape(), literal.shape);
    assert!(tensor.byte_len() <= data.len() * MAX_GROWTH, "{tensor:?} of {} bytes", data.len());
    assert_eq!(elements_seen(&tensor), Some(tensor.len()), "{tensor:?}");
    is_told_from_others(&tensor);
}

/// The number of elements, by the one view that the tensor has.
fn elements_seen(tensor: &Tensor) -> Option<usize> {
    let counts = [
        tensor.as_bools().map(<[u8]>::len),
        tensor.as_texts().map(<[Box<str>]>::len),
        tensor.as_slice::<u8>().map(<[u8]>::len),
        tensor.as_slice::<u16>().map(<[u16]>::len),
        tensor.as_slice::<u32>().map(<[u32]>::len),
        tensor.as_slice::<u64>().map(<[u64]>::len),
        tensor.as_slice::<i8>().map(<[i8]>::len),
        tensor.as_slice::<i16>().map(<[i16]>::len),
        tensor.as_slice::<i32>().map(<[i32]>::len),
        tensor.as_slice::<i64>().map(<[i64]>::len),
        tensor.as_slice::<half::f16>().map(<[half::f16]>::len),
        tensor.as_slice::<half::bf16>().map(<[half::bf16]>::len),
        tensor.as_slice::<f32>().map(<[f32]>::len),
        tensor.as_slice::<f64>().map(<[f64]>::len),
    ];
    let mut counts = counts.into_iter().flatten();
    counts.next().filter(|_| counts.next().is_none())
}

/// An input of the tensor's own shape takes it, and one of another shape does not.
fn is_told_from_others(tensor: &Tensor) {
    let input = |shape| TensorInfo { name: "x".into(), element_type: tensor.element_type(), shape };
    let own: Vec<Option<usize>> = tensor.shape().iter().copied().map(Some).collect();
    let any = vec![None; own.len()];
    let longer = own.iter().copied().chain([None]).collect();
    assert_eq!(input(any).mismatch(tensor), None);
    assert!(input(longer).mismatch(tensor).is_some());
    if let Some(&Some(first)) = own.first() {
        let other = std::iter::once(Some(first.wrapping_add(1))).chain(own[1..].iter().copied()).collect();
        assert!(input(other).mismatch(tensor).is_some());
    }
    assert_eq!(input(own).mismatch(tensor), None);
}

#[cfg(test)]
mod tests {
    use modelet_corpora::replay;

    use super::*;

    #[test]
    fn tensors_of_the_corpus() {
        replay("tensor", tensor);
    }
}
