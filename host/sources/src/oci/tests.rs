//! Registries that answer what a test says.

use std::sync::{Arc, Mutex, PoisonError};

use rstest::rstest;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// A server on this machine.
struct Server {
    address: String,
    /// What it was asked.
    asked: Arc<Mutex<Vec<String>>>,
}

/// An answer, which goes on for ever where it is `endless`.
#[derive(Clone)]
struct Answer {
    text: String,
    endless: bool,
}

fn answer(status: &str, headers: &str, body: &str) -> Answer {
    let length = body.len();
    Answer {
        text: format!(
            "HTTP/1.1 {status}\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
        ),
        endless: false,
    }
}

fn ok(body: &str) -> Answer {
    answer("200 OK", "", body)
}

fn endless(status: &str) -> Answer {
    Answer {
        text: format!("HTTP/1.1 {status}\r\nConnection: close\r\n\r\n"),
        endless: true,
    }
}

impl Server {
    /// Answers each request with what is said for it and for this server's address.
    async fn start(answers: impl Fn(&str, &str) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        let address = listener
            .local_addr()
            .unwrap_or_else(|error| panic!("{error}"))
            .to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, own) = (asked.clone(), address.clone());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let request = head(&mut stream).await;
                let answer = answers(&request, &own);
                log.lock().unwrap_or_else(PoisonError::into_inner).push(request);
                let mut sent = stream.write_all(answer.text.as_bytes()).await;
                while answer.endless && sent.is_ok() {
                    sent = stream.write_all(&[b' '; 1 << 16]).await;
                }
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn image(&self) -> Image {
        let image = format!("{}/team/policy:1", self.address).parse();
        image.unwrap_or_else(|error| panic!("{error}"))
    }

    /// The reason why nothing could be pulled from here.
    async fn pull_with(&self, credentials: &Credentials) -> Result<Vec<u8>, &'static str> {
        let pulled = pull(&self.image(), credentials, &plain()).await;
        pulled.map(|pulled| pulled.bytes).map_err(|error| error.reason())
    }

    async fn pull(&self) -> Result<Vec<u8>, &'static str> {
        self.pull_with(&Credentials::Anonymous).await
    }
}

/// The head of a request.
async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut buffer = [0; 4096];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(read) => head.extend_from_slice(&buffer[..read]),
        }
    }
    String::from_utf8_lossy(&head).into_owned()
}

fn plain() -> Options {
    Options {
        insecure: true,
        deadline: Duration::from_secs(60),
        limit: 9,
        ..Options::default()
    }
}

fn user() -> Credentials {
    Credentials::Basic {
        username: "me".into(),
        password: "secret".into(),
    }
}

fn manifest(layers: &[(&str, usize)]) -> String {
    let layers: Vec<_> = layers
        .iter()
        .map(|(type_, size)| json!({"mediaType": type_, "digest": crate::digest(b"component"), "size": size}))
        .collect();
    json!({
        "schemaVersion": 2, "mediaType": manifest::IMAGE, "layers": layers,
        "config": {"mediaType": CONFIGURATION, "digest": crate::digest(b"{}"), "size": 2},
    })
    .to_string()
}

fn component() -> Answer {
    ok(&manifest(&[(LAYER, 9)]))
}

fn wants(challenge: &str) -> Answer {
    answer(
        "401 Unauthorized",
        &format!("WWW-Authenticate: {challenge}\r\n"),
        "",
    )
}

#[rstest]
#[case(
    answer(
        "404 Not Found",
        "",
        r#"{"errors": [{"code": "MANIFEST_UNKNOWN", "message": "no"}]}"#
    ),
    "ImageNotFound"
)]
#[case(
    answer("400 Bad Request", "", r#"{"errors": [{"code": "DENIED"}]}"#),
    "NotAuthorised"
)]
#[case(answer("404 Not Found", "", ""), "ImageNotFound")]
#[case(answer("401 Unauthorized", "", ""), "NotAuthorised")]
#[case(answer("500 Oops", "", "broken"), "RegistryError")]
#[case(ok("broken"), "NotAComponent")]
#[case(ok(&manifest(&[])), "NotAComponent")]
#[case(ok(&manifest(&[("application/vnd.oci.image.layer.v1.tar", 1)])), "NotAComponent")]
#[case(ok(&manifest(&[(LAYER, 10)])), "TooLarge")]
#[tokio::test]
async fn what_a_registry_answers_is_said(#[case] told: Answer, #[case] reason: &str) {
    let registry = Server::start(move |_, _| told.clone()).await;
    assert_eq!(registry.pull().await, Err(reason));
}

#[tokio::test]
async fn nobody_answers() {
    let image = "127.0.0.1:1/team/policy:1"
        .parse()
        .unwrap_or_else(|error| panic!("{error}"));
    let pulled = pull(&image, &Credentials::Anonymous, &plain()).await;
    assert_eq!(pulled.map_err(|error| error.reason()), Err("RegistryUnreachable"));
}

/// Whatever comes is read up to a limit, and no further.
#[rstest]
#[case::manifest("/manifests/", "200 OK", "TooLarge")]
#[case::layer("/blobs/", "200 OK", "TooLarge")]
#[case::token("/token", "200 OK", "TooLarge")]
#[case::error("/manifests/", "500 Oops", "RegistryError")]
#[case::error_of_a_layer("/blobs/", "404 Not Found", "ImageNotFound")]
#[case::error_of_a_token("/token", "403 Forbidden", "NotAuthorised")]
#[tokio::test]
async fn everything_is_bounded(
    #[case] path: &'static str,
    #[case] status: &'static str,
    #[case] reason: &str,
) {
    let registry = Server::start(move |request, own| {
        if request.contains(path) {
            endless(status)
        } else if path == "/token" {
            wants(&format!("Bearer realm=\"http://{own}/token\""))
        } else {
            component()
        }
    })
    .await;
    assert_eq!(registry.pull().await, Err(reason));
}

#[rstest]
#[case::as_it_should_be("component", Ok(b"component".to_vec()))]
#[case::other_bytes("something", Err("DigestMismatch"))]
#[case::more("components", Err("TooLarge"))]
#[tokio::test]
async fn a_layer_is_what_its_manifest_says(
    #[case] layer: &'static str,
    #[case] expected: Result<Vec<u8>, &str>,
) {
    let registry = Server::start(move |request, _| {
        if request.contains("/manifests/") {
            component()
        } else {
            ok(layer)
        }
    })
    .await;
    assert_eq!(registry.pull().await, expected);
}

/// A registry that gives its component to who has a token, which is to be had at `realm`.
async fn with_token(realm: impl Fn(&str) -> String + Send + Sync + 'static, token: &'static str) -> Server {
    Server::start(move |request, own| {
        if request.contains("GET /token") {
            ok(token)
        } else if !request.contains("authorization: Bearer abc") {
            wants(&format!("Bearer realm=\"{}\",service=\"tests\"", realm(own)))
        } else if request.contains("/manifests/") {
            component()
        } else {
            ok("component")
        }
    })
    .await
}

#[tokio::test]
async fn a_token_is_had_from_the_registry_and_shown_to_it() {
    let registry = with_token(|own| format!("http://{own}/token?a=b"), r#"{"token": "abc"}"#).await;
    assert_eq!(registry.pull_with(&user()).await, Ok(b"component".to_vec()));
    let asked = registry.asked();
    let has_password: Vec<_> = asked
        .iter()
        .map(|request| request.contains("authorization: Basic bWU6c2VjcmV0"))
        .collect();
    assert_eq!(has_password, [false, true, false, false], "{asked:?}");
    let query = "GET /token?a=b&scope=repository%3Ateam%2Fpolicy%3Apull&service=tests HTTP/1.1";
    assert!(asked[1].starts_with(query), "{}", asked[1]);
}

#[rstest]
#[case::line_break(r#"{"token": "a\nb"}"#)]
#[case::another_type(r#"{"token": ["abc"]}"#)]
#[case::none("{}")]
#[case::no_json("abc")]
#[tokio::test]
async fn what_is_no_token_is_an_error(#[case] token: &'static str) {
    let registry = with_token(|own| format!("http://{own}/token"), token).await;
    assert_eq!(registry.pull().await, Err("RegistryError"));
}

/// Credentials, and requests at all, go to no place that only the registry names.
#[rstest]
#[case::elsewhere("http://127.0.0.2:1/token")]
#[case::elsewhere_over_tls("https://auth.example/token")]
#[case::metadata("http://169.254.169.254/latest/meta-data")]
#[case::beginning_of_its_name("https://127.0.0.1.example/token")]
#[case::file("file:///etc/passwd")]
#[tokio::test]
async fn tokens_of_other_hosts_are_not_asked_for(#[case] realm: &'static str) {
    let registry = with_token(move |_| realm.to_owned(), r#"{"token": "abc"}"#).await;
    assert_eq!(registry.pull_with(&user()).await, Err("AuthHostNotAllowed"));
    assert_eq!(registry.asked().len(), 1);
}

/// A host that is allowed is asked over TLS all the same.
#[tokio::test]
async fn hosts_for_tokens_can_be_allowed() {
    for (realm, reason) in [
        ("https://127.0.0.2:1/token", "RegistryUnreachable"),
        ("http://127.0.0.2:1/token", "AuthHostNotAllowed"),
    ] {
        let registry = with_token(move |_| realm.to_owned(), "").await;
        let options = Options {
            auth_hosts: vec!["127.0.0.2".to_owned()],
            ..plain()
        };
        let pulled = pull(&registry.image(), &user(), &options).await;
        assert_eq!(pulled.map_err(|error| error.reason()), Err(reason), "{realm}");
    }
}

#[tokio::test]
async fn it_is_followed_to_places_that_are_allowed_only() {
    let elsewhere = Server::start(|_, _| component()).await;
    let to = |location: String| {
        move |_: &str, _: &str| answer("307 Moved", &format!("Location: {location}\r\n"), "")
    };
    for location in [
        format!("http://{}/", elsewhere.address),
        "https://169.254.169.254/latest/meta-data".to_owned(),
        "https://10.0.0.1/".to_owned(),
        "/v2/again".to_owned(),
        "gopher://".to_owned(),
    ] {
        let registry = Server::start(to(location.clone())).await;
        assert_eq!(registry.pull().await, Err("RedirectNotAllowed"), "{location}");
    }
    assert_eq!(elsewhere.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn it_is_followed_within_the_registry() {
    let registry = Server::start(|request, _| {
        if request.contains("GET /v2/team/policy/manifests/1 ") {
            component()
        } else if request.contains("GET /store") {
            ok("component")
        } else {
            answer("302 Found", "Location: /store\r\n", "")
        }
    })
    .await;
    assert_eq!(registry.pull().await, Ok(b"component".to_vec()));
}

#[tokio::test]
async fn a_registry_that_says_nothing_is_given_up_before_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    let address = listener.local_addr().unwrap_or_else(|error| panic!("{error}"));
    let image = format!("{address}/team/policy:1")
        .parse()
        .unwrap_or_else(|error| panic!("{error}"));
    let options = Options {
        silence: Duration::from_secs(1),
        deadline: Duration::from_secs(3600),
        ..plain()
    };
    // Connections are accepted by the kernel, and nobody answers.
    let error = pull(&image, &Credentials::Anonymous, &options).await.err();
    let expected = format!("{address} did not answer in 1 s");
    assert_eq!(error.map(|error| error.to_string()), Some(expected));
}
