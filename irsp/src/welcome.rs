//! What a start says on standard output: on the first one where things are and what to paste next, on later ones
//! where they are, and then the one line `ready` with every address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use irsp_broker::MessageServer;
use irsp_config::Settings;

use crate::firststart::Start;

/// An address something listens on, by its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Listening {
    pub(crate) key: &'static str,
    pub(crate) address: SocketAddr,
}

impl Listening {
    /// Where the message server's clients connect.
    pub(crate) fn of(message: &MessageServer) -> Vec<Listening> {
        message
            .addresses()
            .iter()
            .map(|(key, address)| Listening {
                key,
                address: *address,
            })
            .collect()
    }
}

/// `ready mqtt.tcp=127.0.0.1:1883 ... http.listen=127.0.0.1:8080`
pub(crate) fn ready(listening: &[Listening]) -> String {
    let mut line = "ready".to_owned();
    for Listening { key, address } in listening {
        line.push_str(&format!(" {key}={address}"));
    }
    line
}

/// The lines before `ready`, of a process that runs every role.
pub(crate) fn platform(settings: &Settings, start: Start, listening: &[Listening]) -> String {
    let data = settings.data_dir.display();
    match start {
        Start::First => first(settings, listening),
        Start::Later => format!("irsp: domain {}, data in {data}", settings.domain),
    }
}

/// The line before `ready`, of a process that runs one role.
pub(crate) fn role(settings: &Settings, name: &str) -> String {
    format!(
        "irsp: {name} of domain {}, data in {}",
        settings.domain,
        settings.data_dir.display()
    )
}

fn first(settings: &Settings, listening: &[Listening]) -> String {
    let files = settings.files();
    let (ca, token) = (files.ca(), files.admin_token());
    let (ca, token) = (ca.display(), token.display());
    let mut text = format!(
        "irsp: first start of domain {domain}\n  \
           data         {data}\n  \
           CA           {ca}   (TLS clients trust it)\n  \
           admin token  {token}   (HTTP API; keep it secret)\n",
        domain = settings.domain,
        data = settings.data_dir.display(),
    );
    let find = |key| {
        listening
            .iter()
            .find(|listening| listening.key == key)
            .map(|listening| reach(listening.address))
    };
    let Some(http) = find("http.listen") else {
        return text;
    };
    let post = "curl -s -H \"Authorization: Bearer $ADMIN\" -H 'Content-Type: application/json'";
    text.push_str(&format!(
        "Paste next: an application, a device, an upload, and what the application has:\n  \
           ADMIN=$(cat {token})\n  \
           {post} -d '{{\"id\":\"climate\"}}' http://{http}/v1/apps\n  \
           {post} -d '{{\"id\":\"lamp-1\"}}' http://{http}/v1/devices   # shows the code, once\n  \
           CODE=...\n"
    ));
    let clients = [
        ("mqtt.tcp", String::new()),
        ("mqtt.tls", format!(" --cafile {ca}")),
    ];
    let door = clients
        .into_iter()
        .find_map(|(key, option)| Some((find(key)?, option)));
    if let Some((address, option)) = door {
        let (ip, port) = (address.ip(), address.port());
        let publish = format!("mosquitto_pub -h {ip} -p {port}{option} -u dev/lamp-1 -P $CODE -q 1");
        text.push_str(&format!("  {publish} -t v1/dev/lamp-1/up/climate/temp -m 21.5\n"));
    }
    text.push_str(&format!(
        "  curl -s -H \"Authorization: Bearer $ADMIN\" http://{http}/v1/apps/climate/uploads\n\
         The API is described at http://{http}/openapi.json"
    ));
    text
}

/// Where a client on this machine reaches a listener: one on every address is reached on loopback.
fn reach(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listening() -> Vec<Listening> {
        vec![
            Listening {
                key: "mqtt.tcp",
                address: "0.0.0.0:40001".parse().unwrap(),
            },
            Listening {
                key: "http.listen",
                address: "[::1]:40002".parse().unwrap(),
            },
        ]
    }

    #[test]
    fn ready_is_one_line_with_real_ports() {
        assert_eq!(
            ready(&listening()),
            "ready mqtt.tcp=0.0.0.0:40001 http.listen=[::1]:40002"
        );
    }

    #[test]
    fn the_first_start_shows_what_to_paste_and_a_later_one_is_short() {
        let settings = Settings::default();
        let text = platform(&settings, Start::First, &listening());
        for part in [
            "./irsp-data/pki/ca.crt",
            "ADMIN=$(cat ./irsp-data/admin.token)",
            "http://[::1]:40002/v1/devices",
            "mosquitto_pub -h 127.0.0.1 -p 40001 -u dev/lamp-1 -P $CODE -q 1 -t v1/dev/lamp-1/up/climate/temp",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert_eq!(
            platform(&settings, Start::Later, &listening()),
            "irsp: domain home.example, data in ./irsp-data"
        );
    }

    #[test]
    fn without_plain_tcp_the_lines_use_tls() {
        let mut listening = listening();
        listening[0].key = "mqtt.tls";
        let text = platform(&Settings::default(), Start::First, &listening);
        assert!(
            text.contains("-p 40001 --cafile ./irsp-data/pki/ca.crt -u dev/lamp-1"),
            "{text}"
        );
    }
}
