//! Whether an answer is the expected one, by the measure of ONNX's own runner: shape and type are equal,
//! and so is every element, but for floats, which may be off by `ATOL + RTOL * |expected|`. That runner
//! allows whole numbers the same; here they are equal.

use modelet_types::tensor::Element;
use modelet_types::{ElementType, Tensor};

use crate::outcome::Way;

const RTOL: f64 = 1e-3;
const ATOL: f64 = 1e-7;

/// Where `got` is not `expected`, if it is not.
pub fn mistake(expected: &Tensor, got: &Tensor) -> Option<(Way, String)> {
    if expected.element_type() != got.element_type() {
        let reason = format!("expected {}, got {}", expected.element_type(), got.element_type());
        return Some((Way::Type, reason));
    }
    if expected.shape() != got.shape() {
        return Some((Way::Shape, format!("expected {:?}, got {:?}", expected.shape(), got.shape())));
    }
    let mistake = match expected.element_type() {
        ElementType::F16 => floats(expected, got, half::f16::to_f64),
        ElementType::Bf16 => floats(expected, got, half::bf16::to_f64),
        ElementType::F32 => floats(expected, got, |value: f32| f64::from(value)),
        ElementType::F64 => floats(expected, got, |value: f64| value),
        ElementType::Text => first(expected.as_texts().unwrap(), got.as_texts().unwrap(), |a, b| a == b),
        _ => bytes(expected, got),
    };
    mistake.map(|reason| (Way::Values, reason))
}

fn floats<T: Element + std::fmt::Debug>(
    expected: &Tensor,
    got: &Tensor,
    wide: impl Fn(T) -> f64,
) -> Option<String> {
    first(expected.as_slice::<T>().unwrap(), got.as_slice::<T>().unwrap(), |&expected, &got| {
        let (expected, got) = (wide(expected), wide(got));
        // An infinity is equal to itself only, and NaN here, unlike elsewhere, to NaN.
        expected == got
            || (expected.is_nan() && got.is_nan())
            || (expected.is_finite() && (expected - got).abs() <= ATOL + RTOL * expected.abs())
    })
}

fn bytes(expected: &Tensor, got: &Tensor) -> Option<String> {
    let size = expected.element_type().size_bytes().unwrap();
    let elements = |tensor: &Tensor| -> Vec<Vec<u8>> {
        tensor.as_bytes().unwrap().chunks(size).map(<[u8]>::to_vec).collect()
    };
    first(&elements(expected), &elements(got), |a, b| a == b)
}

fn first<T: std::fmt::Debug>(expected: &[T], got: &[T], equal: impl Fn(&T, &T) -> bool) -> Option<String> {
    let wrong = expected.iter().zip(got).filter(|(expected, got)| !equal(expected, got)).count();
    let (index, (expected, got)) =
        expected.iter().zip(got).enumerate().find(|(_, (expected, got))| !equal(expected, got))?;
    Some(format!("{wrong} wrong; element {index}: expected {expected:?}, got {got:?}"))
}
