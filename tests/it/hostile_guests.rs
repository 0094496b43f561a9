//! Handlers that attack the host. Each attack is answered with an error of its own, is told to the
//! author in the function's log, and harms no neighbour.

mod compute;
mod phases;
mod responses;
mod tensors;

use serde_json::{Value, json};

use crate::support::{Answer, Neighbour, TestHost, digits_model, guest};

/// A host on which the hostile function lives beside a busy neighbour.
struct Arena {
    host: TestHost,
    neighbour: Neighbour,
}

impl Arena {
    /// Deploys the hostile guest with these limits.
    async fn with_limits(limits: Value) -> Self {
        let host = TestHost::start().await;
        let component = host.upload(guest("hostile")).await;
        let model = host.upload(digits_model()).await;
        let models = json!({ "digits": { "artifact": model } });
        host.deploy("hostile", &json!({ "component": component, "models": models, "limits": limits })).await;
        Self { neighbour: Neighbour::move_in(&host).await, host }
    }

    /// Deploys a component made for one attack.
    async fn with_component(component: Vec<u8>, limits: Value) -> Self {
        let host = TestHost::start().await;
        let component = host.upload(component).await;
        host.deploy("hostile", &json!({ "component": component, "limits": limits })).await;
        Self { neighbour: Neighbour::move_in(&host).await, host }
    }

    async fn attack(&self, path: &str) -> Answer {
        self.host.call("hostile", path, "").await
    }

    /// Attacks with what breaks the answer off in its middle, and gives what came before.
    async fn attack_stream(&self, path: &str) -> Vec<u8> {
        let request = self.host.request(reqwest::Method::POST, &format!("/f/default/hostile{path}"));
        let mut response = request.send().await.expect("the head of the answer comes");
        assert_eq!(response.status(), 200);
        let mut received = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) => received.extend_from_slice(&chunk),
                Ok(None) => panic!("a part of the answer looks like the whole: {} bytes", received.len()),
                Err(_) => return received,
            }
        }
    }

    /// The line of the function's log about this attack; it is the host's, and it is an error.
    async fn told(&self, texts: &[&str]) -> Value {
        let line = self.host.log_line("hostile", texts).await;
        assert_eq!((&line["source"], &line["level"]), (&json!("host"), &json!("error")), "{line}");
        line
    }

    /// No instance is left over, and the neighbour had right answers all along.
    async fn ended(self) {
        crate::support::until("the end of the attacker's instances", async || {
            (self.host.layers("hostile").await["instances"]["running"] == 0).then_some(())
        })
        .await;
        self.neighbour.end_unharmed().await;
    }
}
