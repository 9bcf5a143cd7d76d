//! Connections: how they end.

use std::{sync::Arc, time::Duration};

use distmirror_admin::Options;
use distmirror_core::memory::MemoryBlobStore;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
    time::timeout,
};

use crate::support::{Site, parse};

#[tokio::test]
async fn a_running_request_is_answered_before_the_end() {
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async {
        let _ = stopped.await;
    };
    let (site, serving) = Site::start_over(Arc::new(MemoryBlobStore::new()), Options::default(), shutdown).await;
    let mut idle = TcpStream::connect(site.address()).await.unwrap();
    let mut running = TcpStream::connect(site.address()).await.unwrap();
    let body = b"{\"uri\":\"http://h/x\",\"reason\":\"r\"}";
    let head = format!(
        "POST /api/v1/artifacts HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    running.write_all(head.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    stop.send(()).unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    running.write_all(body).await.unwrap();
    let mut answer = String::new();
    running.read_to_string(&mut answer).await.unwrap();
    assert_eq!(parse(&answer).status, 201, "{answer}");
    assert_eq!(timeout(Duration::from_secs(5), idle.read(&mut [0])).await.unwrap().unwrap(), 0);
    timeout(Duration::from_secs(5), serving).await.unwrap().unwrap().unwrap();
    assert!(TcpStream::connect(site.address()).await.is_err());
}

#[tokio::test]
async fn nonsense_ends_its_own_connection_only() {
    let site = Site::start().await;
    let answer = site.raw(b"\x00\x01\x02\r\n\r\n").await;
    assert_eq!(answer.status, 400);
    assert_eq!(site.get("/healthz").await.status, 200);
}
