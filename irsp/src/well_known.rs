//! `/.well-known/irsp`: where this domain listens for links, for others to find. For everybody, as the DNS would say it too.

use axum::http::header::CACHE_CONTROL;
use axum::routing::get;
use axum::{Json, Router};
use irsp_config::Settings;
use irsp_protocol::api::peer::WellKnown;
use irsp_protocol::peer::PeerUrl;

use crate::failure::Failure;
use crate::http::Part;
use crate::wiring;

/// For how long others may believe it, in seconds: an address that has moved is found within ten minutes.
const MAX_AGE: &str = "max-age=600";

/// The document of `federation.advertise`; none if that is empty.
pub(crate) fn part(settings: &Settings) -> Result<Part, Failure> {
    let words = settings.federation.advertise.split(',').map(str::trim);
    let links = words.filter(|word| !word.is_empty()).map(str::parse);
    let links: Vec<PeerUrl> = links.collect::<Result<_, _>>().map_err(Failure::Advertise)?;
    let domain = wiring::domain(settings)?;
    let mut router = Router::new();
    if !links.is_empty() {
        let document = WellKnown { domain, links };
        let say = move || std::future::ready(([(CACHE_CONTROL, MAX_AGE)], Json(document.clone())));
        router = router.route("/.well-known/irsp", get(say));
    }
    Ok(Part {
        router,
        openapi: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advertising(text: &str) -> Result<Part, Failure> {
        let mut settings = Settings::default();
        settings.federation.advertise = text.to_owned();
        part(&settings)
    }

    #[test]
    fn what_is_advertised_has_to_be_an_address() {
        assert!(advertising("").is_ok());
        assert!(advertising("irsp://fed.home.example:7443, irsp://192.0.2.1:7443").is_ok());
        let refused = advertising("fed.home.example").map(drop).unwrap_err().to_string();
        assert!(
            refused.starts_with("federation.advertise: a link's address is irsp://host:port"),
            "{refused}"
        );
    }
}
