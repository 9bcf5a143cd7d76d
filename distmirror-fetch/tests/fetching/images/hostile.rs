//! Registries and documents that lie: the image fails as a whole, quickly, in words that name the cause.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use distmirror_core::{Failure, Scheme};
use serde_json::{Value, json};
use testkit::{Answer, image::Image};

use crate::support::{
    Hostile, ImagePlace, Registry, Step, Trap, answer, endless, image_job, image_options, layers, options, sha256,
};

/// An image with one small layer, and the digest of that.
fn small() -> (Image, String) {
    let image = Image::oci("small").layers(1).layer_bytes(10).build();
    let layer = layers(&image).remove(0);
    (image, layer)
}

fn config(image: &Image) -> String {
    image.document()["config"]["digest"].as_str().unwrap().to_owned()
}

#[track_caller]
fn check_says(what: &str, failure: &Failure, words: &[&str]) {
    let message = &failure.message;
    for words in words {
        assert!(message.contains(words), "{what}: `{words}` is missing: {message}");
    }
    assert!(message.len() < 1000, "{what}: {message}");
}

/// How often configs and layers were asked for.
fn blobs_asked(registry: &Registry) -> usize {
    registry.asked().iter().filter(|asked| asked.contains("blobs/")).count()
}

#[tokio::test]
async fn documents_with_other_bytes_than_their_digest_says_are_refused_with_both() {
    let (image, _) = small();
    let index = Image::index(std::slice::from_ref(&image));
    for (what, root, lie) in [
        ("root", &image, &image),
        ("child", &index, &image),
        ("nested", &Image::index(std::slice::from_ref(&index)), &index),
    ] {
        let registry = Registry::with(root).await;
        let other = Bytes::from([b" ", &lie.manifest()[..]].concat());
        registry.put_manifest(lie.digest(), lie.media_type(), other.clone());
        let failure = ImagePlace::new().failure(&registry, root.digest()).await;
        check_says(what, &failure, &["checksum mismatch", lie.digest(), &sha256(&other).to_string()]);
        assert_eq!(blobs_asked(&registry), 0, "{what}");
    }
}

#[tokio::test]
async fn parts_with_other_bytes_than_their_digest_says_are_refused_with_both() {
    // The spool keeps small parts in memory and large ones in a file.
    for size in [10, 1_200_000] {
        let image = Image::oci("a").layers(1).layer_bytes(size).uncompressed().build();
        for digest in [layers(&image).remove(0), config(&image)] {
            let registry = Registry::with(&image).await;
            let other = vec![b'x'; image.blobs()[&digest].len()];
            registry.put_blob(&digest, other.clone());
            let place = ImagePlace::new();
            let failure = place.failure(&registry, image.digest()).await;
            check_says("wrong bytes", &failure, &["checksum mismatch", &digest, &sha256(&other).to_string()]);
            // A layer that was still coming when its config failed may be gone on with.
            assert!(place.spooled_files() == 0 || digest == config(&image), "of wrong bytes nothing is kept");
            assert_eq!(registry.times(&format!("GET blobs/{digest}")), 1, "once more would bring the same");
            // What is wrong today may be right tomorrow.
            registry.put_blob(&digest, image.blobs()[&digest].clone());
            place.fetch(&registry.job(image.digest(), "all")).await.unwrap();
        }
    }
}

#[tokio::test]
async fn parts_of_another_length_than_the_manifest_says_are_refused() {
    type Change = fn(&[u8]) -> Answer;
    let cases: [(&str, Change, &[&str], usize); 6] = [
        ("shorter", |bytes| Answer::ok(bytes[1..].to_vec()), &["announces", "the manifest says"], 1),
        ("nothing", |_| Answer::ok(""), &["announces 0 bytes", "the manifest says"], 1),
        ("longer", |bytes| Answer::ok([bytes, b"x"].concat()), &["announces", "the manifest says"], 1),
        ("shorter, chunked", |bytes| Answer::ok(bytes[1..].to_vec()).without_length(), &["truncated"], 4),
        ("nothing, chunked", |_| Answer::ok("").without_length(), &["truncated: 0 of "], 1),
        ("longer, chunked", |bytes| Answer::ok([bytes, b"x"].concat()).without_length(), &["more than the"], 1),
    ];
    for (what, change, words, most_requests) in cases {
        let (image, layer) = small();
        let registry = Registry::with(&image).await;
        let bytes = image.blobs()[&layer].clone();
        registry.at(&format!("blobs/{layer}"), move |_| change(&bytes));
        let place = ImagePlace::new();
        let failure = place.failure(&registry, image.digest()).await;
        check_says(what, &failure, words);
        check_says(what, &failure, &[&layer]);
        let times = registry.times(&format!("GET blobs/{layer}"));
        assert!(times <= most_requests, "{what}: asked {times} times");
    }
}

#[tokio::test]
async fn a_layer_without_an_end_stops_at_its_size() {
    let (image, layer) = small();
    let registry = Registry::with(&image).await;
    let elsewhere = Hostile::start(|_| endless()).await;
    let target = elsewhere.url("/layer");
    registry.at(&format!("blobs/{layer}"), move |_| Answer::new(307).header("location", &target));
    let failure = ImagePlace::new().failure(&registry, image.digest()).await;
    check_says("endless", &failure, &[&layer, "more than the"]);
    assert!(elsewhere.sent_for_ever_bytes() < READ_AT_MOST, "{}", elsewhere.sent_for_ever_bytes());
}

/// What may be read of something endless, with all that fits between two sockets.
const READ_AT_MOST: u64 = 40 << 20;

#[tokio::test]
async fn a_manifest_of_any_size_is_read_only_as_far_as_one_can_be() {
    let huge = || {
        let head = answer("200 OK", &["Content-Length: 104857600"], b"");
        vec![Step::Send(head), Step::SendForEver(vec![b' '; 65536])]
    };
    type Script = fn() -> Vec<Step>;
    for (what, script) in [("100 MB", huge as Script), ("endless", endless)] {
        let registry = Hostile::start(move |_| script()).await;
        let digest = sha256(b"whatever").to_string();
        let job = image_job(&registry.address.to_string(), &digest, "all", Scheme::Http);
        let failure = ImagePlace::new().fetch(&job).await.unwrap_err();
        check_says(what, &failure, &["more than the 4194304 bytes", &digest]);
        assert!(!failure.message.contains("too large"), "no limit that can be raised would help: {failure}");
        let sent = registry.sent_for_ever_bytes();
        assert!(sent < READ_AT_MOST, "{what}: {sent}");
    }
}

#[tokio::test]
async fn a_manifest_that_does_not_all_come_is_a_failure_that_names_it() {
    let (image, _) = small();
    for (what, broken) in [
        ("cut", Answer::ok(image.manifest().clone()).break_after(20)),
        ("cut in a chunk", Answer::ok(image.manifest().clone()).without_length().break_after(20)),
    ] {
        let registry = Registry::with(&image).await;
        registry.at(&format!("manifests/{}", image.digest()), move |_| broken.clone());
        let failure = ImagePlace::new().failure(&registry, image.digest()).await;
        check_says(what, &failure, &["truncated after 20 bytes", image.digest()]);
    }
}

#[tokio::test]
async fn documents_that_are_none_are_refused_before_anything_else_is_asked_for() {
    let (image, _) = small();
    let own = image.document();
    let deep = format!(r#"{{"schemaVersion":2,"x":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let with = |field: &str, value: Value| {
        let mut document = own.clone();
        document[field] = value;
        document.to_string()
    };
    let layer = |field: &str, value: Value| {
        let mut document = own.clone();
        document["layers"][0][field] = value;
        document.to_string()
    };
    let signed = json!({"schemaVersion": 1, "name": "a", "tag": "b", "fsLayers": [], "history": [], "signatures": []});
    for (what, document, words) in [
        ("nested", deep, "nested more than 128 deep"),
        ("both", with("manifests", json!([])), "neither has both"),
        ("schema 1", signed.to_string(), "schema version 1"),
        ("schema 1, as it says", with("schemaVersion", json!(1)), "schema version 1"),
        ("another type", with("mediaType", json!("application/x")), "`application/x`"),
        ("no JSON", "<html>sign in, please</html>".to_owned(), "is no manifest"),
        ("nothing", String::new(), "is no manifest"),
        ("cut", own.to_string()[..50].to_owned(), "is no manifest"),
        ("a list", "[]".to_owned(), "is no manifest"),
        ("no digest", layer("digest", json!("sha256:abc")), "sha256:abc"),
        ("md5", layer("digest", json!(format!("md5:{}", "0".repeat(32)))), "sha256 or sha512"),
        ("a path", layer("digest", json!("sha256:../../etc/passwd")), "sha256"),
        ("size below nothing", layer("size", json!(-1)), "is no manifest"),
        ("size with a fraction", layer("size", json!(1.5)), "is no manifest"),
        ("size beyond 64 bits", layer("size", json!(1e30)), "is no manifest"),
        ("10,001 layers", with("layers", vec![own["layers"][0].clone(); 10_001].into()), "10001 parts"),
    ] {
        let registry = Registry::start().await;
        let digest = registry.put_document(image.media_type(), document.into_bytes());
        let failure = ImagePlace::new().failure(&registry, &digest).await;
        check_says(what, &failure, &[words, &digest]);
        assert_eq!(registry.asked().len(), 1, "{what}: {:?}", registry.asked());
    }
}

#[tokio::test]
async fn an_index_that_lies_about_a_child_is_refused() {
    let (image, _) = small();
    let docker = Image::docker("a").build().media_type();
    let index_type = Image::index(&[]).media_type();
    for (what, field, value, words) in [
        ("type", "mediaType", json!(docker), [docker, image.media_type()]),
        ("kind", "mediaType", json!(index_type), [index_type, image.media_type()]),
        ("too small", "size", json!(image.manifest().len() - 1), ["bytes", "its index says"]),
        ("too large", "size", json!(image.manifest().len() + 1), ["bytes", "its index says"]),
        ("5 MiB", "size", json!(5 << 20), ["5242880 bytes", "at most 4194304"]),
    ] {
        let index = Image::index(std::slice::from_ref(&image));
        let index = index.edited(|document| document["manifests"][0][field] = value);
        let registry = Registry::with(&index).await;
        let failure = ImagePlace::new().failure(&registry, index.digest()).await;
        check_says(what, &failure, &words);
        check_says(what, &failure, &[image.digest()]);
        assert_eq!(blobs_asked(&registry), 0, "{what}");
    }
}

#[tokio::test]
async fn indexes_in_indexes_go_four_deep() {
    let (mut image, _) = small();
    for depth in 1..=5 {
        let below = image.digest().to_owned();
        image = Image::index(&[image]);
        let registry = Registry::with(&image).await;
        let outcome = ImagePlace::new().fetch(&registry.job(image.digest(), "all")).await;
        match outcome {
            Ok(_) => assert!(depth <= 4),
            Err(failure) => {
                assert_eq!(depth, 5, "{failure}");
                assert!(!failure.message.contains(&below), "named is what stands too deep: {failure}");
                check_says("deep", &failure, &["4 indexes deep", "sha256:"]);
            }
        }
    }
}

#[tokio::test]
async fn sizes_that_cannot_be_are_refused_before_a_part_is_asked_for() {
    const LIMIT: u64 = 100_000;
    let sized = |sizes: &[u64]| {
        let layers = sizes.iter().enumerate().map(|(number, size)| {
            json!({"mediaType": "application/x", "digest": sha256(&number.to_le_bytes()).to_string(), "size": size})
        });
        let layers: Vec<_> = layers.collect();
        small().0.edited(|document| document["layers"] = layers.into())
    };
    let conflicting = |one: u64, other: u64| {
        let with = |size: u64, name: &str| sized(&[size]).with_annotation("org.example", name);
        Image::index(&[with(one, "one"), with(other, "other")])
    };
    let many = |from: u64| {
        let layers: Vec<_> = (from..from + 6000)
            .map(|number| json!({"mediaType": "x", "digest": sha256(&number.to_le_bytes()).to_string(), "size": 1}))
            .collect();
        small().0.edited(|document| document["layers"] = layers.into())
    };
    let layer_1 = sha256(&0_usize.to_le_bytes()).to_string();
    for (what, image, limit, words) in [
        ("more than all", sized(&[60_000, 60_000]), LIMIT, vec!["too large", "100000 bytes", "fetch.max_file_bytes"]),
        (
            "in two manifests",
            Image::index(&[sized(&[0, 60_000]), sized(&[0, 60_000, 60_000])]),
            LIMIT,
            vec!["too large"],
        ),
        ("2^63", sized(&[1 << 63]), LIMIT, vec!["too large", "100000 bytes"]),
        ("2^64 together", sized(&[u64::MAX, 2]), LIMIT, vec!["too large", "100000 bytes"]),
        ("two sizes in two manifests", conflicting(7, 8), LIMIT, vec![&layer_1, "two sizes", "7 and 8 bytes"]),
        ("too many parts", Image::index(&[many(0), many(6000)]), u64::from(u32::MAX), vec!["more than 10000 parts"]),
    ] {
        let registry = Registry::with(&image).await;
        let failure = ImagePlace::new().limited_to(limit).failure(&registry, image.digest()).await;
        check_says(what, &failure, &words);
        assert_eq!(blobs_asked(&registry), 0, "{what}");
    }
    let twice = sized(&[7]).edited(|document| {
        let layer = document["layers"][0].clone();
        document["layers"].as_array_mut().unwrap().push(layer);
        document["layers"][1]["size"] = 8.into();
    });
    let failure = ImagePlace::new().failure(&Registry::with(&twice).await, twice.digest()).await;
    check_says("two sizes in one manifest", &failure, &[&layer_1, "7 and 8 bytes"]);
}

#[tokio::test]
async fn manifests_that_are_too_much_together_are_not_all_read() {
    let padding = "x".repeat(1 << 20);
    let child = |number: usize| Image::artifact("application/x", number.to_string()).with_annotation("x", &padding);
    let children: Vec<_> = (0..20).map(child).collect();
    let index = Image::index(&children);
    let registry = Registry::with(&index).await;
    for (limit, words, most) in [(4 << 20, "fetch.max_file_bytes", 4), (1 << 40, "16777216 bytes together", 15)] {
        let before = registry.asked().len();
        let failure = ImagePlace::new().limited_to(limit).failure(&registry, index.digest()).await;
        check_says("together", &failure, &[words]);
        // The index, those that fit, and those that were on their way when one did not.
        let asked = registry.asked().len() - before;
        assert!(asked <= most + 5, "{words}: {asked} were asked for");
        assert_eq!(blobs_asked(&registry), 0);
    }
}

#[tokio::test]
async fn the_largest_image_is_let_in_and_one_byte_more_is_not() {
    let (image, _) = small();
    let bytes = image.manifest().len() + image.blobs().values().map(Bytes::len).sum::<usize>();
    let registry = Registry::with(&image).await;
    let job = registry.job(image.digest(), "all");
    assert!(ImagePlace::new().limited_to(bytes as u64).fetch(&job).await.is_ok());
    let failure = ImagePlace::new().limited_to(bytes as u64 - 1).fetch(&job).await.unwrap_err();
    check_says("one more", &failure, &["too large", "fetch.max_file_bytes"]);
}

#[tokio::test]
async fn addresses_and_data_in_documents_are_left_alone() {
    let (image, layer) = small();
    let trap = Trap::set();
    let lead_away = |entry: &mut Value, content: &Bytes| {
        entry["urls"] = json!([format!("http://127.0.0.1:{}/here", trap.port())]);
        entry["data"] = STANDARD.encode(content).into();
    };
    let blobs = image.blobs().clone();
    let image = image.edited(|document| {
        // As Windows images have it, whose layers are not to be given away.
        document["layers"][0]["mediaType"] = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip".into();
        lead_away(&mut document["layers"][0], &blobs[&layer]);
        let config = document["config"]["digest"].as_str().unwrap().to_owned();
        lead_away(&mut document["config"], &blobs[&config]);
    });
    let index = Image::index(std::slice::from_ref(&image));
    let index = index.edited(|document| lead_away(&mut document["manifests"][0], image.manifest()));
    let registry = Registry::with(&index).await;
    ImagePlace::new().fetch(&registry.job(index.digest(), "all")).await.unwrap();
    let (config, manifest) = (config(&image), image.digest().to_owned());
    for missing in [format!("blobs/{layer}"), format!("blobs/{config}"), format!("manifests/{manifest}")] {
        let registry = Registry::with(&index).await;
        registry.at(&missing, |_| Answer::new(404));
        let failure = ImagePlace::new().failure(&registry, index.digest()).await;
        check_says(&missing, &failure, &["404 Not Found", missing.split_once('/').unwrap().1]);
    }
    assert!(trap.is_untouched());
}

#[tokio::test]
async fn whatever_cannot_be_had_fails_the_image_and_may_ask_to_wait() {
    let (image, layer) = small();
    let index = Image::index(std::slice::from_ref(&image));
    let things = [
        format!("manifests/{}", index.digest()),
        format!("manifests/{}", image.digest()),
        format!("blobs/{}", config(&image)),
        format!("blobs/{layer}"),
    ];
    for thing in things {
        let digest = thing.split_once('/').unwrap().1;
        for (status, wait, expected) in [
            (404, None, None),
            (403, Some("7"), None),
            (410, None, None),
            (500, None, None),
            (204, None, None),
            (206, None, None),
            (429, Some("7"), Some(7)),
            (503, Some("99999999"), Some(3600)),
            (429, Some("soon"), None),
        ] {
            let registry = Registry::with(&index).await;
            registry.at(&thing, move |_| match wait {
                Some(wait) => Answer::new(status).header("retry-after", wait),
                None => Answer::new(status),
            });
            let failure = ImagePlace::new().failure(&registry, index.digest()).await;
            check_says(&thing, &failure, &[&format!("answered {status}"), digest]);
            assert_eq!(failure.retry_after, expected.map(Duration::from_secs), "{thing}: {failure}");
            assert_eq!(registry.times(&format!("GET {thing}")), 1, "{thing}: {status}");
        }
    }
}

#[tokio::test]
async fn a_registry_that_is_silent_ends_in_its_limit() {
    let (image, layer) = small();
    let silent = Hostile::start(|_| vec![Step::Wait(Duration::from_secs(60))]).await;
    let elsewhere = Answer::new(307).header("location", &silent.url("/"));
    let stalls = Answer::ok(image.blobs()[&layer].clone()).stall_after(5);
    let blob = format!("blobs/{layer}");
    for (what, thing, answer, words) in [
        ("manifest", &format!("manifests/{}", image.digest()), &elsewhere, "timed out, no header"),
        ("no header", &blob, &elsewhere, "timed out, no header"),
        ("in the body", &blob, &stalls, "timed out, nothing came"),
    ] {
        let registry = Registry::with(&image).await;
        let answer = answer.clone();
        registry.at(thing, move |_| answer.clone());
        let place = ImagePlace::with(&options(&["127.0.0.0/8"]), image_options());
        let failure = place.failure(&registry, image.digest()).await;
        check_says(what, &failure, &[words]);
        assert!(registry.times(&format!("GET {thing}")) <= 4, "{what}: {:?}", registry.asked());
    }
}

#[tokio::test]
async fn garbage_in_place_of_an_answer_is_a_failure() {
    for bytes in [&b"SSH-2.0-OpenSSH_9.2\r\n"[..], b"HTTP/1.1 200 OK\r\nContent-Le", b""] {
        let registry = Hostile::start(move |_| vec![Step::Send(bytes.to_vec())]).await;
        let digest = sha256(b"whatever").to_string();
        let job = image_job(&registry.address.to_string(), &digest, "all", Scheme::Http);
        let failure = ImagePlace::new().fetch(&job).await.unwrap_err();
        check_says("garbage", &failure, &["cannot fetch", &digest]);
    }
}
