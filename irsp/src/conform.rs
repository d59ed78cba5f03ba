//! `irsp conform`: the clause table tried on a running platform, and the device contract on a device, for which a platform
//! is started here. Exit code 0 when all that was tried passes.

mod bench;
mod order;

use irsp_config::Settings;
use irsp_conform::platform::{self, HookAt, Options, OtherDomain};
use irsp_conform::{Report, device, junit};

pub(crate) use order::Conform;

use crate::client::read_token;
use crate::console;
use crate::failure::ConformError;
use bench::Embedded;
use order::{Form, Order};

pub(crate) async fn run(settings: &Settings, conform: Conform) -> Result<(), ConformError> {
    match conform.order {
        Order::Platform(order) => platform(settings, *order).await,
        Order::Device(order) => device(*order).await,
    }
}

async fn platform(settings: &Settings, order: order::Platform) -> Result<(), ConformError> {
    let token = order.token_file.unwrap_or_else(|| settings.files().admin_token());
    let hook = order.hook_listen.zip(order.hook_url);
    let other = match (order.other_url, order.other_mqtt, order.other_token_file) {
        (Some(url), Some(mqtt), Some(token)) => Some(OtherDomain {
            url,
            mqtt,
            ca: order.other_ca,
            admin: read_token(&token)?,
        }),
        // The command line has seen to it that it is all of them or none.
        (..) => None,
    };
    let options = Options {
        url: order.url,
        app_url: order.app_url,
        mqtt: order.mqtt,
        ca: order.ca,
        admin: read_token(&token)?,
        patience: order.patience,
        hook: hook.map(|(listen, url)| HookAt { listen, url }),
        other,
        only: order.only,
    };
    show(&platform::examine(&options).await?, &order.form)
}

/// The device's platform is nobody else's: in a directory of its own, gone afterwards.
async fn device(order: order::Device) -> Result<(), ConformError> {
    let bench = Embedded::start().await.map_err(Box::new)?;
    let options = device::Options {
        listen: order.listen,
        device: order.device.to_string(),
        app: order.app.to_string(),
        answers: order.answers,
        channel: order.channel.to_string(),
        data: order.push,
        start: order.start,
        patience: order.patience,
        answer_wait: order.answer_wait,
        upload_wait: order.upload_wait,
        steady: order.steady,
    };
    let examined = device::examine(&bench.reached()?, &options, |login| {
        console::note(format_args!(
            "waiting for the device: mqtt://{}, username dev/{}, password {}, uploads to v1/dev/{}/up/{}/...",
            login.address,
            login.device,
            login.code.expose(),
            login.device,
            login.app
        ));
    })
    .await;
    bench.stop().await;
    show(&examined?, &order.form)
}

fn show(report: &Report, form: &Form) -> Result<(), ConformError> {
    if form.json {
        console::say(console::json(report)?);
    } else {
        console::say(report);
    }
    if let Some(path) = &form.junit {
        std::fs::write(path, junit::junit(report)).map_err(|source| ConformError::Junit {
            path: path.clone(),
            source,
        })?;
    }
    if report.pass {
        Ok(())
    } else {
        Err(ConformError::NotConformant(report.failing().join(", ")))
    }
}
