//! How a registry lets somebody in, and what is told to whom it does not. Where secrets may not go is in `secrets`.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use distmirror_core::Scheme;
use distmirror_fetch::Credentials;
use testkit::{Answer, Seen, image::Image};

use crate::support::{
    Hostile, ImagePlace, PASSWORD, REPOSITORY, Registry, TOKEN, authorization, credentials, endless, image_job,
    in_lines, layers, lines_of, send,
};

pub(super) fn image() -> Image {
    Image::oci("private").layers(1).build()
}

pub(super) fn basic() -> String {
    format!("Basic {}", STANDARD.encode(format!("me:{PASSWORD}")))
}

pub(super) fn bearer() -> String {
    format!("Bearer {TOKEN}")
}

/// A registry with an image, which lets nobody in but with this authorization.
pub(super) async fn closed(image: &Image, challenge: impl Fn(&Registry) -> String, expected: String) -> Registry {
    let registry = Registry::with(image).await;
    let challenge = challenge(&registry);
    registry.before_all(move |request| {
        let let_in = authorization(request).as_ref() == Some(&expected);
        (!let_in).then(|| Answer::new(401).header("www-authenticate", &challenge))
    });
    registry
}

/// A challenge for a token from this realm.
pub(super) fn from_realm(realm: &str) -> String {
    format!("Bearer realm=\"{realm}\",service=\"the registry\",scope=\"repository:team/app:pull,more\"")
}

/// A registry that gives tokens itself.
pub(super) async fn with_own_realm(image: &Image) -> Registry {
    let registry = closed(image, |registry| from_realm(&registry.upstream.https_url("/token")), bearer()).await;
    gives_tokens(&registry);
    registry
}

pub(super) fn gives_tokens(registry: &Registry) {
    registry.upstream.on("/token", |_| Answer::ok(format!(r#"{{"token": "{TOKEN}", "expires_in": 300}}"#)));
}

pub(super) fn token_requests(registry: &Registry) -> Vec<Arc<Seen>> {
    registry.upstream.requests("/token")
}

#[tokio::test]
async fn whoever_has_no_credentials_gets_a_token_without() {
    let image = image();
    let registry = with_own_realm(&image).await;
    let place = ImagePlace::trusting(&[&registry], Vec::new());
    place.fetch(&registry.https_job(image.digest())).await.unwrap();
    let [request] = &token_requests(&registry)[..] else { panic!("one token is enough: {:?}", registry.asked()) };
    assert_eq!(request.uri().query(), Some("service=the%20registry&scope=repository%3Ateam%2Fapp%3Apull%2Cmore"));
    assert_eq!(authorization(request), None);
    let sent = registry.authorizations(REPOSITORY);
    assert!(sent[0].is_none() && sent[1..].iter().all(|sent| *sent == Some(bearer())), "{sent:?}");
}

#[tokio::test]
async fn the_answer_of_a_realm_may_have_either_name_and_no_scope_is_needed() {
    let image = image();
    for answer in [
        format!(r#"{{"access_token": "{TOKEN}"}}"#),
        format!(r#"{{"token": "{TOKEN}", "access_token": "other", "more": [1]}}"#),
        format!(r#"{{"token": "", "access_token": "{TOKEN}"}}"#),
        format!(r#"{{"token": null, "access_token": "{TOKEN}"}}"#),
    ] {
        let challenge = |registry: &Registry| format!("bearer REALM={}", registry.upstream.https_url("/token?a=b"));
        let registry = closed(&image, challenge, bearer()).await;
        let sent = answer.clone();
        registry.upstream.on("/token", move |_| Answer::ok(sent.clone()));
        let place = ImagePlace::trusting(&[&registry], Vec::new());
        place.fetch(&registry.https_job(image.digest())).await.unwrap_or_else(|failure| panic!("{answer}: {failure}"));
        let query = token_requests(&registry)[0].uri().query().map(str::to_owned);
        assert_eq!(query.as_deref(), Some("a=b&scope=repository%3Ateam%2Fapp%3Apull"));
    }
}

#[tokio::test]
async fn a_password_goes_to_the_realm_of_the_same_host_and_nowhere_else() {
    let image = image();
    let registry = with_own_realm(&image).await;
    let place = ImagePlace::trusting(&[&registry], vec![credentials(&registry.https_host())]);
    place.fetch(&registry.https_job(image.digest())).await.unwrap();
    assert_eq!(registry.authorizations("/token"), [Some(basic())]);
    let sent = registry.authorizations(REPOSITORY);
    assert!(sent.iter().all(|sent| sent.is_none() || *sent == Some(bearer())), "{sent:?}");
}

/// A registry at 127.0.0.1 whose realm is that of another one, at `localhost`.
async fn with_foreign_realm(image: &Image) -> (Registry, Registry) {
    let other = Registry::start().await;
    gives_tokens(&other);
    let realm = other.upstream.https_url_as("localhost", "/token");
    (closed(image, |_| from_realm(&realm), bearer()).await, other)
}

#[tokio::test]
async fn a_password_goes_to_a_realm_elsewhere_if_that_is_named() {
    let image = image();
    let (registry, other) = with_foreign_realm(&image).await;
    let token_hosts = vec!["LOCALHOST".to_owned()];
    let named = Credentials { token_hosts, ..credentials(&registry.https_host()) };
    let place = ImagePlace::trusting(&[&registry, &other], vec![named]);
    place.fetch(&registry.https_job(image.digest())).await.unwrap();
    assert_eq!(other.authorizations("/token"), [Some(basic())]);
    // Without a password there is nothing to give away.
    let place = ImagePlace::trusting(&[&registry, &other], Vec::new());
    place.fetch(&registry.https_job(image.digest())).await.unwrap();
    assert_eq!(other.authorizations("/token"), [Some(basic()), None]);
}

#[tokio::test]
async fn a_password_answers_a_basic_challenge() {
    let image = image();
    let registry = closed(&image, |_| "Basic realm=\"x\"".to_owned(), basic()).await;
    let place = ImagePlace::trusting(&[&registry], vec![credentials(&registry.https_host())]);
    place.fetch(&registry.https_job(image.digest())).await.unwrap();
    let sent = registry.authorizations("/");
    assert!(sent[0].is_none(), "it is sent to nobody who did not ask");
    assert!(sent[1..].iter().all(|sent| *sent == Some(basic())), "{sent:?}");
}

#[tokio::test]
async fn who_cannot_sign_in_hears_why() {
    let image = image();
    let own = |registry: &Registry| registry.upstream.https_url("/token");
    type Challenge<'a> = &'a dyn Fn(&Registry) -> String;
    let cases: [(&str, Challenge<'_>, bool, &[&str]); 9] = [
        ("basic, nobody", &|_| "Basic realm=\"x\"".to_owned(), false, &["cannot sign in", "fetch.credentials"]),
        ("basic, wrong", &|_| "Basic realm=\"x\"".to_owned(), true, &["401 Unauthorized"]),
        ("another scheme", &|_| "Negotiate".to_owned(), false, &["401 Unauthorized"]),
        ("another scheme, password", &|_| "Negotiate".to_owned(), true, &["401 Unauthorized"]),
        ("no challenge", &|_| String::new(), true, &["401 Unauthorized"]),
        ("no realm", &|_| "Bearer service=\"x\"".to_owned(), true, &["names no realm"]),
        ("a realm that is none", &|_| from_realm("auth.example.org"), true, &["its realm cannot be asked"]),
        ("a realm with a password", &|_| from_realm("https://me:x@localhost/"), true, &["its realm cannot be asked"]),
        ("a token that opens nothing", &|registry| from_realm(&own(registry)), true, &["401 Unauthorized"]),
    ];
    for (what, challenge, has_password, words) in cases {
        let registry = closed(&image, challenge, "another one".to_owned()).await;
        gives_tokens(&registry);
        let own = has_password.then(|| credentials(&registry.https_host()));
        let place = ImagePlace::trusting(&[&registry], Vec::from_iter(own));
        let failure = place.fetch(&registry.https_job(image.digest())).await.unwrap_err().message;
        for words in words.iter().copied().chain([registry.https_host().as_str()]) {
            assert!(failure.contains(words), "{what}: `{words}` is missing: {failure}");
        }
        assert!(registry.asked().len() <= 3, "{what}: {:?}", registry.asked());
    }
}

#[tokio::test]
async fn when_a_token_has_expired_another_one_is_got_and_the_fetch_goes_on() {
    let image = Image::oci("private").layers(8).build();
    let registry = Registry::with(&image).await;
    let challenge = from_realm(&registry.upstream.https_url("/token"));
    let (given, uses) = (AtomicUsize::new(0), AtomicUsize::new(0));
    registry.before_all(move |request| {
        let let_in = match authorization(request).as_deref() {
            Some("Bearer token-0") => uses.fetch_add(1, Ordering::SeqCst) < 4,
            other => other.is_some(),
        };
        (!let_in).then(|| Answer::new(401).header("www-authenticate", &challenge))
    });
    registry
        .upstream
        .on("/token", move |_| Answer::ok(format!(r#"{{"token": "token-{}"}}"#, given.fetch_add(1, Ordering::SeqCst))));
    let place = ImagePlace::trusting(&[&registry], Vec::new());
    let fetched = place.fetch(&registry.https_job(image.digest())).await.unwrap();
    assert_eq!(in_lines(&fetched.blobs), lines_of(&[&image]));
    // Each of the parts that come at the same time may get one of its own.
    let tokens = token_requests(&registry).len();
    assert!((2..=5).contains(&tokens), "{tokens}: {:?}", registry.asked());
    for layer in layers(&image) {
        assert!(registry.times(&format!("GET blobs/{layer}")) <= 2);
    }
}

#[tokio::test]
async fn a_realm_that_answers_anything_else_than_a_token_is_named() {
    let image = image();
    let registry = with_own_realm(&image).await;
    let place = ImagePlace::trusting(&[&registry], vec![credentials(&registry.https_host())]);
    for (answer, words) in [
        (Answer::ok("<html>sign in</html>"), "sent no token"),
        (Answer::ok(""), "sent no token"),
        (Answer::ok("{}"), "sent no token"),
        (Answer::ok("[]"), "sent no token"),
        (Answer::ok(r#"{"token": ""}"#), "sent no token"),
        (Answer::ok(r#"{"token": 7}"#), "sent no token"),
        (Answer::ok(r#"{"token": "two\r\nX-Evil: lines"}"#), "sent no token"),
        (Answer::ok("[".repeat(200_000)), "sent no token"),
        (Answer::ok("x").break_after(0), "truncated"),
        (Answer::new(200).header("content-length", "1000000000").stall_after(0), "more than the 262144 bytes"),
        (Answer::ok(vec![b' '; 1 << 20]).without_length(), "more than the 262144 bytes"),
        (Answer::new(204), "gives no token, it answered 204"),
        (Answer::new(401).header("www-authenticate", "Basic realm=\"x\""), "gives no token, it answered 401"),
        (Answer::new(403), "gives no token, it answered 403"),
        (Answer::new(429).header("retry-after", "5"), "gives no token, it answered 429"),
    ] {
        let sent = answer.clone();
        registry.upstream.on("/token", move |_| sent.clone());
        let failure = place.fetch(&registry.https_job(image.digest())).await.unwrap_err();
        let realm = registry.upstream.https_url("/token");
        assert!(failure.message.contains(words) && failure.message.contains(&realm), "{answer:?}: {failure}");
        assert!(failure.message.len() < 500, "{failure}");
        let wait = words.contains("429").then_some(5);
        assert_eq!(failure.retry_after.map(|wait| wait.as_secs()), wait, "{failure}");
    }
}

#[tokio::test]
async fn an_endless_token_is_read_only_as_far_as_one_can_be() {
    let image = image();
    let realm = Hostile::start(|_| endless()).await;
    let registry = closed(&image, |_| from_realm(&realm.url("/token")), bearer()).await;
    let failure = ImagePlace::new().failure(&registry, image.digest()).await.message;
    assert!(failure.contains("more than the 262144 bytes") && failure.contains(&realm.url("/token")), "{failure}");
    assert!(realm.sent_for_ever_bytes() < 40 << 20, "{}", realm.sent_for_ever_bytes());
}

#[tokio::test]
async fn an_anonymous_realm_may_be_anywhere_public_and_its_trouble_is_told() {
    let image = image();
    let realm = Hostile::start(|_| send("503 Service Unavailable", &["Retry-After: 6"], b"")).await;
    let registry = closed(&image, |_| from_realm(&realm.url("/token")), bearer()).await;
    let failure = ImagePlace::new().failure(&registry, image.digest()).await;
    assert!(failure.message.contains("it answered 503"), "{failure}");
    assert_eq!(failure.retry_after.map(|wait| wait.as_secs()), Some(6));
    let closed_port = testkit::free_port();
    let nobody = closed(&image, |_| from_realm(&format!("http://127.0.0.1:{closed_port}/")), bearer()).await;
    let failure = ImagePlace::new().failure(&nobody, image.digest()).await.message;
    assert!(failure.contains(&format!("cannot connect to `127.0.0.1:{closed_port}`")), "{failure}");
}

#[tokio::test]
async fn whoever_is_let_in_without_a_question_is_asked_none() {
    let image = image();
    let registry = Registry::with(&image).await;
    let place = ImagePlace::trusting(&[&registry], vec![credentials(&registry.https_host())]);
    place.fetch(&registry.https_job(image.digest())).await.unwrap();
    assert!(registry.authorizations("/").iter().all(Option::is_none));
    let job = image_job(&registry.host(), image.digest(), "all", Scheme::Http);
    place.fetch(&job).await.unwrap();
    assert!(registry.authorizations("/").iter().all(Option::is_none));
}
