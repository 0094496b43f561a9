//! The models of this revision: loading them by name and running them on named tensors.

mod inputs;
mod outputs;

pub use inputs::Inputs;
pub use outputs::Outputs;

use crate::error::Error;
use crate::host;
use crate::tensor::{Tensor, TensorInfo};

/// A model of this revision, loaded and ready.
///
/// Several calls may run at once, of one model or of several:
///
/// ```
/// use modelet_sdk::{Error, Model, Tensor, Outputs, try_join};
///
/// async fn both(image: &Tensor) -> Result<(Outputs, Outputs), Error> {
///     let (find, read) = try_join!(Model::load("find"), Model::load("read"))?;
///     try_join!(find.infer([("image", image)]), read.infer([("image", image)]))
/// }
/// ```
pub struct Model {
    name: String,
    host: host::Model,
}

impl Model {
    /// Waits until the model called `name` in the function's manifest is loaded.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the manifest names no such model, [`Error::Backend`] if it cannot be
    /// loaded.
    pub async fn load(name: impl Into<String>) -> Result<Self, Error> {
        let name = name.into();
        let host = host::Model::load(name.clone()).await?;
        Ok(Self { name, host })
    }

    /// The name in the manifest.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The inputs that the model declares.
    pub fn inputs(&self) -> Vec<TensorInfo> {
        self.host.inputs()
    }

    /// The outputs that the model declares.
    pub fn outputs(&self) -> Vec<TensorInfo> {
        self.host.outputs()
    }

    /// Runs the model on named inputs, for all of its outputs.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] if the inputs are not those that the model declares,
    /// [`Error::Overloaded`], [`Error::DeadlineExceeded`], [`Error::Backend`].
    pub async fn infer<'a, N: Into<String>>(
        &self,
        inputs: impl IntoIterator<Item = (N, &'a Tensor)>,
    ) -> Result<Outputs, Error> {
        self.infer_outputs(inputs, &[]).await
    }

    /// Runs the model for some of its outputs, in this order. What they do not need is not computed.
    ///
    /// # Errors
    /// As for [`Model::infer`], and [`Error::InvalidInput`] if the model has no such output.
    pub async fn infer_outputs<'a, N: Into<String>>(
        &self,
        inputs: impl IntoIterator<Item = (N, &'a Tensor)>,
        outputs: &[&str],
    ) -> Result<Outputs, Error> {
        let inputs = inputs.into_iter().map(|(name, tensor)| (name.into(), &tensor.0)).collect();
        let outputs = outputs.iter().map(|&name| name.to_owned()).collect();
        let outputs = self.host.infer(inputs, outputs).await?;
        Ok(outputs.into_iter().map(|(name, tensor)| (name, Tensor(tensor))).collect())
    }
}
