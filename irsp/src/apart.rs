//! One role in its own process. The message server holds the bus; the others attach to it over MQTT/TLS.

use std::sync::Arc;
use std::time::SystemTime;

use irsp_account::AccountServer;
use irsp_appserver::AppServer;
use irsp_broker::MessageServer;
use irsp_config::Settings;
use irsp_protocol::Server;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::attach;
use crate::failure::Failure;
use crate::http::{Doors, Http, Part, Served};
use crate::stop::{self, Signals};
use crate::welcome::{self, Listening};
use crate::{console, datadir, firststart, ports, well_known, wiring};

/// `irsp broker`: the message server.
pub(crate) async fn broker(settings: Settings) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let doors = Doors::take("broker.listen", settings.broker.listen, &settings)?;
    let mqtt_listeners = settings.mqtt_listeners().into_iter();
    let mqtt_ports = ports::take_all(mqtt_listeners.chain(settings.federation_listener()).collect())?;
    let _claim = datadir::claim(&settings.files(), &[Server::Message])?;
    firststart::prepare(&settings, SystemTime::now())?;
    drop(mqtt_ports);
    let message = MessageServer::start(wiring::broker(&settings)?).await;
    let message = message.map_err(|error| Failure::role("message server")(&error))?;
    let mut listening = Listening::of(&message);
    let served = Served {
        parts: Vec::new(),
        roles: vec![Arc::new(message.observed())],
        bus: None,
    };
    let mut http = open(doors, served, &mut listening)?;
    greet(&settings, "message server", &listening);

    let ended = stop::until_end(&mut signals, &mut http, || message.reload_certificates()).await;
    let deadline = settings.stop.deadline;
    let stopping = async {
        http.close();
        message.stop(deadline / 2).await;
        http.wait().await;
    };
    signals.while_stopping(deadline, stopping).await;
    ended
}

/// `irsp account`: the account server.
pub(crate) async fn account(settings: Settings) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let doors = Doors::take("account.listen", settings.account.listen, &settings)?;
    let advertised = well_known::part(&settings)?;
    let _claim = datadir::claim(&settings.files(), &[Server::Account])?;
    firststart::prepare(&settings, SystemTime::now())?;
    let (leave, tasks) = (CancellationToken::new(), TaskTracker::new());
    let (link, attached) = attach::attach(Server::Account, &settings, leave.clone(), &tasks)?;
    let role = AccountServer::start(wiring::account(&settings)?, link).await;
    let role = role.map_err(|error| Failure::role("account server")(&error))?;
    let mut listening = Vec::new();
    let part = Part {
        router: role.router(),
        openapi: Some(irsp_account::openapi()),
    };
    let served = Served {
        parts: vec![part, advertised],
        roles: vec![Arc::new(role.observed())],
        bus: Some(attached),
    };
    let mut http = open(doors, served, &mut listening)?;
    greet(&settings, "account server", &listening);

    let ended = stop::until_end(&mut signals, &mut http, || {}).await;
    let stopping = async {
        http.close();
        role.stop().await;
        http.wait().await;
        leave.cancel();
        stop::join(&tasks).await;
    };
    signals.while_stopping(settings.stop.deadline, stopping).await;
    ended
}

/// `irsp appserver`: the application server.
pub(crate) async fn appserver(settings: Settings) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let doors = Doors::take("appserver.listen", settings.appserver.listen, &settings)?;
    let _claim = datadir::claim(&settings.files(), &[Server::App])?;
    firststart::prepare(&settings, SystemTime::now())?;
    let (leave, tasks) = (CancellationToken::new(), TaskTracker::new());
    let (link, attached) = attach::attach(Server::App, &settings, leave.clone(), &tasks)?;
    let role = AppServer::start(wiring::appserver(&settings)?, link);
    let role = role.map_err(|error| Failure::role("application server")(&error))?;
    let mut listening = Vec::new();
    let part = Part {
        router: role.router(),
        openapi: Some(irsp_appserver::openapi()),
    };
    let served = Served {
        parts: vec![part],
        roles: vec![Arc::new(role.observed())],
        bus: Some(attached),
    };
    let mut http = open(doors, served, &mut listening)?;
    greet(&settings, "application server", &listening);

    let ended = stop::until_end(&mut signals, &mut http, || {}).await;
    let stopping = async {
        http.close();
        role.stop().await;
        http.wait().await;
        leave.cancel();
        stop::join(&tasks).await;
    };
    signals.while_stopping(settings.stop.deadline, stopping).await;
    ended
}

fn open(doors: Doors, served: Served, listening: &mut Vec<Listening>) -> Result<Http, Failure> {
    listening.extend(doors.listening());
    Http::start(doors, served)
}

fn greet(settings: &Settings, name: &str, listening: &[Listening]) {
    console::say(welcome::role(settings, name));
    console::say(welcome::ready(listening));
}
