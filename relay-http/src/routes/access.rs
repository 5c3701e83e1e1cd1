//! What every part of the relay that is not for everybody needs to know of a caller.

use std::net::IpAddr;

use axum::extract::ConnectInfo;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};

use crate::app::App;
use crate::listener::Peer;

/// Whether this relay is for this machine alone: one that the world is to reach may stand behind a proxy that makes every
/// caller look local.
pub fn is_for_this_machine(app: &App) -> bool {
    app.config.public_url.is_local() && app.config.twilio.is_none()
}

/// Whether the caller is on this machine and calls it by a local name: neither another machine, nor a web page that has rebound
/// its own name.
pub fn is_local(parts: &Parts) -> bool {
    let host = text(&parts.headers, header::HOST.as_str()).unwrap_or_default();
    let name = host
        .rsplit_once(':')
        .filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()))
        .map_or(host, |(name, _)| name);
    let forwarded =
        parts.headers.keys().any(|name| name == header::FORWARDED || name.as_str().starts_with("x-forwarded-"));
    peer(parts).is_some_and(|ip| ip.is_loopback()) && matches!(name, "localhost" | "127.0.0.1" | "[::1]") && !forwarded
}

/// The cookie of that name.
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies.flat_map(|value| value.split("; ")).find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

/// Whether a browser says that another site's page makes this request. A page that tells nobody where it is (`no-referrer`)
/// has the origin `null`; then there is more to go by than this.
pub fn is_from_elsewhere(app: &App, headers: &HeaderMap) -> bool {
    is_foreign(headers, &app.config.public_url.url.origin().ascii_serialization())
}

/// Whether the page is neither of the host that was called nor of `ours`, which a proxy may call by another name. What can't be
/// read is foreign.
fn is_foreign(headers: &HeaderMap, ours: &str) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    match (text("sec-fetch-site"), text(header::ORIGIN.as_str())) {
        (Some(site), _) => site != "same-origin",
        (None, None | Some("null")) => false,
        (None, Some(origin)) => {
            let host = text(header::HOST.as_str()).unwrap_or_default();
            let is_called = |origin: &str| !host.is_empty() && origin.eq_ignore_ascii_case(host);
            origin != ours && !origin.split_once("://").is_some_and(|(_, origin)| is_called(origin))
        }
    }
}

/// Whose request it is, as far as that can be known: a network is one caller.
///
/// Who calls from a private address and says for whom is taken for a proxy. What it says last it knows by itself, whatever the
/// caller has told it; Fly.io says it in a header of its own.
pub fn caller(app: &App, parts: &Parts) -> Option<IpAddr> {
    let peer = peer(parts)?;
    let name = if app.config.is_at_fly { "fly-client-ip" } else { "x-forwarded-for" };
    let lines: Vec<&str> = parts.headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    Some(network(from_outside(peer, &lines)))
}

/// Each proxy adds who it was called by. Of those the last that is none of ours is the caller: what stands before it, the caller
/// itself may have written.
fn from_outside(peer: IpAddr, lines: &[&str]) -> IpAddr {
    let mut caller = peer;
    for told in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
        if !is_private(caller) {
            break;
        }
        let Ok(told) = told.trim().parse::<IpAddr>() else { break };
        caller = told.to_canonical();
    }
    caller
}

fn peer(parts: &Parts) -> Option<IpAddr> {
    parts.extensions.get::<ConnectInfo<Peer>>().map(|ConnectInfo(Peer(peer))| peer.ip().to_canonical())
}

fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// Whoever has an address of IPv6 has all of its network.
fn network(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(ip) => IpAddr::V6((ip.to_bits() & (u128::MAX << 64)).into()),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let request = pairs.iter().fold(Request::get("/"), |request, (name, value)| request.header(*name, *value));
        request.body(()).unwrap().into_parts().0.headers
    }

    #[test]
    fn a_page_of_another_site_is_known_by_what_the_browser_says() {
        let cases = [
            (vec![], false),
            (vec![("sec-fetch-site", "same-origin"), ("origin", "null")], false),
            (vec![("sec-fetch-site", "same-site")], true),
            (vec![("sec-fetch-site", "cross-site"), ("origin", "http://relay.example:3000")], true),
            (vec![("origin", "http://relay.example:3000")], false),
            (vec![("origin", "https://RELAY.example:3000")], false),
            (vec![("origin", "http://relay.example")], true),
            (vec![("origin", "https://evil.example")], true),
            (vec![("origin", "null")], false),
            (vec![("origin", "nonsense")], true),
            (vec![("origin", "https://public.example")], false),
            (vec![("origin", "https://public.example.evil")], true),
        ];
        for (mut pairs, elsewhere) in cases {
            pairs.push(("host", "relay.example:3000"));
            assert_eq!(is_foreign(&headers(&pairs), "https://public.example"), elsewhere, "{pairs:?}");
        }
    }

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        let headers = headers(&[("cookie", "a=1; session=2"), ("cookie", "session_more=3; other=4=5")]);
        assert_eq!(cookie(&headers, "session"), Some("2"));
        assert_eq!(cookie(&headers, "other"), Some("4=5"));
        assert_eq!(cookie(&headers, "sess"), None);
    }

    #[test]
    fn a_caller_is_the_last_of_those_named_who_is_no_proxy_of_ours() {
        let caller = |peer: &str, lines: &[&str]| from_outside(peer.parse().unwrap(), lines).to_string();
        assert_eq!(caller("10.0.0.2", &["198.51.100.7", "198.51.100.8, 203.0.113.9", "172.17.0.1"]), "203.0.113.9");
        assert_eq!(caller("10.0.0.2", &["203.0.113.9"]), "203.0.113.9");
        assert_eq!(caller("203.0.113.1", &["198.51.100.7"]), "203.0.113.1");
        assert_eq!(caller("10.0.0.2", &["nobody, 10.0.0.3"]), "10.0.0.3");
        assert_eq!(caller("10.0.0.2", &[]), "10.0.0.2");
    }

    #[test]
    fn neighbours_in_a_network_are_one_caller() {
        let network = |ip: &str| network(ip.parse().unwrap()).to_string();
        assert_eq!(network("2001:db8:1:2:aaaa::1"), "2001:db8:1:2::");
        assert_eq!(network("203.0.113.9"), "203.0.113.9");
        for (ip, private) in [("10.0.0.1", true), ("fdaa::3", true), ("::1", true), ("203.0.113.9", false)] {
            assert_eq!(is_private(ip.parse().unwrap()), private, "{ip}");
        }
    }
}
