//! Tests with registries on this machine that return scripted responses.

use std::sync::Arc;

use parking_lot::Mutex;
use rstest::rstest;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// HTTP server on this machine.
struct Server {
    address: String,
    /// Heads of the received requests.
    requests: Arc<Mutex<Vec<String>>>,
}

/// Response of a server.
#[derive(Clone)]
struct Answer {
    text: String,
    /// Continues the body until the client closes the connection.
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
    /// Starts a server. `answers` returns the response to a request, given its head and the server's address.
    async fn start(answers: impl Fn(&str, &str) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        let address = listener
            .local_addr()
            .unwrap_or_else(|error| panic!("{error}"))
            .to_string();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (log, own) = (requests.clone(), address.clone());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let request = head(&mut stream).await;
                let answer = answers(&request, &own);
                log.lock().push(request);
                let mut sent = stream.write_all(answer.text.as_bytes()).await;
                while answer.endless && sent.is_ok() {
                    sent = stream.write_all(&[b' '; 1 << 16]).await;
                }
            }
        });
        Self { address, requests }
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().clone()
    }

    fn image(&self) -> Image {
        let image = format!("{}/team/policy:1", self.address).parse();
        image.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Pulls the component from this server. The error is the reason in CamelCase.
    async fn pull_with(&self, credentials: &Credentials) -> Result<Vec<u8>, &'static str> {
        let pulled = pull(&self.image(), credentials, &plain()).await;
        pulled
            .map(|pulled| pulled.bytes)
            .map_err(|error| error.reason().as_str())
    }

    async fn pull(&self) -> Result<Vec<u8>, &'static str> {
        self.pull_with(&Credentials::Anonymous).await
    }
}

/// Reads the head of a request.
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

fn plain() -> RegistryOptions {
    RegistryOptions {
        insecure: true,
        deadline: Duration::from_secs(60),
        limit: 9,
        ..RegistryOptions::default()
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
        .map(|(type_, size)| json!({"mediaType": type_, "digest": Digest::of(b"component").to_string(), "size": size}))
        .collect();
    json!({
        "schemaVersion": 2, "mediaType": manifest::IMAGE, "layers": layers,
        "config": {"mediaType": CONFIGURATION, "digest": Digest::of(b"{}").to_string(), "size": 2},
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
async fn reports_errors_of_a_registry(#[case] response: Answer, #[case] reason: &str) {
    let registry = Server::start(move |_, _| response.clone()).await;
    assert_eq!(registry.pull().await, Err(reason));
}

#[tokio::test]
async fn reports_an_unreachable_registry() {
    let image = "127.0.0.1:1/team/policy:1"
        .parse()
        .unwrap_or_else(|error| panic!("{error}"));
    let pulled = pull(&image, &Credentials::Anonymous, &plain()).await;
    assert_eq!(
        pulled.map_err(|error| error.reason().as_str()),
        Err("RegistryUnreachable")
    );
}

/// Every response is read up to a limit.
#[rstest]
#[case::manifest("/manifests/", "200 OK", "TooLarge")]
#[case::layer("/blobs/", "200 OK", "TooLarge")]
#[case::token("/token", "200 OK", "TooLarge")]
#[case::error("/manifests/", "500 Oops", "RegistryError")]
#[case::error_of_a_layer("/blobs/", "404 Not Found", "ImageNotFound")]
#[case::error_of_a_token("/token", "403 Forbidden", "NotAuthorised")]
#[tokio::test]
async fn limits_the_size_of_every_response(
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
#[case::same_bytes("component", Ok(b"component".to_vec()))]
#[case::other_bytes("something", Err("DigestMismatch"))]
#[case::more("components", Err("TooLarge"))]
#[tokio::test]
async fn a_layer_must_match_its_manifest(
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

/// Starts a registry that requires a token, with the token server at `realm`.
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
async fn gets_a_token_and_sends_it_to_the_registry() {
    let registry = with_token(|own| format!("http://{own}/token?a=b"), r#"{"token": "abc"}"#).await;
    assert_eq!(registry.pull_with(&user()).await, Ok(b"component".to_vec()));
    let requests = registry.requests();
    let has_password: Vec<_> = requests
        .iter()
        .map(|request| request.contains("authorization: Basic bWU6c2VjcmV0"))
        .collect();
    assert_eq!(has_password, [false, true, false, false], "{requests:?}");
    let query = "GET /token?a=b&scope=repository%3Ateam%2Fpolicy%3Apull&service=tests HTTP/1.1";
    assert!(requests[1].starts_with(query), "{}", requests[1]);
}

#[rstest]
#[case::line_break(r#"{"token": "a\nb"}"#)]
#[case::another_type(r#"{"token": ["abc"]}"#)]
#[case::none("{}")]
#[case::no_json("abc")]
#[tokio::test]
async fn rejects_invalid_tokens(#[case] token: &'static str) {
    let registry = with_token(|own| format!("http://{own}/token"), token).await;
    assert_eq!(registry.pull().await, Err("RegistryError"));
}

/// No request is sent to a token server on another host that the administrator has not allowed.
#[rstest]
#[case::elsewhere("http://127.0.0.2:1/token")]
#[case::elsewhere_over_tls("https://auth.example/token")]
#[case::metadata("http://169.254.169.254/latest/meta-data")]
#[case::beginning_of_its_name("https://127.0.0.1.example/token")]
#[case::file("file:///etc/passwd")]
#[tokio::test]
async fn rejects_token_servers_on_other_hosts(#[case] realm: &'static str) {
    let registry = with_token(move |_| realm.to_owned(), r#"{"token": "abc"}"#).await;
    assert_eq!(registry.pull_with(&user()).await, Err("AuthHostNotAllowed"));
    assert_eq!(registry.requests().len(), 1);
}

/// An allowed host must also use TLS.
#[tokio::test]
async fn token_servers_on_other_hosts_can_be_allowed() {
    for (realm, reason) in [
        ("https://127.0.0.2:1/token", "RegistryUnreachable"),
        ("http://127.0.0.2:1/token", "AuthHostNotAllowed"),
    ] {
        let registry = with_token(move |_| realm.to_owned(), "").await;
        let options = RegistryOptions {
            auth_hosts: vec!["127.0.0.2".to_owned()],
            ..plain()
        };
        let pulled = pull(&registry.image(), &user(), &options).await;
        assert_eq!(
            pulled.map_err(|error| error.reason().as_str()),
            Err(reason),
            "{realm}"
        );
    }
}

#[tokio::test]
async fn follows_only_allowed_redirects() {
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
    assert_eq!(elsewhere.requests(), Vec::<String>::new());
}

#[tokio::test]
async fn follows_redirects_within_the_registry() {
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
async fn a_silent_registry_times_out_before_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    let address = listener.local_addr().unwrap_or_else(|error| panic!("{error}"));
    let image = format!("{address}/team/policy:1")
        .parse()
        .unwrap_or_else(|error| panic!("{error}"));
    let options = RegistryOptions {
        silence: Duration::from_secs(1),
        deadline: Duration::from_secs(3600),
        ..plain()
    };
    // The kernel accepts connections, but no server answers.
    let error = pull(&image, &Credentials::Anonymous, &options).await.err();
    let expected = format!("{address} did not answer in 1 s");
    assert_eq!(error.map(|error| error.to_string()), Some(expected));
}
