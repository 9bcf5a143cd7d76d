//! The ways in for the fuzz targets in `fuzz/`: one connection over any stream, without a listener. Not part of the API.

use std::{
    future::Future,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
};

use crate::{Entrance, Proxy, connection::Connection, face::Via, slots::Slots};

/// Answers a connection that comes in at such an entrance, until it and the tunnels in it have ended.
pub async fn enter<S>(proxy: &Proxy, stream: S, entrance: Entrance)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    to_its_end(proxy, |connection| connection.enter(stream, LOOPBACK, entrance)).await;
}

/// Answers what comes inside TLS, after the handshake.
pub async fn inside<S>(proxy: &Proxy, stream: S, via: Via, is_http2: bool)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    to_its_end(proxy, |connection| connection.via(via).serve(stream, is_http2)).await;
}

async fn to_its_end<F: Future<Output = ()>>(proxy: &Proxy, serve: impl FnOnce(Connection) -> F) {
    let (_stop, stopped) = watch::channel(());
    let slots = Slots::new(1, 1);
    let slot = slots.take(LOOPBACK).expect("nobody else is here");
    let client = SocketAddr::from((LOOPBACK, 50_000));
    serve(Connection::new(Arc::clone(&proxy.shared), client, slot, stopped)).await;
    // The tunnels are tasks of their own, and hold the slot as well.
    slots.all_given_back().await;
}

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
