//! A model of rten read straight from the mapped file, which saves a copy of the whole file on every
//! cold start.
#![expect(unsafe_code, reason = "rten takes a vector or bytes that live for ever; a mapping is neither")]

use std::ops::Deref;
use std::sync::Arc;

use rten::{Model, ModelOptions, ShapeInferenceMode};

use crate::ModelFile;

/// A model, and the file that its weights may still be read from.
pub struct MappedModel {
    // Fields are dropped in this order: the model before what it borrows.
    model: Model,
    _file: Arc<ModelFile>,
}

impl MappedModel {
    /// Loads the model in `file`.
    ///
    /// # Errors
    /// What rten says; as text, since its error might borrow from the bytes.
    pub fn load(file: &Arc<ModelFile>) -> Result<Self, String> {
        // SAFETY: the bytes live as long as the mapping, which is owned here and dropped after the
        // model. Nothing lends the model out for longer, and what it gives (values of a run) owns
        // its data.
        let bytes: &'static [u8] = unsafe { std::slice::from_raw_parts(file.as_ptr(), file.len()) };
        let model = ModelOptions::with_all_ops()
            // It multiplies dimensions as expressions nested as deeply as a tensor has dimensions, and
            // walks them by recursion; a file of a few hundred bytes makes a tensor of any number.
            .shape_inference(ShapeInferenceMode::Off)
            .load_static_slice(bytes)
            .map_err(|e| e.to_string())?;
        Ok(Self { model, _file: Arc::clone(file) })
    }
}

impl Deref for MappedModel {
    type Target = Model;

    fn deref(&self) -> &Model {
        &self.model
    }
}
