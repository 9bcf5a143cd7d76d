//! Where a registry, a redirect and a realm may lead: nowhere that a file may not come from.

use distmirror_core::Scheme;
use distmirror_fetch::FetchOptions;
use testkit::{Answer, image::Image};

use crate::support::{ImagePlace, Registry, Trap, image_job, image_options, layers, options, reaching_loopback};

#[tokio::test]
async fn a_registry_inside_is_refused_in_every_spelling() {
    let trap = Trap::set();
    let place = ImagePlace::with(&options(&[]), image_options());
    let digest = Image::oci("a").build().digest().to_owned();
    for host in ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"] {
        let job = image_job(&format!("{host}:{}", trap.port()), &digest, "all", Scheme::Https);
        let failure = place.fetch(&job).await.unwrap_err().message;
        assert!(failure.contains("address not allowed"), "{host}: {failure}");
        assert!(failure.contains("see fetch.allow_addresses"), "{host}: {failure}");
    }
    assert!(trap.is_untouched());
}

#[tokio::test]
async fn neither_a_redirect_nor_a_realm_leads_inside() {
    let image = Image::oci("a").layers(1).build();
    let layer = layers(&image).remove(0);
    let things = [format!("manifests/{}", image.digest()), format!("blobs/{layer}")];
    for host in ["localhost", "127.0.0.1", "169.254.169.254"] {
        let trap = Trap::set();
        let target = format!("http://{host}:{}/secret", trap.port());
        for (what, answer) in [
            ("redirect", Answer::new(307).header("location", &target)),
            ("realm", Answer::new(401).header("www-authenticate", &format!("Bearer realm=\"{target}\""))),
        ] {
            for thing in &things {
                let registry = Registry::with(&image).await;
                let place = ImagePlace::with(&options(&[&registry.host()]), image_options());
                let answer = answer.clone();
                registry.at(thing, move |_| answer.clone());
                let failure = place.failure(&registry, image.digest()).await.message;
                assert!(failure.contains("address not allowed"), "{what} of {thing}: {failure}");
            }
        }
        assert!(trap.is_untouched(), "{host}");
    }
}

#[tokio::test]
async fn redirects_of_manifests_are_followed_and_recorded() {
    let image = Image::oci("a").build();
    let registry = Registry::with(&image).await;
    let thing = format!("manifests/{}", image.digest());
    let bytes = image.manifest().clone();
    registry.at(&thing, |_| Answer::new(302).header("location", "/elsewhere?token=secret"));
    registry.upstream.on("/elsewhere", move |_| Answer::ok(bytes.clone()));
    let source = ImagePlace::new().fetch(&registry.job(image.digest(), "all")).await.unwrap().content.source;
    assert_eq!(source.redirects, [registry.upstream.url(&format!("/v2/team/app/{thing}"))]);
    assert_eq!(source.final_url, registry.upstream.url("/elsewhere?token=****"));
}

#[tokio::test]
async fn redirects_end_and_do_not_lead_from_https_to_http() {
    let image = Image::oci("a").layers(1).build();
    let registry = Registry::with(&image).await;
    let blob = format!("blobs/{}", layers(&image)[0]);
    let plain = registry.upstream.url("/plain");
    registry.at(&blob, move |_| Answer::new(307).header("location", &plain));
    let failure = ImagePlace::trusting(&[&registry], Vec::new()).fetch(&registry.https_job(image.digest())).await;
    let failure = failure.unwrap_err().message;
    assert!(failure.contains("downgrade refused"), "{failure}");
    assert_eq!(registry.upstream.hits("/plain"), 0);
    let here = format!("/v2/team/app/{blob}");
    registry.at(&blob, |_| Answer::new(307).header("location", "/back"));
    registry.upstream.on("/back", move |_| Answer::new(307).header("location", &here));
    let failure = ImagePlace::new().failure(&registry, image.digest()).await.message;
    assert!(failure.contains("redirect loop") && failure.contains(&layers(&image)[0]), "{failure}");
}

#[tokio::test]
async fn the_certificate_of_a_registry_is_checked_and_recorded() {
    let image = Image::oci("a").build();
    let registry = Registry::with(&image).await;
    let job = registry.https_job(image.digest());
    let source = ImagePlace::trusting(&[&registry], Vec::new()).fetch(&job).await.unwrap().content.source;
    assert_eq!(source.peer_certificate_sha256.unwrap().len(), 64);
    let asked = registry.asked().len();
    let failure = ImagePlace::new().fetch(&job).await.unwrap_err().message;
    assert!(failure.contains("no secure connection to") && failure.contains("UnknownIssuer"), "{failure}");
    assert_eq!(registry.asked().len(), asked);
}

#[tokio::test]
async fn the_mirror_is_no_registry_of_its_own() {
    let image = Image::oci("a").build();
    let registry = Registry::with(&image).await;
    let own_listeners = vec![registry.host().parse().unwrap()];
    let options = FetchOptions { own_listeners, ..reaching_loopback() };
    let failure = ImagePlace::with(&options, image_options()).failure(&registry, image.digest()).await.message;
    assert!(failure.contains("where this mirror itself listens"), "{failure}");
    assert!(registry.asked().is_empty());
}
