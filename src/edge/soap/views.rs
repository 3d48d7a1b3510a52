//! Views of a session: lists of objects that follow the inventory (`ContainerView`) or stay as given (`ListView`).
//!
//! A container view holds what was asked for, not what it shows: that is found anew whenever somebody looks.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::lease::Fault;
use crate::limits::VIEWS_PER_SESSION;
use crate::wire::soap::MoRef;

/// One view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum View {
    /// What lies below a container.
    Container {
        /// The container.
        container: MoRef,
        /// Types to show, maybe base types; empty for all.
        kinds: Vec<String>,
        /// Whether to look below what lies directly in it.
        recursive: bool,
    },
    /// Given objects.
    List(Vec<MoRef>),
}

/// The views of one session.
#[derive(Debug, Default)]
pub struct Views(Mutex<Shelf>);

#[derive(Debug, Default)]
struct Shelf {
    views: HashMap<String, View>,
    next: u64,
}

impl Views {
    /// Keeps a view and returns its id.
    ///
    /// # Errors
    /// `InsufficientResourcesFault` when the session has too many.
    pub fn add(&self, session: &str, view: View) -> Result<MoRef, Fault> {
        let mut shelf = self.lock();
        if shelf.views.len() >= VIEWS_PER_SESSION {
            let reason = format!("{VIEWS_PER_SESSION} views of one session; destroy some");
            return Err(Fault::InsufficientResourcesFault { reason });
        }
        shelf.next += 1;
        let kind = match view {
            View::Container { .. } => "ContainerView",
            View::List(_) => "ListView",
        };
        let id = format!("session[{session}]view-{}", shelf.next);
        shelf.views.insert(id.clone(), view);
        Ok(MoRef::new(kind, id))
    }

    /// The view of that id.
    pub fn get(&self, id: &str) -> Option<View> {
        self.lock().views.get(id).cloned()
    }

    /// Changes a list view; `false` if there is none of that id. `only` leaves nothing but what is added.
    pub fn modify(&self, id: &str, added: Vec<MoRef>, removed: &[MoRef], only: bool) -> bool {
        let mut shelf = self.lock();
        let Some(View::List(objects)) = shelf.views.get_mut(id) else { return false };
        objects.retain(|object| !only && !removed.contains(object));
        for object in added {
            if !objects.contains(&object) {
                objects.push(object);
            }
        }
        true
    }

    /// Removes a view; `false` if there is none.
    pub fn remove(&self, id: &str) -> bool {
        self.lock().views.remove(id).is_some()
    }

    /// The references of all views.
    pub fn list(&self) -> Vec<MoRef> {
        let shelf = self.lock();
        let kind = |view: &View| match view {
            View::Container { .. } => "ContainerView",
            View::List(_) => "ListView",
        };
        shelf.views.iter().map(|(id, view)| MoRef::new(kind(view), id)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Shelf> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
