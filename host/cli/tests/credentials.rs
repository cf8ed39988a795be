//! Tests of the credentials that `dask-operator plugin pull` sends, with credential helpers and a registry that requires
//! authentication.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Credential helpers, by name: what they do after they have read `$registry`.
const HELPERS: [(&str, &str); 5] = [
    (
        "works",
        r#"echo "{\"ServerURL\": \"$registry\", \"Username\": \"me\", \"Secret\": \"$1 $registry\"}""#,
    ),
    ("empty", "echo credentials not found in native keychain; exit 1"),
    ("locked", "echo the keychain is locked; exit 1"),
    ("broken", "echo nonsense"),
    (
        "token",
        r#"echo '{"ServerURL": "", "Username": "<token>", "Secret": "t"}'"#,
    ),
];

fn write_helpers(folder: &Path) -> io::Result<()> {
    for (name, does) in HELPERS {
        let path = folder.join(format!("docker-credential-{name}"));
        fs::write(&path, format!("#!/bin/sh\nregistry=$(cat)\n{does}\n"))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// Serves a registry that requires a username and a password, and has no images. Sends the credentials that it receives.
fn serve(listener: &TcpListener, received: &Sender<String>) -> io::Result<()> {
    for stream in listener.incoming() {
        let stream = stream?;
        match authorization(&stream)? {
            None => respond(
                &stream,
                "401 Unauthorized",
                "WWW-Authenticate: Basic realm=\"r\"\r\n",
            )?,
            Some(credentials) => {
                // The receiver is dropped at the end of the test.
                let _ = received.send(credentials);
                respond(&stream, "404 Not Found", "")?;
            }
        }
    }
    Ok(())
}

/// Reads a request without a body, and returns the username and the password, separated by a colon.
fn authorization(stream: &TcpStream) -> io::Result<Option<String>> {
    let mut found = None;
    for line in BufReader::new(stream).lines() {
        let line = line?;
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(": Basic ")
            && name.eq_ignore_ascii_case("authorization")
        {
            let decoded = STANDARD.decode(value).map_err(io::Error::other)?;
            found = Some(String::from_utf8(decoded).map_err(io::Error::other)?);
        }
    }
    Ok(found)
}

fn respond(mut stream: &TcpStream, status: &str, header: &str) -> io::Result<()> {
    write!(
        stream,
        "HTTP/1.1 {status}\r\n{header}Content-Length: 0\r\nConnection: close\r\n\r\n"
    )
}

/// Pulls an image with this configuration of Docker. Returns the credentials that the registry received, if any, and the
/// error message.
fn pull(
    folder: &Path,
    registry: &str,
    config: &str,
    received: &Receiver<String>,
) -> io::Result<(Option<String>, String)> {
    let config = config.replace("REGISTRY", registry);
    fs::write(folder.join("config.json"), config)?;
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new(env!("CARGO_BIN_EXE_dask-operator"))
        .args(["plugin", "pull", "--insecure"])
        .arg(format!("{registry}/team/policy:1"))
        .env("DOCKER_CONFIG", folder)
        .env("PATH", format!("{}:{path}", folder.display()))
        .current_dir(folder)
        .output()?;
    assert!(!output.status.success(), "the registry has no images");
    let message = String::from_utf8_lossy(&output.stderr);
    let message = message.replace(registry, "REGISTRY");
    Ok((
        received.try_recv().ok(),
        message.replace(&folder.display().to_string(), "FOLDER"),
    ))
}

/// All cases are in one test, because a helper can't be started while another thread writes it.
#[test]
fn credentials_of_docker_login_are_used() -> io::Result<()> {
    let folder = tempfile::tempdir()?;
    write_helpers(folder.path())?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let registry = listener.local_addr()?.to_string();
    let (sender, received) = mpsc::channel();
    thread::spawn(move || serve(&listener, &sender));
    let pull = |config: &str| pull(folder.path(), &registry, config, &received);

    let (inline, all) = (
        STANDARD.encode("stored:in the file"),
        STANDARD.encode("all:of the registry"),
    );
    let of_helper = format!("me:get {registry}");
    let sent = [
        (
            r#"{"credHelpers": {"REGISTRY": "works"}}"#.to_owned(),
            of_helper.as_str(),
        ),
        (
            r#"{"credsStore": "works", "auths": {"REGISTRY": {}}}"#.to_owned(),
            &of_helper,
        ),
        (
            r#"{"credHelpers": {"REGISTRY": "works"}, "credsStore": "locked"}"#.to_owned(),
            &of_helper,
        ),
        (
            format!(r#"{{"auths": {{"REGISTRY": {{"auth": "{inline}"}}}}}}"#),
            "stored:in the file",
        ),
        (
            format!(r#"{{"credsStore": "empty", "auths": {{"REGISTRY": {{"auth": "{inline}"}}}}}}"#),
            "stored:in the file",
        ),
        // The entries of the file come before the helper for all registries, and the most specific one applies. Docker does
        // not write entries for a part of a registry, but other programs do.
        (
            format!(
                r#"{{"credsStore": "works", "auths": {{"REGISTRY": {{"auth": "{all}"}}, "REGISTRY/team": {{"auth": "{inline}"}}}}}}"#
            ),
            "stored:in the file",
        ),
        (
            format!(
                r#"{{"auths": {{"https://REGISTRY/other": {{"auth": "{all}"}}, "REGISTRY": {{"auth": "{inline}"}}}}}}"#
            ),
            "stored:in the file",
        ),
        (
            format!(r#"{{"credsStore": "", "auths": {{"REGISTRY": {{"auth": "{inline}"}}}}}}"#),
            "stored:in the file",
        ),
        (
            format!(r#"{{"credsStore": "empty", "auths": {{"REGISTRY/team": {{"auth": "{inline}"}}}}}}"#),
            "stored:in the file",
        ),
    ];
    for (config, expected) in sent {
        let (credentials, message) = pull(&config)?;
        assert_eq!(credentials.as_deref(), Some(expected), "{config}: {message}");
    }

    let refused = [
        (
            "{}",
            "REGISTRY requires authentication: log in with `docker login REGISTRY`",
        ),
        (
            r#"{"credsStore": "empty"}"#,
            "REGISTRY requires authentication: log in with `docker login REGISTRY`",
        ),
        // These credentials are for another part of the registry.
        (
            r#"{"auths": {"https://REGISTRY/other": {"auth": "YTpi"}}}"#,
            "REGISTRY requires authentication: log in with `docker login REGISTRY`",
        ),
        (
            r#"{"credsStore": ""}"#,
            "REGISTRY requires authentication: log in with `docker login REGISTRY`",
        ),
        (
            r#"{"credHelpers": {"REGISTRY": ""}, "credsStore": "works"}"#,
            "REGISTRY requires authentication: log in with `docker login REGISTRY`",
        ),
        (
            r#"{"credsStore": "locked"}"#,
            "docker-credential-locked, which FOLDER/config.json names for REGISTRY, failed (the keychain is locked): \
             correct this, log in again with `docker login REGISTRY`, or give --username and --password-stdin",
        ),
        (
            r#"{"credHelpers": {"REGISTRY": "broken"}, "credsStore": "works"}"#,
            "docker-credential-broken, which FOLDER/config.json names for REGISTRY, failed (it returned no valid \
             credentials)",
        ),
        (
            r#"{"credHelpers": {"REGISTRY": "missing"}}"#,
            "docker-credential-missing, which FOLDER/config.json names for REGISTRY, can't be run, or ends at once: \
             install it, or give --username and --password-stdin",
        ),
        (
            r#"{"credsStore": "token"}"#,
            "`docker login` stored an identity token for REGISTRY, which this command can't use: give a username and a \
             password or access token with --username and --password-stdin",
        ),
        (
            r#"{"auths": {"REGISTRY": {"auth": "bWU6", "identitytoken": "t"}}}"#,
            "`docker login` stored an identity token for REGISTRY",
        ),
        (
            "no JSON",
            "these credentials can't be used: this is not Docker's configuration",
        ),
    ];
    for (config, expected) in refused {
        let (credentials, message) = pull(config)?;
        assert_eq!(credentials, None, "{config}");
        assert!(
            message.starts_with(&format!("error: {expected}")),
            "{config}: {message}"
        );
    }
    Ok(())
}
