//! Collectors, filters, and waiting for updates.
//!
//! A waiting call sleeps until the lease driver or the inventory names an object it reports; nothing is asked in between. Changes that come
//! together are told together.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use super::{Visit, expect};
use crate::edge::soap::collector::{Collector, Interest};
use crate::edge::soap::refusal::Refusal;
use crate::edge::soap::walk;
use crate::lease::{Changed, Fault};
use crate::limits::SOAP_GATHER_MS;
use crate::wire::soap::{Call, FilterSpec, Object, Value};

/// `CreatePropertyCollector`.
pub fn create_collector(visit: &Visit, call: &Call) -> Result<Value, Refusal> {
    expect(call, &["PropertyCollector"])?;
    Ok(visit.session(call)?.add_collector()?.reference().into())
}

/// `DestroyPropertyCollector`; the session's own goes with the session only.
pub fn destroy_collector(visit: &Visit, call: &Call) -> Result<(), Refusal> {
    expect(call, &["PropertyCollector"])?;
    match visit.session(call)?.remove_collector(&call.this.id) {
        true => Ok(()),
        false => Err(Refusal::no_such(&call.this)),
    }
}

/// `CreateFilter`. The filter is tried out, so that a wrong one is refused here and not in the midst of waiting.
pub async fn create_filter(visit: &Visit, call: &Call) -> Result<Value, Refusal> {
    let collector = collector(visit, call)?;
    let spec = FilterSpec::read(&call.arguments().needed_object("spec")?)?;
    walk::reports(&mut visit.world(), &spec).await?;
    Ok(collector.add(spec)?.into())
}

/// `DestroyPropertyFilter`.
pub fn destroy_filter(visit: &Visit, call: &Call) -> Result<(), Refusal> {
    expect(call, &["PropertyFilter"])?;
    match visit.session(call)?.remove_filter(&call.this.id) {
        true => Ok(()),
        false => Err(Refusal::no_such(&call.this)),
    }
}

/// `CancelWaitForUpdates`.
pub fn cancel(visit: &Visit, call: &Call) -> Result<(), Refusal> {
    collector(visit, call)?.cancel();
    Ok(())
}

/// `WaitForUpdates`, `WaitForUpdatesEx` and `CheckForUpdates`. An empty answer means that the time is up.
pub async fn wait(visit: &Visit, call: &Call) -> Result<Option<Value>, Refusal> {
    let collector = collector(visit, call)?;
    let session = visit.session(call)?;
    let arguments = call.arguments();
    let since = arguments.text("version").unwrap_or_default();
    let limit_s = match (call.method.as_str(), arguments.object("options")) {
        ("CheckForUpdates", _) => Some(0),
        (_, Some(options)) => options.int("maxWaitSeconds")?.map(|seconds| u64::try_from(seconds).unwrap_or(0)),
        (_, None) => None,
    };
    let until = limit_s.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let seat = visit.desk.waits.clone().try_acquire_owned();
    let _seat =
        seat.map_err(|_| Fault::InsufficientResourcesFault { reason: "too many calls wait for updates".to_owned() })?;
    let _waiting = session.wait();
    let found = updates(visit, &collector, since, until).await?;
    Ok(found.map(|set| if call.method == "WaitForUpdatesEx" { set.with("truncated", false) } else { set }.into()))
}

async fn updates(
    visit: &Visit,
    collector: &Arc<Collector>,
    since: &str,
    until: Option<Instant>,
) -> Result<Option<Object>, Refusal> {
    // Listening begins before the first look, so nothing falls between the two.
    let mut leases = visit.desk.leases.changes();
    let mut machines = visit.desk.inventory.changes();
    let mut cancelled = std::pin::pin!(collector.cancelled());
    loop {
        let filters = collector.filters_changed();
        let mut filters = std::pin::pin!(filters);
        filters.as_mut().enable();
        let interest = collector.look(&mut visit.world()).await?;
        if let Some(set) = collector.gather(since)? {
            return Ok(Some(set));
        }
        let time_is_up = async {
            match until {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = cancelled.as_mut() => return Err(Fault::RequestCanceled.into()),
            () = filters => {}
            () = news(&interest, &mut leases, &mut machines) => {}
            () = time_is_up => return Ok(None),
        }
        tokio::time::sleep(Duration::from_millis(SOAP_GATHER_MS)).await;
    }
}

/// Resolves when something the caller reports has changed.
async fn news(
    interest: &Interest,
    leases: &mut tokio::sync::broadcast::Receiver<Changed>,
    machines: &mut tokio::sync::broadcast::Receiver<String>,
) {
    loop {
        let id = tokio::select! {
            changed = leases.recv() => match changed {
                Ok(Changed::Lease(id)) => id.to_string(),
                Ok(Changed::Task(id)) => id.to_string(),
                Err(RecvError::Lagged(_)) => return,
                // The driver has ended; the server is about to.
                Err(RecvError::Closed) => std::future::pending().await,
            },
            changed = machines.recv() => match changed {
                Ok(id) => id,
                Err(RecvError::Lagged(_)) => return,
                Err(RecvError::Closed) => std::future::pending().await,
            },
        };
        if interest.everything || interest.ids.contains(&id) {
            return;
        }
    }
}

fn collector(visit: &Visit, call: &Call) -> Result<Arc<Collector>, Refusal> {
    expect(call, &["PropertyCollector"])?;
    visit.session(call)?.find_collector(&call.this.id).ok_or_else(|| Refusal::no_such(&call.this))
}
