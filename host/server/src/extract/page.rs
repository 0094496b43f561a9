//! The part of a list that a request asks for.

use modelet_store::Page;
use modelet_types::{Code, Problem};
use serde::Deserialize;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::{IntoParams, PartialSchema};

const DEFAULT_LIMIT: u32 = 100;
const MAX_LIMIT: u32 = 1_000;

/// Query parameters of every list that can be long. `K` is what its items are found by.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PageParams<K> {
    after: Option<K>,
    #[serde(default = "default_limit")]
    limit: u32,
}

const fn default_limit() -> u32 {
    DEFAULT_LIMIT
}

impl<K> PageParams<K> {
    /// The page, as the store is asked for it.
    ///
    /// # Errors
    /// If its size is out of range.
    pub(crate) fn page(self) -> Result<Page<K>, Problem> {
        let Self { after, limit } = self;
        if !(1..=MAX_LIMIT).contains(&limit) {
            let detail = format!("{limit} is out of range: use 1 to {MAX_LIMIT}");
            return Err(Problem::new(Code::InvalidInput, detail).at("limit"));
        }
        Ok(Page { after, limit })
    }
}

/// The page and one more, which tells whether the page is the last.
pub(crate) fn and_one_more<K: Clone>(page: &Page<K>) -> Page<K> {
    Page { after: page.after.clone(), limit: page.limit + 1 }
}

/// Cuts what was found for [`and_one_more`] to the page, and says what to ask for next; nothing after the last.
pub(crate) fn cut<T, K>(items: &mut Vec<T>, limit: u32, key: impl Fn(&T) -> K) -> Option<K> {
    if items.len() <= limit as usize {
        return None;
    }
    items.truncate(limit as usize);
    items.last().map(key)
}

impl<K: PartialSchema> IntoParams for PageParams<K> {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let limit = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::UInt32)))
            .minimum(Some(1))
            .maximum(Some(MAX_LIMIT))
            .default(Some(DEFAULT_LIMIT.into()));
        let parameter = |name: &str, description: &str| {
            ParameterBuilder::new().name(name).parameter_in(ParameterIn::Query).description(Some(description))
        };
        vec![
            parameter(
                "after",
                "What comes after this one: `next` of the page before. Left out: from the beginning.",
            )
            .schema(Some(K::schema()))
            .build(),
            parameter("limit", "How many at most.").schema(Some(limit)).build(),
        ]
    }
}
