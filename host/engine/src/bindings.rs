//! Rust types and traits made from `wit/`.

/// The world whose `handle` and `infer` are asynchronous functions.
pub(crate) mod function {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "modelet:handler/function",
        with: {
            "modelet:inference/tensors.tensor": modelet_types::Tensor,
            "modelet:inference/models.model": crate::host::ModelHandle,
        },
        imports: { default: trappable },
    });
}

/// The world for guests without asynchronous functions; it shares every type that it can.
pub(crate) mod blocking {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "modelet:handler/blocking-function",
        with: {
            "wasi:config/store": super::function::wasi::config::store,
            "wasi:logging/logging": super::function::wasi::logging::logging,
            "modelet:inference/tensors": super::function::modelet::inference::tensors,
            "modelet:inference/blocking-models.model": crate::host::ModelHandle,
            "modelet:handler/types": super::function::modelet::handler::types,
        },
        imports: {
            "modelet:inference/blocking-models.[static]model.load": async | trappable,
            "modelet:inference/blocking-models.[method]model.infer": async | trappable,
            default: trappable,
        },
        exports: { default: async },
    });
}
