//! What one invocation may use. Every limit has a default, and the operator sets the ceiling.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Code, Problem};

macro_rules! limits {
    ($($(#[doc = $doc:literal])+ $name:ident = $default:expr, $min:expr, $max:expr;)+) => {
        /// The limits of one invocation.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        #[serde(deny_unknown_fields, default)]
        pub struct Limits {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        /// The limits that somebody has stated; the others are left to whoever reads them. In JSON
        /// it is [`Limits`] with fields left out.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        #[serde(deny_unknown_fields, default)]
        pub struct StatedLimits {
            $(
                $(#[doc = $doc])+
                #[serde(skip_serializing_if = "Option::is_none")]
                pub $name: Option<u64>,
            )+
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($name: $default,)+ }
            }
        }

        impl From<Limits> for StatedLimits {
            fn from(limits: Limits) -> Self {
                Self { $($name: Some(limits.$name),)+ }
            }
        }

        impl Limits {
            /// The highest values that this version supports at all.
            pub const HIGHEST: Self = Self { $($name: $max,)+ };

            /// These limits, each lowered to `ceiling` where it is over it.
            #[must_use]
            pub fn at_most(&self, ceiling: &Self) -> Self {
                Self { $($name: self.$name.min(ceiling.$name),)+ }
            }
        }

        impl StatedLimits {
            /// What is stated, and `others` for the rest.
            pub fn or(&self, others: &Limits) -> Limits {
                Limits { $($name: self.$name.unwrap_or(others.$name),)+ }
            }

            /// Checks each stated limit against its lowest useful value and against `ceiling`.
            ///
            /// # Errors
            /// For the first limit out of range, naming it as `limits.<name>`.
            pub fn check(&self, ceiling: &Limits) -> Result<(), Problem> {
                $(if let Some(value) = self.$name && !($min..=ceiling.$name).contains(&value) {
                    let detail = format!(
                        "{} is out of range: use {} to {} (default {})",
                        value, $min, ceiling.$name, ceiling.$name.min($default),
                    );
                    return Err(Problem::new(Code::InvalidManifest, detail).at(concat!("limits.", stringify!($name))));
                })+
                Ok(())
            }
        }
    };
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const MINUTE_MS: u64 = 60_000;

limits! {
    /// Linear memory and tables of the handler's instance, summed.
    memory_bytes = 128 * MIB, 64 * KIB, 4 * GIB;
    /// CPU time of the handler, models not counted.
    cpu_time_ms = 2_000, 1, 10 * MINUTE_MS;
    /// Wall time from the start of the handler to the last byte of its answer, waiting for models
    /// and for the caller to read included.
    wall_time_ms = 30_000, 1, 60 * MINUTE_MS;
    /// The request's body.
    request_body_bytes = 8 * MIB, 0, GIB;
    /// The response's body.
    response_body_bytes = 8 * MIB, 0, GIB;
    /// Tensors that the handler holds at one time.
    tensor_bytes = 64 * MIB, 0, 4 * GIB;
    /// Handles (tensors, models, streams) that the handler holds at one time.
    handles = 1_024, 8, 65_536;
    /// What one invocation may write to the function's log; the rest is dropped, and that is said.
    log_bytes = 64 * KIB, 0, 16 * MIB;
    /// Requests that the handler makes.
    outbound_requests = 100, 0, 10_000;
    /// Bodies of these requests and of their responses, summed.
    outbound_bytes = 64 * MIB, 0, 4 * GIB;
}

impl Limits {
    /// CPU time of the handler.
    pub fn cpu_time(&self) -> Duration {
        Duration::from_millis(self.cpu_time_ms)
    }

    /// Wall time of the invocation.
    pub fn wall_time(&self) -> Duration {
        Duration::from_millis(self.wall_time_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_limit_out_of_range() {
        assert_eq!(StatedLimits::from(Limits::default()).check(&Limits::HIGHEST), Ok(()));
        let limits = StatedLimits { handles: Some(1), ..StatedLimits::default() };
        let problem = limits.check(&Limits::HIGHEST).unwrap_err();
        assert_eq!(problem.field.as_deref(), Some("limits.handles"));
        assert!(problem.detail.contains("8 to 65536"), "{problem}");
    }

    #[test]
    fn what_is_not_stated_is_the_default_or_the_ceiling() {
        let stated: StatedLimits = serde_json::from_str(r#"{"handles": 100}"#).unwrap();
        let ceiling = Limits { memory_bytes: MIB, handles: 100, ..Limits::HIGHEST };
        assert_eq!(stated.check(&ceiling), Ok(()));
        let limits = stated.or(&Limits::default().at_most(&ceiling));
        assert_eq!((limits.memory_bytes, limits.handles), (MIB, 100));
        assert_eq!(limits.cpu_time_ms, Limits::default().cpu_time_ms);
    }

    #[test]
    fn stated_limits_are_limits_with_fields_left_out() {
        let whole = StatedLimits::from(Limits::default());
        let json = serde_json::to_value(&whole).unwrap();
        assert_eq!(json, serde_json::to_value(Limits::default()).unwrap());
        assert_eq!(serde_json::from_value::<StatedLimits>(json).unwrap(), whole);
        assert_eq!(serde_json::to_string(&StatedLimits::default()).unwrap(), "{}");
    }
}
