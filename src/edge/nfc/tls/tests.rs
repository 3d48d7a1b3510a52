//! The record layer against rustls as the other end, and against an end of our own that can misbehave.

use std::io::{Read, Write};
use std::sync::{Arc, OnceLock};

use rustls::client::ClientConnection;
use rustls::crypto::aws_lc_rs::{ALL_CIPHER_SUITES, default_provider};
use rustls::crypto::cipher::{AeadKey, Iv};
use rustls::{ClientConfig, ConnectionTrafficSecrets, RootCertStore, SupportedCipherSuite};

use super::handshake::{Handshake, Negotiated};
use super::records::*;
use super::session::{Reading, Session, SessionError, Step};
use crate::edge::tls::Identity;
use crate::limits::{TLS_BARREN_RECORDS, TLS_FRAGMENT_BYTES};

fn identity() -> &'static Identity {
    static IDENTITY: OnceLock<Identity> = OnceLock::new();
    IDENTITY.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        Identity::self_signed(directory.path(), vec!["localhost".into()]).unwrap()
    })
}

/// One for all, so that its tickets are good at the next connection.
fn server_config() -> Arc<rustls::ServerConfig> {
    static CONFIG: OnceLock<Arc<rustls::ServerConfig>> = OnceLock::new();
    CONFIG.get_or_init(|| identity().data_config().unwrap()).clone()
}

fn client_config(suite: SupportedCipherSuite) -> Arc<ClientConfig> {
    let provider = rustls::crypto::CryptoProvider { cipher_suites: vec![suite], ..default_provider() };
    let mut roots = RootCertStore::empty();
    roots.add(identity().leaf().to_vec().into()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.enable_secret_extraction = true;
    Arc::new(config)
}

/// The suites that the identity's kind of key allows: all of TLS 1.3, those with ECDSA of TLS 1.2.
fn suites() -> Vec<SupportedCipherSuite> {
    let suites: Vec<_> = ALL_CIPHER_SUITES
        .iter()
        .copied()
        .filter(|suite| suite.tls13().is_some() || format!("{suite:?}").contains("ECDSA"))
        .collect();
    assert_eq!(suites.len(), 6);
    suites
}

fn is_tls13(suite: SupportedCipherSuite) -> bool {
    suite.tls13().is_some()
}

/// All the client has to send.
fn sent(client: &mut ClientConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).unwrap();
    }
    bytes
}

/// Gives the client records, and answers with the payload in them.
fn give(client: &mut ClientConnection, mut bytes: &[u8]) -> Result<Vec<u8>, rustls::Error> {
    let mut payload = Vec::new();
    while !bytes.is_empty() {
        client.read_tls(&mut bytes).unwrap();
        client.process_new_packets()?;
        let mut piece = [0; 65536];
        while let Ok(count @ 1..) = client.reader().read(&mut piece) {
            payload.extend_from_slice(&piece[..count]);
        }
    }
    Ok(payload)
}

/// Shakes hands; `early` is what the client sends together with its last message. Answers with the bytes behind the handshake.
fn shake(config: Arc<ClientConfig>, early: &[u8]) -> (ClientConnection, Negotiated, Vec<u8>) {
    let mut client = ClientConnection::new(config, "localhost".try_into().unwrap()).unwrap();
    let mut handshake = Handshake::new(server_config()).unwrap();
    let mut incoming = Vec::new();
    client.writer().write_all(early).unwrap();
    loop {
        incoming.extend(sent(&mut client));
        let (_, body_bytes) = parse_header(&incoming).unwrap().unwrap();
        let record: Vec<u8> = incoming.drain(..HEADER_BYTES + body_bytes).collect();
        let turn = handshake.take(&record);
        assert_eq!(give(&mut client, &turn.outgoing).unwrap(), b"");
        if turn.done.unwrap() {
            incoming.extend(sent(&mut client));
            return (client, handshake.finish().unwrap(), incoming);
        }
    }
}

fn connect(suite: SupportedCipherSuite) -> (ClientConnection, Session) {
    let (client, negotiated, rest) = shake(client_config(suite), b"");
    assert_eq!(rest, b"");
    (client, Session::new(negotiated).unwrap())
}

/// A connection whose client end seals and opens single records as it is told.
fn connect_raw(suite: SupportedCipherSuite) -> (Sealer, Opener, Session) {
    let (client, session) = connect(suite);
    let secrets = client.dangerous_extract_secrets().unwrap();
    let keys = |(sequence, secrets): &(u64, _)| Keys::new(is_tls13(suite), *sequence, secrets).unwrap();
    (Sealer::new(keys(&secrets.tx)), Opener::new(keys(&secrets.rx)), session)
}

fn record(sealer: &mut Sealer, content: u8, payload: &[u8]) -> Vec<u8> {
    let mut record = vec![0; payload.len() + 64];
    let count = sealer.seal(content, payload, &mut record).unwrap();
    record.truncate(count);
    record
}

fn sealed(session: &mut Session, payload: &[u8]) -> Vec<u8> {
    let mut target = vec![0; payload.len() + payload.len() / 64 + 4096];
    let sealed = session.seal(payload, &mut target).unwrap();
    assert_eq!(sealed.taken_bytes, payload.len());
    target.truncate(sealed.written_bytes);
    target
}

/// Opens all of `cipher` into targets of the given sizes in turn.
fn opened(session: &mut Session, cipher: &[u8], mut target_bytes: impl FnMut() -> usize) -> Vec<u8> {
    let mut cipher = cipher.to_vec();
    let mut payload = Vec::new();
    let mut used = 0;
    loop {
        let mut target = vec![0; target_bytes()];
        let Step { used_bytes, filled_bytes, left } = session.open(&mut cipher[used..], &mut target);
        payload.extend_from_slice(&target[..filled_bytes]);
        payload.extend_from_slice(&cipher[used..][left]);
        used += used_bytes;
        if used_bytes == 0 {
            assert_eq!(used, cipher.len());
            return payload;
        }
    }
}

fn open_whole(session: &mut Session, cipher: &[u8]) -> (Vec<u8>, Reading) {
    let mut target = vec![0; 2 * cipher.len() + TLS_FRAGMENT_BYTES];
    let step = session.open(&mut cipher.to_vec(), &mut target);
    target.truncate(step.filled_bytes);
    (target, session.reading())
}

/// Repeatable bytes and sizes.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn below(&mut self, limit: usize) -> usize {
        self.next() as usize % limit
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }
}

#[test]
fn whatever_either_end_writes_the_other_reads() {
    for (number, suite) in suites().into_iter().enumerate() {
        let (mut client, mut session) = connect(suite);
        let mut random = Random(number as u64);
        client.set_buffer_limit(None);
        for round in 0..40 {
            let size = match round {
                0 => 1,
                1 => 256 * 1024,
                _ => 1 + random.below(if round % 2 == 0 { 300 } else { 100_000 }),
            };
            let payload = random.bytes(size);
            client.writer().write_all(&payload).unwrap();
            if round % 7 == 3 && is_tls13(suite) {
                client.refresh_traffic_keys().unwrap();
            }
            let cipher = sent(&mut client);
            assert!(opened(&mut session, &cipher, || 1 + random.below(50_000)) == payload, "{suite:?} in {round}");
            assert_eq!(session.reading(), Reading::Open);

            let size = 1 + random.below(100_000);
            let payload = random.bytes(size);
            if round % 5 == 4 && is_tls13(suite) {
                session.set_key_limit(2);
            }
            let cipher = sealed(&mut session, &payload);
            assert!(give(&mut client, &cipher).unwrap() == payload, "{suite:?} out {round}");
        }
        let mut goodbye = [0; 64];
        let count = session.goodbye(&mut goodbye);
        give(&mut client, &goodbye[..count]).unwrap();
        assert_eq!(client.reader().read(&mut [0; 1]).unwrap(), 0, "a clean end");
        assert_eq!(session.goodbye(&mut goodbye), 0, "said once");
        assert_eq!(session.seal(b"x", &mut goodbye).unwrap_err(), SessionError::Ended);
        client.send_close_notify();
        assert_eq!(open_whole(&mut session, &sent(&mut client)), (vec![], Reading::Ended));
    }
}

#[test]
fn full_records_into_full_targets_leave_only_the_one_that_straddles() {
    for suite in suites() {
        let (mut client, mut session) = connect(suite);
        client.set_buffer_limit(None);
        let payload = Random(1).bytes(256 * 1024);
        client.writer().write_all(&payload).unwrap();
        let mut cipher = sent(&mut client);
        let mut target = vec![0; payload.len()];
        let step = session.open(&mut cipher, &mut target);
        assert_eq!((step.filled_bytes, step.used_bytes, step.left.len()), (payload.len(), cipher.len(), 0));
        assert!(target == payload);
    }
}

#[test]
fn payload_right_behind_the_handshake_is_not_lost() {
    for suite in suites() {
        let (_, negotiated, rest) = shake(client_config(suite), b"PUT / HTTP/1.1");
        let mut session = Session::new(negotiated).unwrap();
        assert_eq!(open_whole(&mut session, &rest), (b"PUT / HTTP/1.1".to_vec(), Reading::Open));
    }
}

#[test]
fn a_record_is_opened_only_when_it_is_whole() {
    for suite in suites() {
        let (mut sealer, _, mut session) = connect_raw(suite);
        let record = record(&mut sealer, APPLICATION_DATA, b"a few bytes");
        for end in 0..record.len() {
            let step = session.open(&mut record[..end].to_vec(), &mut [0; 64]);
            assert_eq!(step, Step { used_bytes: 0, filled_bytes: 0, left: 0..0 }, "{end} bytes");
            assert_eq!(session.reading(), Reading::Open);
        }
        assert_eq!(open_whole(&mut session, &record).0, b"a few bytes");
    }
}

#[test]
fn targets_of_every_size_get_every_byte_in_order() {
    for suite in suites() {
        let (mut sealer, _, mut session) = connect_raw(suite);
        for target_bytes in 1..80 {
            let payload = Random(target_bytes as u64).bytes(64);
            let cipher: Vec<u8> =
                payload.chunks(13).flat_map(|piece| record(&mut sealer, APPLICATION_DATA, piece)).collect();
            assert_eq!(opened(&mut session, &cipher, || target_bytes), payload);
        }
    }
}

#[test]
fn a_changed_byte_is_noticed_wherever_it_is() {
    for suite in suites() {
        let length = {
            let (mut sealer, ..) = connect_raw(suite);
            record(&mut sealer, APPLICATION_DATA, b"true").len()
        };
        for at in 0..length {
            let (mut sealer, mut opener, mut session) = connect_raw(suite);
            let good = record(&mut sealer, APPLICATION_DATA, b"before");
            let mut bad = record(&mut sealer, APPLICATION_DATA, b"true");
            bad[at] ^= 0x10;
            // What follows completes a record that has become longer.
            let cipher = [good, bad, vec![0; 70_000]].concat();
            let (payload, reading) = open_whole(&mut session, &cipher);
            assert_eq!(payload, b"before", "{suite:?}: byte {at}");
            let Reading::Failed(error) = reading else { panic!("{suite:?}: byte {at}: {reading:?}") };
            assert_eq!(open_whole(&mut session, &cipher).0, b"", "nothing is believed after that");
            let mut alert = [0; 64];
            let count = session.complain(error, &mut alert);
            let told = opener.open_in_place(&mut alert[..count]).unwrap();
            assert_eq!((told.content, alert[told.payload.start]), (ALERT, 2), "fatal");
            if error == SessionError::Record(RecordError::Forged) {
                assert_eq!(alert[told.payload.start + 1], 20, "bad_record_mac");
            }
        }
    }
}

#[test]
fn a_record_repeated_or_left_out_is_noticed() {
    for suite in suites() {
        let (mut sealer, _, mut session) = connect_raw(suite);
        let first = record(&mut sealer, APPLICATION_DATA, b"first");
        let (payload, reading) = open_whole(&mut session, &[first.clone(), first].concat());
        assert_eq!(payload, b"first");
        assert_eq!(reading, Reading::Failed(SessionError::Record(RecordError::Forged)));

        let (mut sealer, _, mut session) = connect_raw(suite);
        record(&mut sealer, APPLICATION_DATA, b"lost");
        let next = record(&mut sealer, APPLICATION_DATA, b"next");
        assert_eq!(open_whole(&mut session, &next).1, Reading::Failed(SessionError::Record(RecordError::Forged)));
    }
}

#[test]
fn empty_records_are_borne_for_a_while() {
    for suite in suites() {
        let (mut sealer, _, mut session) = connect_raw(suite);
        for _ in 0..3 {
            for _ in 0..TLS_BARREN_RECORDS {
                let empty = record(&mut sealer, APPLICATION_DATA, b"");
                assert_eq!(open_whole(&mut session, &empty), (vec![], Reading::Open));
            }
            let payload = record(&mut sealer, APPLICATION_DATA, b"x");
            assert_eq!(open_whole(&mut session, &payload), (b"x".to_vec(), Reading::Open));
        }
        let empty: Vec<u8> =
            (0..=TLS_BARREN_RECORDS).flat_map(|_| record(&mut sealer, APPLICATION_DATA, b"")).collect();
        assert_eq!(open_whole(&mut session, &empty), (vec![], Reading::Failed(SessionError::Barren)));
    }
}

#[test]
fn records_too_long_or_too_short_are_refused() {
    let failed = |error| Reading::Failed(SessionError::Record(error));
    for suite in suites() {
        let most = TLS_FRAGMENT_BYTES + if is_tls13(suite) { 256 } else { 2048 };
        for (body_bytes, expected) in [
            (most + 1, failed(RecordError::TooLong)),
            (most, failed(RecordError::TooLong)),
            (0, failed(RecordError::Forged)),
            (15, failed(RecordError::Forged)),
            (TLS_FRAGMENT_BYTES, failed(RecordError::Forged)),
        ] {
            let [high, low] = (body_bytes as u16).to_be_bytes();
            let mut cipher = vec![APPLICATION_DATA, 3, 3, high, low];
            cipher.resize(HEADER_BYTES + body_bytes, 0);
            let (_, _, mut session) = connect_raw(suite);
            assert_eq!(open_whole(&mut session, &cipher).1, expected, "{suite:?}: {body_bytes} bytes");
        }
        for (cipher, expected) in [
            (&b"GET / HTTP/1.1"[..], failed(RecordError::NotTls)),
            (&[CHANGE_CIPHER_SPEC, 3, 3, 0, 1, 1], failed(RecordError::Unexpected)),
        ] {
            let (_, _, mut session) = connect_raw(suite);
            assert_eq!(open_whole(&mut session, cipher).1, expected);
        }
        let (mut sealer, ..) = connect_raw(suite);
        let too_much = vec![0; TLS_FRAGMENT_BYTES + 1];
        let mut target = vec![0; 20_000];
        assert_eq!(sealer.seal(APPLICATION_DATA, &too_much, &mut target), Err(RecordError::TooLong));
        assert_eq!(sealer.seal(APPLICATION_DATA, b"1234", &mut target[..20]), Err(RecordError::TooLong));
    }
}

#[test]
fn padding_of_tls13_is_stripped_and_a_record_of_padding_alone_refused() {
    for suite in suites().into_iter().filter(|suite| is_tls13(*suite)) {
        let (mut sealer, _, mut session) = connect_raw(suite);
        // The content type that our sealer appends is the last byte of padding; the true one stands before it.
        let padded = record(&mut sealer, 0, b"payload\x17\0\0\0\0");
        assert_eq!(open_whole(&mut session, &padded), (b"payload".to_vec(), Reading::Open));
        let full = [vec![7; TLS_FRAGMENT_BYTES - 1], vec![APPLICATION_DATA]].concat();
        let full = record(&mut sealer, 0, &full);
        assert_eq!(open_whole(&mut session, &full).0, vec![7; TLS_FRAGMENT_BYTES - 1]);
        let nothing = record(&mut sealer, 0, &[0; 100]);
        let refused = Reading::Failed(SessionError::Record(RecordError::Unexpected));
        assert_eq!(open_whole(&mut session, &nothing).1, refused);
    }
}

#[test]
fn alerts_end_reading_each_in_its_way() {
    for suite in suites() {
        let warned = match is_tls13(suite) {
            true => Reading::Failed(SessionError::PeerAlert(112)),
            false => Reading::Open,
        };
        for (alert, expected) in [
            (&[1, 0][..], Reading::Ended),
            (&[2, 0], Reading::Ended),
            (&[2, 40], Reading::Failed(SessionError::PeerAlert(40))),
            (&[1, 112], warned),
            (&[1, 90], Reading::Open),
            (&[1], Reading::Failed(SessionError::Record(RecordError::Unexpected))),
            (&[1, 0, 0], Reading::Failed(SessionError::Record(RecordError::Unexpected))),
        ] {
            let (mut sealer, _, mut session) = connect_raw(suite);
            let before = record(&mut sealer, APPLICATION_DATA, b"before");
            let alert = record(&mut sealer, ALERT, alert);
            let after = record(&mut sealer, APPLICATION_DATA, b"after");
            let (payload, reading) = open_whole(&mut session, &[before, alert, after].concat());
            assert_eq!(reading, expected, "{suite:?}");
            let all: &[u8] = if expected == Reading::Open { b"beforeafter" } else { b"before" };
            assert_eq!(payload, all);
        }
    }
}

#[test]
fn key_updates_are_followed_and_answered_once() {
    for suite in suites().into_iter().filter(|suite| is_tls13(*suite)) {
        let (mut client, mut session) = connect(suite);
        for _ in 0..3 {
            // rustls sends new keys without asking for ours.
            client.refresh_traffic_keys().unwrap();
            client.writer().write_all(b"under new keys").unwrap();
        }
        let cipher = sent(&mut client);
        assert_eq!(open_whole(&mut session, &cipher).0.len(), 3 * b"under new keys".len());

        let (mut sealer, mut opener, mut session) = connect_raw(suite);
        let ask = record(&mut sealer, HANDSHAKE, &[24, 0, 0, 1, 1]);
        assert_eq!(open_whole(&mut session, &ask), (vec![], Reading::Open));
        let mut answer = sealed(&mut session, b"payload");
        let first = opener.record_bytes(&answer).unwrap().unwrap();
        let update = opener.open_in_place(&mut answer[..first]).unwrap();
        assert_eq!((update.content, &answer[update.payload]), (HANDSHAKE, &[24, 0, 0, 1, 0][..]));
        let under_old_keys = opener.open_in_place(&mut answer[first..]);
        assert_eq!(under_old_keys, Err(RecordError::Forged), "what follows is under new keys");
        assert_eq!(sealed(&mut session, b"payload").len(), answer.len() - first, "answered once");
    }
}

#[test]
fn other_handshake_messages_are_refused() {
    let refused = Reading::Failed(SessionError::Record(RecordError::Unexpected));
    for suite in suites() {
        let messages: [&[u8]; 5] = [&[24, 0, 0, 1, 2], &[24, 0, 0, 1, 0, 0], &[24, 0, 0], &[1, 0, 0, 0], &[4, 0, 0, 0]];
        for message in messages {
            let (mut sealer, _, mut session) = connect_raw(suite);
            let cipher = record(&mut sealer, HANDSHAKE, message);
            assert_eq!(open_whole(&mut session, &cipher).1, refused, "{suite:?} {message:?}");
        }
        if !is_tls13(suite) {
            let (mut sealer, _, mut session) = connect_raw(suite);
            let cipher = record(&mut sealer, HANDSHAKE, &[24, 0, 0, 1, 0]);
            assert_eq!(open_whole(&mut session, &cipher).1, refused);
        }
    }
}

#[test]
fn a_key_protects_no_more_than_it_may() {
    for suite in suites() {
        let (mut client, mut session) = connect(suite);
        session.set_key_limit(5);
        let payload = vec![3; 20 * TLS_FRAGMENT_BYTES];
        let mut target = vec![0; 2 * payload.len()];
        match session.seal(&payload, &mut target) {
            Ok(sealed) => {
                assert!(is_tls13(suite) && sealed.taken_bytes == payload.len());
                assert!(give(&mut client, &target[..sealed.written_bytes]).unwrap() == payload);
            }
            Err(error) => {
                assert!(!is_tls13(suite) && error == SessionError::KeyUsedUp, "{suite:?}: {error}");
                assert!(session.complain(error, &mut target) > 0);
            }
        }
    }
}

#[test]
fn a_counter_at_its_end_seals_nothing() {
    let secrets = || ConnectionTrafficSecrets::Aes128Gcm { key: AeadKey::from([1; 32]), iv: Iv::from([2; 12]) };
    for tls13 in [true, false] {
        let mut sealer = Sealer::new(Keys::new(tls13, u64::MAX - 1, &secrets()).unwrap());
        let mut target = [0; 64];
        assert!(sealer.seal(APPLICATION_DATA, b"last", &mut target).is_ok());
        assert_eq!(sealer.seal(APPLICATION_DATA, b"none", &mut target), Err(RecordError::NoNonceLeft));
    }
}

#[test]
fn explicit_nonces_of_tls12_all_differ() {
    let suite = suites().into_iter().find(|suite| !is_tls13(*suite) && format!("{suite:?}").contains("GCM")).unwrap();
    let (_, mut session) = connect(suite);
    let mut seen = std::collections::HashSet::new();
    for _ in 0..1000 {
        assert!(seen.insert(sealed(&mut session, b"x")[HEADER_BYTES..HEADER_BYTES + 8].to_vec()));
    }
}

#[test]
fn whole_records_alone_are_sealed_into_what_room_there_is() {
    for suite in suites() {
        let (mut client, mut session) = connect(suite);
        let payload = Random(9).bytes(3 * TLS_FRAGMENT_BYTES);
        let mut target = vec![0; 2 * TLS_FRAGMENT_BYTES + 300];
        let sealed = session.seal(&payload, &mut target).unwrap();
        assert_eq!(sealed.taken_bytes, 2 * TLS_FRAGMENT_BYTES);
        let read = give(&mut client, &target[..sealed.written_bytes]).unwrap();
        assert!(read == payload[..2 * TLS_FRAGMENT_BYTES]);
        let none = session.seal(&payload, &mut target[..100]).unwrap();
        assert_eq!((none.taken_bytes, none.written_bytes), (0, 0));
    }
}

#[test]
fn a_client_that_comes_back_is_known() {
    for suite in suites() {
        let config = client_config(suite);
        let (_, first, _) = shake(config.clone(), b"");
        assert!(!first.resumed);
        let (_, second, rest) = shake(config, b"again");
        assert!(second.resumed, "{suite:?}");
        let mut session = Session::new(second).unwrap();
        assert_eq!(open_whole(&mut session, &rest).0, b"again");
    }
}

#[test]
fn a_client_without_anything_in_common_is_told_so() {
    let provider = rustls::crypto::CryptoProvider { kx_groups: vec![], ..default_provider() };
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(provider)).with_safe_default_protocol_versions();
    assert!(config.is_err(), "rustls itself refuses to serve so");

    let mut config = (*client_config(suites()[0])).clone();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let mut client = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
    let mut handshake = Handshake::new(server_config()).unwrap();
    let turn = handshake.take(&sent(&mut client));
    assert!(turn.done.is_err());
    let told = give(&mut client, &turn.outgoing).unwrap_err();
    assert!(matches!(told, rustls::Error::AlertReceived(_)), "{told}");
}

#[test]
fn a_handshake_that_never_ends_is_ended() {
    let mut handshake = Handshake::new(server_config()).unwrap();
    // A ClientHello that claims 64 KiB less one, in pieces.
    let mut record = vec![HANDSHAKE, 3, 1, 0x40, 0];
    record.extend([1, 0, 0xff, 0xff]);
    record.resize(HEADER_BYTES + 0x4000, 0);
    let ended = (0..8).any(|_| handshake.take(&record).done.is_err());
    assert!(ended);
}
