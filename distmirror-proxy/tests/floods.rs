//! Clients of HTTP/2 that break its rules to make work (CVE-2023-44487, CVE-2024-27316): frame by frame, since no client does so.

use std::{net::SocketAddr, time::Duration};

use distmirror_proxy::{Entrance, Options};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::client::TlsStream;

#[path = "support/nothing.rs"]
mod nothing;
#[path = "support/secure.rs"]
mod secure;
use nothing::start;
use secure::{connector, shake};

/// A connection on which HTTP/2 has begun.
async fn begin(address: SocketAddr, ca: &str) -> TlsStream<TcpStream> {
    let stream = TcpStream::connect(address).await.expect("the proxy accepts");
    let mut stream = shake(&connector(ca), "mirror.test", stream).await;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.expect("the proxy reads");
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.expect("the proxy reads");
    stream
}

/// RFC 9113 section 4.1.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("it fits").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// `GET https://mirror.test:3129/healthz`, by the tables of RFC 7541.
fn request() -> Vec<u8> {
    let text = |prefix: u8, text: &str| [&[prefix, text.len() as u8], text.as_bytes()].concat();
    [&[0x82, 0x87][..], &text(0x44, "/healthz"), &text(0x41, "mirror.test:3129")].concat()
}

/// A field without a place in any table, larger than what is left of a frame.
fn large_field(size: u16) -> Vec<u8> {
    // A length from 127 on is written as what exceeds that, seven bits at a time.
    let excess = size - 127;
    let length = [127, (excess & 127) as u8 | 128, ((excess >> 7) & 127) as u8 | 128, (excess >> 14) as u8];
    [&[0, 1, b'x'][..], &length, &vec![b'y'; size as usize]].concat()
}

/// Reads frames until the connection ends: the error of the GOAWAY, if one came, and the last stream that was answered.
async fn read(mut stream: impl AsyncReadExt + Unpin) -> (Option<u32>, u32) {
    let (mut goaway, mut answered) = (None, 0);
    let mut head = [0; 9];
    while stream.read_exact(&mut head).await.is_ok() {
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        if stream.read_exact(&mut payload).await.is_err() {
            break;
        }
        match head[3] {
            GOAWAY => goaway = payload.get(4..8).map(|code| u32::from_be_bytes(code.try_into().expect("four bytes"))),
            HEADERS => answered = u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
            _ => {}
        }
    }
    (goaway, answered)
}

/// Sends the same again and again until the proxy has ended that; the error that it named.
async fn flood(stream: TlsStream<TcpStream>, mut next: impl FnMut(u32) -> Vec<u8>) -> Option<u32> {
    let (reader, mut writer) = tokio::io::split(stream);
    let sending = async {
        for at in 0.. {
            if writer.write_all(&next(at)).await.is_err() {
                break;
            }
        }
    };
    let reading = timeout(Duration::from_secs(60), read(reader));
    let ((), reading) = tokio::join!(sending, reading);
    reading.expect("it ends").0
}

/// A request that follows the rules is answered.
async fn is_served(address: SocketAddr, ca: &str) {
    let mut stream = begin(address, ca).await;
    stream.write_all(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &request())).await.expect("the proxy reads");
    stream.write_all(&frame(GOAWAY, 0, 0, &[0; 8])).await.expect("the proxy reads");
    let (_, answered) = timeout(Duration::from_secs(60), read(stream)).await.expect("it ends");
    assert_eq!(answered, 1);
}

#[tokio::test]
async fn requests_that_are_reset_at_once_end_the_connection() {
    let (address, ca) = start(Entrance::ProxyTls, Options::default()).await;
    let error = flood(begin(address, &ca).await, |at| {
        let id = 2 * at + 1;
        let headers = frame(HEADERS, END_STREAM | END_HEADERS, id, &request());
        [headers, frame(RST_STREAM, 0, id, &CANCEL.to_be_bytes())].concat()
    })
    .await;
    assert_eq!(error, Some(ENHANCE_YOUR_CALM));
    is_served(address, &ca).await;
}

#[tokio::test]
async fn a_head_without_an_end_ends_the_connection() {
    let (address, ca) = start(Entrance::ProxyTls, Options::default()).await;
    let error = flood(begin(address, &ca).await, |at| match at {
        0 => frame(HEADERS, END_STREAM, 1, &request()),
        _ => frame(CONTINUATION, 0, 1, &large_field(16_000)),
    })
    .await;
    assert_eq!(error, Some(ENHANCE_YOUR_CALM));
    is_served(address, &ca).await;
}

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;
