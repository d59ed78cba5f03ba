//! From where a request comes: the peer's address, or behind a proxy that is configured (`http.proxies`) the one that
//! the proxy names in `X-Forwarded-For`.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderName};
use axum::middleware::Next;
use axum::response::Response;
use irsp_config::Networks;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The layer that puts the client's address in the place of a known proxy's.
pub(crate) async fn resolve(
    State(proxies): State<Arc<Networks>>,
    mut request: Request,
    next: Next,
) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().copied();
    if let Some(ConnectInfo(peer)) = peer
        && proxies.contain(peer.ip())
        && let Some(client) = client(&proxies, request.headers())
    {
        request
            .extensions_mut()
            .insert(ConnectInfo(SocketAddr::new(client, 0)));
    }
    next.run(request).await
}

/// The last address that no proxy of ours has: each proxy appends whom it heard, so what stands before that the client
/// may have written itself.
fn client(proxies: &Networks, headers: &HeaderMap) -> Option<IpAddr> {
    let values = headers.get_all(FORWARDED_FOR);
    let values: Vec<&str> = values.iter().map(|value| value.to_str().unwrap_or("")).collect();
    for word in values.iter().rev().flat_map(|value| value.rsplit(',')) {
        let address = address(word.trim())?;
        if !proxies.contain(address) {
            return Some(address);
        }
    }
    None
}

/// Some proxies write the port as well.
fn address(word: &str) -> Option<IpAddr> {
    let with_port = || word.parse::<SocketAddr>().ok().map(|address| address.ip());
    word.parse().ok().or_else(with_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_is_whom_the_outermost_proxy_of_ours_heard() {
        let proxies: Networks = "10.0.0.0/8".parse().unwrap();
        for (values, expected) in [
            (&["203.0.113.9"][..], Some("203.0.113.9")),
            (&["1.2.3.4, 203.0.113.9"], Some("203.0.113.9")),
            (&["1.2.3.4, 203.0.113.9, 10.0.0.2"], Some("203.0.113.9")),
            (&["1.2.3.4", "203.0.113.9, 10.0.0.2"], Some("203.0.113.9")),
            (&["203.0.113.9:4711"], Some("203.0.113.9")),
            (&["[2001:db8::1]:80"], Some("2001:db8::1")),
            (&["10.0.0.2"], None),
            (&["203.0.113.9, unknown"], None),
            (&[], None),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(FORWARDED_FOR, value.parse().unwrap());
            }
            let expected = expected.map(|text| text.parse().unwrap());
            assert_eq!(client(&proxies, &headers), expected, "{values:?}");
        }
    }
}
