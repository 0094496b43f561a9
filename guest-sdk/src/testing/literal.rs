//! Tensors as JSON: `{ "shape": [1, 3], "f32": [0.1, 0.2, 0.7] }`, with the element type as the key.
//! The form is that of golden outputs in the manifest, so that one file serves both.

use half::{bf16, f16};
use serde::Deserialize;

use crate::element::Elements;
use crate::tensor::Tensor;

/// A tensor that has been read from JSON.
#[derive(Deserialize)]
#[serde(try_from = "Fields")]
pub(super) struct Literal(pub(super) Tensor);

macro_rules! fields {
    ($($key:ident: $rust:ty => |$elements:ident| $convert:expr,)+) => {
        /// Every key that may be written, so that a wrong one is answered with those allowed.
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Fields {
            shape: Vec<usize>,
            $($key: Option<Vec<$rust>>,)+
        }

        impl TryFrom<Fields> for Literal {
            type Error = String;

            fn try_from(fields: Fields) -> Result<Self, String> {
                let mut given = [$(fields.$key.map(|$elements| $convert)),+].into_iter().flatten();
                match (given.next(), given.next()) {
                    (Some(elements), None) => {
                        let tensor = Tensor::from_elements(fields.shape, &elements);
                        tensor.map(Self).map_err(|error| error.to_string())
                    }
                    _ => Err(concat!("give exactly one list of elements:" $(, " `", stringify!($key), "`")+).into()),
                }
            }
        }
    };
}

fields! {
    boolean: bool => |elements| Elements::Boolean(elements),
    u8: u8 => |elements| Elements::U8(elements),
    u16: u16 => |elements| Elements::U16(elements),
    u32: u32 => |elements| Elements::U32(elements),
    u64: u64 => |elements| Elements::U64(elements),
    i8: i8 => |elements| Elements::I8(elements),
    i16: i16 => |elements| Elements::I16(elements),
    i32: i32 => |elements| Elements::I32(elements),
    i64: i64 => |elements| Elements::I64(elements),
    f16: f32 => |elements| Elements::F16(elements.iter().map(|&x| f16::from_f32(x).to_bits()).collect()),
    bf16: f32 => |elements| Elements::Bf16(elements.iter().map(|&x| bf16::from_f32(x).to_bits()).collect()),
    f32: f32 => |elements| Elements::F32(elements),
    f64: f64 => |elements| Elements::F64(elements),
    text: String => |elements| Elements::Text(elements),
}

/// Whether two tensors are the same but for what arithmetic in another order may change: numbers
/// with a fraction may differ by `tolerance`, relative to those above 1. NaN equals NaN.
pub(super) fn close(a: &Tensor, b: &Tensor, tolerance: f64) -> bool {
    let within = |a: f64, b: f64| {
        a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= tolerance * b.abs().max(1.0)
    };
    if a.shape() != b.shape() {
        return false;
    }
    match (a.elements(), b.elements()) {
        (Elements::F32(a), Elements::F32(b)) => a.iter().zip(&b).all(|(&a, &b)| within(a.into(), b.into())),
        (Elements::F64(a), Elements::F64(b)) => a.iter().zip(&b).all(|(&a, &b)| within(a, b)),
        (Elements::F16(a), Elements::F16(b)) => {
            let number = |bits: &u16| f64::from(f16::from_bits(*bits));
            a.iter().zip(&b).all(|(a, b)| within(number(a), number(b)))
        }
        (Elements::Bf16(a), Elements::Bf16(b)) => {
            let number = |bits: &u16| f64::from(bf16::from_bits(*bits));
            a.iter().zip(&b).all(|(a, b)| within(number(a), number(b)))
        }
        (a, b) => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Tensor, serde_json::Error> {
        serde_json::from_str::<Literal>(text).map(|literal| literal.0)
    }

    #[test]
    fn reads_numbers_of_every_width() {
        let tensor = read(r#"{"shape": [2], "bf16": [0.5, -1.0]}"#).unwrap();
        assert_eq!(tensor.elements(), Elements::Bf16(vec![0x3f00, 0xbf80]));
        assert_eq!(read(r#"{"shape": [], "i64": [7]}"#).unwrap().to_scalar::<i64>(), Ok(7));
    }

    #[test]
    fn says_what_is_wrong() {
        let message = |text| read(text).unwrap_err().to_string();
        assert!(message(r#"{"shape": [1], "float": [0]}"#).contains("`f32`"));
        assert!(message(r#"{"shape": [1]}"#).contains("exactly one list"));
        assert!(message(r#"{"shape": [2], "u8": [0]}"#).contains("has 2 elements, but 1 were given"));
    }

    #[test]
    fn close_is_not_equal_and_not_far() {
        let f32s = |x: f32| Tensor::new([1], [x]).unwrap();
        assert!(close(&f32s(0.3), &f32s(0.300_000_1), 1e-5));
        assert!(!close(&f32s(0.3), &f32s(0.31), 1e-5));
        assert!(close(&f32s(f32::NAN), &f32s(f32::NAN), 1e-5));
        assert!(!close(&f32s(1.0), &Tensor::new([1], [1.0_f64]).unwrap(), 1e-5));
        assert!(!close(&f32s(1.0), &Tensor::new([1, 1], [1.0_f32]).unwrap(), 1e-5));
    }
}
