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
