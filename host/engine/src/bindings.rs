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

/// The world of handlers in tensors; it shares every type that it can.
pub(crate) mod transform {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "modelet:handler/transform-function",
        with: {
            "wasi:config/store": super::function::wasi::config::store,
            "wasi:logging/logging": super::function::wasi::logging::logging,
            "modelet:inference/tensors": super::function::modelet::inference::tensors,
            "modelet:inference/models": super::function::modelet::inference::models,
            "modelet:handler/types": super::function::modelet::handler::types,
        },
        require_store_data_send: true,
    });
}

/// Keys and values. Both drafts have one type of handles, and the newer one has compare-and-swap beside it.
pub(crate) mod key_value {
    wasmtime::component::bindgen!({
        path: "../../wit/deps/wasi-keyvalue-draft2",
        world: "imports",
        with: {
            "wasi:keyvalue/store.bucket": crate::host::Bucket,
            "wasi:keyvalue/atomics.cas": crate::host::Cas,
        },
        imports: { default: async | trappable },
    });
}

/// The older draft.
pub(crate) mod key_value_draft {
    wasmtime::component::bindgen!({
        path: "../../wit/deps/wasi-keyvalue",
        world: "imports",
        with: {
            "wasi:keyvalue/store.bucket": crate::host::Bucket,
        },
        imports: { default: async | trappable },
    });
}
