//! Who makes a request, and whether they may do what it asks for.
//!
//! Every request gets a [`Caller`] before its controller (`middleware.rs`). A controller gets to a tenant
//! only through one, by naming the permission that it needs.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, HeaderName};
use modelet_control::{Control, Identity};
use modelet_runtime::{Routed, no_function};
use modelet_types::{Code, FunctionName, Permission, Problem, Role, TenantName};

use crate::context::{function_name, name};

/// The header in which an operator names the tenant that a request is for.
pub(crate) const TENANT: HeaderName = HeaderName::from_static("modelet-tenant");

/// How a host finds out who makes a request.
#[derive(Clone)]
pub(crate) enum Identification {
    /// It asks for no key: everybody is its operator.
    None(Arc<Identity>, Option<Control>),
    /// By the key that stands in the `Authorization` header, as a bearer token (RFC 6750 §2.1).
    Keys(Control),
}

impl Identification {
    /// Who makes a request with these headers.
    ///
    /// # Errors
    /// If they want to act for a tenant for which they may not, or that is not there.
    pub(crate) fn caller(&self, headers: &HeaderMap) -> Result<Caller, Problem> {
        let (shown, control) = match self {
            Self::None(identity, control) => (Shown::Known(identity.clone()), control.as_ref()),
            Self::Keys(control) => {
                let known = bearer(headers).map(|key| control.authenticator().authenticate(key));
                let shown = match known {
                    Some(Some(identity)) => Shown::Known(identity),
                    Some(None) => Shown::Unknown,
                    None => Shown::Nothing,
                };
                (shown, Some(control))
            }
        };
        match (headers.get(TENANT), shown) {
            (Some(wanted), Shown::Known(identity)) => {
                let wanted: TenantName = name(wanted.to_str().unwrap_or_default(), TENANT_FIELD)?;
                act_for(identity, wanted, control).map(|identity| Caller(Shown::Known(identity)))
            }
            (_, shown) => Ok(Caller(shown)),
        }
    }
}

const TENANT_FIELD: &str = "modelet-tenant";

/// The same person, acting for a tenant.
fn act_for(
    identity: Arc<Identity>,
    wanted: TenantName,
    control: Option<&Control>,
) -> Result<Arc<Identity>, Problem> {
    if identity.tenant == wanted {
        return Ok(identity);
    }
    if identity.role != Role::Operator {
        let detail = "only an operator's key acts for other tenants: leave the header out";
        return Err(Problem::new(Code::PermissionDenied, detail).at(TENANT_FIELD));
    }
    if !control.is_some_and(|control| control.has_tenant(&wanted)) {
        let detail = format!("there is no tenant `{wanted}`: `modelet tenants` lists those there are");
        return Err(Problem::new(Code::NotFound, detail).at(TENANT_FIELD));
    }
    Ok(Arc::new(Identity { tenant: wanted, ..Identity::clone(&identity) }))
}

/// The bearer token of a request. The scheme's name is in any case (RFC 9110 §11.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Who makes a request.
#[derive(Clone)]
pub(crate) struct Caller(Shown);

/// What they have shown.
#[derive(Clone)]
enum Shown {
    Nothing,
    /// A token that is no key of this host, or not any more. A function that anybody may call can have
    /// tokens of its own.
    Unknown,
    Known(Arc<Identity>),
}

impl Caller {
    /// The same, asking from this address, which goes into the record of changes.
    pub(crate) fn from(self, origin: Option<IpAddr>) -> Self {
        match self.0 {
            Shown::Known(identity) if origin.is_some() => {
                let actor = identity.actor.clone().from(origin);
                Self(Shown::Known(Arc::new(Identity { actor, ..Identity::clone(&identity) })))
            }
            shown => Self(shown),
        }
    }

    /// A handler of a tenant, which calls its other functions.
    pub(crate) fn handler_of(tenant: TenantName) -> Self {
        let identity = Identity { tenant, role: Role::Invoker, functions: None, ..Identity::local() };
        Self(Shown::Known(Arc::new(identity)))
    }

    /// Somebody with a key, whatever it is for.
    ///
    /// # Errors
    /// `Unauthenticated`.
    pub(crate) fn known(&self) -> Result<&Identity, Problem> {
        let detail = match &self.0 {
            Shown::Known(identity) => return Ok(identity),
            Shown::Nothing => {
                "this needs a key: send `authorization: Bearer KEY` (the host's operator has one in its data \
                 folder, in `operator-key`, and can make others)"
            }
            Shown::Unknown => "this is no key of this host, or it has ended or was revoked: ask for another",
        };
        Err(Problem::new(Code::Unauthenticated, detail).at("authorization"))
    }

    /// Somebody who may do something in their tenant.
    ///
    /// # Errors
    /// `Unauthenticated` or `PermissionDenied`.
    pub(crate) fn may(&self, permission: Permission) -> Result<&Identity, Problem> {
        let identity = self.known()?;
        if identity.may(permission) {
            return Ok(identity);
        }
        let may: Vec<_> =
            Role::ALL.into_iter().filter(|role| role.may(permission)).map(Role::as_str).collect();
        let detail = format!(
            "a key of role `{}` may not {}: use one of role {}",
            identity.role,
            permission.as_str(),
            may.join(" or ")
        );
        Err(Problem::new(Code::PermissionDenied, detail))
    }

    /// Somebody who may do something with one function of their tenant, whose name is read out of an
    /// address.
    ///
    /// # Errors
    /// `Unauthenticated`, `PermissionDenied`, or `InvalidInput` for what is no name.
    pub(crate) fn may_with(
        &self,
        permission: Permission,
        function: &str,
    ) -> Result<(&Identity, FunctionName), Problem> {
        let identity = self.may(permission)?;
        let function = function_name(function)?;
        check_covers(identity, function.as_str())?;
        Ok((identity, function))
    }

    /// Lets a call to the function that it was routed to: for whoever may call it, and for everybody if
    /// the revision says so. A function of another tenant looks the same as one that is not there.
    ///
    /// # Errors
    /// `Unauthenticated` or `PermissionDenied`, or why it was not routed.
    pub(crate) fn admit(
        &self,
        tenant: &str,
        function: &str,
        routed: Result<Routed, Problem>,
    ) -> Result<Routed, Problem> {
        match &routed {
            Ok(routed) if routed.is_public() => {}
            Err(problem) if problem.code == Code::ShuttingDown => {}
            _ => {
                let identity = self.known()?;
                if identity.tenant.as_str() != tenant && identity.role != Role::Operator {
                    return Err(no_function(function));
                }
                check_covers(self.may(Permission::Invoke)?, function)?;
            }
        }
        routed
    }
}

/// Lets a key be used for a function, by its name; `*` is all of them.
///
/// # Errors
/// `PermissionDenied` if the key is restricted to others.
pub(crate) fn check_covers(identity: &Identity, function: &str) -> Result<(), Problem> {
    if identity.covers(function) {
        return Ok(());
    }
    let names: Vec<_> = identity.functions.iter().flatten().map(|name| format!("`{name}`")).collect();
    let detail = format!("this key is only for {}", names.join(", "));
    Err(Problem::new(Code::PermissionDenied, detail).at("function"))
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().cloned().unwrap_or(Self(Shown::Nothing)))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn caller(role: Role, functions: Option<&[&str]>) -> Caller {
        let functions = functions.map(|names| names.iter().map(|name| name.parse().unwrap()).collect());
        Caller(Shown::Known(Arc::new(Identity { role, functions, ..Identity::local() })))
    }

    #[test]
    fn the_matrix_is_documented() {
        let mut table = String::from("|");
        for role in Role::ALL {
            table += &format!(" | {role}");
        }
        table += &format!(" |\n|---|{}\n", "---|".repeat(Role::ALL.len()));
        for permission in Permission::ALL {
            table += &format!("| {} |", permission.as_str());
            for role in Role::ALL {
                table += if role.may(permission) { " yes |" } else { " no |" };
            }
            table += "\n";
        }
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/tenants.md");
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.contains(&table), "put this table into docs/tenants.md:\n{table}");
    }

    #[test]
    fn the_scheme_is_in_any_case() {
        let token = |value: &'static str| {
            let headers = [(AUTHORIZATION, HeaderValue::from_static(value))].into_iter().collect();
            bearer(&headers).map(str::to_owned)
        };
        assert_eq!(token("Bearer mk_1").as_deref(), Some("mk_1"));
        assert_eq!(token("bearer  mk_1 ").as_deref(), Some("mk_1"));
        for other in ["Basic mk_1", "mk_1", "Bearer"] {
            assert_eq!(token(other), None, "{other}");
        }
    }

    #[test]
    fn refusals_say_which_role_it_takes() {
        let refusal = caller(Role::Invoker, None).may(Permission::Deploy).unwrap_err();
        assert_eq!(refusal.code, Code::PermissionDenied);
        assert!(refusal.detail.ends_with("use one of role operator or owner or deployer"), "{refusal}");
        let refusal = Caller(Shown::Nothing).may(Permission::Invoke).unwrap_err();
        assert_eq!((refusal.code, refusal.field.as_deref()), (Code::Unauthenticated, Some("authorization")));
    }

    #[test]
    fn a_restricted_key_is_for_its_functions() {
        let caller = caller(Role::Deployer, Some(&["digits"]));
        assert!(caller.may_with(Permission::Deploy, "digits").is_ok());
        let refusal = caller.may_with(Permission::Deploy, "embed").unwrap_err();
        assert_eq!(refusal.detail, "this key is only for `digits`");
        assert_eq!(caller.may_with(Permission::Deploy, "No Name").unwrap_err().code, Code::InvalidInput);
    }

    #[test]
    fn only_operators_act_for_other_tenants() {
        let headers = |name: &'static str| [(TENANT, HeaderValue::from_static(name))].into_iter().collect();
        let identify = |role, name| {
            let identity = Arc::new(Identity { role, ..Identity::local() });
            Identification::None(identity, None).caller(&headers(name)).map(drop)
        };
        assert!(identify(Role::Owner, "default").is_ok());
        assert_eq!(identify(Role::Owner, "acme").unwrap_err().code, Code::PermissionDenied);
        assert_eq!(identify(Role::Operator, "acme").unwrap_err().code, Code::NotFound, "there is none");
        assert_eq!(identify(Role::Operator, "A C").unwrap_err().code, Code::InvalidInput);
    }
}
