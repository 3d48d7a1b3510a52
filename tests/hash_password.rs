//! `diskferry hash-password` as people and scripts use it: what it prints lets that user in, and nobody sees the password.

#![expect(clippy::unwrap_used, reason = "helpers of tests may fail a test")]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Output, Stdio};

use diskferry::edge::users::{LoginRefused, Role, Secret, User, Users};
use rustix::termios::{LocalModes, tcgetattr};

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_diskferry"));
    command.arg("hash-password");
    command
}

fn with_input(input: &[u8]) -> Output {
    let mut child = command().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // The program may have read enough and gone.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

fn lets_in(hash: &str, password: &str) -> bool {
    let user = User { name: "me".to_owned(), role: Role::Reader };
    let users = Users::new([(user.clone(), Secret::Hash(hash.to_owned()))]).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    match runtime.block_on(users.verify("me", password)) {
        Ok(found) => found == user,
        Err(LoginRefused::Wrong | LoginRefused::Busy) => false,
    }
}

#[test]
fn the_first_line_of_standard_input_becomes_one_line_that_lets_in() {
    for (input, password) in [("pä ss\nmore\n", "pä ss"), ("no end", "no end"), ("windows\r\n", "windows")] {
        let output = with_input(input.as_bytes());
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let hash = text.strip_suffix('\n').unwrap();
        assert!(!hash.contains('\n') && hash.starts_with("$argon2id$"), "{hash}");
        assert!(lets_in(hash, password) && !lets_in(hash, "other"), "{input:?}");
    }
}

#[test]
fn what_is_no_password_is_wrong_usage() {
    let long = "x".repeat(2000);
    for (input, reason) in [
        (b"".as_slice(), "the password is empty"),
        (b"\n", "the password is empty"),
        (b"\xff\xfe\n", "not UTF-8"),
        (long.as_bytes(), "at most 1024 bytes"),
    ] {
        let output = with_input(input);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(output.stdout.is_empty());
        assert!(String::from_utf8(output.stderr).unwrap().contains(reason));
    }
}

/// A terminal: the end we type on, and the end the program has.
fn terminal() -> (File, OwnedFd) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap();
    let theirs = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
    (File::from(ours), theirs.into())
}

/// The program on a terminal; what it prints comes by a pipe, what it shows on the terminal.
fn on(terminal: &OwnedFd) -> Child {
    let end = || Stdio::from(terminal.try_clone().unwrap());
    command().stdin(end()).stdout(Stdio::piped()).stderr(end()).spawn().unwrap()
}

/// Reads what the terminal shows until `words` have come.
fn wait_for(ours: &mut File, words: &str, seen: &mut String) {
    while !seen.contains(words) {
        let mut bytes = [0; 256];
        let count = ours.read(&mut bytes).unwrap();
        seen.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
}

#[test]
fn on_a_terminal_it_is_asked_for_twice_and_never_shown() {
    for (second, code) in [("secret", 0), ("sekret", 2)] {
        let (mut ours, theirs) = terminal();
        let mut child = on(&theirs);
        let mut seen = String::new();
        wait_for(&mut ours, "Password: ", &mut seen);
        ours.write_all(b"secret\n").unwrap();
        wait_for(&mut ours, "again: ", &mut seen);
        ours.write_all(format!("{second}\n").as_bytes()).unwrap();
        let mut hash = String::new();
        child.stdout.take().unwrap().read_to_string(&mut hash).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code));
        assert_eq!(code == 0, lets_in_line(&hash), "{hash}");
        if code == 2 {
            wait_for(&mut ours, "differ", &mut seen);
        }
        assert!(!seen.contains("cret") && !seen.contains("kret"), "{seen}");
        assert!(tcgetattr(theirs.as_fd()).unwrap().local_modes.contains(LocalModes::ECHO), "shows again what is typed");
    }
}

fn lets_in_line(line: &str) -> bool {
    line.strip_suffix('\n').is_some_and(|hash| lets_in(hash, "secret"))
}

#[test]
fn an_interrupted_question_leaves_the_terminal_as_it_was() {
    let (mut ours, theirs) = terminal();
    let mut child = on(&theirs);
    wait_for(&mut ours, "Password: ", &mut String::new());
    assert!(!tcgetattr(theirs.as_fd()).unwrap().local_modes.contains(LocalModes::ECHO));
    let id = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(tcgetattr(theirs.as_fd()).unwrap().local_modes.contains(LocalModes::ECHO));
}
