//! The binary from outside: exit statuses and what is printed where, without a server.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

use std::{
    fs,
    process::{Command, Output, Stdio},
};

/// Runs the binary in a folder of its own, without the environment of whoever runs the tests.
fn run(folder: &tempfile::TempDir, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_distmirror"))
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

fn folder_with(config: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("distmirror.toml"), config).unwrap();
    folder
}

fn lines(bytes: &[u8]) -> Vec<String> {
    String::from_utf8(bytes.to_vec()).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn a_bad_configuration_is_told_line_by_line_and_starts_nothing() {
    let folder = folder_with("frobnicate = 1\n[catalog]\nurl = \"oracle://x\"\n[proxy]\nlissten = [\"x\"]\n");
    for command in [
        &["serve"][..],
        &["proxy"],
        &["admin"],
        &["fetch"],
        &["fetch", "--once"],
        &["migrate"],
        &["check-config"],
        &["ca", "init"],
        &["ca", "show"],
    ] {
        let output = run(&folder, &[command, &["--config", "distmirror.toml"]].concat(), &[]);
        assert_eq!(output.status.code(), Some(2), "{command:?}");
        let told = lines(&output.stderr);
        let starts = [
            "distmirror.toml:1: frobnicate: ",
            "distmirror.toml:3: catalog.url: ",
            "distmirror.toml:5: proxy.lissten: ",
        ];
        assert_eq!(told.len(), starts.len(), "{told:?}");
        assert!(told.iter().zip(starts).all(|(line, start)| line.starts_with(start)), "{told:?}");
        assert!(output.stdout.is_empty());
        assert!(!folder.path().join("distmirror-data").exists(), "{command:?} made something");
    }
}

#[test]
fn check_config_agrees_and_makes_nothing() {
    let folder = folder_with(include_str!("../distmirror.example.toml"));
    let output = run(&folder, &["check-config", "--config", "distmirror.toml"], &[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(lines(&output.stdout), ["the configuration is fine"]);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
}

#[test]
fn the_environment_is_a_configuration_too() {
    let folder = tempfile::tempdir().unwrap();
    let good = [("DISTMIRROR__PROXY__LISTEN", "127.0.0.1:1, 127.0.0.1:2"), ("DISTMIRROR_SERVER", "http://elsewhere")];
    assert_eq!(run(&folder, &["check-config"], &good).status.code(), Some(0));
    let output = run(&folder, &["check-config"], &[("DISTMIRROR__PROXY__LISSTEN", "127.0.0.1:1")]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        lines(&output.stderr),
        ["DISTMIRROR__PROXY__LISSTEN: proxy.lissten: unknown key; did you mean `listen`?"]
    );
}

#[test]
fn usage_errors_have_status_2_and_unreachable_servers_1() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, status) in [
        (&["declare", "file", "http://x.test/"][..], 2),
        (&["frobnicate"], 2),
        (&["serve", "--config", "/nonexistent.toml"], 2),
        (&["list", "--server", "http://127.0.0.1:1"], 1),
    ] {
        let output = run(&folder, arguments, &[]);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty(), "{arguments:?}: {output:?}");
    }
}

#[test]
fn environment_proxies_are_not_the_way_to_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let proxies = ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"].map(|name| (name, "http://127.0.0.1:2"));
    let output = run(&folder, &["list", "--server", "http://127.0.0.1:1"], &proxies);
    assert!(lines(&output.stderr)[0].contains("http://127.0.0.1:1: Connection refused"), "{output:?}");
}

#[test]
fn help_names_every_command_and_nothing_that_comes_later() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(&folder, &["--help"], &[]);
    assert_eq!(output.status.code(), Some(0));
    let help = lines(&output.stdout);
    let has = |command: &str| help.iter().any(|line| line.starts_with(&format!("  {command} ")));
    for command in ["serve", "proxy", "admin", "fetch", "migrate", "check-config", "ca", "declare", "list", "show"] {
        assert!(has(command), "{command}");
    }
    for command in ["misses", "retry", "quarantine", "release", "scrub"] {
        assert!(has(command), "{command}");
    }
    for command in ["import", "check", "record"] {
        assert!(!has(command), "{command}");
    }
}

#[test]
fn a_closed_pipe_is_not_an_error() {
    let folder = folder_with("");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let child = Command::new(env!("CARGO_BIN_EXE_distmirror"))
        .arg("check-config")
        .current_dir(&folder)
        .env_clear()
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), lines(&output.stderr)), (Some(0), Vec::new()));
}
