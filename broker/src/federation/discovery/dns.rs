//! What the DNS says: the service `_irsp._tcp` of a domain, and the addresses of a host. Each answer has its lifetime, and
//! is kept by whoever asked, not here.

use std::cmp::Reverse;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;
use irsp_protocol::Domain;
use irsp_protocol::peer::PeerUrl;

use super::{ADDRESSES_MAX, NotFound, Places};

/// For one answer of one name server, and how often it is asked.
const TIMEOUT: Duration = Duration::from_secs(2);
const ATTEMPTS: usize = 2;

/// Asks name servers.
#[derive(Clone)]
pub(super) struct Dns {
    resolver: TokioResolver,
}

impl Dns {
    /// The given name server, else those of the system.
    pub(super) fn new(server: Option<SocketAddr>) -> Result<Dns, NetError> {
        let mut builder = match server {
            None => TokioResolver::builder_tokio()?,
            Some(address) => {
                let mut server = NameServerConfig::udp_and_tcp(address.ip());
                for connection in &mut server.connections {
                    connection.port = address.port();
                }
                let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
                TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            }
        };
        let options = builder.options_mut();
        options.timeout = TIMEOUT;
        options.attempts = ATTEMPTS;
        options.cache_size = 0;
        Ok(Dns {
            resolver: builder.build()?,
        })
    }

    /// Where the domain's service is, by priority, then the heavier first. A target `.` is none.
    pub(super) async fn services(&self, domain: &Domain) -> Result<Places, NotFound> {
        let name = format!("_irsp._tcp.{domain}.");
        let found = self.resolver.srv_lookup(name.as_str()).await;
        let found = found.map_err(|error| match error.is_no_records_found() {
            true => NotFound::NoRecord(domain.clone()),
            false => failed(&name, &error),
        })?;
        let services = found.answers().iter().filter_map(|record| {
            let RData::SRV(service) = &record.data else {
                return None;
            };
            (!service.target.is_root()).then_some(service)
        });
        let mut services: Vec<_> = services.collect();
        services.sort_by_key(|service| (service.priority, Reverse(service.weight)));
        let (mut urls, mut trouble) = (Vec::new(), None);
        for service in services.into_iter().take(ADDRESSES_MAX) {
            match self.addresses(&service.target.to_ascii()).await {
                Ok(addresses) => urls.extend(addresses.iter().filter_map(|ip| url(*ip, service.port))),
                Err(error) => trouble = Some(error),
            }
        }
        match trouble {
            Some(error) if urls.is_empty() => Err(error),
            Some(_) | None => Ok(Places {
                urls,
                lifetime: found.valid_until().saturating_duration_since(Instant::now()),
            }),
        }
    }

    /// The addresses of a host.
    pub(super) async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, NotFound> {
        let name = format!("{}.", host.trim_end_matches('.'));
        let found = self.resolver.lookup_ip(name.as_str()).await;
        let found = found.map_err(|error| failed(&name, &error))?;
        Ok(found.iter().take(ADDRESSES_MAX).collect())
    }
}

fn failed(name: &str, error: &NetError) -> NotFound {
    NotFound::Dns {
        name: name.to_owned(),
        reason: error.to_string(),
    }
}

/// Nobody listens on port 0.
fn url(ip: IpAddr, port: u16) -> Option<PeerUrl> {
    format!("irsp://{}", SocketAddr::new(ip, port)).parse().ok()
}
