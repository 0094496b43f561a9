//! What a tenant has used, and what it owes for it.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE};
use jiff::{SignedDuration, Timestamp};
use modelet_control::{Month, Statement};
use modelet_store::{UsageQuery, UsageSum, hour_of, hour_start};
use modelet_types::{Code, FunctionName, Permission, Problem, RevisionNumber, TenantName, Usage};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::caller::Caller;
use crate::context::Context;
use crate::controllers::statement;
use crate::extract::{Path, Query};
use crate::problem::Result;

/// What is shown if no beginning is named.
const DEFAULT_SPAN: SignedDuration = SignedDuration::from_hours(30 * 24);
/// The most rows of an answer: a month by the hour, for more than a hundred functions.
const MAX_ROWS: u32 = 100_000;

/// How rows are divided by time.
#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Interval {
    /// A row for each hour.
    Hour,
    /// A row for each day, UTC.
    #[default]
    Day,
    /// One row for all of it.
    Total,
}

/// What each row is of.
#[derive(Clone, Copy, Default, PartialEq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Per {
    /// The whole tenant.
    #[default]
    Tenant,
    /// A function.
    Function,
    /// A revision of a function.
    Revision,
}

/// Which usage.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct UsageParams {
    /// From this time on; its hour is shown whole. Left out: 30 days before `to`.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// Before this time; its hour is shown whole. Left out: now.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<Timestamp>,
    /// Of this function alone.
    #[param(inline)]
    function: Option<FunctionName>,
    /// How rows are divided by time.
    #[serde(default)]
    #[param(inline)]
    interval: Interval,
    /// What each row is of.
    #[serde(default)]
    #[param(inline)]
    per: Per,
}

/// One row.
#[derive(Serialize, ToSchema)]
pub(crate) struct UsageRow {
    /// The beginning of its time.
    #[schema(value_type = String, format = DateTime)]
    from: Timestamp,
    /// The function, if rows are divided by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    function: Option<FunctionName>,
    /// The revision, if rows are divided by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<RevisionNumber>,
    #[serde(flatten)]
    usage: Usage,
}

/// What a tenant has used.
#[derive(Serialize, ToSchema)]
pub(crate) struct UsageBody {
    /// The tenant.
    tenant: TenantName,
    /// From this time on.
    #[schema(value_type = String, format = DateTime)]
    from: Timestamp,
    /// Before this time.
    #[schema(value_type = String, format = DateTime)]
    to: Timestamp,
    /// By time, then by function and revision. Hours in which nothing was called are left out.
    rows: Vec<UsageRow>,
    /// The sum of all rows.
    total: Usage,
}

/// What the tenant has used, of all invocations that have ended by now.
#[utoipa::path(get, path = "/api/v1/usage", tag = "usage", params(UsageParams),
    responses((status = 200, body = UsageBody)))]
pub(crate) async fn show(
    State(context): State<Context>,
    caller: Caller,
    Query(params): Query<UsageParams>,
) -> Result<Json<UsageBody>> {
    let identity = caller.may(Permission::Audit)?;
    let query = query(&params)?;
    context.control.add_up_usage().await?;
    let sums = context.control.store().usage(&identity.tenant, &query).await?;
    if sums.len() > MAX_ROWS as usize {
        let detail = format!("these are over {MAX_ROWS} rows: ask for less time, or for longer intervals");
        return Err(Problem::new(Code::InvalidInput, detail).at("interval").into());
    }
    let total = sums.iter().map(|sum| sum.usage).sum();
    let row = |sum: UsageSum| {
        let UsageSum { hour, function, revision, usage } = sum;
        UsageRow { from: hour_start(hour), function, revision, usage }
    };
    Ok(Json(UsageBody {
        tenant: identity.tenant.clone(),
        from: hour_start(query.from_hour),
        to: hour_start(query.to_hour),
        rows: sums.into_iter().map(row).collect(),
        total,
    }))
}

fn query(params: &UsageParams) -> std::result::Result<UsageQuery, Problem> {
    let to = params.to.unwrap_or_else(Timestamp::now);
    let from =
        params.from.unwrap_or_else(|| to.saturating_sub(DEFAULT_SPAN).unwrap_or(Timestamp::UNIX_EPOCH));
    if from >= to {
        return Err(Problem::new(Code::InvalidInput, format!("{from} is not before {to}")).at("from"));
    }
    // An hour that has begun is shown whole.
    let to_hour = hour_of(to);
    let to_hour = if hour_start(to_hour) < to { to_hour + 1 } else { to_hour };
    Ok(UsageQuery {
        from_hour: hour_of(from),
        to_hour,
        function: params.function.clone(),
        hours_per_row: match params.interval {
            Interval::Hour => 1,
            Interval::Day => 24,
            Interval::Total => 0,
        },
        by_function: params.per != Per::Tenant,
        by_revision: params.per == Per::Revision,
        limit: MAX_ROWS + 1,
    })
}

/// The form of a statement.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    Json,
    Csv,
    Html,
}

/// The first form that `accept` names which there is; JSON without any. Weights are not looked at: browsers
/// and programs name what they want first.
fn form(headers: &HeaderMap) -> Form {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut types = accepted.flat_map(|value| value.split(','));
    let known = types.find_map(|range| match range.split(';').next().unwrap_or_default().trim() {
        "application/json" => Some(Form::Json),
        "text/csv" => Some(Form::Csv),
        "text/html" => Some(Form::Html),
        _ => None,
    });
    known.unwrap_or(Form::Json)
}

/// The tenant's statement of a month, UTC: what it used and what that costs. As JSON, CSV or a page, by
/// `accept`.
#[utoipa::path(get, path = "/api/v1/statements/{month}", tag = "usage",
    params(("month" = String, Path, description = "such as `2026-11`", pattern = "^(19[789][0-9]|2[0-9]{3})-(0[1-9]|1[0-2])$")),
    responses(
        (status = 200, content((Object = "application/json"), (String = "text/csv"), (String = "text/html"))),
    ))]
pub(crate) async fn statement(
    State(context): State<Context>,
    caller: Caller,
    Path(month): Path<String>,
    headers: HeaderMap,
) -> Result<Response> {
    let identity = caller.may(Permission::Audit)?;
    let month: Month = month.parse()?;
    let statement: Statement = context.control.statement(&identity.tenant, month).await?;
    Ok(match form(&headers) {
        Form::Json => Json(statement).into_response(),
        Form::Csv => {
            ([(CONTENT_TYPE, "text/csv; charset=utf-8")], statement::csv(&statement)).into_response()
        }
        Form::Html => {
            ([(CONTENT_TYPE, "text/html; charset=utf-8")], statement::html(&statement)).into_response()
        }
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn hours_are_shown_whole() {
        let params = |from: &str, to: &str| UsageParams {
            from: Some(from.parse().unwrap()),
            to: Some(to.parse().unwrap()),
            function: None,
            interval: Interval::Day,
            per: Per::Function,
        };
        let hours = query(&params("1970-01-01T01:59:00Z", "1970-01-02T00:00:00Z")).unwrap();
        assert_eq!((hours.from_hour, hours.to_hour), (1, 24));
        let hours = query(&params("1970-01-01T01:59:00Z", "1970-01-02T00:00:01Z")).unwrap();
        assert_eq!((hours.to_hour, hours.hours_per_row, hours.by_function), (25, 24, true));
        let refused = query(&params("1970-01-02T00:00:00Z", "1970-01-01T00:00:00Z")).unwrap_err();
        assert_eq!(refused.field.as_deref(), Some("from"));
    }

    #[test]
    fn the_form_is_the_one_that_is_accepted_first() {
        let form =
            |accept: &'static str| form(&[(ACCEPT, HeaderValue::from_static(accept))].into_iter().collect());
        assert_eq!(form("text/html,application/xhtml+xml,*/*;q=0.8"), Form::Html);
        assert_eq!(form("text/csv"), Form::Csv);
        assert_eq!(form("*/*"), Form::Json);
    }
}
