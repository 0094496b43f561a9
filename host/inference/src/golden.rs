//! Comparing a model's answer with the recorded one.

use modelet_types::tensor::Element;
use modelet_types::{ElementType, Tensor};

/// Says where `got` differs from `expected`, if it does.
///
/// Shapes and types must be equal. A float may be off by `tolerance`, absolute or relative to the
/// expected value, whichever allows more; NaN equals NaN only, and an infinity itself only. All
/// other elements must be equal.
pub fn difference(expected: &Tensor, got: &Tensor, tolerance: f64) -> Option<String> {
    if expected.element_type() != got.element_type() {
        return Some(format!(
            "expected elements of type {}, got {}",
            expected.element_type(),
            got.element_type()
        ));
    }
    if expected.shape() != got.shape() {
        return Some(format!("expected shape {:?}, got {:?}", expected.shape(), got.shape()));
    }
    match expected.element_type() {
        ElementType::F16 => floats(expected, got, tolerance, half::f16::to_f64),
        ElementType::Bf16 => floats(expected, got, tolerance, half::bf16::to_f64),
        ElementType::F32 => floats(expected, got, tolerance, |value: f32| f64::from(value)),
        ElementType::F64 => floats(expected, got, tolerance, |value: f64| value),
        ElementType::Boolean => exact(expected.as_bools(), got.as_bools()),
        ElementType::U8 => exact(expected.as_slice::<u8>(), got.as_slice()),
        ElementType::U16 => exact(expected.as_slice::<u16>(), got.as_slice()),
        ElementType::U32 => exact(expected.as_slice::<u32>(), got.as_slice()),
        ElementType::U64 => exact(expected.as_slice::<u64>(), got.as_slice()),
        ElementType::I8 => exact(expected.as_slice::<i8>(), got.as_slice()),
        ElementType::I16 => exact(expected.as_slice::<i16>(), got.as_slice()),
        ElementType::I32 => exact(expected.as_slice::<i32>(), got.as_slice()),
        ElementType::I64 => exact(expected.as_slice::<i64>(), got.as_slice()),
        ElementType::Text => exact(expected.as_texts(), got.as_texts()),
    }
}

fn floats<T: Element>(expected: &Tensor, got: &Tensor, tolerance: f64, wide: fn(T) -> f64) -> Option<String> {
    let pairs = expected.as_slice::<T>()?.iter().zip(got.as_slice::<T>()?);
    let wide = pairs.map(|(&expected, &got)| (wide(expected), wide(got)));
    first(wide, |expected, got| close(*expected, *got, tolerance))
        .map(|difference| format!("{difference}, tolerance {tolerance}"))
}

fn close(expected: f64, got: f64, tolerance: f64) -> bool {
    if expected.is_nan() || got.is_nan() {
        return expected.is_nan() && got.is_nan();
    }
    if expected.is_infinite() || got.is_infinite() {
        return expected == got;
    }
    (expected - got).abs() <= tolerance.max(tolerance * expected.abs())
}

fn exact<T: PartialEq + std::fmt::Debug>(expected: Option<&[T]>, got: Option<&[T]>) -> Option<String> {
    first(expected?.iter().zip(got?), |expected, got| expected == got)
}

fn first<T: std::fmt::Debug>(
    pairs: impl Iterator<Item = (T, T)>,
    equal: impl Fn(&T, &T) -> bool,
) -> Option<String> {
    pairs.enumerate().find(|(_, (expected, got))| !equal(expected, got)).map(|(index, (expected, got))| {
        let show = |value: &T| format!("{value:?}").chars().take(80).collect::<String>();
        format!("element {index}: expected {}, got {}", show(&expected), show(&got))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn f32s(values: &[f32]) -> Tensor {
        Tensor::from_vec(&[values.len()], values.to_vec()).unwrap()
    }

    #[test]
    fn floats_may_be_off_by_the_tolerance() {
        let close = |expected: f32, got: f32| difference(&f32s(&[expected]), &f32s(&[got]), 0.01).is_none();
        assert!(close(0.0, 0.009) && !close(0.0, 0.02));
        assert!(close(1000.0, 1009.0) && !close(1000.0, 1011.0), "relative");
        assert!(close(f32::NAN, f32::NAN) && !close(f32::NAN, 0.0) && !close(0.0, f32::NAN));
        assert!(close(f32::INFINITY, f32::INFINITY) && !close(f32::INFINITY, f32::NEG_INFINITY));
        assert!(!close(f32::INFINITY, 1e30) && !close(1e30, f32::INFINITY));
    }

    #[test]
    fn names_the_first_difference() {
        let text = difference(&f32s(&[0.1, 0.5, 0.4]), &f32s(&[0.1, 0.25, 0.65]), 1e-4);
        assert_eq!(text.unwrap(), "element 1: expected 0.5, got 0.25, tolerance 0.0001");
        let ints = |values: &[i64]| Tensor::from_vec(&[values.len()], values.to_vec()).unwrap();
        assert_eq!(difference(&ints(&[7]), &ints(&[8]), 9.0).unwrap(), "element 0: expected 7, got 8");
        assert_eq!(difference(&ints(&[7]), &ints(&[7]), 0.0), None);
    }

    #[test]
    fn types_and_shapes_must_be_equal() {
        let wide = Tensor::from_vec(&[1], vec![0.5_f64]).unwrap();
        assert_eq!(difference(&f32s(&[0.5]), &wide, 1.0).unwrap(), "expected elements of type f32, got f64");
        assert_eq!(difference(&f32s(&[0.5]), &f32s(&[]), 1.0).unwrap(), "expected shape [1], got [0]");
    }
}
