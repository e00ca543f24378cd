//! What is said to a peer that comes to a port of TLS without it: what to do, in its own protocol.
//!
//! A client that is told nothing reports a connection that was reset, which may be anything.

use bytes::{BufMut as _, BytesMut};

/// The first byte of TLS: a record of the handshake (RFC 8446, section 5.1). No method of HTTP begins so.
pub const FIRST_OF_TLS: u8 = 0x16;

/// In words for people. Clients of gRPC show it as it is.
const WORDS: &str = "this port speaks TLS: use https://";
/// How HTTP/2 begins (RFC 9113, section 3.4), as far as it differs from HTTP/1.
const PREFACE: &[u8] = b"PRI";
/// The frames of HTTP/2 that are needed here, and the code of an error: the transport is not as it has to be.
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const INADEQUATE_SECURITY: u32 = 12;

/// The answer to a peer that began with these bytes.
pub fn in_the_open(began: &[u8]) -> BytesMut {
    let mut answer = BytesMut::new();
    if began.starts_with(PREFACE) {
        frame(&mut answer, SETTINGS, &[]);
        let mut goodbye = BytesMut::new();
        goodbye.put_u32(0);
        goodbye.put_u32(INADEQUATE_SECURITY);
        goodbye.put_slice(WORDS.as_bytes());
        frame(&mut answer, GOAWAY, &goodbye);
    } else {
        let head = "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\nconnection: close\r\ncontent-length: ";
        answer.put_slice(format!("{head}{}\r\n\r\n{WORDS}\n", WORDS.len() + 1).as_bytes());
    }
    answer
}

/// A frame of HTTP/2 that is about the connection as a whole (RFC 9113, section 4.1).
fn frame(out: &mut BytesMut, kind: u8, payload: &[u8]) {
    out.put_uint(payload.len() as u64, 3);
    out.put_slice(&[kind, 0, 0, 0, 0, 0]);
    out.put_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_speaks_http_is_answered_in_http() {
        let answer = in_the_open(b"GET / HTTP/1.1\r\n");
        let text = std::str::from_utf8(&answer).unwrap();
        assert!(text.starts_with("HTTP/1.1 400 ") && text.ends_with("use https://\n"), "{text}");
        let (_, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(text.contains(&format!("content-length: {}\r\n", body.len())));
    }

    #[test]
    fn who_speaks_http_2_is_told_goodbye() {
        let answer = in_the_open(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        assert_eq!(answer[..9], [0, 0, 0, SETTINGS, 0, 0, 0, 0, 0]);
        assert_eq!(answer[9..18], [0, 0, 8 + WORDS.len() as u8, GOAWAY, 0, 0, 0, 0, 0]);
        assert_eq!(answer[18..26], [0, 0, 0, 0, 0, 0, 0, 12]);
        assert_eq!(&answer[26..], WORDS.as_bytes());
    }
}
