//! Every limit of the program, with the reason for its value.
//!
//! Called by all rooms. What an operator may change is a default here and a key in the configuration. Past a limit a client
//! gets a clear error (429, 413, 431, 503 or a fault), the log one line, the metrics one count.

// ---------------------------------------------------------------- units
/// Bytes per disk sector in every VMDK structure.
pub const SECTOR_BYTES: u64 = 512;

// ---------------------------------------------------------------- disk
/// One pooled buffer: four default grains. Large enough that an O_DIRECT operation saturates a device, small enough that
/// eight in flight per stream stay within 2 MiB.
pub const BUFFER_BYTES: usize = 256 * 1024;
/// Alignment of buffers and of O_DIRECT offsets: the largest logical block size in common use.
pub const ALIGN_BYTES: usize = 4096;
/// Buffers of one data thread: the memory the byte path may use there (64 MiB), whatever the number of streams.
pub const BUFFERS_PER_THREAD: usize = 256;
/// Pipe used for splicing; 1 MiB is the largest an unprivileged process may ask for by default.
pub const PIPE_BYTES: usize = 1024 * 1024;
/// How long an upload waits for the rest of a page before it is copied: longer than the sender's next packet takes, far shorter
/// than any stall.
pub const PAGE_WAIT_MS: u64 = 5;
/// Pipes of one download that are filled past the page cache at once: more than this hardly makes a disk faster.
pub const SPLICE_DEPTH: usize = 4;
/// Refusals in a row after which an upload is no longer tried to be spliced: its body does not lie in pages, and each try costs
/// a system call.
pub const SPLICE_REFUSALS: usize = 4;
/// SQ entries of a data thread's ring.
pub const RING_ENTRIES: u32 = 1024;
/// Spare pipes an engine keeps: a stream uses two, and more than four streams rarely begin at once on one thread.
pub const PIPES_KEPT: usize = 8;
/// How long a data thread that ends waits for its last operations before it gives their memory up for lost.
pub const RING_DRAIN_MS: u64 = 2000;
/// One write of zeros where a target knows no cheaper way to erase.
pub const ZEROS_BYTES: usize = 64 * 1024;
/// Directory entries looked at when the datastores are searched for abandoned parts; bounds the start-up time.
pub const PART_WALK_ENTRIES: usize = 1_000_000;
/// Directories below each other in that search; more than any tool makes, fewer than the open descriptors it costs.
pub const PART_WALK_DEPTH: usize = 32;
/// Longest file name a directory takes (NAME_MAX of every file system in use).
pub const NAME_BYTES: usize = 255;

// ---------------------------------------------------------------- wire: HTTP
/// Longest text behind the status code of an answer: a line of a terminal or two, which is what clients show of a refusal.
pub const REASON_PHRASE_BYTES: usize = 200;
/// Longest request head on the data plane; real clients send under 1 KiB, cookies included.
pub const HEAD_BYTES: usize = 16 * 1024;
/// Most header fields in a request head.
pub const HEAD_FIELDS: usize = 64;
/// Longest chunk-size line, extensions included.
pub const CHUNK_LINE_BYTES: usize = 256;
/// Longest trailer section after the last chunk.
pub const TRAILER_BYTES: usize = 4096;

// ---------------------------------------------------------------- wire: VMDK
/// Most grain-directory entries of a VMDK stream: 64 TiB in grains of 64 KiB, just above vSphere's largest disk (62 TiB).
/// Bounds the directory to 8 MiB of memory.
pub const VMDK_DIRECTORY_ENTRIES: u64 = 1 << 21;
/// Largest grain of a VMDK stream in sectors (1 MiB); real writers use 128.
pub const VMDK_GRAIN_SECTORS: u64 = 2048;
/// Most entries of one grain table; real writers use 512.
pub const VMDK_TABLE_ENTRIES: u32 = 4096;
/// Longest embedded descriptor in sectors (64 KiB); real ones take 1 to 20.
pub const VMDK_DESCRIPTOR_SECTORS: u64 = 128;
/// Alignment gaps tolerated between header, descriptor, tables and first grain of a stream, in sectors (32 MiB).
pub const VMDK_GAP_SECTORS: u64 = 65_536;
/// Longest payload of a metadata marker of unknown type, in sectors (1 MiB); it is skipped.
pub const VMDK_METADATA_SECTORS: u64 = 2048;

/// Most lines of a descriptor; one with the most extents has half of it.
pub const VMDK_DESCRIPTOR_LINES: usize = 4096;
/// Most extents of a disk: 4 TiB in pieces of 2 GiB, as VMware splits at most 2 TiB; more lines would hardly fit.
pub const VMDK_EXTENTS: usize = 2048;
/// Most grains of a sparse file that are aligned unlike their neighbours; 16 MiB of memory. Real writers make none.
pub const VMDK_STRAY_GRAINS: usize = 1 << 20;

// ---------------------------------------------------------------- wire: XML
/// Elements below each other; the deepest request or OVF that real clients send has about 20 levels.
pub const XML_DEPTH: usize = 64;
/// Attributes of one element; real ones have under 10.
pub const XML_ATTRIBUTES: usize = 64;
/// Namespaces in scope at once; an OVF of VMware declares 8, govc one more for each level with a type.
pub const XML_NAMESPACES: usize = 32;
/// Elements of one document: an OVF with 256 disks has some 3,000. Bounds what a tree costs to about 16 MiB.
pub const XML_ELEMENTS: usize = 65_536;

// ---------------------------------------------------------------- wire: OVF
/// Longest OVF. Real ones have under 100 KiB; some carry licenses in ten languages.
pub const OVF_BYTES: usize = 4 * 1024 * 1024;
/// Files of a package: each disk's, and some ISOs, icons and translations.
pub const OVF_FILES: usize = 1024;
/// Disks a document describes, over all its configurations; a lease takes [`DISKS_PER_LEASE`] of them.
pub const OVF_DISKS: usize = 1024;
/// Networks of a document; a machine has ten cards.
pub const OVF_NETWORKS: usize = 256;
/// Configurations to choose from; real documents have up to 20 (VMware's own appliance).
pub const OVF_CONFIGURATIONS: usize = 64;
/// Machines and collections of one document; vSphere's limit for a vApp is 128 as well.
pub const OVF_SYSTEMS: usize = 128;
/// Parts of the hardware of all machines; a full machine has some 350.
pub const OVF_ITEMS: usize = 8192;
/// Properties of one document; real ones have up to 100.
pub const OVF_PROPERTIES: usize = 1024;
/// Localized messages of all languages.
pub const OVF_MESSAGES: usize = 16_384;
/// Largest size a document may state, and largest sum: vSphere's API has signed 64-bit numbers.
pub const OVF_FILE_BYTES: u64 = i64::MAX as u64;
/// Largest disk: vSphere's.
pub const OVF_DISK_BYTES: u64 = 62 * 1024 * 1024 * 1024 * 1024;
/// Most virtual processors of a machine: vSphere 8's.
pub const OVF_CPUS: u64 = 768;
/// Most memory of a machine: vSphere 8's 24 TiB.
pub const OVF_MEMORY_MIB: u64 = 24 * 1024 * 1024;

// ---------------------------------------------------------------- lease
/// Leases in the table, ended ones included; past it the oldest ended one is forgotten early, then creation is refused.
pub const LEASES: usize = 10_000;
/// Disks of one lease: four SCSI controllers of 64 units, the most a virtual machine can have.
pub const DISKS_PER_LEASE: usize = 256;
/// Longest name of a disk or an entity, and of one path component: what every Linux file system takes.
pub const LEASE_NAME_BYTES: usize = 255;
/// Longest target path below a datastore; far below PATH_MAX so that the datastore's own directory fits in front.
pub const TARGET_PATH_BYTES: usize = 1024;
/// Largest disk: 64 TiB, a little above what vSphere allows (62 TiB).
pub const DISK_BYTES: u64 = 64 << 40;
/// Requests waiting for the lease driver; callers beyond it wait their turn.
pub const LEASE_REQUESTS: usize = 1024;
/// Requests answered after one journal commit; bounds the memory and the latency of a batch.
pub const LEASE_BATCH: usize = 256;
/// Transfers open at once; each costs a connection and its share of the buffers.
pub const OPEN_TRANSFERS: usize = 4096;
/// Default time a lease lives without renewal; what vSphere uses. Clients renew as seldom as once a minute.
pub const LEASE_TIMEOUT_MS: u64 = 300_000;
/// Default time an open transfer may stand still.
pub const STALL_TIMEOUT_MS: u64 = 60_000;
/// Time flushing a stream that has arrived whole may take before it counts as a stall: 64 GiB of dirty pages at 110 MB/s.
pub const FLUSH_MS: u64 = 600_000;
/// How often the driver looks at the counters of open transfers; bounds how late a stall is noticed.
pub const LOOK_MS: u64 = 250;
/// Window over which the minimum rate is measured; short bursts of silence on a long line must not count.
pub const RATE_WINDOW_MS: u64 = 10_000;
/// Time cancelled transfers get to let go of their target before the cleanup goes on without them.
pub const CANCEL_MS: u64 = 10_000;
/// Pause before a failed cleanup is tried again.
pub const CLEANUP_RETRY_MS: u64 = 30_000;
/// Tasks that belong to no lease, ended ones included; past it the oldest ended one is forgotten early, then new ones are refused.
pub const TASKS: usize = 10_000;
/// Changes of leases and tasks that one who watches them may fall behind before it is told to look at everything again.
pub const LEASE_NEWS: usize = 1024;
/// Longest time a client may have a URL probed, in seconds; the limit of the API.
pub const PROBE_MAX_S: u64 = 60;
/// URLs of one call that are probed at once; a call waits as long for its slowest as for all.
pub const PROBES_AT_ONCE: usize = 32;
/// How long an ended lease and its task stay readable.
pub const ENDED_LEASE_MS: u64 = 3_600_000;
/// Longest wait for open transfers at shutdown; below systemd's default of 90 s to stop a service.
pub const DRAIN_MS: u64 = 30_000;

// ---------------------------------------------------------------- inventory
/// Machines of the inventory: what one vSphere host can hold, four times. Property collectors look at all of them.
pub const MACHINES: usize = 4096;
/// vApps of the inventory, empty ones included; each comes with at least one machine.
pub const VAPPS: usize = 1024;
/// Machines of an imported vApp; what [`OVF_SYSTEMS`] lets through.
pub const MACHINES_PER_VAPP: usize = OVF_SYSTEMS;
/// Longest name of a machine, in characters; what vSphere takes.
pub const MACHINE_NAME_CHARACTERS: usize = 80;
/// Longest guest id; the longest of the API has 24 characters.
pub const MACHINE_WORD_BYTES: usize = 64;
/// Longest notes of a machine. OVF annotations of appliances take a few KiB.
pub const ANNOTATION_BYTES: usize = 16 * 1024;
/// Processors of a machine: the most vSphere 8 allows.
pub const MACHINE_CPUS: std::ops::RangeInclusive<u32> = 1..=768;
/// Memory of a machine: 24 TiB is the most vSphere 8 allows.
pub const MACHINE_MEMORY_MIB: std::ops::RangeInclusive<u64> = 4..=24 * 1024 * 1024;
/// Network adapters of a machine; what vSphere allows.
pub const NICS_PER_MACHINE: usize = 10;
/// Snapshots of a machine, those that are being made or removed included; the longest chain vSphere allows.
pub const SNAPSHOTS_PER_MACHINE: usize = 32;
/// Change notices that a reader may be behind before it has to look at everything again.
pub const INVENTORY_NOTICES: usize = 1024;
/// Pause before the end of an import that could not be stored is tried again.
pub const RECONCILE_RETRY_MS: u64 = 30_000;

// ---------------------------------------------------------------- transfer
/// Buffers of a data thread kept for request heads and TLS records of connections that transfer nothing.
pub const BUFFERS_FOR_HEADS: usize = 16;
/// Buffers a transfer reserves when memory is plentiful (5.5 MiB): up to 18 in flight, two for the digest, two for the channel.
pub const STREAM_BUFFERS_MAX: usize = 22;
/// Memory is plentiful as long as no more than this part of a data thread's buffers is taken: with as many as there are by default,
/// for its first stream.
pub const PLENTY_DIVISOR: usize = 16;
/// Buffers a transfer can live with (1.75 MiB): by default 32 of a data thread's streams have them at once.
pub const STREAM_BUFFERS_MIN: usize = 7;
/// Of a transfer's buffers, those that its connection uses (TLS records, chunk framing).
pub const STREAM_BUFFERS_CHANNEL: usize = 2;
/// Raw disks from this size on bypass the page cache; smaller ones are gone through it before a direct write has settled.
pub const DIRECT_FROM_BYTES: u64 = 64 * 1024 * 1024;
/// Distance between looks into the page cache: what the kernel reads ahead at first. Each look is a system call of well under a
/// microsecond.
pub const CACHE_STEP_BYTES: usize = 64 * 1024;
/// Ranges of a file that are looked at to see whether it is in the page cache: its beginning, middle and end.
pub const CACHE_LOOK_BYTES: u64 = 1024 * 1024;
/// Downloads of one data thread from which on each takes shorter turns, so that none waits long for the others ...
pub const MANY_STREAMS: usize = 5;
/// ... and so long are those: less than a socket usually takes at once, or else the one with the largest window gets most.
pub const SHORT_TURN_BYTES: usize = 5 * SEGMENT_BURST_BYTES;
/// What is spliced out of the page cache at once: as much as a pipe holds, less what would leave as part of a burst.
pub const SPLICE_PIECE_BYTES: usize = PIPE_BYTES / SEGMENT_BURST_BYTES * SEGMENT_BURST_BYTES;
/// How far the digest of a spliced stream may fall behind before the stream waits: still surely in the page cache.
pub const DIGEST_LAG_BYTES: u64 = 64 * 1024 * 1024;
/// A resumable upload is made durable whenever this much has come ...
pub const CHECKPOINT_BYTES: u64 = 256 * 1024 * 1024;
/// ... or this long after the last time: what a crash may cost the client.
pub const CHECKPOINT_MS: u64 = 5_000;
/// Least rate limit an operator may set: below it one page waits longer than a limit may be off.
pub const PACE_RATE_MIN_BYTES_PER_S: u64 = 64 * 1024;
/// A limited rate is dealt out in turns of so much time: short enough that a limit holds within 5 % over two seconds, long
/// enough that at 100 MB/s a turn is still a large operation.
pub const PACE_TURN_MS: u64 = 10;
/// How late a stream may come and still catch up: timers are a millisecond late, busy threads some tens.
pub const PACE_BURST_MS: u64 = 50;
/// A device is zeroed in steps of this size, so that an abort is noticed in between.
pub const ZERO_STEP_BYTES: u64 = 64 * 1024 * 1024;
/// What a VMDK stream may be longer than its disk besides a quarter: header, descriptor, tables.
pub const STREAM_SLACK_BYTES: u64 = 64 * 1024 * 1024;
/// Head and tail of a verbatim VMDK that are looked at to see whether it is whole.
pub const CONTAINER_CHECK_BYTES: u64 = 64 * 1024;

/// Looks at directories and changes of them at once: a disk that hangs must not take all threads that may wait with it.
pub const FILE_CALLS: usize = 16;
/// Uploads, downloads and copies of datastore files at once; each may hold a thread and a few pieces. Disks go through leases, which
/// have no such limit.
pub const FILE_TRANSFERS: usize = 32;
/// How long an upload, download or copy waits for one of them to end; clients give up after a minute.
pub const FILE_WAIT_MS: u64 = 20_000;
/// Buffers of a download of a datastore file: one being filled, and two that the connection takes before it waits for the client.
pub const FILE_BUFFERS: usize = 3 * FILE_TRANSFERS;
/// Pieces of an upload that wait for the disk; a connection reads at most some 400 KiB at once.
pub const FILE_PIECES: usize = 4;
/// Entries of a listing or a search: some 30 MiB. A datastore with more is looked at directory by directory.
pub const FILE_ENTRIES: usize = 100_000;
/// A copy looks this often whether it is still wanted.
pub const FILE_COPY_STEP_BYTES: u64 = 64 * 1024 * 1024;
/// Patterns of one search; clients send one.
pub const SEARCH_PATTERNS: usize = 64;

// ---------------------------------------------------------------- convert
/// What one codec job of a conversion covers: four default grains, which fit a core's own cache with their results.
pub const CONVERT_PIECE_BYTES: usize = 256 * 1024;
/// Pieces under way: so many per codec thread ...
pub const CONVERT_WINDOW_PER_THREAD: usize = 2;
/// ... and so many besides, so that no thread waits for the one that writes. With what a thread keeps to itself this is 2 MiB and 1 MiB
/// per thread.
pub const CONVERT_WINDOW_BESIDES: usize = 6;
/// Beginning of a source that is looked at to recognise it: header, descriptor and front matter of every known writer.
pub const CONVERT_HEAD_BYTES: usize = 128 * 1024;
/// Smallest hole made in a raw target: the block of every common file system.
pub const CONVERT_HOLE_BYTES: usize = 4096;
/// Unit in which a damaged device is read: what one bad sector may cost.
pub const CONVERT_SALVAGE_BLOCK_BYTES: usize = 4096;
/// Most codec threads a user may ask for.
pub const CONVERT_THREADS_MAX: usize = 256;
/// Most messages of a check that are listed; the rest is counted.
pub const CONVERT_MESSAGES: usize = 100;

// ---------------------------------------------------------------- edge
/// Data-plane connections at once: ten thousand clients that keep theirs open between disks, and room for the busy ones. An idle
/// one costs a descriptor and 4 KiB, so all of them 64 MiB.
pub const CONNECTIONS_MAX: usize = 16_384;
/// Data-plane connections of one address at once: a quarter. A busy backup proxy has dozens, but a whole site may come through
/// one address, and four of those must find room.
pub const CONNECTIONS_PER_ADDRESS: usize = CONNECTIONS_MAX / 4;
/// Payload of the segments clients of the plain listener are asked for: two pages, which a jumbo frame still carries.
pub const SEGMENT_PAGES_BYTES: u32 = 8192;
/// What TCP hands to a network device at once, at most: 64 KiB less the room it keeps for headers, which is no more than this.
pub const BURST_BYTES: usize = 65_536 - 512;
/// What it hands over at once of segments of that size. Pieces out of the page cache are whole numbers of it; those past it are
/// what suits the disk.
pub const SEGMENT_BURST_BYTES: usize = BURST_BYTES / SEGMENT_PAGES_BYTES as usize * SEGMENT_PAGES_BYTES as usize;
/// Control-plane connections at once.
pub const CONTROL_CONNECTIONS_MAX: usize = 1024;
/// Pause after a failed accept (usually: no descriptors left).
pub const ACCEPT_PAUSE_MS: u64 = 100;
/// Payload of a full TLS record: what TLS allows, and what costs least per byte.
pub const TLS_FRAGMENT_BYTES: usize = 16 * 1024;
/// Payload sealed into one pooled buffer and sent at once: eight full records, which stay in a core's own cache. Sixteen with
/// their headers would not fit a buffer.
pub const TLS_SEAL_BYTES: usize = 8 * TLS_FRAGMENT_BYTES;
/// Payload encrypted by the kernel on one connection before it is not kept for another request: half of the 2^24 full records that
/// an AES-GCM key may protect. One answer may be longer and is not broken off.
pub const KERNEL_KEY_BYTES: u64 = (1 << 23) * TLS_FRAGMENT_BYTES as u64;
/// Most TLS records in a row without payload (empty ones, key updates, warnings); honest clients send one.
pub const TLS_BARREN_RECORDS: u32 = 32;
/// Most of a TLS handshake that may wait for its rest; a client's longest message is its ClientHello, of 2 KiB with post-quantum
/// keys.
pub const HANDSHAKE_BYTES: usize = 64 * 1024;
/// A TLS handshake must be over by then.
pub const HANDSHAKE_MS: u64 = 5_000;
/// A request head that has begun must be complete by then.
pub const HEAD_MS: u64 = 5_000;
/// A short answer must be taken by the client by then; bodies have the lease's stall timeout instead.
pub const SEND_MS: u64 = 10_000;
/// Most ciphertext received at once while no transfer runs: one TLS record, of the longest that TLS 1.2 allows.
pub const RECORD_BYTES: usize = 18 * 1024 + 64;
/// An idle connection is kept for the next request this long; above the 60 s at which the slowest clients poll.
pub const KEEP_ALIVE_MS: u64 = 75_000;
/// After a refusal the connection is read for this long, so that the client sees the answer and not a reset.
pub const LINGER_MS: u64 = 5_000;
/// Most bytes of a refused body that are read and thrown away.
pub const DRAIN_BYTES: u64 = 64 * 1024 * 1024;
/// Longest request body of the admin API: a lease of 256 disks with long paths fits several times.
pub const ADMIN_BODY_BYTES: usize = 1024 * 1024;

/// Default time after which a session that asks for nothing ends; what vCenter uses.
pub const SESSION_IDLE_S: u64 = 1800;
/// Passwords checked at once: each takes a core for some tens of milliseconds and 19 MiB (or what the operator's hash costs).
pub const PASSWORD_CHECKS: usize = 2;
/// Password checks that may wait for their turn; the rest is told to come back.
pub const PASSWORD_CHECKS_WAITING: usize = 64;
/// Longest password; longer ones are wrong.
pub const PASSWORD_BYTES: usize = 1024;
/// Most memory a password hash may ask for, in KiB: 1 GiB, far above every recommendation.
pub const PASSWORD_MEMORY_KIB: u32 = 1024 * 1024;
/// Most passes of a password hash over its memory.
pub const PASSWORD_PASSES: u32 = 64;

// ---------------------------------------------------------------- edge: SOAP
/// Longest call: an OVF of 4 MiB, whose markup is escaped in it.
pub const SOAP_BODY_BYTES: usize = 8 * 1024 * 1024;
/// Longest call that carries no OVF; real ones stay below 100 KiB.
pub const SOAP_CALL_BYTES: usize = 1024 * 1024;
/// Longest call of somebody who has not logged in: a login is under 2 KiB, and what a stranger sends must not cost memory.
pub const SOAP_STRANGER_BYTES: usize = 16 * 1024;
/// A call must have arrived by then; the longest takes that long at 300 KiB/s.
pub const SOAP_BODY_MS: u64 = 30_000;
/// Leases that a session remembers to be its own.
pub const OWN_LEASES: usize = 1024;
/// How much of a call that is too long is read, so that its client sees the fault and not a reset.
pub const SOAP_DRAIN_BYTES: usize = 64 * 1024 * 1024;
/// Calls that may wait for updates at once: half of the control connections, so that the other half stays free.
pub const SOAP_WAITS: usize = CONTROL_CONNECTIONS_MAX / 2;
/// Sessions at once; each is a few KiB.
pub const SESSIONS: usize = 4096;
/// Sessions of one user at once: scripts that never log out must not lock out the others.
pub const SESSIONS_PER_USER: usize = 1024;
/// Views of one session; govc has one at a time.
pub const VIEWS_PER_SESSION: usize = 256;
/// Collectors of one session besides its own; govc makes one for every wait.
pub const COLLECTORS_PER_SESSION: usize = 256;
/// Filters of one collector; pyvmomi makes one for every task it waits for.
pub const FILTERS_PER_COLLECTOR: usize = 256;
/// Objects that have left and are still told of; who asks more seldom sees them vanish without a word.
pub const GONE_OBJECTS: usize = 1024;
/// Objects that one filter may report: every lease, task and machine there can be, and the rest.
pub const REPORTED_OBJECTS: usize = 65_536;
/// Tasks that the task manager lists: vSphere shows about as many.
pub const RECENT_TASKS: usize = 200;
/// Tasks that a machine lists as its recent ones.
pub const RECENT_TASKS_OF_MACHINE: usize = 20;
/// Results of tasks that are kept: searches of a datastore, mostly.
pub const TASK_RESULTS: usize = 256;
/// How long changes are gathered before waiting clients are told: renewals come ten times a second.
pub const SOAP_GATHER_MS: u64 = 10;
/// Wrong passwords of one address before it has to wait, and how long at first and at most.
pub const LOGIN_FAILURES: u32 = 3;
/// First wait after too many wrong passwords; doubled each time.
pub const LOGIN_WAIT_MS: u64 = 500;
/// Longest wait after too many wrong passwords.
pub const LOGIN_WAIT_MAX_MS: u64 = 30_000;
/// Addresses whose wrong passwords are remembered.
pub const LOGIN_ADDRESSES: usize = 16_384;
/// How long wrong passwords are remembered.
pub const LOGIN_MEMORY_MS: u64 = 600_000;
/// The body of a datastore file must bring this much ...
pub const FOLDER_WINDOW_BYTES: u64 = 64 * 1024;
/// ... in each such time spent waiting for it: 2 KiB/s, which the worst line in use still carries.
pub const FOLDER_WINDOW_MS: u64 = 30_000;
/// A client of the control plane that takes nothing of its answer for so long is cut: it may hold a buffer and a place among the
/// transfers of datastore files.
pub const CONTROL_STALL_MS: u64 = 60_000;

// ---------------------------------------------------------------- upstream
/// Pieces of one buffer each that wait between a file and a connection of our own: 2 MiB.
pub const UPSTREAM_QUEUE: usize = 8;
/// Most text of another server's answer that we keep.
pub const UPSTREAM_MESSAGE_BYTES: usize = 64 * 1024;
/// Sources of one pull that are read at once: enough to fill a line that one server does not, few enough to be no burden to one.
pub const PULL_SOURCES: usize = 4;
/// Longest URL of a pull; signed ones take 2 KiB.
pub const PULL_URL_BYTES: usize = 8 * 1024;
/// Most header fields a client may have sent along with a pull.
pub const PULL_FIELDS: usize = 32;
/// Longest of them, name and value; tokens take a few KiB.
pub const PULL_FIELD_BYTES: usize = 8 * 1024;
/// Longest certificate of a source in PEM, with its chain.
pub const PULL_CERTIFICATE_BYTES: usize = 64 * 1024;
/// Most addresses of a source that are tried.
pub const PULL_ADDRESSES: usize = 4;
/// Time for the name, the connection or the TLS handshake of a source, each.
pub const PULL_CONNECT_MS: u64 = 10_000;
/// Time a source may take to begin its answer; object stores wake files up.
pub const PULL_HEAD_MS: u64 = 30_000;
/// Time a source may be silent in the middle of a file; half of the stall timeout, so that there is time to ask again.
pub const PULL_IDLE_MS: u64 = STALL_TIMEOUT_MS / 2;
/// Redirects that are followed, all on the same server.
pub const PULL_REDIRECTS: usize = 5;
/// Attempts at a source in a row, where trying again can help.
pub const PULL_ATTEMPTS: u32 = 4;
/// Pause before the second of them; it grows with each.
pub const PULL_RETRY_MS: u64 = 1_000;
/// After so many bytes without a failure the attempts are counted anew: a line that breaks once an hour is no reason to give up.
pub const PULL_REFILL_BYTES: u64 = 16 * 1024 * 1024;
/// Most members of an OVA: all disks of a machine, and as many other files.
pub const OVA_MEMBERS: usize = 2 * DISKS_PER_LEASE;
/// Longest extended header of a member: a name and a few numbers.
pub const OVA_EXTENSION_BYTES: usize = 64 * 1024;

// ---------------------------------------------------------------- app
/// How often a progress bar is drawn.
pub const PROGRESS_MS: u64 = 100;
/// Time a conversion that was told to stop gets to do so by itself.
pub const STOP_GRACE_MS: u64 = 1000;
/// Descriptors not given to data-plane connections: listeners, control plane, journal, rings, directories.
pub const DESCRIPTORS_KEPT: usize = 256;
/// Descriptors that a transfer needs besides its connection's: its file. Those that really move have pipes too, but memory lets few
/// of them move at once, so that two each suffice for all.
pub const DESCRIPTORS_PER_TRANSFER: usize = 2;
/// Data threads per core on the blocking engine, where an operation on a disk holds its thread.
pub const BLOCKING_THREADS_PER_CORE: usize = 4;
/// Largest configuration file; thousands of datastores and users fit.
pub const CONFIG_BYTES: u64 = 1024 * 1024;
/// Longest name of a datastore or a user; it appears in paths, URLs and logs.
pub const CONFIG_NAME_BYTES: usize = 64;
/// Longest timeout of any kind: a week. Anything longer means "never", which would keep dead imports for ever.
pub const TIMEOUT_MAX_S: u64 = 7 * 24 * 3600;
/// Most data threads; more than the cores of any machine this runs on.
pub const DATA_THREADS_MAX: usize = 256;
/// Default of `[data] memory_mib`: the buffers of one data thread.
pub const DATA_MEMORY_MIB: usize = BUFFERS_PER_THREAD * BUFFER_BYTES / (1024 * 1024);
/// Least and most `[data] memory_mib`: below, two streams starve each other; above, it is a typing error.
pub const DATA_MEMORY_RANGE_MIB: std::ops::RangeInclusive<usize> = 8..=16 * 1024;
/// Smallest and largest disk the demo makes: room for a file system; what a streamOptimized VMDK can address.
pub const DEMO_DISK_RANGE_BYTES: std::ops::RangeInclusive<u64> = 16 * 1024 * 1024..=2 * 1024 * 1024 * 1024 * 1024;

const _: () = assert!(BUFFER_BYTES.is_multiple_of(ALIGN_BYTES));
// All transfers there can be wait one page each under the least limit, and none of them looks stalled.
const _: () = assert!(OPEN_TRANSFERS as u64 * ALIGN_BYTES as u64 * 1000 / PACE_RATE_MIN_BYTES_PER_S < FLUSH_MS);
const _: () = assert!(TLS_SEAL_BYTES + TLS_SEAL_BYTES / 256 <= BUFFER_BYTES && 2 * RECORD_BYTES <= BUFFER_BYTES);
