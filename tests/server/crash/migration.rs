//! A first start that is killed while it makes the tables of a database server. SQLite's is tried at every step in `power`.

use std::os::unix::process::ExitStatusExt;

use testkit::{Upstream, strace};

use super::{
    house::{House, distmirror, run, said},
    sample, trying,
};

/// How many kills are tried on each database.
const TRIES: usize = 8;

#[tokio::test]
async fn on_postgres_the_next_start_completes_it() {
    let postgres = testkit::postgres().await;
    killed_and_completed(async || postgres.fresh_database().await).await;
}

#[tokio::test]
async fn on_mariadb_the_next_start_completes_it() {
    let mariadb = testkit::mariadb().await;
    killed_and_completed(async || mariadb.fresh_database().await).await;
}

async fn killed_and_completed(fresh_database: impl AsyncFn() -> String) {
    let upstream = Upstream::start(&[]).await;
    let house = House::new(&upstream).await;
    let migrate = |database: &str| {
        let mut command = distmirror(house.path(), &["migrate"]);
        command.env("DISTMIRROR__CATALOG__URL", database);
        command
    };
    // Each statement is sent by one call, and strace counts those of each thread.
    let trace = house.path().join("trace");
    let counting =
        strace(&["--trace=sendto", &format!("--output={}", trace.display())], &migrate(&fresh_database().await));
    let output = run(&mut { counting });
    assert!(output.status.success(), "{}", said(&output));
    let text = std::fs::read_to_string(&trace).expect("strace wrote a trace");
    let threads = text.lines().filter_map(|line| line.split(' ').next());
    let sent = threads.clone().map(|thread| threads.clone().filter(|other| *other == thread).count()).max();
    let sent = sent.expect("something was sent");
    for nth in sample((1..=sent).collect(), TRIES) {
        let database = fresh_database().await;
        let inject = format!("--inject=sendto:signal=SIGKILL:when={nth}");
        let killed = run(&mut strace(&[&inject, "--output=/dev/null"], &migrate(&database)));
        trying(format_args!("{nth} of {sent}: {}", killed.status));
        assert!(killed.status.signal() == Some(9) || killed.status.success(), "{}", said(&killed));
        let again = run(&mut migrate(&database));
        assert!(again.status.success(), "{}", said(&again));
    }
}
