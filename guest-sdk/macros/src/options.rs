//! The options of the attribute: `model = "name"` and `outputs = ["name", …]`.

use proc_macro2::Span;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Error, Ident, LitStr, Token, bracketed};

/// What stands between the attribute's parentheses.
#[derive(Default)]
pub struct Options {
    pub model: Option<LitStr>,
    pub outputs: Option<Punctuated<LitStr, Token![,]>>,
    first: Option<Span>,
}

impl Options {
    /// An error for the first option, if there is one.
    pub fn refuse(&self, reason: &str) -> syn::Result<()> {
        self.first.map_or(Ok(()), |span| Err(Error::new(span, reason)))
    }
}

impl Parse for Options {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut options = Self::default();
        while !input.is_empty() {
            let key: Ident = input.parse()?;
            options.first.get_or_insert(key.span());
            input.parse::<Token![=]>()?;
            let repeated = match key.to_string().as_str() {
                "model" => options.model.replace(input.parse()?).is_some(),
                "outputs" => {
                    let list;
                    bracketed!(list in input);
                    options.outputs.replace(Punctuated::parse_terminated(&list)?).is_some()
                }
                _ => return Err(Error::new(key.span(), "the options are `model` and `outputs`")),
            };
            if repeated {
                return Err(Error::new(key.span(), format!("`{key}` is given twice")));
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use syn::parse_str;

    use super::*;

    #[test]
    fn reads_model_and_outputs() {
        let options: Options = parse_str(r#"model = "digits", outputs = ["a", "b"],"#).unwrap();
        assert_eq!(options.model.unwrap().value(), "digits");
        assert_eq!(options.outputs.unwrap().len(), 2);
    }

    #[test]
    fn says_what_is_allowed() {
        let error = parse_str::<Options>(r#"name = "digits""#).err().unwrap();
        assert_eq!(error.to_string(), "the options are `model` and `outputs`");
        let error = parse_str::<Options>(r#"model = "a", model = "b""#).err().unwrap();
        assert_eq!(error.to_string(), "`model` is given twice");
    }
}
