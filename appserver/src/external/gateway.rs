//! Moves the lanes: who has something waiting, whose turn it is, what a try has said. One task for all endpoints; tries
//! are tasks of their own, so a slow endpoint uses up its own places and nobody's time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use irsp_courier::Courier;
use irsp_courier::store::{StoreError, service_senders};
use irsp_directory::Directory;
use irsp_protocol::{Id, Principal, Status};
use tokio::task::{self, JoinSet};
use tokio_util::sync::CancellationToken;

use super::attempt::Sender;
use super::breaker::Standing;
use super::doorbell::Rung;
use super::endpoint::Endpoint;
use super::lane::{Lane, Limits, Tried};
use super::service::{External, hop};
use crate::metrics::Metrics;
use crate::store::endpoint as rows;

/// How long after the disk has failed an endpoint is read again.
const READ_PAUSE: Duration = Duration::from_secs(1);

/// The task that delivers to endpoints.
pub(crate) struct Gateway {
    external: Arc<External>,
    courier: Courier,
    directory: Arc<Directory>,
    metrics: Arc<Metrics>,
    sender: Sender,
    routes: HashMap<Id, Route>,
    tries: JoinSet<Tried>,
    /// Whose try each task is.
    whose: HashMap<task::Id, (Id, String)>,
}

struct Route {
    endpoint: Option<Arc<Endpoint>>,
    lane: Lane,
}

impl Gateway {
    pub(crate) fn new(
        external: Arc<External>,
        courier: Courier,
        directory: Arc<Directory>,
        metrics: Arc<Metrics>,
        stop: CancellationToken,
    ) -> Gateway {
        let sender = Sender {
            external: external.clone(),
            courier: courier.clone(),
            metrics: metrics.clone(),
            stop,
        };
        Gateway {
            external,
            courier,
            directory,
            metrics,
            sender,
            routes: HashMap::new(),
            tries: JoinSet::new(),
            whose: HashMap::new(),
        }
    }

    /// Delivers until it is stopped; then what is under way is given up, and waits on disk.
    pub(crate) async fn run(mut self) {
        let stop = self.sender.stop.clone();
        self.external.doorbell.all_changed();
        loop {
            self.start_tries();
            let wake = self
                .routes
                .values()
                .filter_map(|route| route.lane.next_wake())
                .min();
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.external.doorbell.wake.notified() => self.hear().await,
                Some(ended) = self.tries.join_next_with_id() => match ended {
                    Ok((task, tried)) => self.tried(task, tried),
                    Err(error) => {
                        tracing::error!(%error, "a delivery was broken off");
                        self.tried(error.id(), Tried::Unread);
                    }
                },
                () = sleep_until(wake), if wake.is_some() => {}
            }
        }
        while self.tries.join_next().await.is_some() {}
    }

    async fn hear(&mut self) {
        let Rung {
            arrived,
            mut changed,
            all,
        } = self.external.doorbell.answer();
        if all {
            match self.courier.store().read(rows::all).await {
                Ok(found) => changed.extend(found.into_iter().map(|row| row.app)),
                Err(error) => {
                    tracing::error!(%error, "endpoints cannot be read; tried again");
                    self.pause().await;
                    self.external.doorbell.all_changed();
                }
            }
        }
        for app in changed {
            if let Err(error) = self.change(&app).await {
                tracing::error!(%app, %error, "an endpoint cannot be read; tried again");
                self.pause().await;
                self.external.doorbell.changed(&app);
            }
        }
        for (app, sender) in arrived {
            // Without an endpoint it waits on disk, and is found when there is one.
            if let Some(route) = self.routes.get_mut(&app) {
                route.lane.arrived(&sender);
            }
        }
    }

    async fn pause(&self) {
        let pause = tokio::time::sleep(READ_PAUSE);
        // Whoever stops waits for nothing.
        let _stopped = self.sender.stop.run_until_cancelled(pause).await;
    }

    /// Reads an endpoint anew, and who has something waiting for it.
    async fn change(&mut self, app: &Id) -> Result<(), StoreError> {
        let standing = self.directory.check(&Principal::application(app.clone()));
        if standing == Err(Status::DELETED) {
            // It was deleted while we did not hear of it.
            let (of, waits_for) = (app.clone(), hop(app));
            let ending = self.courier.write(move |tx| {
                tx.end_hop(&waits_for, Status::DELETED)?;
                rows::remove(tx.sql(), &of)
            });
            ending.await?;
        }
        let (of, waits_for) = (app.clone(), hop(app));
        let reading = self.courier.store().read(move |sql| {
            let found = rows::find(sql, &of)?;
            let senders = match found {
                Some(_) => service_senders(sql, &waits_for)?,
                None => Vec::new(),
            };
            Ok((found, senders))
        });
        let (found, senders) = reading.await?;
        let endpoint = found.map(|row| self.external.read(row)).transpose()?;
        let limits = limits(&self.external);
        let route = self.routes.entry(app.clone()).or_insert_with(|| Route {
            endpoint: None,
            lane: Lane::new(limits),
        });
        let open = endpoint.as_ref().is_some_and(Endpoint::is_open);
        route.lane.set_open(open && standing.is_ok());
        route.lane.refresh();
        route.endpoint = endpoint.map(Arc::new);
        for sender in senders {
            route.lane.arrived(&sender);
        }
        self.external.set_standing(app, route.lane.standing());
        Ok(())
    }

    fn start_tries(&mut self) {
        let now = Instant::now();
        for (app, route) in &mut self.routes {
            let Some(endpoint) = &route.endpoint else {
                continue;
            };
            while let Some(whose) = route.lane.poll(now) {
                let (endpoint, sender, of) = (Arc::clone(endpoint), self.sender.clone(), whose.clone());
                let trying = async move { sender.try_one(&endpoint, &of).await };
                let task = self.tries.spawn(trying).id();
                self.whose.insert(task, (app.clone(), whose));
            }
        }
        self.show();
    }

    fn tried(&mut self, task: task::Id, tried: Tried) {
        let Some((app, sender)) = self.whose.remove(&task) else {
            return;
        };
        if let Some(route) = self.routes.get_mut(&app) {
            let dice = self.external.dice();
            route.lane.tried(&sender, tried, Instant::now(), dice);
            self.external.set_standing(&app, route.lane.standing());
        }
    }

    fn show(&self) {
        let routes = || self.routes.values().filter(|route| route.endpoint.is_some());
        let busy = routes().map(|route| route.lane.busy()).sum();
        let senders = routes().map(|route| route.lane.senders()).sum();
        let standing = |wanted: Standing| routes().filter(|route| route.lane.standing() == wanted).count();
        self.metrics
            .gateway(busy, senders, Standing::ALL.map(|of| (of.as_str(), standing(of))));
    }
}

fn limits(external: &External) -> Limits {
    let settings = &external.settings;
    Limits {
        concurrency: settings.concurrency.max(1),
        retry: settings.retry,
        breaker_failures: settings.breaker_failures,
        breaker: settings.breaker,
    }
}

async fn sleep_until(wake: Option<Instant>) {
    if let Some(wake) = wake {
        tokio::time::sleep_until(wake.into()).await;
    }
}
