//! Memory for the requests' bodies that are gathered: one budget for the whole host.

use std::sync::Arc;
use std::time::Duration;

use modelet_types::{Code, Problem};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The longest that a body waits for memory: it holds some already, and others wait for that.
const MAX_WAIT: Duration = Duration::from_secs(1);

/// Bytes that may be taken, each as it arrives.
pub(crate) struct BodyBudget {
    free: Arc<Semaphore>,
    bytes: usize,
}

/// What one body has taken. Dropping it gives it back.
#[derive(Default)]
pub(crate) struct Claim(Option<OwnedSemaphorePermit>);

impl BodyBudget {
    pub(crate) fn new(bytes: u64) -> Self {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(bytes)), bytes }
    }

    /// Adds `bytes` to `claim`.
    ///
    /// # Errors
    /// `Overloaded` if others do not give back enough in time; `RequestTooLarge` if all of the
    /// budget would not do.
    pub(crate) async fn take(&self, claim: &mut Claim, bytes: usize) -> Result<(), Problem> {
        if bytes == 0 {
            return Ok(());
        }
        let held = claim.0.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let wanted = u32::try_from(bytes).ok().filter(|_| held.saturating_add(bytes) <= self.bytes);
        let Some(wanted) = wanted else {
            let detail = format!(
                "the request's body is larger than the {} bytes that this host has for all bodies at one time",
                self.bytes
            );
            return Err(Problem::new(Code::RequestTooLarge, detail).at("body"));
        };
        let taking = self.free.clone().acquire_many_owned(wanted);
        let taken = tokio::time::timeout(MAX_WAIT, taking)
            .await
            .map_err(|_| {
                let detail = "the bodies of other requests take all the memory that this host has for them";
                Problem::new(Code::Overloaded, detail)
            })?
            .expect("the semaphore of bytes is never closed");
        match &mut claim.0 {
            Some(held) => held.merge(taken),
            none => *none = Some(taken),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_one_body_holds_another_waits_for_in_vain_and_then_gets() {
        let budget = BodyBudget::new(10);
        let (mut first, mut second) = (Claim::default(), Claim::default());
        budget.take(&mut first, 4).await.unwrap();
        budget.take(&mut first, 3).await.unwrap();
        budget.take(&mut second, 3).await.unwrap();
        assert_eq!(budget.take(&mut second, 1).await.unwrap_err().code, Code::Overloaded);
        drop(first);
        budget.take(&mut second, 7).await.unwrap();
    }

    #[tokio::test]
    async fn a_body_over_the_whole_budget_is_not_told_to_come_again() {
        let budget = BodyBudget::new(10);
        let mut claim = Claim::default();
        budget.take(&mut claim, 8).await.unwrap();
        let problem = budget.take(&mut claim, 3).await.unwrap_err();
        assert_eq!((problem.code, problem.field.as_deref()), (Code::RequestTooLarge, Some("body")));
    }
}
