//! What a host answers, and what comes of it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::thread;

use crate::run::{Ended, modelet};

/// A stand-in for a host: gives every request the same answer.
fn host(status: &str, headers: &str, body: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answer = format!(
        "HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut reader = BufReader::new(stream.unwrap());
            let mut length = 0;
            let mut line = String::new();
            while reader.read_line(&mut line).unwrap() > 2 {
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                line.clear();
            }
            reader.read_exact(&mut vec![0; length]).unwrap();
            reader.get_mut().write_all(answer.as_bytes()).unwrap();
        }
    });
    format!("http://{address}")
}

fn run(host: &str, arguments: &[&str]) -> Ended {
    modelet(Path::new("."), [&["--host", host], arguments].concat())
}

const PROBLEM: &str = "content-type: application/problem+json\r\n";

#[test]
fn a_host_that_is_not_there_is_told_with_what_to_do() {
    // Taken and given back, so that nothing listens there.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let ended = run(&format!("http://{address}"), &["functions"]);
    assert_eq!(ended.code, 4, "{ended:?}");
    assert!(ended.stderr.contains(&format!("cannot reach the host at http://{address}")), "{ended:?}");
    assert!(ended.stderr.contains("modelet serve"), "{ended:?}");
}

#[test]
fn wrong_usage_is_2() {
    for arguments in [&["deploy", "--nonsense"][..], &["invoke"], &["activate", "a", "x"], &["delete", "a"]] {
        assert_eq!(run("http://127.0.0.1:1", arguments).code, 2, "{arguments:?}");
    }
    assert_eq!(run("ftp://example.com", &["functions"]).code, 2);
}

#[test]
fn wrong_usage_is_told_as_json_too() {
    for (arguments, detail) in [
        (&["deploy", "--json", "--jsn"][..], "unexpected argument '--jsn' found; "),
        (&["--json", "invoke"], "the following required arguments were not provided: <FUNCTION>"),
        (&["activate", "a", "x", "--json"], "invalid value 'x' for '<REVISION>'"),
        (&["--json"], "'modelet' requires a subcommand"),
    ] {
        let ended = run("http://127.0.0.1:1", arguments);
        assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{ended:?}");
        let error = ended.error();
        assert_eq!(error["exit"], 2, "{error}");
        let told = error["detail"].as_str().unwrap();
        assert!(told.starts_with(detail) && !told.contains("Usage:"), "{told}");
    }
    for help in ["--help", "--version"] {
        let ended = run("http://127.0.0.1:1", &["--json", help]);
        assert!(ended.code == 0 && ended.stdout.starts_with(['R', 'm']), "{ended:?}");
    }
    let ended = run("http://127.0.0.1:1", &["test", "--nonsense", "--", "--json"]);
    assert!(ended.code == 2 && ended.stderr.starts_with("error: "), "{ended:?}");
}

#[test]
fn the_hosts_error_decides_about_the_exit_code() {
    for (status, code, exit) in [
        ("404 Not Found", "not_found", 3),
        ("503 Service Unavailable", "overloaded", 7),
        ("409 Conflict", "conflict", 1),
    ] {
        let number = &status[..3];
        let body =
            format!(r#"{{"title":"t","status":{number},"code":"{code}","detail":"because of {code}"}}"#);
        let ended = run(&host(status, PROBLEM, &body), &["rollback", "a", "--json"]);
        assert_eq!(ended.code, exit, "{ended:?}");
        let error = ended.error();
        assert_eq!((&error["code"], &error["exit"]), (&code.into(), &exit.into()), "{error}");
        assert_eq!(error["detail"], format!("because of {code}"));
    }
}

#[test]
fn an_answer_goes_to_standard_output_as_it_is() {
    let host = host("200 OK", "modelet-revision: 3\r\nmodelet-invocation-id: i\r\n", "{\"digit\": 7}");
    let ended = run(&host, &["invoke", "digits", "--data", "[1]"]);
    assert_eq!((ended.code, ended.stdout.as_str(), ended.stderr.as_str()), (0, "{\"digit\": 7}", ""));
    let ended = run(&host, &["invoke", "digits", "-i"]);
    assert!(ended.stderr.contains("modelet-revision: 3"), "{ended:?}");
    let ended = run(&host, &["invoke", "digits", "--json"]);
    let answer: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((&answer["revision"], &answer["body"]["digit"]), (&3.into(), &7.into()), "{answer}");
}

#[test]
fn a_handlers_own_error_is_its_answer() {
    let headers = format!("{PROBLEM}modelet-revision: 3\r\n");
    let body = r#"{"status":422,"code":"invalid_input","detail":"too much ink","field":"pixels[3]"}"#;
    let ended =
        run(&host("422 Unprocessable Content", &headers, body), &["invoke", "digits", "--data", "[1]"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (1, body), "{ended:?}");
}

#[test]
fn lists_are_tables_for_people_and_the_hosts_json_for_programs() {
    let body = r#"{"functions":[{"function":"digits","traffic":[{"revision":3,"weight":1}],"latest":4,"created_at":"c","updated_at":"u","url":"/f/default/digits/","new":1}]}"#;
    let host = host("200 OK", "content-type: application/json\r\n", body);
    let table = run(&host, &["functions"]).stdout;
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["FUNCTION", "ACTIVE", "LATEST", "CHANGED", "URL"]);
    assert_eq!(lines[1], ["digits", "3", "4", "u", &format!("{host}/f/default/digits/")]);
    let json: serde_json::Value = serde_json::from_str(&run(&host, &["functions", "--json"]).stdout).unwrap();
    assert_eq!(json["functions"][0]["new"], 1, "entries that this version does not know are kept");
}

#[test]
fn a_secret_comes_from_a_file_or_a_pipe_and_is_printed_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    std::fs::write(&file, "sesame\n").unwrap();
    let body = r#"{"name":"api-key","set_at":"2026-01-01T00:00:00Z","set_by":"local"}"#;
    let host = host("200 OK", "content-type: application/json\r\n", body);
    let set = ["secret", "set", "digits", "api-key", "--file", file.to_str().unwrap()];
    let ended = run(&host, &set);
    assert_eq!((ended.code, ended.stdout.as_str()), (0, "set secret api-key of digits\n"), "{ended:?}");
    let ended = run(&host, &[&set[..], &["--json"]].concat());
    assert_eq!(ended.stdout.trim(), body);
    assert!(!ended.stderr.contains("sesame"), "{ended:?}");
    // Standard input is empty here.
    assert_eq!(run(&host, &set[..4]).code, 5);
    assert_eq!(run(&host, &["secret", "set", "digits", "api-key", "--file", "no/such/file"]).code, 3);
    assert_eq!(run(&host, &["secret", "set", "digits", "api-key", "the-value"]).code, 2);
}

#[test]
fn what_a_function_keeps_is_told_with_its_state() {
    let body = r#"{"function":"digits","revisions":[],"key_value":{"keys":3,"bytes":2500}}"#;
    let host = host("200 OK", "content-type: application/json\r\n", body);
    let ended = run(&host, &["state", "digits"]);
    assert!(ended.stdout.ends_with("\nkeeps 3 keys, 2.5 kB\n"), "{ended:?}");
}
