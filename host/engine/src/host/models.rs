//! `modelet:inference/models` and its blocking twin: the models of this revision.
//!
//! `infer` is a concurrent function: the store is free while a model runs, so a handler can wait
//! for several models at once.

use std::sync::Arc;

use modelet_types::{Tensor, TensorInfo};
use wasmtime::component::{Accessor, HasSelf, Resource};

use super::holdings::Held;
use super::tensors::HeldTensors;
use super::{Host, ModelHandle};
use crate::bindings::blocking::modelet::inference::blocking_models;
use crate::bindings::function::modelet::handler::types;
use crate::bindings::function::modelet::inference::models;
use crate::bindings::function::modelet::inference::tensors::Error;
use crate::ports::{InferError, Inferred, Model};

impl Host {
    fn hold_model(
        &mut self,
        model: Result<Arc<dyn Model>, InferError>,
    ) -> Result<Resource<ModelHandle>, Error> {
        let number = self.holdings.push(Held::Model(model?)).map_err(|full| self.handles_full(full))?;
        Ok(Resource::new_own(number))
    }

    fn model(&self, handle: &Resource<ModelHandle>) -> wasmtime::Result<Arc<dyn Model>> {
        Ok(self.holdings.model(handle.rep())?.clone())
    }

    /// Shares the tensors behind `inputs`; the handles stay the guest's.
    fn share(&self, inputs: HeldTensors) -> wasmtime::Result<Vec<(String, Tensor)>> {
        inputs.into_iter().map(|(name, handle)| Ok((name, self.tensor(&handle)?))).collect()
    }

    /// Accounts for a run and gives the guest its outputs: all of them, or none and an error.
    fn hold_outputs(
        &mut self,
        inferred: Result<Inferred, InferError>,
    ) -> wasmtime::Result<Result<HeldTensors, Error>> {
        let inferred = match inferred {
            Ok(inferred) => inferred,
            Err(error) => return Ok(Err(error.into())),
        };
        self.meter.add_inference(inferred.cpu_time, inferred.inline);
        Ok(self.hold_all(inferred.outputs))
    }

    fn declared_inputs(&self, handle: &Resource<ModelHandle>) -> wasmtime::Result<Vec<models::TensorInfo>> {
        Ok(self.model(handle)?.signature().inputs.iter().map(Into::into).collect())
    }

    fn declared_outputs(&self, handle: &Resource<ModelHandle>) -> wasmtime::Result<Vec<models::TensorInfo>> {
        Ok(self.model(handle)?.signature().outputs.iter().map(Into::into).collect())
    }

    fn drop_model(&mut self, handle: Resource<ModelHandle>) -> wasmtime::Result<()> {
        self.holdings.remove(handle.rep())
    }
}

impl models::Host for Host {}

impl types::Host for Host {}

impl models::HostModel for Host {
    fn inputs(&mut self, handle: Resource<ModelHandle>) -> wasmtime::Result<Vec<models::TensorInfo>> {
        self.declared_inputs(&handle)
    }

    fn outputs(&mut self, handle: Resource<ModelHandle>) -> wasmtime::Result<Vec<models::TensorInfo>> {
        self.declared_outputs(&handle)
    }

    fn drop(&mut self, handle: Resource<ModelHandle>) -> wasmtime::Result<()> {
        self.drop_model(handle)
    }
}

impl<T: Send> models::HostModelWithStore<T> for HasSelf<Host> {
    async fn load(
        accessor: &Accessor<T, Self>,
        name: String,
    ) -> wasmtime::Result<Result<Resource<ModelHandle>, Error>> {
        let (loading, _under_way) = accessor.with(|mut access| {
            let host = access.get();
            (host.models.load(&name), host.under_way())
        });
        let model = loading.await;
        Ok(accessor.with(|mut access| access.get().hold_model(model)))
    }

    async fn infer(
        accessor: &Accessor<T, Self>,
        handle: Resource<ModelHandle>,
        inputs: HeldTensors,
        outputs: Vec<String>,
    ) -> wasmtime::Result<Result<HeldTensors, Error>> {
        let (running, _under_way) = accessor.with(|mut access| -> wasmtime::Result<_> {
            let host = access.get();
            Ok((host.model(&handle)?.infer(host.share(inputs)?, outputs), host.under_way()))
        })?;
        let inferred = running.await;
        accessor.with(|mut access| access.get().hold_outputs(inferred))
    }
}

impl blocking_models::Host for Host {}

impl blocking_models::HostModel for Host {
    async fn load(&mut self, name: String) -> wasmtime::Result<Result<Resource<ModelHandle>, Error>> {
        let model = self.models.load(&name).await;
        Ok(self.hold_model(model))
    }

    fn inputs(&mut self, handle: Resource<ModelHandle>) -> wasmtime::Result<Vec<models::TensorInfo>> {
        self.declared_inputs(&handle)
    }

    fn outputs(&mut self, handle: Resource<ModelHandle>) -> wasmtime::Result<Vec<models::TensorInfo>> {
        self.declared_outputs(&handle)
    }

    async fn infer(
        &mut self,
        handle: Resource<ModelHandle>,
        inputs: HeldTensors,
        outputs: Vec<String>,
    ) -> wasmtime::Result<Result<HeldTensors, Error>> {
        let inferred = self.model(&handle)?.infer(self.share(inputs)?, outputs).await;
        self.hold_outputs(inferred)
    }

    fn drop(&mut self, handle: Resource<ModelHandle>) -> wasmtime::Result<()> {
        self.drop_model(handle)
    }
}

impl From<&TensorInfo> for models::TensorInfo {
    fn from(info: &TensorInfo) -> Self {
        Self {
            name: info.name.clone(),
            element_type: info.element_type.into(),
            shape: info.shape.iter().map(|dim| dim.map(|d| d as u64)).collect(),
        }
    }
}
