//! SOAP sessions: who is logged in, and what belongs to each login.
//!
//! Used by [`super::calls`] and by `edge::folder`. A session is known by a random cookie of which only the SHA-256 is kept; it ends by logout
//! or when nothing has used it for the configured time. What a client made in it (collectors, views) ends with it. Sessions live in
//! memory: after a restart clients log in again, which every one of them does by itself.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, header};
use sha2::{Digest, Sha256};

use super::collector::Collector;
use super::describe::service::PROPERTY_COLLECTOR;
use super::views::Views;
use crate::lease::{Fault, LeaseId};
use crate::limits::{COLLECTORS_PER_SESSION, OWN_LEASES, SESSIONS, SESSIONS_PER_USER};
use crate::wire::soap::{Object, Value};

pub use crate::edge::users::Role;

/// Name of the cookie.
pub const COOKIE: &str = "vmware_soap_session";

/// All sessions.
#[derive(Debug)]
pub struct Sessions {
    open: Mutex<HashMap<[u8; 32], Arc<Session>>>,
    idle: Duration,
    wall_clock_ms: fn() -> u64,
}

/// One login.
#[derive(Debug)]
pub struct Session {
    /// What clients see as its key; not the cookie.
    pub key: String,
    /// Name of the user.
    pub user: String,
    /// What the user may do.
    pub role: Role,
    /// Where the user comes from.
    pub address: IpAddr,
    /// What the client calls itself.
    pub agent: String,
    /// When it began, milliseconds since 1970.
    pub login_ms: u64,
    /// The collector that every session has.
    collector: Arc<Collector>,
    /// Collectors the client made for itself.
    collectors: Mutex<HashMap<String, Arc<Collector>>>,
    /// Views the client made.
    pub views: Views,
    /// Leases that were found to be this user's: that never changes, and asking again would make a renewal wait.
    own_leases: Mutex<HashSet<LeaseId>>,
    hash: [u8; 32],
    began: Instant,
    /// Milliseconds from `began` to the last use.
    used_ms: AtomicU64,
    /// Calls that wait for something right now; a session with one is in use.
    waits: AtomicU64,
}

/// Says, until it is dropped, that a call of the session waits.
#[derive(Debug)]
pub struct Waiting(Arc<Session>);

impl Sessions {
    /// No sessions yet; one ends when it is not used for `idle`.
    pub fn new(idle: Duration, wall_clock_ms: fn() -> u64) -> Self {
        Self { open: Mutex::default(), idle, wall_clock_ms }
    }

    /// Begins a session. Returns it with the value of its cookie, which is kept nowhere else.
    ///
    /// # Errors
    /// `InsufficientResourcesFault` when there are too many, `SystemError` when the system has no randomness.
    pub fn begin(&self, user: &str, role: Role, address: IpAddr, agent: &str) -> Result<(Arc<Session>, String), Fault> {
        let (cookie, key) = (random_hex::<32>()?, uuid()?);
        let hash = hash(&cookie);
        let session = Arc::new(Session {
            collector: Arc::new(Collector::new(format!("session[{key}]propertyCollector"))),
            key,
            user: user.to_owned(),
            role,
            address,
            agent: agent.chars().take(256).collect(),
            login_ms: (self.wall_clock_ms)(),
            collectors: Mutex::default(),
            views: Views::default(),
            own_leases: Mutex::default(),
            hash,
            began: Instant::now(),
            used_ms: AtomicU64::new(0),
            waits: AtomicU64::new(0),
        });
        let mut open = self.lock();
        open.retain(|_, session| !session.is_idle(self.idle));
        let of_user = open.values().filter(|session| session.user == user).count();
        if open.len() >= SESSIONS || of_user >= SESSIONS_PER_USER {
            let reason = format!("{of_user} sessions of this user, {} in all; log out or wait", open.len());
            return Err(Fault::InsufficientResourcesFault { reason });
        }
        open.insert(hash, session.clone());
        Ok((session, cookie))
    }

    /// The session of a request, by its cookie; that counts as use. Cookies come in many spellings: in quotes, with blanks, with the
    /// attributes of the `Set-Cookie` they were copied from.
    pub fn of(&self, headers: &HeaderMap) -> Option<Arc<Session>> {
        let cookies = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
        let values = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.split_once('='));
        let mut mine = values.filter(|(name, _)| name.trim() == COOKIE);
        mine.find_map(|(_, value)| self.find(value.trim().trim_matches('"').trim()))
    }

    /// Ends a session.
    pub fn end(&self, session: &Session) {
        self.lock().remove(&session.hash);
    }

    /// Ends the session of that key, as `TerminateSession` asks.
    pub fn terminate(&self, key: &str) -> bool {
        let mut open = self.lock();
        let before = open.len();
        open.retain(|_, session| session.key != key);
        open.len() < before
    }

    /// All sessions in use, oldest first.
    pub fn list(&self) -> Vec<Arc<Session>> {
        let mut list: Vec<_> = self.lock().values().filter(|session| !session.is_idle(self.idle)).cloned().collect();
        list.sort_by_key(|session| (session.login_ms, session.key.clone()));
        list
    }

    fn find(&self, cookie: &str) -> Option<Arc<Session>> {
        let mut open = self.lock();
        let session = open.get(&hash(cookie))?.clone();
        if session.is_idle(self.idle) {
            open.remove(&session.hash);
            return None;
        }
        session.touch();
        Some(session)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 32], Arc<Session>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    /// `UserSession`.
    pub fn info(&self) -> Object {
        let last_ms = self.login_ms + self.used_ms.load(Ordering::Relaxed);
        Object::new("UserSession")
            .with("key", &self.key)
            .with("userName", &self.user)
            .with("fullName", &self.user)
            .with("loginTime", Value::Time(crate::lease::task::rfc3339(self.login_ms)))
            .with("lastActiveTime", Value::Time(crate::lease::task::rfc3339(last_ms)))
            .with("locale", "en")
            .with("messageLocale", "en")
            .with("extensionSession", false)
            .with("ipAddress", self.address.to_string())
            .with("userAgent", &self.agent)
            .with("callCount", Value::Long(0))
    }

    /// Says that a call waits; the session does not run out meanwhile.
    pub fn wait(self: &Arc<Self>) -> Waiting {
        self.waits.fetch_add(1, Ordering::Relaxed);
        Waiting(self.clone())
    }

    /// Whether it may act on what belongs to `owner`.
    pub fn owns(&self, owner: Option<&str>) -> bool {
        self.role == Role::Admin || owner == Some(self.user.as_str())
    }

    /// Whether the lease was found to be this user's before.
    pub fn knows_own(&self, lease: &LeaseId) -> bool {
        self.own_leases.lock().unwrap_or_else(PoisonError::into_inner).contains(lease)
    }

    /// Remembers that the lease is this user's.
    pub fn remember_own(&self, lease: &LeaseId) {
        let mut own = self.own_leases.lock().unwrap_or_else(PoisonError::into_inner);
        if own.len() >= OWN_LEASES {
            own.clear();
        }
        own.insert(lease.clone());
    }

    /// A collector of this session. The well-known id is that of the one every session has.
    pub fn find_collector(&self, id: &str) -> Option<Arc<Collector>> {
        match id {
            PROPERTY_COLLECTOR => Some(self.collector.clone()),
            id => self.made().get(id).cloned(),
        }
    }

    /// Makes a collector.
    ///
    /// # Errors
    /// `InsufficientResourcesFault` when the session has too many.
    pub fn add_collector(&self) -> Result<Arc<Collector>, Fault> {
        let mut made = self.made();
        if made.len() >= COLLECTORS_PER_SESSION {
            let reason = format!("{COLLECTORS_PER_SESSION} collectors of one session; destroy some");
            return Err(Fault::InsufficientResourcesFault { reason });
        }
        let collector = Arc::new(Collector::new(format!("session[{}]{}", self.key, uuid()?)));
        made.insert(collector.id.clone(), collector.clone());
        Ok(collector)
    }

    /// Destroys a collector the client made; `false` if there is none of that id.
    pub fn remove_collector(&self, id: &str) -> bool {
        let removed = self.made().remove(id);
        removed.inspect(|collector| collector.destroy()).is_some()
    }

    /// Destroys a filter of whichever collector has it.
    pub fn remove_filter(&self, id: &str) -> bool {
        self.collector.remove(id) || self.made().values().any(|collector| collector.remove(id))
    }

    /// Ends everything that waits in it.
    pub fn close(&self) {
        self.collector.destroy();
        self.made().drain().for_each(|(_, collector)| collector.destroy());
    }

    fn made(&self) -> MutexGuard<'_, HashMap<String, Arc<Collector>>> {
        self.collectors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn touch(&self) {
        let used_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.used_ms.fetch_max(used_ms, Ordering::Relaxed);
    }

    fn is_idle(&self, idle: Duration) -> bool {
        let used = Duration::from_millis(self.used_ms.load(Ordering::Relaxed));
        self.waits.load(Ordering::Relaxed) == 0 && self.began.elapsed().saturating_sub(used) > idle
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.touch();
        self.0.waits.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A random UUID of version 4.
pub fn uuid() -> Result<String, Fault> {
    let mut bytes = [0; 16];
    fill(&mut bytes)?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = hex(&bytes);
    Ok(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
}

fn random_hex<const BYTES: usize>() -> Result<String, Fault> {
    let mut bytes = [0; BYTES];
    fill(&mut bytes)?;
    Ok(hex(&bytes))
}

fn fill(bytes: &mut [u8]) -> Result<(), Fault> {
    getrandom::fill(bytes).map_err(|error| Fault::SystemError { reason: format!("no randomness: {error}") })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hash(cookie: &str) -> [u8; 32] {
    Sha256::digest(cookie.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn headers(cookie: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_str(cookie).unwrap())])
    }

    fn begun(idle_ms: u64) -> (Sessions, Arc<Session>, String) {
        let sessions = Sessions::new(Duration::from_millis(idle_ms), || 1_000);
        let (session, cookie) = sessions.begin("me", Role::Operator, [127, 0, 0, 1].into(), "test").unwrap();
        (sessions, session, cookie)
    }

    #[test]
    fn a_cookie_is_found_in_every_spelling() {
        let (sessions, session, cookie) = begun(60_000);
        for text in [
            format!("vmware_soap_session={cookie}"),
            format!("vmware_soap_session=\"{cookie}\"; Path=/; HttpOnly; Secure"),
            format!("vmware_soap_session= {cookie}; $HttpOnly"),
            format!("other=1; vmware_soap_session=stale; vmware_soap_session={cookie}"),
        ] {
            assert_eq!(
                sessions.of(&headers(&text)).map(|found| found.key.clone()),
                Some(session.key.clone()),
                "{text}"
            );
        }
        for text in ["vmware_soap_session=", "vmware_soap_session=nonsense", &format!("x={cookie}"), &session.key] {
            assert!(sessions.of(&headers(text)).is_none(), "{text}");
        }
    }

    #[test]
    fn a_session_ends_by_logout_and_by_idleness_but_not_while_a_call_waits() {
        let (sessions, session, cookie) = begun(20);
        let text = format!("vmware_soap_session={cookie}");
        let waiting = session.wait();
        std::thread::sleep(Duration::from_millis(50));
        assert!(sessions.of(&headers(&text)).is_some());
        drop(waiting);
        std::thread::sleep(Duration::from_millis(50));
        assert!(sessions.of(&headers(&text)).is_none());
        let (sessions, session, cookie) = begun(60_000);
        sessions.end(&session);
        assert!(sessions.of(&headers(&format!("vmware_soap_session={cookie}"))).is_none());
    }

    #[test]
    fn only_the_owner_and_admins_may_act_on_what_belongs_to_somebody() {
        let (sessions, operator, _) = begun(60_000);
        let (admin, _) = sessions.begin("root", Role::Admin, [127, 0, 0, 1].into(), "test").unwrap();
        assert!(operator.owns(Some("me")) && !operator.owns(Some("you")) && !operator.owns(None));
        assert!(admin.owns(Some("me")) && admin.owns(None));
    }

    #[test]
    fn there_is_an_end_to_sessions_of_one_user() {
        let sessions = Sessions::new(Duration::from_secs(60), || 1_000);
        let begin = |user| sessions.begin(user, Role::Reader, [127, 0, 0, 1].into(), "test");
        for _ in 0..SESSIONS_PER_USER {
            begin("me").unwrap();
        }
        assert!(matches!(begin("me"), Err(Fault::InsufficientResourcesFault { .. })));
        assert!(begin("you").is_ok());
    }
}
