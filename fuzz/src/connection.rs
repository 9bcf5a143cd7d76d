//! Whole connections: whatever a client sends, the connection ends, what comes back is well-formed, bytes of one host are
//! never sent as another's, and what is in a body is never taken for a request.

use distmirror_core::Authority;
use distmirror_proxy::{Entrance, face::Via, fuzzing};

use crate::{
    answers::{self, Answer},
    served::{ELSEWHERE, OPEN, SERVED, WITHHELD},
};

/// The first byte is the way in, and the rest is what the client sends.
pub fn check(input: &[u8]) {
    let Some((way, sent)) = input.split_first() else { return };
    match way {
        b'P' => over_http1(&through(Entrance::Proxy, sent), sent),
        b'R' => over_http1(&through(Entrance::TransparentHttp, sent), sent),
        b'T' => {
            let answered = in_tunnel(sent, false);
            over_http1(&answered, sent);
            assert!(!has(&answered, ELSEWHERE), "`a.test` sends what is of `b.test`");
        }
        b'2' => over_http2(&in_tunnel(sent, true)),
        b'S' => over_tls(&through(Entrance::TransparentHttps, sent)),
        b'B' => in_a_body(&[format!("Content-Length: {}\r\n\r\n", sent.len()).as_bytes(), sent].concat()),
        // A chunk without bytes would be the last one.
        b'C' if !sent.is_empty() => {
            let size = format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n", sent.len());
            in_a_body(&[size.as_bytes(), sent, b"\r\n0\r\n\r\n"].concat());
        }
        _ => {}
    }
}

fn through(entrance: Entrance, sent: &[u8]) -> Vec<u8> {
    SERVED.answer(sent, |proxy, stream| fuzzing::enter(proxy, stream, entrance))
}

/// Inside TLS for `a.test`.
fn in_tunnel(sent: &[u8], is_http2: bool) -> Vec<u8> {
    let authority = Authority::parse("a.test", 443).expect("an authority");
    SERVED.answer(sent, |proxy, stream| fuzzing::inside(proxy, stream, Via::Tunnel(authority, None), is_http2))
}

fn over_http1(answered: &[u8], sent: &[u8]) {
    assert!(!has(answered, WITHHELD), "what is withheld is sent");
    for answer in answers::read(answered) {
        if answer.is_tunnel {
            assert!(has(sent, b"CONNECT"), "a tunnel that nobody asked for");
            over_tls(answer.body);
        } else {
            is_what_its_fields_say(&answer);
        }
    }
}

/// An artifact is sent whole, or is the part that `Content-Range` names.
fn is_what_its_fields_say(answer: &Answer<'_>) {
    let is_hit = answer.field("cache-status").is_some_and(|status| status == "distmirror; hit");
    if !is_hit || answer.body.is_empty() {
        return;
    }
    let whole = [OPEN, ELSEWHERE].into_iter().find(|whole| has(whole, answer.body));
    let whole = whole.unwrap_or_else(|| panic!("nobody stored {answer:?}"));
    let expected = match answer.field("content-range") {
        None => whole,
        Some(range) => {
            let (part, size) = range.strip_prefix("bytes ").and_then(|range| range.split_once('/')).expect("a range");
            let (first, last) = part.split_once('-').expect("a first and a last position");
            let number = |text: &str| text.parse::<usize>().expect("a number");
            let whole = [OPEN, ELSEWHERE].into_iter().find(|whole| whole.len() == number(size)).expect("its size");
            &whole[number(first)..=number(last)]
        }
    };
    assert_eq!(answer.body, expected, "{answer:?}");
    assert_eq!(answer.status == 206, answer.field("content-range").is_some(), "{answer:?}");
}

/// A request that is refused, with this as its body: there is one answer, and it is that refusal.
fn in_a_body(length_and_body: &[u8]) {
    let head = b"POST http://a.test/open HTTP/1.1\r\nHost: a.test\r\n";
    let answered = through(Entrance::Proxy, &[head, length_and_body].concat());
    let statuses: Vec<u16> = answers::read(&answered).iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [405], "{}", answered.escape_ascii());
}

/// Whole frames, one after the other (RFC 9113 section 4.1), and nothing in clear that is not of this host.
fn over_http2(mut answered: &[u8]) {
    assert!(!has(answered, WITHHELD) && !has(answered, ELSEWHERE), "`a.test` sends what is not its own");
    while !answered.is_empty() {
        let (head, rest) = answered.split_at_checked(9).expect("the head of a frame");
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        answered = rest.get(length..).expect("the whole frame");
    }
}

/// Whole records (RFC 8446 section 5.1), or the one answer to those who do not speak TLS.
fn over_tls(mut answered: &[u8]) {
    if answered.starts_with(b"HTTP/1.1 400") {
        assert_eq!(answers::read(answered).len(), 1);
        return;
    }
    while !answered.is_empty() {
        let (head, rest) = answered.split_at_checked(5).expect("the head of a record");
        assert!((20..=23).contains(&head[0]) && head[1] == 3, "a record that begins with {head:?}");
        answered = rest.get(usize::from(u16::from_be_bytes([head[3], head[4]]))..).expect("the whole record");
    }
}

fn has(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
