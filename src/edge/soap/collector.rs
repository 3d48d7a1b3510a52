//! Property collectors: filters, what each of them has shown, and updates since a version.
//!
//! A collector counts versions. Whatever a look at its filters finds changed is stamped with the next one, and an update for version `v` is
//! everything stamped later. So several callers may wait on one collector at once, each from its own version, and an answer that got
//! lost can be asked for again.
//!
//! ```text
//!   wait(v) ──► look: evaluate filters, stamp what changed ──► gather(v) ── something ──► UpdateSet
//!                   ▲                                              │ nothing
//!                   └──── a lease, task or machine changed ◄───────┘
//! ```

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::futures::Notified;
use tokio::sync::{Notify, watch};

use super::refusal::Refusal;
use super::walk::{self, Report};
use super::world::{TASKS_OF_OBJECTS, World};
use crate::lease::Fault;
use crate::limits::{FILTERS_PER_COLLECTOR, GONE_OBJECTS};
use crate::wire::soap::{FilterSpec, MoRef, Object, Value};

/// One property collector.
#[derive(Debug)]
pub struct Collector {
    /// Its id.
    pub id: String,
    books: Mutex<Books>,
    /// Held while the filters are looked at: an older look must not overwrite a newer one.
    look: tokio::sync::Mutex<()>,
    /// Rings when filters come or go.
    changed: Notify,
    /// Counts `CancelWaitForUpdates`.
    cancels: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Books {
    version: u64,
    next_filter: u64,
    filters: BTreeMap<u64, Filter>,
    destroyed: bool,
}

#[derive(Debug)]
struct Filter {
    spec: Arc<FilterSpec>,
    shown: BTreeMap<MoRef, Shown>,
    /// Objects that have left, with the version of that.
    gone: Vec<(MoRef, u64)>,
}

/// What is known of one object.
#[derive(Debug)]
struct Shown {
    entered: u64,
    /// Values and the version of their last change; `None` for a property that is not set any more.
    values: BTreeMap<String, (Option<Value>, u64)>,
}

/// What a waiting call has to listen for.
#[derive(Debug, Default)]
pub struct Interest {
    /// Ids of the objects that are reported.
    pub ids: HashSet<String>,
    /// Whether anything at all may bring in new objects.
    pub everything: bool,
}

impl Collector {
    /// A collector without filters.
    pub fn new(id: String) -> Self {
        let (cancels, _) = watch::channel(0);
        Self { id, books: Mutex::default(), look: tokio::sync::Mutex::new(()), changed: Notify::new(), cancels }
    }

    /// Its reference.
    pub fn reference(&self) -> MoRef {
        MoRef::new("PropertyCollector", &self.id)
    }

    /// Keeps a filter and returns its reference.
    ///
    /// # Errors
    /// `InsufficientResourcesFault` when there are too many, `ManagedObjectNotFound` when the collector was destroyed.
    pub fn add(&self, spec: FilterSpec) -> Result<MoRef, Fault> {
        let mut books = self.lock();
        if books.destroyed {
            return Err(Fault::ManagedObjectNotFound { obj: self.reference().to_string() });
        }
        if books.filters.len() >= FILTERS_PER_COLLECTOR {
            let reason = format!("{FILTERS_PER_COLLECTOR} filters of one collector; destroy some");
            return Err(Fault::InsufficientResourcesFault { reason });
        }
        books.next_filter += 1;
        let number = books.next_filter;
        let filter = Filter { spec: Arc::new(spec), shown: BTreeMap::new(), gone: Vec::new() };
        books.filters.insert(number, filter);
        drop(books);
        self.changed.notify_waiters();
        Ok(self.filter(number))
    }

    /// Removes a filter; `false` if it has none of that id.
    pub fn remove(&self, filter: &str) -> bool {
        let Some(number) = self.number(filter) else { return false };
        let removed = self.lock().filters.remove(&number).is_some();
        self.changed.notify_waiters();
        removed
    }

    /// References of its filters.
    pub fn filters(&self) -> Vec<MoRef> {
        self.lock().filters.keys().map(|number| self.filter(*number)).collect()
    }

    /// Ends the collector and every call that waits on it.
    pub fn destroy(&self) {
        let mut books = self.lock();
        books.destroyed = true;
        books.filters.clear();
        drop(books);
        self.cancel();
    }

    /// `CancelWaitForUpdates`: ends every call that waits on it.
    pub fn cancel(&self) {
        self.cancels.send_modify(|count| *count += 1);
    }

    /// Resolves at the next [`Collector::cancel`] after this call.
    pub fn cancelled(&self) -> impl Future<Output = ()> + use<> {
        let mut cancels = self.cancels.subscribe();
        async move {
            // The sender lives in the collector; if that is gone, so is what was waited for.
            let _ = cancels.changed().await;
        }
    }

    /// Resolves when filters come or go after this call.
    pub fn filters_changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// Looks at everything the filters report and stamps what has changed.
    ///
    /// # Errors
    /// As [`walk::reports`], except that an object to start from may be gone: then it has left.
    pub async fn look(&self, world: &mut World<'_>) -> Result<Interest, Refusal> {
        let _turn = self.look.lock().await;
        let specs: Vec<_> = self.lock().filters.iter().map(|(number, filter)| (*number, filter.spec.clone())).collect();
        let mut interest = Interest::default();
        let mut found = Vec::with_capacity(specs.len());
        for (number, spec) in specs {
            let reports = match walk::reports(world, &spec).await {
                Err(Refusal::Fault(Fault::ManagedObjectNotFound { .. })) => Vec::new(),
                reports => reports?,
            };
            interest.everything |=
                spec.objects.iter().any(|start| !start.select.is_empty() || !is_plain(&start.object));
            interest.everything |= spec.asks_for(TASKS_OF_OBJECTS);
            interest.ids.extend(spec.objects.iter().map(|start| start.object.id.clone()));
            interest.ids.extend(reports.iter().map(|report| report.object.id.clone()));
            found.push((number, reports));
        }
        let mut books = self.lock();
        let stamp = books.version + 1;
        let mut changed = false;
        for (number, reports) in found {
            if let Some(filter) = books.filters.get_mut(&number) {
                changed |= filter.take_in(reports, stamp);
            }
        }
        if changed {
            books.version = stamp;
        }
        Ok(interest)
    }

    /// `UpdateSet` of everything that changed after version `since`; `None` when nothing did. The empty version is the beginning.
    ///
    /// # Errors
    /// `InvalidCollectorVersion` for a version this collector never gave.
    pub fn gather(&self, since: &str) -> Result<Option<Object>, BadVersion> {
        let books = self.lock();
        let since: u64 = match since.trim() {
            "" => 0,
            text => text.parse().ok().filter(|version| *version <= books.version).ok_or(BadVersion)?,
        };
        let updates: Vec<Object> = books
            .filters
            .iter()
            .filter_map(|(number, filter)| {
                let objects = filter.updates(since);
                let update = Object::new("PropertyFilterUpdate").with("filter", self.filter(*number));
                (!objects.is_empty()).then(|| update.with("objectSet", Value::objects("ObjectUpdate", objects)))
            })
            .collect();
        if updates.is_empty() {
            return Ok(None);
        }
        let set = Object::new("UpdateSet").with("version", books.version.to_string());
        Ok(Some(set.with("filterSet", Value::objects("PropertyFilterUpdate", updates))))
    }

    fn filter(&self, number: u64) -> MoRef {
        MoRef::new("PropertyFilter", format!("{}.filter-{number}", self.id))
    }

    fn number(&self, filter: &str) -> Option<u64> {
        filter.strip_prefix(self.id.as_str())?.strip_prefix(".filter-")?.parse().ok()
    }

    fn lock(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The version is not one of this collector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadVersion;

impl Filter {
    /// Compares what was found with what is known and stamps the differences. Says whether there were any.
    fn take_in(&mut self, reports: Vec<Report>, stamp: u64) -> bool {
        let mut changed = false;
        let present: HashSet<&MoRef> = reports.iter().map(|report| &report.object).collect();
        let absent: Vec<MoRef> = self.shown.keys().filter(|object| !present.contains(object)).cloned().collect();
        for object in absent {
            self.shown.remove(&object);
            self.gone.push((object, stamp));
            changed = true;
        }
        if self.gone.len() > GONE_OBJECTS {
            self.gone.drain(..self.gone.len() - GONE_OBJECTS);
        }
        for Report { object, properties } in reports {
            let entry = self.shown.entry(object.clone());
            let shown = entry.or_insert_with(|| {
                changed = true;
                Shown { entered: stamp, values: BTreeMap::new() }
            });
            self.gone.retain(|(gone, _)| *gone != object);
            for (path, (value, version)) in &mut shown.values {
                if value.is_some() && properties.iter().all(|(found, _)| found != path) {
                    (*value, *version) = (None, stamp);
                    changed = true;
                }
            }
            for (path, value) in properties {
                let known = shown.values.entry(path).or_insert((None, stamp));
                if known.0.as_ref() != Some(&value) {
                    *known = (Some(value), stamp);
                    changed = true;
                }
            }
        }
        changed
    }

    fn updates(&self, since: u64) -> Vec<Object> {
        let mut updates = Vec::new();
        for (object, shown) in &self.shown {
            let entered = shown.entered > since;
            let changes: Vec<Object> = shown
                .values
                .iter()
                .filter(|(_, (value, version))| if entered { value.is_some() } else { *version > since })
                .map(|(path, (value, _))| change(path, value.as_ref()))
                .collect();
            if entered || !changes.is_empty() {
                updates.push(update(if entered { "enter" } else { "modify" }, object, changes));
            }
        }
        // Who never saw it enter need not see it leave.
        let left = self.gone.iter().filter(|(_, version)| since > 0 && *version > since);
        updates.extend(left.map(|(object, _)| update("leave", object, Vec::new())));
        updates
    }
}

fn update(kind: &str, object: &MoRef, changes: Vec<Object>) -> Object {
    Object::new("ObjectUpdate")
        .with("kind", Value::word("ObjectUpdateKind", kind))
        .with("obj", object)
        .with("changeSet", Value::objects("PropertyChange", changes))
}

fn change(path: &str, value: Option<&Value>) -> Object {
    Object::new("PropertyChange")
        .with("name", path)
        .with("op", Value::word("PropertyChangeOp", "assign"))
        .with_some("val", value.cloned().map(Value::any))
}

/// Whether the object's properties are its own and change only when a notice names it.
fn is_plain(object: &MoRef) -> bool {
    matches!(object.kind.as_str(), "HttpNfcLease" | "Task" | "VirtualMachine")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease() -> MoRef {
        MoRef::new("HttpNfcLease", "lease-1")
    }

    fn report(object: MoRef, properties: &[(&str, i32)]) -> Report {
        Report {
            object,
            properties: properties.iter().map(|(path, value)| ((*path).to_owned(), Value::Int(*value))).collect(),
        }
    }

    fn filter() -> Filter {
        let spec = FilterSpec { properties: Vec::new(), objects: Vec::new() };
        Filter { spec: Arc::new(spec), shown: BTreeMap::new(), gone: Vec::new() }
    }

    /// Kind of the update and the properties it tells, for each object.
    fn told(filter: &Filter, since: u64) -> Vec<(String, Vec<String>)> {
        let word = |object: &Object| match object.field("kind") {
            Some(Value::Enum { word, .. }) => word.clone(),
            _ => String::new(),
        };
        let names = |object: &Object| match object.field("changeSet") {
            Some(Value::List { items, .. }) => {
                items.iter().filter_map(|item| item.at("name")).map(|name| format!("{name:?}")).collect()
            }
            _ => Vec::new(),
        };
        filter.updates(since).iter().map(|object| (word(object), names(object))).collect()
    }

    fn row(kind: &str, names: &[&str]) -> (String, Vec<String>) {
        (kind.to_owned(), names.iter().map(|name| format!("Text({name:?})")).collect())
    }

    #[test]
    fn what_has_changed_since_a_version_is_told_once_and_again_on_demand() {
        let mut filter = filter();
        assert!(filter.take_in(vec![report(lease(), &[("info", 1), ("state", 1)])], 1));
        assert!(!filter.take_in(vec![report(lease(), &[("info", 1), ("state", 1)])], 2), "nothing has changed");
        assert!(filter.take_in(vec![report(lease(), &[("info", 1), ("state", 2)])], 2));
        assert_eq!(told(&filter, 0), [row("enter", &["info", "state"])]);
        assert_eq!(told(&filter, 1), [row("modify", &["state"])]);
        assert_eq!(told(&filter, 1), [row("modify", &["state"])], "an answer that got lost can be had again");
        assert_eq!(told(&filter, 2), []);
    }

    #[test]
    fn a_property_that_is_not_set_any_more_is_told_without_a_value() {
        let mut filter = filter();
        filter.take_in(vec![report(lease(), &[("info", 1)])], 1);
        assert!(filter.take_in(vec![report(lease(), &[])], 2));
        let update = &filter.updates(1)[0];
        assert_eq!(
            update.at("changeSet").and_then(|set| match set {
                Value::List { items, .. } => items[0].at("val"),
                _ => None,
            }),
            None
        );
        assert_eq!(told(&filter, 1), [row("modify", &["info"])]);
        assert_eq!(told(&filter, 0), [row("enter", &[])], "who comes later never hears of it");
    }

    #[test]
    fn objects_leave_and_come_back() {
        let mut filter = filter();
        filter.take_in(vec![report(lease(), &[])], 1);
        assert!(filter.take_in(Vec::new(), 2));
        assert_eq!((told(&filter, 0), told(&filter, 1)), (vec![], vec![row("leave", &[])]));
        assert!(filter.take_in(vec![report(lease(), &[])], 3));
        assert_eq!(told(&filter, 1), [row("enter", &[])]);
        for version in 4..4 + 2 * GONE_OBJECTS as u64 {
            filter.take_in(vec![report(MoRef::new("Task", version.to_string()), &[])], version);
        }
        assert_eq!(filter.gone.len(), GONE_OBJECTS);
    }

    #[test]
    fn a_version_that_was_never_given_is_refused() {
        let collector = Collector::new("c".to_owned());
        assert_eq!(collector.gather("7"), Err(BadVersion));
        assert_eq!(collector.gather("x"), Err(BadVersion));
        assert_eq!(collector.gather(""), Ok(None));
    }

    #[test]
    fn filters_are_counted_and_die_with_their_collector() {
        let collector = Collector::new("c".to_owned());
        let spec = || FilterSpec { properties: Vec::new(), objects: Vec::new() };
        let first = collector.add(spec()).unwrap();
        for _ in 1..FILTERS_PER_COLLECTOR {
            collector.add(spec()).unwrap();
        }
        assert!(matches!(collector.add(spec()), Err(Fault::InsufficientResourcesFault { .. })));
        assert!(collector.remove(&first.id) && !collector.remove(&first.id));
        collector.destroy();
        assert!(matches!(collector.add(spec()), Err(Fault::ManagedObjectNotFound { .. })));
    }
}
