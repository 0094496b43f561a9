//! What wit-bindgen makes of the contract in `wit/`. Nothing is written by hand here, and only
//! `host::component` and `export` use it.

wit_bindgen::generate!({
    path: "wit",
    world: "function",
    generate_all,
    ownership: Borrowing { duplicate_if_necessary: true },
    pub_export_macro: true,
    default_bindings_module: "modelet_sdk::__private::bindings",
});

/// The world of handlers in tensors, with the types of the other.
pub mod transform {
    wit_bindgen::generate!({
        path: "wit",
        world: "transform-function",
        with: {
            "wasi:config/store@0.2.0-rc.1": super::wasi::config::store,
            "wasi:logging/logging@0.1.0-draft": super::wasi::logging::logging,
            "modelet:inference/tensors@0.1.0": super::modelet::inference::tensors,
            "modelet:inference/models@0.1.0": super::modelet::inference::models,
            "modelet:handler/types@0.1.0": super::modelet::handler::types,
        },
        ownership: Borrowing { duplicate_if_necessary: true },
        pub_export_macro: true,
        default_bindings_module: "modelet_sdk::__private::bindings::transform",
    });
}
