use devicesim::scenario::{Scenario, Span};
use irsp_tests::Platform;

use crate::{play, shipped, without_objectives};

/// Devices that a shortened scenario has, about.
const DEVICES: f64 = 30.0;

#[tokio::test(flavor = "multi_thread")]
async fn every_shipped_scenario_passes() {
    let platform = Platform::start().await.unwrap();
    let mut files: Vec<_> = std::fs::read_dir(shipped())
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    assert!(files.len() >= 6, "{files:?}");
    for file in files {
        let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
        let scenario = Scenario::read(&file).unwrap();
        let count: u32 = scenario.devices.iter().map(|devices| devices.count).sum();
        let scenario = scenario
            .scaled((DEVICES / f64::from(count)).min(1.0))
            .lasting(Span::from_millis(8_000));
        let mut scenario = without_objectives(scenario);
        // A town that uploads once a minute, and is pushed to as seldom, would say nothing in eight seconds.
        for uploads in scenario
            .devices
            .iter_mut()
            .flat_map(|devices| &mut devices.uploads)
        {
            uploads.every = uploads.every.min(Span::from_millis(4_000));
        }
        for pushes in &mut scenario.app.pushes {
            pushes.rate = pushes.rate.max(2.0);
        }
        scenario.settle = Span::from_millis(30_000);
        scenario.tolerance.revocation = Span::from_millis(4_000);
        let outcome = play(&platform, platform.doors().tcp, &name, scenario).await;
        assert!(outcome.verdict.pass, "{name}: {}", outcome.table());
        let counts = &outcome.counts;
        assert!(
            counts.uploads_done > 0 && counts.pushes_delivered > 0,
            "{name}: {counts:?}"
        );
    }
}
