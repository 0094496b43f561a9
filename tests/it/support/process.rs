//! A host in a process of its own, which can be killed.

use std::ops::Deref;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::{Api, DEADLINE};

const SIGKILL: i32 = 9;

/// A running process. Dereferences to a client of its host. Killed when dropped.
pub struct HostProcess {
    child: Child,
    api: Api,
}

impl Deref for HostProcess {
    type Target = Api;

    fn deref(&self) -> &Api {
        &self.api
    }
}

impl HostProcess {
    /// Starts a host on `data_dir` which dies at `failpoint`.
    pub async fn start(data_dir: &Path, failpoint: Option<&str>) -> Self {
        let failpoint = failpoint.map(|failpoint| ("FAILPOINTS".to_owned(), format!("{failpoint}=kill")));
        Self::start_with(data_dir, &json!({}), failpoint).await
    }

    /// Starts a host on `data_dir` with `changes` to the configuration's fields at the top, and these variables.
    pub async fn start_with(
        data_dir: &Path,
        changes: &Value,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        let mut config: Value = super::host::config(data_dir);
        let changes = changes.as_object().expect("changes are an object").clone();
        config.as_object_mut().expect("a configuration is an object").extend(changes);
        let mut command = Command::new(env!("CARGO_BIN_EXE_fragile-host"));
        command.arg(config.to_string()).stdout(Stdio::piped()).kill_on_drop(true).env_remove("FAILPOINTS");
        command.envs(variables);
        let mut child = command.spawn().expect("the host can be started");
        let output = child.stdout.take().expect("its output is piped");
        let mut address = String::new();
        let mut output = BufReader::new(output);
        tokio::time::timeout(DEADLINE, output.read_line(&mut address))
            .await
            .expect("the host starts in time")
            .expect("its output can be read");
        assert!(!address.is_empty(), "the host did not start: {:?}", child.wait().await);
        Self { child, api: Api::new(address.trim(), &data_dir.join("operator-key")) }
    }

    /// The number of the process.
    pub fn id(&self) -> u32 {
        self.child.id().expect("nobody has waited for it")
    }

    /// Ends it as `kill -9` does.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("a child can be killed");
    }

    /// Waits until a failpoint has killed it.
    pub async fn was_killed(mut self) {
        let status = tokio::time::timeout(DEADLINE, self.child.wait())
            .await
            .expect("the failpoint was passed")
            .expect("a child can be waited for");
        assert_eq!(status.signal(), Some(SIGKILL), "{status}");
    }
}
