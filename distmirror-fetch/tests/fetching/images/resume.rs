//! Layers whose transfer breaks off: it goes on where it can, and nothing is ever spliced.

use std::time::Duration;

use bytes::Bytes;
use testkit::{Answer, Seen, image::Image};

use crate::support::{ImagePlace, Registry, layers, part, range_start};

/// An image with one layer that does not shrink, the digest of that, and its bytes.
fn image() -> (Image, String, Bytes) {
    let image = Image::oci("a").layers(1).layer_bytes(700_000).uncompressed().build();
    let layer = layers(&image).remove(0);
    let bytes = image.blobs()[&layer].clone();
    (image, layer, bytes)
}

/// The first half of the layer, in which the spool has a piece on disk and one in memory.
const HALF: usize = 600_000;

/// A registry with this image, whose layer is what the closure answers.
async fn serving(image: &Image, answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Registry {
    let registry = Registry::with(image).await;
    registry.at(&format!("blobs/{}", layers(image)[0]), answer);
    registry
}

/// From where on the layer was asked for, each time.
fn starts(registry: &Registry, layer: &str) -> Vec<Option<usize>> {
    let requests = registry.upstream.requests(&format!("/v2/team/app/blobs/{layer}"));
    requests.iter().map(|request| range_start(request)).collect()
}

#[tokio::test]
async fn a_transfer_that_is_cut_goes_on_at_once() {
    let (image, layer, bytes) = image();
    let registry = serving(&image, move |request| match range_start(request) {
        None => Answer::ok(bytes.clone()).break_after(HALF),
        Some(_) => part(request, bytes.clone()),
    })
    .await;
    let place = ImagePlace::new();
    place.fetch(&registry.job(image.digest(), "all")).await.unwrap();
    assert_eq!(starts(&registry, &layer), [None, Some(HALF)]);
    assert_eq!(place.spooled_files(), 0);
}

#[tokio::test]
async fn a_later_attempt_goes_on_where_an_earlier_one_ended() {
    let (image, layer, bytes) = image();
    let registry = serving(&image, move |request| match range_start(request) {
        None => Answer::ok(bytes.clone()).break_after(HALF),
        Some(_) => Answer::new(503).header("retry-after", "3"),
    })
    .await;
    let place = ImagePlace::new();
    let failure = place.failure(&registry, image.digest()).await;
    assert!(failure.message.contains("answered 503") && failure.message.contains(&layer), "{failure}");
    assert_eq!(failure.retry_after.map(|wait| wait.as_secs()), Some(3));
    assert_eq!(starts(&registry, &layer), [None, Some(HALF)], "trouble is no reason to ask for everything again");
    // Another registry that has it will do.
    let healthy = Registry::with(&image).await;
    place.again().fetch(&healthy.job(image.digest(), "all")).await.unwrap();
    assert_eq!(starts(&healthy, &layer), [Some(HALF)]);
    assert_eq!(place.spooled_files(), 0);
}

#[tokio::test]
async fn nothing_is_ever_spliced() {
    type Second = fn(&Seen, &Bytes) -> Answer;
    fn range(start: usize, end: usize, total: usize) -> String {
        format!("bytes {start}-{}/{total}", end - 1)
    }
    let cases: [(&str, Second); 11] = [
        ("the whole comes", |_, bytes| Answer::ok(bytes.clone())),
        ("416", |_, _| Answer::new(416)),
        ("206 without a range", |_, bytes| Answer::new(206).body(bytes.slice(HALF..))),
        ("206 without a range, of everything", |_, bytes| Answer::new(206).body(bytes.clone())),
        ("another start", |_, bytes| {
            let range = range(HALF - 1000, bytes.len(), bytes.len());
            Answer::new(206).body(bytes.slice(HALF - 1000..)).header("content-range", &range)
        }),
        ("a start that was not asked for", |_, bytes| {
            let range = range(HALF + 1000, bytes.len(), bytes.len());
            Answer::new(206).body(bytes.slice(HALF + 1000..)).header("content-range", &range)
        }),
        ("another total", |_, bytes| {
            let range = range(HALF, bytes.len() + 1000, bytes.len() + 1000);
            Answer::new(206).body([&bytes[HALF..], &[0; 1000]].concat()).header("content-range", &range)
        }),
        ("a larger total", |_, bytes| {
            let range = range(HALF, bytes.len(), bytes.len() + 1000);
            Answer::new(206).body(bytes.slice(HALF..)).header("content-range", &range)
        }),
        ("an unknown total", |_, bytes| {
            let range = format!("bytes {HALF}-{}/*", bytes.len() - 1);
            Answer::new(206).body(bytes.slice(HALF..)).header("content-range", &range)
        }),
        ("an end before the end", |_, bytes| {
            let range = range(HALF, bytes.len() - 10, bytes.len());
            Answer::new(206).body(bytes.slice(HALF..bytes.len() - 10)).header("content-range", &range)
        }),
        ("a range that is none", |_, bytes| {
            Answer::new(206).body(bytes.slice(HALF..)).header("content-range", "bytes half-end/all")
        }),
    ];
    let (image, layer, bytes) = image();
    for (what, second) in cases {
        let bytes = bytes.clone();
        let registry = serving(&image, move |request| match range_start(request) {
            Some(start) => {
                assert_eq!(start, HALF);
                second(request, &bytes)
            }
            None => Answer::ok(bytes.clone()),
        })
        .await;
        let place = ImagePlace::new();
        place.spool(&layer, &image.blobs()[&layer][..HALF]);
        place.fetch(&registry.job(image.digest(), "all")).await.unwrap_or_else(|failure| panic!("{what}: {failure}"));
        let starts = starts(&registry, &layer);
        assert!(
            starts == [Some(HALF)] && what == "the whole comes" || starts == [Some(HALF), None],
            "{what}: {starts:?}"
        );
    }
}

#[tokio::test]
async fn a_rest_of_other_bytes_or_another_length_is_refused() {
    type Rest = fn(&Bytes) -> Answer;
    let cases: [(&str, Rest, &str); 4] = [
        ("other bytes", |bytes| Answer::new(206).body(vec![7; bytes.len() - HALF]), "checksum mismatch"),
        ("too short", |bytes| Answer::new(206).body(bytes.slice(HALF + 10..)), "announces"),
        ("too long", |bytes| Answer::new(206).body([&bytes[HALF..], b"x"].concat()), "announces"),
        (
            "too long, chunked",
            |bytes| Answer::new(206).body([&bytes[HALF..], b"x"].concat()).without_length(),
            "more than the",
        ),
    ];
    let (image, layer, bytes) = image();
    for (what, rest, words) in cases {
        let bytes = bytes.clone();
        let range = format!("bytes {HALF}-{}/{}", bytes.len() - 1, bytes.len());
        let registry = serving(&image, move |_| rest(&bytes).header("content-range", &range)).await;
        let place = ImagePlace::new();
        place.spool(&layer, &image.blobs()[&layer][..HALF]);
        let failure = place.failure(&registry, image.digest()).await.message;
        assert!(failure.contains(words) && failure.contains(&layer), "{what}: {failure}");
    }
}

#[tokio::test]
async fn wrong_bytes_in_the_spool_cost_one_attempt() {
    let (image, layer, bytes) = image();
    for spooled in [vec![7; HALF], vec![7; bytes.len()], vec![7; bytes.len() + 1]] {
        let registry = Registry::with(&image).await;
        let place = ImagePlace::new();
        place.spool(&layer, &spooled);
        let more_than_all = spooled.len() > bytes.len();
        if !more_than_all {
            let failure = place.failure(&registry, image.digest()).await.message;
            assert!(failure.contains("checksum mismatch") && failure.contains(&layer), "{failure}");
        }
        place.again().fetch(&registry.job(image.digest(), "all")).await.unwrap();
        assert_eq!(starts(&registry, &layer).last(), Some(&None), "from the start");
        assert_eq!(place.spooled_files(), 0);
    }
}

#[tokio::test]
async fn a_transfer_that_is_cut_on_every_try_ends() {
    type Cut = fn(Answer) -> Answer;
    let cases: [(&str, Cut, usize); 3] = [
        ("gets on a little", |answer| answer.break_after(1000), 4),
        ("does not get on", |answer| answer.break_after(0), 1),
        ("ends early, chunked", |answer| answer.without_length().break_after(1000), 4),
    ];
    let (image, layer, bytes) = image();
    for (what, cut, requests) in cases {
        let bytes = bytes.clone();
        let registry = serving(&image, move |request| cut(part(request, bytes.clone()))).await;
        let place = ImagePlace::new();
        let failure = place.failure(&registry, image.digest()).await.message;
        assert!(failure.contains("truncated") && failure.contains(&layer), "{what}: {failure}");
        assert_eq!(starts(&registry, &layer).len(), requests, "{what}");
        // The next attempt does not begin at the beginning.
        let healthy = Registry::with(&image).await;
        place.again().fetch(&healthy.job(image.digest(), "all")).await.unwrap();
        let got_on = if requests > 1 { Some(requests * 1000) } else { None };
        assert_eq!(starts(&healthy, &layer), [got_on], "{what}");
    }
}

#[tokio::test]
async fn a_registry_that_knows_no_ranges_and_always_breaks_off_is_not_asked_for_ever() {
    let (image, layer, bytes) = image();
    let registry = serving(&image, move |_| Answer::ok(bytes.clone()).break_after(HALF)).await;
    let failure = ImagePlace::new().failure(&registry, image.digest()).await.message;
    assert!(failure.contains("truncated") && failure.contains(&layer), "{failure}");
    assert!(starts(&registry, &layer).len() <= 4, "{:?}", starts(&registry, &layer));
}

#[tokio::test]
async fn a_part_that_fails_does_not_make_the_others_come_again() {
    let image = Image::oci("a").layers(9).build();
    let registry = Registry::with(&image).await;
    registry.at(&format!("blobs/{}", layers(&image)[8]), |_| Answer::new(500));
    let place = ImagePlace::new();
    place.failure(&registry, image.digest()).await;
    let healthy = Registry::with(&image).await;
    place.again().fetch(&healthy.job(image.digest(), "all")).await.unwrap();
    let came_again = healthy.asked().iter().filter(|asked| asked.starts_with("GET blobs/")).count();
    assert!(came_again <= 4, "the last one, and at most three that were on their way: {:?}", healthy.asked());
}

#[tokio::test]
async fn a_fetch_that_is_dropped_is_gone_on_with() {
    let (image, layer, bytes) = image();
    let stalls = serving(&image, move |_| Answer::ok(bytes.clone()).stall_after(HALF)).await;
    let place = ImagePlace::new();
    let job = stalls.job(image.digest(), "all");
    tokio::select! {
        outcome = place.fetch(&job) => panic!("{outcome:?}"),
        () = async { while place.spooled_bytes() < 512 * 1024 { tokio::time::sleep(Duration::from_millis(5)).await } } => {}
    }
    // The writer lets go of the file when its last piece is there.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let healthy = Registry::with(&image).await;
    place.again().fetch(&healthy.job(image.digest(), "all")).await.unwrap();
    let [Some(start)] = starts(&healthy, &layer)[..] else { panic!("{:?}", healthy.asked()) };
    assert!((512 * 1024..=HALF).contains(&start), "{start}");
}

#[tokio::test]
async fn two_fetches_of_the_same_image_do_not_meet() {
    let (image, _, bytes) = image();
    let pause = Duration::from_millis(2);
    let registry = serving(&image, move |_| Answer::ok(bytes.clone()).in_pieces(20_000, pause)).await;
    let place = ImagePlace::new();
    let (job, again) = (registry.job(image.digest(), "all"), place.again());
    let (one, other) = tokio::join!(place.fetch(&job), again.fetch(&job));
    assert_eq!(one.unwrap().blobs, other.unwrap().blobs);
    assert_eq!(place.spooled_files(), 0);
}
