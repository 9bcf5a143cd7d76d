//! Tokens and passwords go to whom they are for, and to nobody whom that one names.

use distmirror_core::Uri;
use distmirror_fetch::Credentials;
use testkit::{Answer, Seen};

use super::sign_in::{basic, bearer, closed, from_realm, gives_tokens, image, token_requests, with_own_realm};
use crate::support::{
    ImagePlace, PASSWORD, Registry, TOKEN, Trap, authorization, check_no_secret, credentials, image_options, layers,
    reaching_loopback,
};

#[tokio::test]
async fn a_realm_elsewhere_gets_nothing_from_who_has_a_password() {
    let image = image();
    for token_hosts in [vec![], vec!["auth.test".to_owned()], vec!["127.0.0.1".to_owned()]] {
        let trap = Trap::set();
        let realm = format!("https://localhost:{}/token", trap.port());
        let registry = closed(&image, |_| from_realm(&realm), bearer()).await;
        let own = Credentials { token_hosts, ..credentials(&registry.https_host()) };
        let place = ImagePlace::trusting(&[&registry], vec![own]);
        let failure = place.fetch(&registry.https_job(image.digest())).await.unwrap_err().message;
        assert!(failure.contains("`localhost`") && failure.contains("token_hosts"), "{failure}");
        assert!(trap.is_untouched());
        assert_eq!(registry.authorizations("/"), [None]);
    }
}

#[tokio::test]
async fn a_realm_over_http_is_refused_by_who_came_over_https() {
    let image = image();
    let realm = |registry: &Registry| from_realm(&registry.upstream.url("/token"));
    for credentials in [None, Some(credentials)] {
        let registry = closed(&image, realm, bearer()).await;
        gives_tokens(&registry);
        let credentials = credentials.map(|make| make(&registry.https_host()));
        let place = ImagePlace::trusting(&[&registry], Vec::from_iter(credentials));
        let failure = place.fetch(&registry.https_job(image.digest())).await.unwrap_err().message;
        assert!(failure.contains("is not https"), "{failure}");
        assert!(token_requests(&registry).is_empty());
    }
}

#[tokio::test]
async fn a_realm_that_redirects_does_not_take_the_password_along() {
    let image = image();
    let registry = closed(&image, |registry| from_realm(&registry.upstream.https_url("/login")), bearer()).await;
    let other = Registry::start().await;
    gives_tokens(&other);
    let target = other.upstream.https_url_as("localhost", "/token");
    registry.upstream.on("/login", move |_| Answer::new(307).header("location", &target));
    let place = ImagePlace::trusting(&[&registry, &other], vec![credentials(&registry.https_host())]);
    place.fetch(&registry.https_job(image.digest())).await.unwrap();
    assert_eq!(registry.authorizations("/login"), [Some(basic())]);
    assert_eq!(other.authorizations("/"), [None]);
}

#[tokio::test]
async fn a_token_of_ones_own_goes_to_the_registry_only() {
    let image = image();
    let trap = Trap::set();
    for realm in [format!("https://localhost:{}/token", trap.port()), format!("https://127.0.0.1:{}/", trap.port())] {
        let registry = closed(&image, |_| from_realm(&realm), bearer()).await;
        let token = |host: &str| Credentials { username: None, secret: TOKEN.to_owned(), ..credentials(host) };
        let place = ImagePlace::trusting(&[&registry], vec![token(&registry.https_host())]);
        place.fetch(&registry.https_job(image.digest())).await.unwrap();
        let sent = registry.authorizations("/");
        assert!(sent[0].is_none() && sent[1..].iter().all(|sent| *sent == Some(bearer())), "{sent:?}");
    }
    assert!(trap.is_untouched());
}

#[tokio::test]
async fn credentials_of_another_registry_are_never_sent() {
    let image = image();
    let registry = closed(&image, |_| "Basic realm=\"x\"".to_owned(), basic()).await;
    let port = registry.upstream.https_port();
    let others = [
        credentials(&format!("localhost:{port}")),
        credentials("127.0.0.1"),
        credentials(&format!("127.0.0.1:{}", registry.upstream.http_port())),
        credentials(&format!("127.0.0.11:{port}")),
        Credentials { token_hosts: vec!["127.0.0.1".to_owned()], ..credentials("docker.io") },
        Credentials { username: None, ..credentials("quay.io") },
    ];
    let place = ImagePlace::trusting(&[&registry], others.to_vec());
    let failure = place.fetch(&registry.https_job(image.digest())).await.unwrap_err().message;
    assert!(failure.contains("fetch.credentials"), "{failure}");
    assert_eq!(registry.authorizations("/"), [None]);
}

#[tokio::test]
async fn over_plain_http_no_password_goes_whose_host_was_written_with_https() {
    let image = image();
    for (prefix, goes) in [("", true), ("https://", false), ("http://", true)] {
        for challenge in ["Basic realm=\"x\"".to_owned(), String::new()] {
            let is_basic = !challenge.is_empty();
            let make = |registry: &Registry| match is_basic {
                true => challenge.clone(),
                false => from_realm(&registry.upstream.url("/token")),
            };
            let registry = closed(&image, make, if is_basic { basic() } else { bearer() }).await;
            gives_tokens(&registry);
            let mut images = image_options();
            images.credentials.push(credentials(&format!("{prefix}{}", registry.host())));
            let place = ImagePlace::with(&reaching_loopback(), images);
            let outcome = place.fetch(&registry.job(image.digest(), "all")).await;
            let was_sent = registry.authorizations("/").iter().flatten().any(|sent| *sent == basic());
            assert_eq!(was_sent, goes, "`{prefix}`");
            assert_eq!(outcome.is_ok(), goes || !is_basic, "`{prefix}`");
        }
    }
}

#[tokio::test]
async fn a_blob_elsewhere_is_fetched_without_the_authorization_and_one_here_with_it() {
    let image = image();
    let layer = layers(&image).remove(0);
    let registry = with_own_realm(&image).await;
    let other = Registry::start().await;
    for (target, expected) in [
        (other.upstream.https_url_as("localhost", "/cdn/layer"), None),
        // Another port of the same host is another origin.
        (other.upstream.https_url("/cdn/layer"), None),
        ("/cdn/layer".to_owned(), Some(bearer())),
    ] {
        let sent = target.clone();
        let let_in = |request: &Seen| authorization(request) == Some(bearer());
        registry.at(&format!("blobs/{layer}"), move |request| match let_in(request) {
            true => Answer::new(307).header("location", &sent),
            false => Answer::new(401),
        });
        for serving in [&registry, &other] {
            serving.upstream.file("/cdn/layer", image.blobs()[&layer].clone());
        }
        let own = credentials(&registry.https_host());
        let place = ImagePlace::trusting(&[&registry, &other], vec![own]);
        place.fetch(&registry.https_job(image.digest())).await.unwrap_or_else(|failure| panic!("{target}: {failure}"));
        let serving = if expected.is_some() { &registry } else { &other };
        let seen = serving.authorizations("/cdn/");
        assert!(!seen.is_empty() && seen.iter().all(|seen| *seen == expected), "{target}: {seen:?}");
    }
}

#[tokio::test]
async fn who_was_redirected_to_is_not_signed_in_at() {
    let image = image();
    let layer = layers(&image).remove(0);
    let registry = with_own_realm(&image).await;
    let other = Registry::start().await;
    gives_tokens(&other);
    let challenges = ["Basic realm=\"x\"".to_owned(), from_realm(&other.upstream.https_url_as("localhost", "/token"))];
    for challenge in challenges {
        let target = other.upstream.https_url_as("localhost", "/cdn");
        registry.at(&format!("blobs/{layer}"), move |_| Answer::new(307).header("location", &target));
        other.upstream.on("/cdn", move |_| Answer::new(401).header("www-authenticate", &challenge));
        let own = Credentials { token_hosts: vec!["localhost".to_owned()], ..credentials(&registry.https_host()) };
        let place = ImagePlace::trusting(&[&registry, &other], vec![own]);
        let before = token_requests(&registry).len();
        let failure = place.fetch(&registry.https_job(image.digest())).await.unwrap_err().message;
        assert!(failure.contains("/cdn` answered 401") && failure.contains(&layer), "{failure}");
        assert!(token_requests(&other).is_empty());
        assert_eq!(token_requests(&registry).len(), before + 1);
        assert!(other.authorizations("/").iter().all(Option::is_none));
    }
}

#[tokio::test]
async fn nothing_that_is_printed_shows_a_secret() {
    let bad = Credentials { secret: format!("{PASSWORD}\n"), username: None, ..credentials("registry.test") };
    let place = ImagePlace::trusting(&[], vec![credentials("registry.test"), bad.clone()]);
    let shown = format!("{:?} {:#?} {bad:?} {:?}", place.fetcher, place.fetcher, bad.check());
    check_no_secret(&shown);
    assert!(shown.contains("registry.test") && shown.contains("me"), "{shown}");
    // One that cannot be sent fails where it is needed.
    let image = image();
    let registry = closed(&image, |_| "Bearer".to_owned(), bearer()).await;
    let place = ImagePlace::trusting(&[&registry], vec![Credentials { host: registry.https_host(), ..bad }]);
    let failure = place.fetch(&registry.https_job(image.digest())).await.unwrap_err().message;
    assert!(failure.contains("its token cannot be sent"), "{failure}");
    assert!(registry.authorizations("/").iter().all(Option::is_none));
    let uri: Uri = format!("https://h.test/?token={TOKEN}").parse().unwrap();
    check_no_secret(&format!("{uri:?}"));
}
