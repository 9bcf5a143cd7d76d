//! Serving beside nginx and squid: the same files and the same clients, one server after the other in one run.
//!
//! ```sh
//! cargo bench --bench serving            # takes about ten minutes; needs nginx, squid-openssl and 5 GB of disk
//! cargo bench --bench serving -- 1       # one round of each
//! cargo bench --bench serving -- memory  # and nothing else; also `handshakes`, `throughput`
//! ```
//!
//! nginx is an origin with one certificate: it neither knows CONNECT nor mints. squid bumps TLS and has in its cache what it is
//! asked for. The figure is the processor time of the server alone for a unit of work, of the rounds the median, and in brackets
//! the throughput. Memory is what a server has more of, for each connection. On a shared machine only the ratio means anything.

#![expect(clippy::print_stdout, reason = "its table is its result")]

mod load;
#[expect(dead_code, reason = "the other benches use the rest")]
#[path = "../support/nginx.rs"]
mod nginx;
mod servers;
#[expect(dead_code, reason = "the other benches use the rest")]
#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;

use load::{Idea, Route, gather, repeat, timed, visit};
use rustix::process::{Resource, getrlimit, setrlimit};
use servers::{HOST, LARGE, SMALL, Server, Stage, host};

const LARGE_BYTES: u64 = 1 << 30;
const SMALL_BYTES: u64 = 10 << 10;
const HOSTS: usize = 10_000;
const ROUNDS: usize = 3;
/// squid needs many times as long as the others.
const FEWER_FOR_SQUID: usize = 10;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let rounds = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(ROUNDS);
    allow_many_descriptors();
    let stage = Stage::set(HOSTS, LARGE_BYTES, SMALL_BYTES).await;
    let ca_pem = stage.ca_pem();
    println!("| work | unit | nginx | squid | distmirror | of nginx |\n|---|---|---|---|---|---|");
    let parts = ["memory", "handshakes", "throughput"];
    let named: Vec<_> = std::env::args().filter(|argument| parts.contains(&argument.as_str())).collect();
    let is_wanted = |part: &str| named.is_empty() || named.iter().any(|named| named == part);
    if is_wanted("memory") {
        memory(&stage, &ca_pem).await;
    }
    if is_wanted("handshakes") {
        handshakes(&stage, &ca_pem).await;
    }
    if is_wanted("throughput") {
        throughput(&stage, &ca_pem, rounds).await;
    }
}

/// A figure of one server, and how much work a second.
#[derive(Clone, Copy)]
struct Figure {
    cost: f64,
    rate: Option<f64>,
}

/// A line of the table: nginx, squid, distmirror.
fn line(work: &str, unit: &str, figures: [Figure; 3]) {
    let cell = |Figure { cost, rate }: Figure| {
        let rate = rate.map(|rate| format!(" ({rate:.0}/s)")).unwrap_or_default();
        format!("{cost:.2}{rate}")
    };
    let [nginx, squid, ours] = figures;
    let ratio = ours.cost / nginx.cost;
    println!("| {work} | {unit} | {} | {} | {} | {ratio:.2} |", cell(nginx), cell(squid), cell(ours));
}

async fn memory(stage: &Stage, ca_pem: &[u8]) {
    const SLOW: usize = 1000;
    const IDLE: usize = 10_000;
    for (work, count, idea, path, is_tls) in [
        ("1,000 slow downloads, plain", SLOW, Idea::Stalled, LARGE, false),
        ("1,000 slow downloads, TLS", SLOW, Idea::Stalled, LARGE, true),
        ("10,000 idle connections, TLS", IDLE, Idea::Idle, SMALL, true),
    ] {
        let mut figures = Vec::new();
        for server in [stage.nginx(), squid(stage, 0).await, stage.distmirror()] {
            let route = if is_tls { Route::tls(&server, ca_pem) } else { Route::plain(&server) };
            repeat(route.clone(), 1, 10, HOST, SMALL).await;
            let count = if server.name == "squid" { count / FEWER_FOR_SQUID } else { count };
            let before = server.resident_kib();
            let crowd = gather(&route, count, idea, HOST, path).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            let more = server.resident_kib().saturating_sub(before);
            drop(crowd);
            figures.push(Figure { cost: more as f64 / count as f64, rate: None });
        }
        line(work, "KiB each", three(&figures));
    }
}

async fn handshakes(stage: &Stage, ca_pem: &[u8]) {
    let mut figures = [Vec::new(), Vec::new()];
    let squid_hosts = HOSTS / FEWER_FOR_SQUID;
    for (server, count) in
        [(stage.nginx(), HOSTS), (squid(stage, squid_hosts).await, squid_hosts), (stage.distmirror(), HOSTS)]
    {
        let route = Route::tls(&server, ca_pem);
        for figures in &mut figures {
            let hosts = (0..count).map(host).collect();
            figures.push(measure(&server, count as f64, 1e3, visit(route.clone(), hosts, SMALL)).await);
        }
    }
    let [new, seen] = figures;
    line("new connection, handshake, 10 KiB; 10,000 names never seen", "CPU ms", three(&new));
    line("the same, seen", "CPU ms", three(&seen));
}

async fn throughput(stage: &Stage, ca_pem: &[u8], rounds: usize) {
    let servers = [stage.nginx(), squid(stage, 0).await, stage.distmirror()];
    let gigabyte = LARGE_BYTES as f64 / 1e9;
    for (is_tls, how) in [(false, "plain"), (true, "TLS")] {
        for (connections, requests) in [(1, 3), (8, 8)] {
            let work = format!("1 GiB {how}, connections: {connections}");
            let figures = compare(&servers, ca_pem, is_tls, rounds, |server, route| {
                let requests = if server.name == "squid" { connections } else { requests };
                (requests as f64 * gigabyte, repeat(route, connections, requests, HOST, LARGE))
            });
            line(&work, "CPU s per GB", figures.await);
        }
    }
    for (is_tls, how, requests) in [(false, "plain", 200_000), (true, "TLS", 100_000)] {
        let figures = compare(&servers, ca_pem, is_tls, rounds, |server, route| {
            let requests = if server.name == "squid" { requests / FEWER_FOR_SQUID } else { requests };
            (requests as f64, repeat(route, 32, requests, HOST, SMALL))
        });
        let [nginx, squid, ours] = figures.await;
        let micro = |Figure { cost, rate }| Figure { cost: cost * 1e6, rate };
        line(&format!("10 KiB {how}, keep-alive, connections: 32"), "CPU us", [nginx, squid, ours].map(micro));
    }
}

/// Of each server the median of rounds in which they take turns; `work` says how many units it is.
async fn compare<W: Future<Output = ()>>(
    servers: &[Server; 3],
    ca_pem: &[u8],
    is_tls: bool,
    rounds: usize,
    work: impl Fn(&Server, Route) -> (f64, W),
) -> [Figure; 3] {
    let mut figures: [Vec<Figure>; 3] = Default::default();
    for _ in 0..rounds {
        for (server, figures) in servers.iter().zip(&mut figures) {
            let route = if is_tls { Route::tls(server, ca_pem) } else { Route::plain(server) };
            let (units, work) = work(server, route);
            figures.push(measure(server, units, 1.0, work).await);
        }
    }
    figures.map(|mut all| {
        all.sort_by(|one, other| one.cost.total_cmp(&other.cost));
        all[all.len() / 2]
    })
}

async fn measure(server: &Server, units: f64, scale: f64, work: impl Future<Output = ()>) -> Figure {
    let before = server.cpu_seconds();
    let seconds = timed(work).await;
    Figure { cost: (server.cpu_seconds() - before) * scale / units, rate: Some(units / seconds) }
}

/// squid with the files in its cache, of so many more hosts the small one.
async fn squid(stage: &Stage, hosts: usize) -> Server {
    let squid = stage.squid();
    for route in [Route::plain(&squid), Route::unencrypted(&squid)] {
        repeat(route.clone(), 1, 2, HOST, LARGE).await;
        repeat(route, 1, 2, HOST, SMALL).await;
    }
    visit(Route::unencrypted(&squid), (0..hosts).map(host).collect(), SMALL).await;
    squid
}

fn three(figures: &[Figure]) -> [Figure; 3] {
    <[Figure; 3]>::try_from(figures).unwrap_or_else(|_| panic!("a figure of each server"))
}

/// For the servers too, which inherit it.
fn allow_many_descriptors() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("the soft limit may be as high as the hard one");
}
