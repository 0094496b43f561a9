//! The attribute of `modelet-sdk` that makes a component's export of a handler.
//!
//! It knows the names of the SDK's items and nothing of the contract: the export is one call of the
//! SDK. Where no component is built, so in native tests, it exports nothing.

mod options;

use proc_macro::TokenStream;
use proc_macro2::TokenStream as Tokens;
use quote::{ToTokens, quote};
use syn::spanned::Spanned;
use syn::{Error, ImplItem, Item, ItemFn, ItemImpl, parse_quote};

use options::Options;

/// Exports a handler from this component. A crate has one.
///
/// On an `async fn` whose arguments are extractors it takes no options. On an `impl Handler` it
/// takes `model = "name"`, the model's name in the manifest, and `outputs = ["name", …]` for those
/// outputs alone.
#[proc_macro_attribute]
pub fn handler(options: TokenStream, item: TokenStream) -> TokenStream {
    let expanded = syn::parse::<Options>(options).and_then(|options| {
        let misplaced = "`#[handler]` stands on an `async fn` or on an `impl Handler for …`";
        match syn::parse::<Item>(item.clone())? {
            Item::Fn(function) => of_function(&options, function),
            Item::Impl(implementation) => of_impl(&options, implementation),
            other => Err(Error::new(other.span(), misplaced)),
        }
    });
    expanded_or(expanded, item)
}

/// What became of an item, or the item with an error.
fn expanded_or(expanded: syn::Result<Tokens>, item: TokenStream) -> TokenStream {
    match expanded {
        Ok(tokens) => tokens.into(),
        // The item stays, so that the only error is the one about the attribute.
        Err(error) => [error.into_compile_error(), item.into()].into_iter().collect::<Tokens>().into(),
    }
}

/// Exports a handler in tensors from this component. A crate has one, and may have a `#[handler]` beside it.
///
/// It stands on an `async fn` from `Inputs` to `Result<Outputs, E>`, where `E` becomes a `Problem`, and takes no
/// options.
#[proc_macro_attribute]
pub fn transform(options: TokenStream, item: TokenStream) -> TokenStream {
    let expanded = syn::parse::<Options>(options).and_then(|options| {
        options.refuse("a handler in tensors names its models in its body, with `Model::load(\"name\")`")?;
        match syn::parse::<Item>(item.clone())? {
            Item::Fn(function) if function.sig.asyncness.is_some() => Ok(with_transform(&function)),
            other => Err(Error::new(other.span(), "`#[transform]` stands on an `async fn` from `Inputs`")),
        }
    });
    expanded_or(expanded, item)
}

fn of_function(options: &Options, function: ItemFn) -> syn::Result<Tokens> {
    options.refuse("an `async fn` names its models in its body, with `Model::load(\"name\")`")?;
    if function.sig.asyncness.is_none() {
        return Err(Error::new(function.sig.fn_token.span, "a handler must be an `async fn`"));
    }
    let name = &function.sig.ident;
    Ok(with_export(&function, &quote!(#name)))
}

fn of_impl(options: &Options, mut implementation: ItemImpl) -> syn::Result<Tokens> {
    if implementation.trait_.is_none() {
        let message = "the block must be an `impl Handler for …`";
        return Err(Error::new(implementation.self_ty.span(), message));
    }
    let has = |name: &str| {
        let named = |item: &ImplItem| matches!(item, ImplItem::Const(item) if item.ident == name);
        implementation.items.iter().any(named)
    };
    let has_model = has("MODEL");
    match &options.model {
        Some(model) => {
            implementation.items.insert(0, parse_quote!(const MODEL: &'static str = #model;));
        }
        None if has_model => {}
        None => {
            let message = "name the model: `#[handler(model = \"name\")]`, as it is called in modelet.toml";
            return Err(Error::new(implementation.self_ty.span(), message));
        }
    }
    if let Some(outputs) = &options.outputs {
        let outputs = outputs.iter();
        let item = parse_quote!(const OUTPUTS: &'static [&'static str] = &[#(#outputs),*];);
        implementation.items.insert(1, item);
    }
    let name = &implementation.self_ty;
    Ok(with_export(&implementation, &quote!(<#name as ::core::default::Default>::default())))
}

/// The item as it is, and beside it the export of `handler`, an expression.
fn with_export(item: &impl ToTokens, handler: &Tokens) -> Tokens {
    quote! {
        #item

        #[cfg(target_family = "wasm")]
        const _: () = {
            struct Exported;

            impl ::modelet_sdk::__private::Guest for Exported {
                async fn handle(
                    request: ::modelet_sdk::__private::Request,
                    body: ::modelet_sdk::__private::Body,
                ) -> ::core::result::Result<
                    (::modelet_sdk::__private::Response, ::modelet_sdk::__private::Body),
                    ::modelet_sdk::__private::Problem,
                > {
                    ::modelet_sdk::__private::answer(#handler, request, body).await
                }
            }

            ::modelet_sdk::__private::export!(Exported with_types_in ::modelet_sdk::__private::bindings);
        };
    }
}

/// The function as it is, and beside it its export.
fn with_transform(function: &ItemFn) -> Tokens {
    let name = &function.sig.ident;
    quote! {
        #function

        #[cfg(target_family = "wasm")]
        const _: () = {
            struct Exported;

            impl ::modelet_sdk::__private::TransformGuest for Exported {
                async fn infer(
                    _invocation: ::modelet_sdk::__private::Invocation,
                    inputs: ::std::vec::Vec<(::std::string::String, ::modelet_sdk::__private::Tensor)>,
                    _outputs: ::std::vec::Vec<::std::string::String>,
                ) -> ::core::result::Result<
                    ::std::vec::Vec<(::std::string::String, ::modelet_sdk::__private::Tensor)>,
                    ::modelet_sdk::__private::Problem,
                > {
                    ::modelet_sdk::__private::transform(#name, inputs).await
                }
            }

            ::modelet_sdk::__private::export_transform!(
                Exported with_types_in ::modelet_sdk::__private::transform_bindings
            );
        };
    }
}
