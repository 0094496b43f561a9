//! Tensors as JSON and TOML, for manifests and recorded answers:
//! `{ "shape": [1, 3], "f32": [0.1, 0.2, 0.7] }`, with the element type as the key.

use serde::{Deserialize, Serialize};

use crate::tensor::{InvalidTensor, Tensor};

/// A tensor written out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Fields")]
pub struct TensorLiteral {
    /// The dimensions, outermost first.
    pub shape: Vec<usize>,
    /// The elements in row-major order.
    #[serde(flatten)]
    pub elements: ElementsLiteral,
}

macro_rules! elements_literal {
    ($($variant:ident $key:ident $rust:ty,)+) => {
        /// The elements under their type's name.
        #[derive(Clone, Debug, PartialEq, Serialize)]
        #[serde(rename_all = "snake_case")]
        #[expect(missing_docs, reason = "the names are those of `ElementType`")]
        pub enum ElementsLiteral {
            $($variant(Vec<$rust>),)+
        }

        /// Every key that may be written, so that a wrong one is answered with those allowed.
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Fields {
            shape: Vec<usize>,
            $($key: Option<Vec<$rust>>,)+
        }

        impl TryFrom<Fields> for TensorLiteral {
            type Error = &'static str;

            fn try_from(fields: Fields) -> Result<Self, Self::Error> {
                let mut given = [$(fields.$key.map(ElementsLiteral::$variant)),+].into_iter().flatten();
                match (given.next(), given.next()) {
                    (Some(elements), None) if !elements.are_finite() => Err(NOT_FINITE),
                    (Some(elements), None) => Ok(Self { shape: fields.shape, elements }),
                    _ => Err(concat!("give exactly one list of elements:" $(, " `", stringify!($key), "`")+)),
                }
            }
        }
    };
}

elements_literal! {
    Boolean boolean bool,
    U8 u8 u8,
    U16 u16 u16,
    U32 u32 u32,
    U64 u64 u64,
    I8 i8 i8,
    I16 i16 i16,
    I32 i32 i32,
    I64 i64 i64,
    F16 f16 f32,
    Bf16 bf16 f32,
    F32 f32 f32,
    F64 f64 f64,
    Text text String,
}

const NOT_FINITE: &str = "a number is infinite as an element of this type, or none: JSON has no form for it";

impl ElementsLiteral {
    /// Whether every number is finite as the element that it stands for. One that is not would be written
    /// as `null`, which is no number when a revision is read back.
    fn are_finite(&self) -> bool {
        match self {
            Self::F16(v) => v.iter().all(|&x| half::f16::from_f32(x).is_finite()),
            Self::Bf16(v) => v.iter().all(|&x| half::bf16::from_f32(x).is_finite()),
            Self::F32(v) => v.iter().all(|x| x.is_finite()),
            Self::F64(v) => v.iter().all(|x| x.is_finite()),
            _ => true,
        }
    }
}

impl TensorLiteral {
    /// The tensor that is written here.
    ///
    /// # Errors
    /// If the number of elements is not the product of the shape.
    pub fn to_tensor(&self) -> Result<Tensor, InvalidTensor> {
        use ElementsLiteral as E;
        let shape = &self.shape;
        match &self.elements {
            E::Boolean(v) => Tensor::from_bools(shape, v),
            E::U8(v) => Tensor::from_vec(shape, v.clone()),
            E::U16(v) => Tensor::from_vec(shape, v.clone()),
            E::U32(v) => Tensor::from_vec(shape, v.clone()),
            E::U64(v) => Tensor::from_vec(shape, v.clone()),
            E::I8(v) => Tensor::from_vec(shape, v.clone()),
            E::I16(v) => Tensor::from_vec(shape, v.clone()),
            E::I32(v) => Tensor::from_vec(shape, v.clone()),
            E::I64(v) => Tensor::from_vec(shape, v.clone()),
            E::F16(v) => Tensor::from_vec(shape, v.iter().map(|&x| half::f16::from_f32(x)).collect()),
            E::Bf16(v) => Tensor::from_vec(shape, v.iter().map(|&x| half::bf16::from_f32(x)).collect()),
            E::F32(v) => Tensor::from_vec(shape, v.clone()),
            E::F64(v) => Tensor::from_vec(shape, v.clone()),
            E::Text(v) => Tensor::from_texts(shape, v.iter().map(|s| s.as_str().into()).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        let text = r#"{"shape":[2],"f16":[0.5,1.0]}"#;
        let literal: TensorLiteral = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&literal).unwrap(), text);
        let tensor = literal.to_tensor().unwrap();
        assert_eq!(tensor.as_slice::<half::f16>().unwrap()[0].to_f32(), 0.5);
    }

    #[test]
    fn refuses_numbers_that_cannot_be_written_back() {
        let read =
            |elements: &str| serde_json::from_str::<TensorLiteral>(&format!(r#"{{"shape":[1],{elements}}}"#));
        for elements in [r#""f16":[65520]"#, r#""bf16":[3.4e38]"#, r#""f32":[3.41e38]"#, r#""f32":[-1e39]"#] {
            let error = read(elements).unwrap_err().to_string();
            // serde_json itself refuses what no number of the type comes near.
            let is_refused = ["infinite", "out of range"].iter().any(|reason| error.contains(reason));
            assert!(is_refused, "{elements}: {error}");
        }
        for elements in [r#""f16":[65504]"#, r#""bf16":[3.38e38]"#, r#""f32":[3.4e38]"#, r#""f64":[1e308]"#] {
            assert!(read(elements).is_ok(), "{elements}");
        }
    }

    #[test]
    fn names_the_types_when_none_fits() {
        let error = serde_json::from_str::<TensorLiteral>(r#"{"shape":[1],"float":[0]}"#).unwrap_err();
        assert!(error.to_string().contains("f32"), "{error}");
        let error = serde_json::from_str::<TensorLiteral>(r#"{"shape":[1]}"#).unwrap_err();
        assert!(error.to_string().contains("exactly one"), "{error}");
    }
}
