//! A server: a disk that lasts, a clock, and a process that may be taken away between any two steps.

use std::sync::{Arc, Mutex};

use irsp_courier::store::StoreError;
use irsp_courier::{Clock as _, Ledger, Manual, Now, Role, Settings};
use irsp_protocol::receipt::Receipt;
use irsp_protocol::{Address, MessageId, Principal};
use rusqlite::Connection;

use crate::clock::SimClock;
use crate::dice::Dice;
use crate::fault::Fault;
use crate::home::Site;
use crate::plan::{Clocks, Plan};
use crate::role::{self, Shop, TABLES, Told, lock};

/// Pages of a disk that is not full.
const PAGES_MAX: u32 = 1 << 20;

pub(crate) struct Server {
    pub(crate) site: Site,
    pub(crate) clock: Arc<SimClock>,
    pub(crate) process: Option<Process>,
    disk: Connection,
    settings: Settings,
    gapless: bool,
    moods: u32,
    fault: Option<Fault>,
    eager: Option<Arc<Mutex<Vec<MessageId>>>>,
}

/// A message in flight, as a story that has come to a bad end tells of it.
#[derive(Debug)]
#[expect(dead_code, reason = "shown by its Debug")]
pub(crate) struct Waiting {
    id: MessageId,
    hop: String,
    answered: Option<u16>,
    /// By its server's clock.
    expires_in_s: i64,
}

/// What is in memory; dropped by a crash.
pub(crate) struct Process {
    pub(crate) courier: Manual,
    pub(crate) shop: Arc<Shop>,
    pub(crate) told: Arc<Told>,
}

impl Server {
    pub(crate) fn new(
        site: Site,
        clock: SimClock,
        plan: &Plan,
        settings: Settings,
        fault: Option<Fault>,
    ) -> Result<Server, StoreError> {
        let mut disk = Connection::open_in_memory()?;
        disk.set_prepared_statement_cache_capacity(128);
        disk.pragma_update(None, "journal_mode", "MEMORY")?;
        Manual::prepare(&mut disk, TABLES)?;
        if let Some(fault) = fault {
            fault.spoil(&disk)?;
        }
        Ok(Server {
            site,
            clock: Arc::new(clock),
            process: None,
            disk,
            settings,
            gapless: plan.clocks != Clocks::Months,
            moods: plan.moods,
            fault,
            eager: (fault == Some(Fault::Eager)).then(Arc::default),
        })
    }

    pub(crate) fn now(&self) -> Now {
        self.clock.now()
    }

    pub(crate) fn start(&mut self, dice: Dice) {
        let moods = self.moods;
        let shop = Arc::new(Shop::new(
            self.site,
            self.gapless,
            moods,
            dice,
            self.eager.clone(),
        ));
        let role = Arc::clone(&shop) as Arc<dyn Role>;
        let clock = Arc::clone(&self.clock);
        self.process = Some(Process {
            courier: Manual::start(
                self.site.server,
                self.site.home.domain(),
                role,
                &self.settings,
                clock,
            ),
            shop,
            told: Arc::default(),
        });
    }

    /// Commits what waits.
    pub(crate) fn commit(&mut self) -> Result<(), StoreError> {
        if let Some(fault) = self.fault {
            fault.age(&self.disk, self.clock.now().wall)?;
        }
        if let Some(process) = &mut self.process {
            process.courier.commit(&self.disk);
        }
        Ok(())
    }

    pub(crate) fn read(&mut self) {
        if let Some(process) = &mut self.process {
            process.courier.read(&self.disk);
        }
    }

    /// Leaves the disk no room for another page, or gives it plenty.
    pub(crate) fn fill_disk(&self, full: bool) -> Result<(), StoreError> {
        // SQLite does not go below what is in use.
        let pages = if full { 1 } else { PAGES_MAX };
        self.disk.pragma_update(None, "max_page_count", pages)?;
        Ok(())
    }

    /// No moods from now on, in this life and the next.
    pub(crate) fn quiet(&mut self) {
        self.moods = 0;
        if let Some(process) = &self.process {
            process.shop.calm();
        }
    }

    pub(crate) fn ledger(&self) -> Result<Ledger, StoreError> {
        Manual::ledger(&self.disk)
    }

    pub(crate) fn receipt(&self, id: MessageId) -> Result<Option<Receipt>, StoreError> {
        let reporter = Address::local(Principal::server(self.site.server));
        Manual::receipt(&self.disk, id, &reporter)
    }

    /// Effects in the order in which they took place.
    pub(crate) fn effects(&self) -> Result<Vec<MessageId>, StoreError> {
        let mut rows = self.disk.prepare_cached("SELECT id FROM effect ORDER BY n")?;
        let ids = rows.query_map([], |row| Ok(MessageId::from_bytes(row.get(0)?)))?;
        let mut effects = ids.collect::<Result<Vec<_>, _>>()?;
        if let Some(eager) = &self.eager {
            effects.extend(lock(eager).iter());
        }
        Ok(effects)
    }

    pub(crate) fn in_flight(&self) -> Result<Vec<Waiting>, StoreError> {
        let mut rows = self.disk.prepare_cached(
            "SELECT id, hop, answered, (expires_at - ?1) / 1000 FROM message WHERE ended_at IS NULL ORDER BY seq",
        )?;
        let found = rows.query_map([self.clock.now().wall.as_millis()], |row| {
            Ok(Waiting {
                id: MessageId::from_bytes(row.get(0)?),
                hop: row.get(1)?,
                answered: row.get(2)?,
                expires_in_s: row.get(3)?,
            })
        })?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    pub(crate) fn dead_letters(&self) -> Result<Vec<MessageId>, StoreError> {
        let mut rows = self
            .disk
            .prepare_cached("SELECT id FROM dead_letter ORDER BY id")?;
        let ids = rows.query_map([], |row| Ok(MessageId::from_bytes(row.get(0)?)))?;
        Ok(ids.collect::<Result<_, _>>()?)
    }

    /// How many envelopes seen and how many receipts stand on the disk; receipts of dead letters stay as long as those.
    pub(crate) fn remembered(&self) -> Result<(u64, u64), StoreError> {
        let count = |query: &str| -> Result<u64, StoreError> {
            let count: i64 = self.disk.query_row(query, [], |row| row.get(0))?;
            Ok(count.unsigned_abs())
        };
        Ok((
            count("SELECT count(*) FROM seen")?,
            count(
                "SELECT count(*) FROM message
                 WHERE ended_at IS NOT NULL AND id NOT IN (SELECT id FROM dead_letter)",
            )?,
        ))
    }

    /// Whether an application of another domain has lost its grant of a device.
    pub(crate) fn has_withdrawn(&self, device: &Principal, app: &Address) -> Result<bool, StoreError> {
        role::is_withdrawn(&self.disk, device, app)
    }

    /// Which deletions of other domains this application server has heard of, by domain and number.
    pub(crate) fn departures(&self) -> Result<Vec<(String, i64)>, StoreError> {
        let mut rows = self.disk.prepare_cached("SELECT domain, n FROM gone")?;
        let found = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    /// What this account server has deleted, by number.
    pub(crate) fn deletions(&self) -> Result<Vec<i64>, StoreError> {
        let mut rows = self.disk.prepare_cached("SELECT n FROM deleted ORDER BY n")?;
        let found = rows.query_map([], |row| row.get(0))?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    /// The number of the last change that is known here.
    pub(crate) fn last_change(&self) -> Result<i64, StoreError> {
        let last = self
            .disk
            .query_row("SELECT coalesce(max(n), 0) FROM change", [], |row| row.get(0))?;
        Ok(last)
    }
}
