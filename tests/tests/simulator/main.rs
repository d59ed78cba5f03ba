//! The simulator on the whole platform: every shipped scenario passes, and a faulty platform is found out, each fault by
//! its own oracle. So is one that does not conform to its clauses.

#[cfg(test)]
mod conform;
#[cfg(test)]
mod device;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod proxy;
#[cfg(test)]
mod scenarios;

use std::net::SocketAddr;
use std::path::Path;

use devicesim::cast::Part;
use devicesim::director::{self, Play};
use devicesim::outcome::{Outcome, Run};
use devicesim::scenario::Scenario;
use irsp_protocol::Secret;
use irsp_tests::Platform;

#[cfg(test)]
/// Plays a scenario on a platform whose message server is reached at `tcp`.
async fn play(platform: &Platform, tcp: SocketAddr, name: &str, scenario: Scenario) -> Outcome {
    scenario.check().unwrap();
    let token = std::fs::read_to_string(platform.data().join("admin.token")).unwrap();
    let url = format!("mqtt://{tcp}");
    let played = director::play(
        Play {
            scenario: scenario.clone(),
            seed: 1,
            name: name.to_owned(),
            part: Part::WHOLE,
            target: url.parse().unwrap(),
            ca: None,
            http: format!("http://{}", platform.doors().account),
            app_http: Some(format!("http://{}", platform.doors().app)),
            token: Secret::new(token.trim()),
            pid: None,
            start_at: None,
            clean: false,
        },
        std::future::pending(),
    )
    .await
    .unwrap();
    let run = Run {
        scenario: name.to_owned(),
        server: url,
        seed: 1,
        part: "1/1".to_owned(),
    };
    Outcome::of(run, &scenario, played).await
}

#[cfg(test)]
/// Truth alone: how fast a loaded test machine is says nothing.
fn without_objectives(mut scenario: Scenario) -> Scenario {
    scenario.slo = Default::default();
    scenario
}

#[cfg(test)]
fn shipped() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../config/scenarios"))
}
