//! The API from outside: requests as clients write them, against a real driver and a real inventory on storage that only takes notes.

mod answers;
mod files;
mod snapshots;
mod vapps;
mod visitors;
mod waiting;

use std::net::SocketAddr;

use prometheus::Registry;

use super::*;
use crate::inventory::{self, NewMachine};
use crate::lease::journal::Memory;
use crate::lease::{
    DiskSpec, Driver, Fault, Form, Kind, LeaseId, LeaseMetrics, LeaseSpec, LeaseView, Objects, Prepared, Secret, Target,
};
use crate::transfer::files::Files;
use crate::wire::xml::Element;

/// A desk with one machine, `vm1`, and three users whose passwords are their names.
struct Stage {
    desk: Arc<Desk>,
    /// What its datastore holds, on a file system that shares no blocks.
    scratch: tempfile::TempDir,
}

/// A client with its cookie.
struct Client<'a> {
    stage: &'a Stage,
    cookie: String,
}

impl Stage {
    async fn new() -> Stage {
        let scratch = tempfile::tempdir_in("/dev/shm").unwrap();
        let settings = crate::lease::Settings::new(Secret::from_bytes([7; 32]), || 1_000);
        let metrics = LeaseMetrics::register(&Registry::new()).unwrap();
        let leases = Driver::start(settings, Box::new(Memory::new()), Arc::new(Notes), metrics).unwrap();
        let settings = inventory::Settings { wall_clock_ms: || 1_000, measure: Box::new(|_| Ok(1 << 20)) };
        let inventory = Inventory::open(settings, Arc::new(inventory::Memory::default())).unwrap();
        let space = crate::transfer::files::testing::datastores(&[("default", scratch.path())]);
        let desk = Desk {
            files: Files::new(space, Arc::new(leases.clone())).used_by(disks::users(&inventory)),
            leases,
            inventory,
            sessions: Arc::new(Sessions::new(Duration::from_secs(60), || 1_000)),
            login: Arc::new(|name, password| {
                let role = match name.as_str() {
                    "reader" => Ok(Role::Reader),
                    "operator" | "other" => Ok(Role::Operator),
                    "admin" => Ok(Role::Admin),
                    "late" => Err(LoginRefused::Busy),
                    _ => Err(LoginRefused::Wrong),
                };
                let role = if password == name { role } else { Err(LoginRefused::Wrong) };
                Box::pin(async move { role })
            }),
            urls: Arc::new(Urls { scheme: "http", advertise: None, port: 80, sha1_thumbprint: String::new() }),
            settings: settings_for_tests(),
            results: Results::default(),
            throttle: Throttle::default(),
            waits: Desk::waits(),
        };
        desk.inventory.add(NewMachine::named("vm1")).await.unwrap();
        Stage { desk: Arc::new(desk), scratch }
    }

    async fn client(&self, user: &str) -> Client<'_> {
        let login = format!("<userName>{user}</userName><password>{user}</password>");
        let (status, cookie, _) = self.post("", &call("Login", "SessionManager", "SessionManager", &login)).await;
        assert_eq!(status, 200);
        Client { stage: self, cookie: cookie.unwrap() }
    }

    async fn lease(&self, owner: &str) -> LeaseView {
        let target = Target { datastore: "d".to_owned(), path: format!("{owner}.raw"), form: Form::Raw };
        let disk = DiskSpec { name: "disk-0.vmdk".to_owned(), capacity_bytes: Some(1 << 20), disk: true, target };
        let entity = "vm1".to_owned();
        let spec =
            LeaseSpec { kind: Kind::Import, entity, entity_ref: None, disks: vec![disk], max_rate_bytes_per_s: None };
        self.desk.leases.create(spec, Some(owner.to_owned())).await.unwrap()
    }

    /// Status, cookie set, body.
    async fn post(&self, cookie: &str, body: &str) -> (u16, Option<String>, String) {
        let request = Request::post("/sdk").header(header::HOST, "ferry.example:8989").header(header::COOKIE, cookie);
        let mut request = request.body(Body::from(body.to_owned())).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        request.extensions_mut().insert(Peer { address, tls: true });
        let response = answer(State(self.desk.clone()), request).await;
        let set = response.headers().get(header::SET_COOKIE).map(|value| value.to_str().unwrap().to_owned());
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), 1 << 24).await.unwrap();
        (status, set, String::from_utf8(body.to_vec()).unwrap())
    }
}

impl Client<'_> {
    /// The answer's body; the call must succeed.
    async fn ask(&self, method: &str, kind: &str, id: &str, arguments: &str) -> Element {
        let (status, _, body) = self.stage.post(&self.cookie, &call(method, kind, id, arguments)).await;
        assert_eq!(status, 200, "{method}: {body}");
        response(&body)
    }

    /// The type of the fault; the call must fail.
    async fn refused(&self, method: &str, kind: &str, id: &str, arguments: &str) -> String {
        let (status, _, body) = self.stage.post(&self.cookie, &call(method, kind, id, arguments)).await;
        assert_eq!(status, 500, "{method}: {body}");
        fault(&body)
    }
}

fn settings_for_tests() -> Settings {
    Settings {
        version: ApiVersion::DEFAULT.parse().unwrap(),
        host_name: "host".to_owned(),
        network: "VM Network".to_owned(),
        instance_uuid: "00000000-0000-4000-8000-000000000000".to_owned(),
        cpus: 2,
        cpu_mhz: 2000,
        memory_bytes: 1 << 30,
        wall_clock_ms: || 1_000,
    }
}

fn call(method: &str, kind: &str, id: &str, arguments: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?><Envelope xmlns=\"http://schemas.xmlsoap.org/soap/envelope/\"><Body><{method} xmlns=\"urn:vim25\" \
         xmlns:x=\"http://www.w3.org/2001/XMLSchema-instance\"><_this type=\"{kind}\">{id}</_this>{arguments}</{method}></Body></Envelope>"
    )
}

/// The element in the body of an answer.
fn response(body: &str) -> Element {
    let envelope = Element::parse(body.as_bytes()).unwrap();
    envelope.child("Body").unwrap().children[0].clone()
}

fn fault(body: &str) -> String {
    let fault = response(body);
    assert_eq!(fault.name, "Fault", "{body}");
    assert!(!fault.text_of("faultstring").unwrap().is_empty(), "{body}");
    let detail = &fault.child("detail").unwrap().children[0];
    let kind = detail.xsi_type().unwrap().to_owned();
    assert_eq!(detail.name, format!("{kind}Fault"));
    kind
}

/// Storage where everything is always well.
struct Notes;

impl Objects for Notes {
    fn prepare(&self, _lease: &LeaseId, spec: &LeaseSpec) -> Result<Vec<Prepared>, Fault> {
        Ok(vec![Prepared::default(); spec.disks.len()])
    }

    fn publish(&self, _lease: &LeaseId, _disk: &DiskSpec) -> Result<(), Fault> {
        Ok(())
    }

    fn remove(&self, _: &LeaseId, _: &LeaseSpec, _: &[Prepared], _: &[bool]) -> Result<(), Fault> {
        Ok(())
    }
}
