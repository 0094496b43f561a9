//! What a session does when its backend panics; no real one does so on demand.

use std::sync::atomic::AtomicU32;

use modelet_types::{ElementType, TensorInfo};

use super::*;
use crate::pool::Threads;
use crate::room::Taken;

struct Panics;

impl BackendSession for Panics {
    fn run(&self, _: &[Tensor], _: &[usize], _: &Control) -> Result<BackendRun, InferenceError> {
        panic!("on purpose")
    }

    fn runs_on_caller(&self) -> bool {
        true
    }

    fn keeps_file(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn a_panic_is_an_error_and_the_session_is_not_used_again() {
    let dropped = Arc::new(AtomicU32::new(0));
    let settings = Settings {
        tenant: TenantName::default_tenant(),
        rule: None,
        queue: 1,
        pool: Arc::new(
            Pool::start("test", Threads { all: 1, most_of_one: 1, at_once: 1 }, 1, |work| work()).unwrap(),
        ),
        counters: Arc::default(),
        inline_threshold: Duration::ZERO,
        is_trusted: Arc::default(),
        cache: None,
        memory: Taken::nothing().unwrap(),
        on_poisoned: Box::new({
            let dropped = Arc::clone(&dropped);
            move || _ = dropped.fetch_add(1, Ordering::Relaxed)
        }),
    };
    let output = TensorInfo { name: "y".into(), element_type: ElementType::F32, shape: vec![] };
    let signature = Signature { inputs: vec![], outputs: vec![output] };
    let session = Arc::new(Session::new(BackendId::Rten, signature, Box::new(Panics), settings));
    let run = || {
        let deadline = Instant::now() + Duration::from_secs(60);
        session.run(RunRequest {
            inputs: vec![],
            outputs: vec![],
            deadline,
            max_output_bytes: u64::MAX,
            priority: Priority::Normal,
            unanswered: None,
        })
    };
    assert_eq!(run().await.unwrap_err().to_string(), "rten failed: it panicked: on purpose");
    let again = run().await.unwrap_err().to_string();
    assert_eq!(again, "rten failed: an earlier run panicked, and the session was dropped");
    assert_eq!(dropped.load(Ordering::Relaxed), 1);
}
