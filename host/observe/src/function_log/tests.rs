//! The logs from outside: what is kept, what is said about what is not.

use std::fs;
use std::path::Path;
use std::pin::pin;

use futures::{Stream, StreamExt};

use super::*;

const REVISION: RevisionNumber = RevisionNumber(3);

fn tenant() -> TenantName {
    "acme".parse().unwrap()
}

fn function() -> FunctionName {
    "digits".parse().unwrap()
}

fn logs(dir: &Path, config: FunctionLogsConfig) -> Arc<FunctionLogs> {
    FunctionLogs::open(dir, config).unwrap()
}

fn small() -> FunctionLogsConfig {
    FunctionLogsConfig { cap_bytes: 4_000, segment_bytes: 1_000, ..FunctionLogsConfig::default() }
}

fn sink(logs: &Arc<FunctionLogs>) -> LogSink {
    logs.sink(&tenant(), &function(), REVISION, InvocationId::generate(), 1 << 20)
}

fn say(sink: &LogSink, text: &str) {
    sink.line(Level::Info, Source::Stdout, text);
}

async fn tail(logs: &FunctionLogs, count: usize) -> Vec<LogLine> {
    logs.tail(&tenant(), &function(), count).await.unwrap()
}

fn messages(lines: &[LogLine]) -> Vec<&str> {
    lines.iter().map(|line| line.message.as_str()).collect()
}

fn log_dir(dir: &Path) -> PathBuf {
    dir.join("acme/digits")
}

async fn next(stream: &mut (impl Stream<Item = Result<LogLine, Error>> + Unpin)) -> LogLine {
    stream.next().await.expect("the log goes on").unwrap()
}

#[tokio::test]
async fn keeps_lines_with_all_that_is_known_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let logs = logs(dir.path(), FunctionLogsConfig::default());
    let invocation = InvocationId::generate();
    let sink = logs.sink(&tenant(), &function(), REVISION, invocation, 1_000);
    let text = "bell \u{7}, escape \u{1b}[31m,\nsecond row, ünï";
    sink.line(Level::Error, Source::Stderr, text);
    logs.host_line(&tenant(), &function(), Level::Warn, "from the host");

    let lines = tail(&logs, 10).await;
    assert_eq!(messages(&lines), [text, "from the host"]);
    assert_eq!((lines[0].seq, lines[0].level, lines[0].source), (1, Level::Error, Source::Stderr));
    assert_eq!((lines[0].invocation, lines[0].revision), (Some(invocation), Some(REVISION)));
    assert_eq!((lines[1].seq, lines[1].source, lines[1].invocation), (2, Source::Host, None));
    let stored = fs::read_to_string(files::path(&log_dir(dir.path()), 1)).unwrap();
    assert_eq!(stored.lines().count(), 2);
    assert!(stored.contains(r"bell \u0007, escape \u001b[31m,\nsecond"), "{stored}");
    assert_eq!(messages(&tail(&logs, 1).await), ["from the host"]);
}

#[tokio::test]
async fn says_once_what_the_limit_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let logs = logs(dir.path(), FunctionLogsConfig::default());
    let sink = logs.sink(&tenant(), &function(), REVISION, InvocationId::generate(), 200);
    say(&sink, &"a".repeat(150));
    say(&sink, &"é".repeat(40));
    for _ in 0..7 {
        say(&sink, "one more");
    }
    sink.line(Level::Error, Source::Host, "wasm backtrace");
    drop(sink);
    let lines = tail(&logs, 10).await;
    let expected = [
        "a".repeat(150),
        "é".repeat(25),
        "wasm backtrace".into(),
        "log limit of 200 bytes reached; 7 further lines dropped".into(),
    ];
    assert_eq!(messages(&lines), expected);
    assert_eq!(lines[3].source, Source::Host);
    assert_eq!(logs.stats(), FunctionLogsStats { lines: 4, dropped_lines: 7 });
}

#[tokio::test]
async fn empty_lines_count_too() {
    let dir = tempfile::tempdir().unwrap();
    let logs = logs(dir.path(), FunctionLogsConfig::default());
    let sink = logs.sink(&tenant(), &function(), REVISION, InvocationId::generate(), 640);
    (0..1_000).for_each(|_| say(&sink, ""));
    drop(sink);
    let lines = tail(&logs, 100).await;
    assert_eq!(lines.len(), 11);
    assert_eq!(lines[10].message, "log limit of 640 bytes reached; 990 further lines dropped");
}

#[tokio::test]
async fn a_silent_invocation_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let logs = logs(dir.path(), FunctionLogsConfig::default());
    drop(sink(&logs));
    assert!(tail(&logs, 10).await.is_empty());
    assert!(!log_dir(dir.path()).exists());
}

#[tokio::test]
async fn the_ring_keeps_the_newest_under_its_cap() {
    let dir = tempfile::tempdir().unwrap();
    let logs = logs(dir.path(), small());
    let sink = sink(&logs);
    for number in 1..=200 {
        say(&sink, &format!("line {number}"));
        logs.flush().await.unwrap();
    }
    let sizes = fs::read_dir(log_dir(dir.path())).unwrap().map(|e| e.unwrap().metadata().unwrap().len());
    assert!(sizes.sum::<u64>() <= 4_000);
    let lines = tail(&logs, 1_000).await;
    assert!((10..50).contains(&lines.len()), "{}", lines.len());
    assert_eq!(lines.last().unwrap().message, "line 200");
    assert!(lines.windows(2).all(|pair| pair[1].seq == pair[0].seq + 1));
    assert_eq!(tail(&logs, 5).await, lines[lines.len() - 5..]);
}

#[tokio::test]
async fn goes_on_counting_after_a_restart_and_cuts_a_torn_line() {
    let dir = tempfile::tempdir().unwrap();
    let before = logs(dir.path(), small());
    let sink_before = sink(&before);
    for number in 1..=12 {
        say(&sink_before, &format!("line {number}"));
        before.flush().await.unwrap();
    }
    drop((sink_before, before));
    let last = *files::list(&log_dir(dir.path())).unwrap().last().unwrap();
    assert!(last > 1);
    let path = files::path(&log_dir(dir.path()), last);
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend_from_slice(br#"{"at":"2026-"#);
    fs::write(&path, bytes).unwrap();

    let after = logs(dir.path(), small());
    say(&sink(&after), "line 13");
    let lines = tail(&after, 2).await;
    assert_eq!(messages(&lines), ["line 12", "line 13"]);
    assert_eq!(lines[1].seq, 13);
}

#[tokio::test]
async fn follows_what_was_and_what_comes_across_rotation() {
    let dir = tempfile::tempdir().unwrap();
    let config = FunctionLogsConfig { segment_bytes: 1_000, ..FunctionLogsConfig::default() };
    let logs = logs(dir.path(), config);
    let sink = sink(&logs);
    for number in 1..=20 {
        say(&sink, &format!("line {number}"));
        logs.flush().await.unwrap();
    }
    let mut from_start = pin!(logs.follow(&tenant(), &function(), 0));
    let mut from_15 = pin!(logs.follow(&tenant(), &function(), 15));
    for number in 1..=20 {
        assert_eq!(next(&mut from_start).await.seq, number);
    }
    for number in 16..=20 {
        assert_eq!(next(&mut from_15).await.seq, number);
    }
    for number in 21..=60 {
        say(&sink, &format!("line {number}"));
        for stream in [&mut from_start, &mut from_15] {
            let line = next(stream).await;
            assert_eq!((line.seq, line.message), (number, format!("line {number}")));
        }
    }
    assert!(files::list(&log_dir(dir.path())).unwrap().len() > 3);
}

#[tokio::test]
async fn a_slow_follower_is_told_what_it_missed() {
    let dir = tempfile::tempdir().unwrap();
    let logs = logs(dir.path(), small());
    let sink = sink(&logs);
    say(&sink, "line 1");
    let mut stream = pin!(logs.follow(&tenant(), &function(), 0));
    assert_eq!(next(&mut stream).await.seq, 1);
    for number in 2..=100 {
        say(&sink, &format!("line {number}"));
        logs.flush().await.unwrap();
    }
    let oldest = tail(&logs, 1_000).await[0].seq;
    let note = next(&mut stream).await;
    let skipped = oldest - 2;
    assert_eq!(note.message, format!("{skipped} lines skipped: they were removed before they could be read"));
    assert_eq!((note.seq, note.source), (oldest - 1, Source::Host));
    for number in oldest..=100 {
        assert_eq!(next(&mut stream).await.seq, number);
    }
}

#[tokio::test]
async fn removal_deletes_the_log_and_ends_followers() {
    let dir = tempfile::tempdir().unwrap();
    let logs = logs(dir.path(), FunctionLogsConfig::default());
    let late = sink(&logs);
    say(&late, "line 1");
    let mut stream = pin!(logs.follow(&tenant(), &function(), 0));
    assert_eq!(next(&mut stream).await.seq, 1);
    logs.remove(&tenant(), &function()).await.unwrap();
    assert!(stream.next().await.is_none());
    assert!(!log_dir(dir.path()).exists());
    say(&late, "from an invocation that outlives its function");
    assert!(tail(&logs, 10).await.is_empty());
    // A new function of the same name begins a log of its own.
    say(&sink(&logs), "line 1 of another");
    let lines = tail(&logs, 10).await;
    assert_eq!((lines[0].seq, messages(&lines)), (1, vec!["line 1 of another"]));
}

#[tokio::test]
async fn a_full_queue_drops_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    // Room for one line of this length, not for two.
    let config = FunctionLogsConfig { max_queued_bytes: 1_500, ..FunctionLogsConfig::default() };
    let logs = logs(dir.path(), config);
    let sink = sink(&logs);
    let text = "x".repeat(1_000);
    // Within the invocation's own limit, so that only the queue can be what drops.
    let count = 1_000;
    (0..count).for_each(|_| say(&sink, &text));
    let lines = tail(&logs, 10_000).await;
    let (notes, kept): (Vec<_>, Vec<_>) = lines.iter().partition(|line| line.source == Source::Host);
    let said: u64 = notes.iter().map(|note| number_at_start(&note.message)).sum();
    assert!(!notes.is_empty());
    assert_eq!(kept.len() as u64 + said, count);
    assert_eq!(logs.stats().dropped_lines, said);
}

fn number_at_start(text: &str) -> u64 {
    text.split(' ').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn holds_few_files_open_for_many_functions() {
    let dir = tempfile::tempdir().unwrap();
    let config = FunctionLogsConfig { max_open_files: 8, ..FunctionLogsConfig::default() };
    let logs = logs(dir.path(), config);
    for round in 1..=2u64 {
        for number in 0..100 {
            let function = format!("f{number}").parse().unwrap();
            logs.sink(&tenant(), &function, REVISION, InvocationId::generate(), 100).line(
                Level::Info,
                Source::Handler,
                "hello",
            );
        }
        logs.flush().await.unwrap();
        let open = fs::read_dir("/proc/self/fd").unwrap();
        let of_logs = open.filter(|entry| {
            let target = fs::read_link(entry.as_ref().unwrap().path());
            target.is_ok_and(|target| target.starts_with(dir.path()))
        });
        assert_eq!(of_logs.count(), 8);
        let function = "f0".parse().unwrap();
        assert_eq!(logs.tail(&tenant(), &function, 10).await.unwrap().last().unwrap().seq, round);
    }
}
