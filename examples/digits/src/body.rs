//! What may be posted: one image, bare or under `pixels`, or several under `images`.
//!
//! It is read by hand, where serde's untagged enums would do, because those lose the path to the
//! field at fault.

use std::fmt;

use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// The pixels of one image, row by row.
pub type Image = Vec<f32>;

/// The request's body.
#[derive(Debug, PartialEq)]
pub enum Body {
    /// `[64 numbers]`
    Bare(Image),
    /// `{"pixels": [64 numbers]}`
    Pixels(Image),
    /// `{"images": [[64 numbers], …]}`
    Images(Vec<Image>),
}

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BodyVisitor)
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Key {
    Pixels,
    Images,
}

struct BodyVisitor;

impl<'de> Visitor<'de> for BodyVisitor {
    type Value = Body;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of 64 numbers, or an object with `pixels` or `images`")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut elements: S) -> Result<Body, S::Error> {
        let mut image = Image::with_capacity(crate::PIXELS);
        while let Some(pixel) = elements.next_element()? {
            image.push(pixel);
        }
        Ok(Body::Bare(image))
    }

    fn visit_map<M: MapAccess<'de>>(self, mut entries: M) -> Result<Body, M::Error> {
        let body = match entries.next_key()? {
            Some(Key::Pixels) => Body::Pixels(entries.next_value()?),
            Some(Key::Images) => Body::Images(entries.next_value()?),
            None => return Err(M::Error::missing_field("pixels")),
        };
        match entries.next_key::<Key>()? {
            None => Ok(body),
            Some(_) => Err(M::Error::custom("give one of `pixels` and `images`, once")),
        }
    }
}
