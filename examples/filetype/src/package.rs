//! The settings and the types of files of the model's package, as `build.rs` wrote them.

/// A type of file.
#[derive(Debug, PartialEq)]
pub struct ContentType {
    /// The package's name for it, such as `python`.
    pub label: &'static str,
    pub mime_type: &'static str,
    /// Such as `code` or `archive`.
    pub group: &'static str,
    /// In a few words, for people.
    pub description: &'static str,
    /// Without the dot; may be empty.
    pub extensions: &'static [&'static str],
    pub is_text: bool,
}

/// What one of the model's outputs stands for.
pub struct Output {
    /// What the model was trained to see.
    pub model: &'static ContentType,
    /// What to answer, if the probability is high enough.
    pub answer: &'static ContentType,
    /// From this probability on, the model is believed.
    pub threshold: f64,
}

include!(concat!(env!("OUT_DIR"), "/package.rs"));
