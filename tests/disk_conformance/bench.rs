//! Where the cases run: one engine, one datastore, connections to play with, and the root-only places.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

use diskferry::disk::{
    Attach, Backing, Blocking, Buffer, Datastores, DiskError, Engine, Faults, Place, Sim, SimSocket, Space, Uring,
    Want, run_uring,
};
use tempfile::TempDir;

pub const DATASTORE: &str = "default";
/// Capacity of the devices the cases run on.
pub const DEVICE_BYTES: u64 = 16 * 1024 * 1024;
const BUFFERS: usize = 24;

/// One engine on one datastore.
pub struct Bench<E: Engine> {
    pub engine: E,
    pub space: Rc<E::Space>,
    /// New connections of every kind.
    pub pairs: fn(&E) -> Vec<Pair<E>>,
}

/// Both ends of a connection.
pub type Pair<E> = (<E as Engine>::Socket, <E as Engine>::Socket);

impl<E: Engine> Bench<E> {
    pub fn place(&self, path: &str) -> Place {
        Place { datastore: DATASTORE.into(), path: path.into() }
    }

    /// A fresh target of `length_bytes` that reads as zeros.
    pub async fn target(&self, name: &str, length_bytes: u64, direct: bool) -> E::File {
        let opened = self.space.create_part(&self.place(name), "t", Want { direct }).unwrap();
        let file = self.engine.adopt(opened).unwrap();
        self.engine.set_length(&file, length_bytes).await.unwrap();
        self.engine.zero(&file, 0, length_bytes).await.unwrap();
        file
    }

    pub async fn buffer(&self, bytes: &[u8]) -> Buffer {
        let mut buffer = self.engine.pool().take().await;
        buffer.set_len(bytes.len());
        buffer.copy_from_slice(bytes);
        buffer
    }

    pub async fn write(&self, file: &E::File, bytes: &[u8], offset_bytes: u64) -> Result<(), DiskError> {
        let buffer = self.buffer(bytes).await;
        self.engine.write_at(file, buffer, offset_bytes).await.1
    }

    /// The range of the file, as far as the file goes.
    pub async fn read(&self, file: &E::File, offset_bytes: u64, length: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while all.len() < length {
            let mut buffer = self.engine.pool().take().await;
            let want = buffer.capacity().min(length - all.len());
            buffer.set_len(want);
            let (buffer, count) = self.engine.read_at(file, buffer, offset_bytes + all.len() as u64).await;
            assert_eq!(count.unwrap(), buffer.len());
            all.extend_from_slice(&buffer);
            if buffer.len() < want {
                break;
            }
        }
        all
    }

    /// One connection, of whatever kind comes first.
    pub fn pair(&self) -> Pair<E> {
        (self.pairs)(&self.engine).remove(0)
    }
}

pub fn datastores(backing: Backing) -> Datastores {
    Datastores::new(vec![(DATASTORE.into(), backing)]).unwrap()
}

pub fn on_uring(backing: Backing, cases: impl AsyncFnOnce(Bench<Uring>)) {
    if let Err(reason) = Uring::probe() {
        not_run("io_uring", &reason);
        return;
    }
    let run = async {
        let engine = Uring::new(BUFFERS).unwrap();
        in_time(cases(Bench { engine, space: Rc::new(datastores(backing)), pairs: real_pairs })).await;
    };
    run_uring(|| {}, run).unwrap();
}

pub fn on_blocking(backing: Backing, cases: impl AsyncFnOnce(Bench<Blocking>)) {
    let space = Rc::new(datastores(backing));
    runtime().block_on(in_time(cases(Bench { engine: Blocking::new(BUFFERS), space, pairs: real_pairs })));
}

/// `short_one_in`: how often a single operation moves only a part of its bytes.
pub fn on_sim(device: bool, short_one_in: Option<u32>, cases: impl AsyncFnOnce(Bench<Sim>)) {
    let engine = Sim::new(BUFFERS);
    if device {
        engine.add_device(DATASTORE, DEVICE_BYTES);
    }
    engine.set_faults(Faults { seed: 1, short_one_in: short_one_in.unwrap_or(0), ..Faults::default() });
    let space = Rc::new(engine.space());
    runtime().block_on(in_time(cases(Bench { engine, space, pairs: |_| vec![SimSocket::pair()] })));
}

/// Turns waiting for ever into a failure.
async fn in_time(cases: impl Future<Output = ()>) {
    tokio::time::timeout(Duration::from_secs(120), cases).await.expect("a case waits for ever");
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn real_pairs<E: Attach>(engine: &E) -> Vec<Pair<E>> {
    let (near, far) = UnixStream::pair().unwrap();
    vec![tcp_pair(engine), (engine.attach(near.into()).unwrap(), engine.attach(far.into()).unwrap())]
}

pub fn tcp_pair<E: Attach>(engine: &E) -> Pair<E> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (far, _) = listener.accept().unwrap();
    (engine.attach(near.into()).unwrap(), engine.attach(far.into()).unwrap())
}

/// A directory on the disk the build is on.
pub fn scratch_on_disk() -> TempDir {
    TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

pub fn scratch_on_tmpfs() -> TempDir {
    TempDir::new_in("/dev/shm").unwrap()
}

/// A loop device over a file; detached when dropped.
pub struct LoopDevice {
    pub path: PathBuf,
    _image: TempDir,
}

impl LoopDevice {
    /// `None`, said loudly, where the machine does not let us.
    pub fn attach(case: &str) -> Option<LoopDevice> {
        let scratch = scratch_on_disk();
        let image = scratch.path().join("image");
        std::fs::File::create(&image).unwrap().set_len(DEVICE_BYTES).unwrap();
        match output(Command::new("losetup").arg("--find").arg("--show").arg(&image)) {
            Ok(path) => Some(LoopDevice { path: path.trim().into(), _image: scratch }),
            Err(reason) => {
                not_run("loop device", &format!("{case}: {reason}"));
                None
            }
        }
    }

    /// Makes a file system on it and mounts that.
    pub fn mount(&self) -> Option<Mount> {
        let made = output(Command::new("mke2fs").arg("-q").arg(&self.path));
        if let Err(reason) = made {
            not_run("mounted device", &reason);
            return None;
        }
        Mount::new(&[self.path.to_str().unwrap()])
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        if let Err(reason) = output(Command::new("losetup").arg("--detach").arg(&self.path)) {
            eprintln!("{} is still attached: {reason}", self.path.display());
        }
    }
}

/// Something mounted on a scratch directory; unmounted when dropped.
pub struct Mount(TempDir);

impl Mount {
    fn new(arguments: &[&str]) -> Option<Mount> {
        // A blank in the mount point, because the kernel writes it in a way of its own.
        let point = tempfile::Builder::new().prefix("mount point ").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        match output(Command::new("mount").args(arguments).arg(point.path())) {
            Ok(_) => Some(Mount(point)),
            Err(reason) => {
                not_run("mount", &reason);
                None
            }
        }
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Err(reason) = output(Command::new("umount").arg(self.0.path())) {
            eprintln!("{} is still mounted: {reason}", self.0.path().display());
        }
    }
}

/// A tmpfs of two megabytes.
pub struct SmallTmpfs {
    pub path: PathBuf,
    _mount: Mount,
}

impl SmallTmpfs {
    pub fn mount() -> Option<SmallTmpfs> {
        let mount = Mount::new(&["-t", "tmpfs", "-o", "size=2m", "tmpfs"])?;
        Some(SmallTmpfs { path: mount.path().into(), _mount: mount })
    }
}

/// Says what was left out, past the test harness, which would keep it to itself.
pub fn not_run(what: &str, reason: &str) {
    let _ = writeln!(std::io::stderr(), "{what}: NOT RUN ({reason})");
}

fn output(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

/// Numbers that look random and are the same every time (splitmix64).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }

    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.below(255) as u8 + 1).collect()
    }
}
