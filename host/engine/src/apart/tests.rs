//! The host's side, against programs that do not do what they should. What the real one does is a
//! matter of the end-to-end suite, which has a program.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use modelet_types::{Code as ErrorCode, Digest, Problem};

use crate::config::CompileConfig;
use crate::{Contracts, Engine, EngineConfig};

/// `answer` writes the head of an answer that is `$1` (0 for a problem, 1 for code) of `$2` bytes, at most 255.
const ANSWER: &str =
    r#"answer() { printf 'MODELETC\001\000\003\00'$1"\\$(printf %o $2)"'\000\000\000\000\000\000\000'; }"#;

const DEADLINE: Duration = Duration::from_secs(60);

/// An engine whose compiler is a script or a program.
struct Bench {
    engine: Engine,
    folder: tempfile::TempDir,
    component: PathBuf,
}

impl Bench {
    fn script(script: &str) -> Self {
        Self::script_within(script, DEADLINE)
    }

    fn script_within(script: &str, wall_time: Duration) -> Self {
        Self::with(|folder| {
            let path = folder.join("compiler");
            // Written by another process, so that no program that a neighbouring test starts has the
            // file open for writing, and the kernel refuses to run it.
            let mut write = Command::new("sh");
            write.args(["-c", "cat >\"$0\" && chmod 700 \"$0\""]).arg(&path).stdin(Stdio::piped());
            let mut write = write.spawn().unwrap();
            let folder = folder.display();
            let text = format!("#!/bin/sh\nfolder='{folder}'\n{ANSWER}\n{script}\n");
            write.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
            assert!(write.wait().unwrap().success());
            CompileConfig { program: path, wall_time, ..CompileConfig::default() }
        })
    }

    fn program(path: &str) -> Self {
        Self::with(|_| CompileConfig { program: path.into(), ..CompileConfig::default() })
    }

    fn with(config: impl FnOnce(&Path) -> CompileConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let compile = config(folder.path());
        let component = folder.path().join("component.wasm");
        fs::write(&component, super::SAMPLE).unwrap();
        let code_dir = folder.path().join("code");
        let config = EngineConfig { max_instances: 1, compile, ..EngineConfig::new(code_dir) };
        Self { engine: Engine::start(&config).unwrap(), folder, component }
    }

    async fn compile(&self) -> Result<Contracts, Problem> {
        let compiled = self.engine.compile(&digest(), &self.component, ()).await;
        assert!(!self.engine.code().contains(&digest()), "code is kept that is none");
        assert_eq!(fs::read_dir(self.code_dir()).unwrap().count(), 0, "something is left over");
        compiled
    }

    async fn problem(&self) -> Problem {
        self.compile().await.unwrap_err()
    }

    fn code_dir(&self) -> PathBuf {
        let mut versions = fs::read_dir(self.folder.path().join("code")).unwrap();
        versions.next().unwrap().unwrap().path()
    }

    /// The process that the script is, once it has written its number.
    async fn process(&self) -> PathBuf {
        let file = self.folder.path().join("pid");
        let began = Instant::now();
        loop {
            let text = fs::read_to_string(&file).unwrap_or_default();
            if let Some(pid) = text.strip_suffix('\n') {
                return Path::new("/proc").join(pid);
            }
            assert!(began.elapsed() < DEADLINE, "the process does not start");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

fn digest() -> Digest {
    Digest::of(super::SAMPLE)
}

async fn fails(bench: Bench) {
    let problem = bench.problem().await;
    assert_eq!((problem.code, problem.field.as_deref()), (ErrorCode::CompileFailed, Some("component")));
}

#[tokio::test]
async fn programs_that_do_not_answer_are_failures() {
    for program in ["/bin/true", "/bin/false", "/bin/cat", "/bin/echo", "/nonexistent"] {
        fails(Bench::program(program)).await;
    }
}

#[tokio::test]
async fn answers_that_are_none_are_failures() {
    for script in [
        // Cut off in the head, in a problem, in code.
        "answer 1 4 | head -c 11",
        "answer 0 20; printf 'short'",
        "answer 1 20; printf 'short'",
        // More than it says.
        "answer 1 4; printf 'codes'",
        // Not one at all.
        "exec head -c 100000 /dev/zero",
        "exec cat /dev/zero",
        // A code that no compiler gives.
        r"answer 0 11; printf '\011not_found\000'",
    ] {
        fails(Bench::script(script)).await;
    }
}

#[tokio::test]
async fn an_answer_of_a_process_that_failed_does_not_count() {
    for end in ["exit 1", "kill -KILL $$", "kill -SEGV $$"] {
        fails(Bench::script(&format!("answer 1 4; printf code; {end}"))).await;
    }
}

#[tokio::test]
async fn code_that_is_none_is_not_kept() {
    fails(Bench::script("answer 1 4; printf code")).await;
    fails(Bench::script("answer 1 0")).await;
}

#[tokio::test]
async fn a_problem_reaches_the_deployer() {
    // Also from a process that talks more than a pipe holds.
    let talk = "head -c 1000000 /dev/zero >&2";
    let script = format!(r"{talk}; answer 0 35; printf '\021invalid_component\011componentno good'");
    let problem = Bench::script(&script).problem().await;
    assert_eq!(problem, Problem::new(ErrorCode::InvalidComponent, "no good").at("component"));
}

#[tokio::test]
async fn each_limit_is_told_by_its_name() {
    for (script, limit) in [
        ("kill -XCPU $$", "compile.cpu_time_ms"),
        ("exit 12", "compile.memory_bytes"),
        ("echo 'memory allocation of 8 bytes failed' >&2; kill -ABRT $$", "compile.memory_bytes"),
        // Neither silence nor an answer without an end keeps the host.
        ("exec sleep 1000", "compile.wall_time_ms"),
        ("answer 1 4; printf code; exec sleep 1000", "compile.wall_time_ms"),
        ("answer 1 4; printf code; exec >&- 2>&-; exec sleep 1000", "compile.wall_time_ms"),
        (r"printf 'MODELETC\001\000\003\001\000\000\000\000\001\000\000\000'", "machine code"),
    ] {
        let wall_time = if limit == "compile.wall_time_ms" { Duration::from_millis(300) } else { DEADLINE };
        let problem = Bench::script_within(script, wall_time).problem().await;
        assert_eq!(problem.code, ErrorCode::CompileLimitExceeded, "{script}: {problem}");
        assert!(problem.detail.contains(limit), "{script}: {problem}");
        assert_eq!(problem.field.as_deref(), Some("component"));
    }
}

#[tokio::test]
async fn who_loses_interest_ends_the_process() {
    let bench = Bench::script("echo $$ >\"$folder/pid\"; exec sleep 1000");
    let (turn, given_back) = tokio::sync::oneshot::channel::<()>();
    let process = {
        let digest = digest();
        let compiling = bench.engine.compile(&digest, &bench.component, turn);
        tokio::pin!(compiling);
        tokio::select! {
            compiled = &mut compiling => panic!("it sleeps: {compiled:?}"),
            process = bench.process() => process,
        }
    };
    // The turn comes back when nothing goes on any longer, and not before.
    let end = tokio::time::timeout(DEADLINE, given_back).await.expect("the turn comes back");
    assert!(end.is_err());
    assert!(!process.exists());
}

#[tokio::test]
async fn a_compiler_that_cannot_work_is_found_out_at_the_start() {
    let checked = async |bench: Bench| bench.engine.check_compiler().await;
    let problem = checked(Bench::program("/nonexistent")).await.unwrap_err();
    assert!(problem.detail.contains("/nonexistent compile-worker"), "{problem}");
    let problem = checked(Bench::script("echo 'out of order' >&2; exit 1")).await.unwrap_err();
    assert!(problem.detail.contains("out of order"), "{problem}");
    let layers = checked(Bench::script(r"answer 0 19; printf '\021invalid_component\000'")).await.unwrap();
    assert!(layers.are_complete());
}

#[tokio::test]
async fn the_process_has_an_empty_environment_and_the_component() {
    // What the shell sets by itself does not count.
    let script = r#"
        test -z "$(tr '\0' '\n' </proc/self/environ | grep -vE '^(PWD|SHLVL|OLDPWD|_)=')" || exit 1
        test "$(wc -c)" -eq "${3#component_bytes=}" || exit 1
        answer 0 19; printf '\021invalid_component\000'"#;
    let problem = Bench::script(script).problem().await;
    assert_eq!(problem.code, ErrorCode::InvalidComponent, "{problem}");
}
