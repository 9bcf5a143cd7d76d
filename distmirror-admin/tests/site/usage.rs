//! Who used what, in the API and on the pages.

use distmirror_core::{UsedBy, usage::day_of};
use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};

use crate::{
    pages::{NASTY, id, page},
    sample::Sample,
    support::Site,
};

const NOON: &str = "2026-03-02T12:00:00Z";

impl Site {
    /// Notes one request, so many hours after noon, and has it reported.
    async fn used(&self, artifact: &Value, by: UsedBy, bytes: u64, hours: i64) {
        let at = NOON.parse::<Timestamp>().expect("a time") + hours.hours();
        self.mirror.used(id(artifact).parse().expect("an id"), by, bytes, at);
        self.mirror.flush_usage().await.expect("a catalog in memory");
    }
}

fn client(address: &str) -> UsedBy {
    UsedBy::Client(address.parse().expect("an address"))
}

#[tokio::test]
async fn usage_shows_in_the_artifact_in_lists_and_by_day() {
    let site = Site::start().await;
    let (used, unused) =
        (site.present("http://h/used", b"bytes").await, site.present("http://h/unused", b"other").await);
    assert_eq!((&used["usage"], &unused["usage"]), (&json!(null), &json!(null)), "nobody has used them yet");
    site.used(&used, client("192.0.2.1"), 5, 0).await;
    site.used(&used, client("192.0.2.1"), 3, 1).await;
    site.used(&used, UsedBy::Project("firmware".into()), 2000, -20).await;

    let expected = json!({
        "requests": 3, "bytes": 2008, "first_used_at": "2026-03-01T16:00:00Z", "last_used_at": "2026-03-02T13:00:00Z",
    });
    assert_eq!(site.shown(&used).await["usage"], expected);
    let list = site.get("/api/v1/artifacts").await.json();
    let of_list: Vec<_> = list["items"].as_array().unwrap().iter().map(|item| &item["usage"]).collect();
    assert_eq!(of_list, [&json!(null), &expected], "in lists too, and null where nobody did");

    let path = format!("/api/v1/artifacts/{}/usage", id(&used));
    let first = site.get(&format!("{path}?limit=1")).await.json();
    let expected = json!([{
        "day": "2026-03-02", "project": null, "client": "192.0.2.1", "requests": 2, "bytes": 8,
        "first_used_at": "2026-03-02T12:00:00Z", "last_used_at": "2026-03-02T13:00:00Z",
    }]);
    assert_eq!(first["items"], expected);
    let rest = site.get(&format!("{path}?cursor={}", first["next"].as_str().unwrap())).await.json();
    let rest_day = &rest["items"][0];
    assert_eq!(
        (&rest_day["day"], &rest_day["project"], &rest_day["client"], &rest_day["bytes"], &rest["next"]),
        (&json!("2026-03-01"), &json!("firmware"), &json!(null), &json!(2000), &json!(null))
    );
    let none = site.get(&format!("/api/v1/artifacts/{}/usage", id(&unused))).await.json();
    assert_eq!(none, json!({"items": [], "next": null}));
    for (query, status) in [("?limit=0", 400), ("?cursor=x", 400)] {
        assert_eq!(site.get(&format!("{path}{query}")).await.status, status, "{query}");
    }
    let unknown = format!("/api/v1/artifacts/{}/usage", distmirror_core::ArtifactId::new());
    assert_eq!(site.get(&unknown).await.status, 404);
}

#[tokio::test]
async fn pages_show_who_used_what() {
    let site = Site::start().await;
    let (used, unused) =
        (site.present("http://h/used", b"bytes").await, site.present("http://h/unused", b"other").await);
    assert!(!page(&site, "/artifacts").await.body.contains("<time datetime=\"2026-03-02T12:00:00Z\""));
    site.used(&used, client("2001:db8::1"), 2048, 0).await;
    site.used(&used, UsedBy::Project(NASTY.into()), 5, 0).await;
    let shown = page(&site, &format!("/artifacts/{}", id(&used))).await.body;
    for part in ["Who uses it", "2 requests, ", "2\u{202f}053 bytes", "2026-03-02", "2001:db8::1", "2.0 KiB"] {
        assert!(shown.contains(part), "no {part} in {shown}");
    }
    assert!(!shown.contains("alert(1)</script>"));
    let shown = page(&site, &format!("/artifacts/{}", id(&unused))).await.body;
    assert!(shown.contains("Nobody has asked for it through the mirror yet"), "{shown}");
    let listed = page(&site, "/artifacts").await.body;
    assert!(listed.contains("<time datetime=\"2026-03-02T12:00:00Z\""), "{listed}");
    assert_eq!(listed.matches("requests in all").count(), 1, "{listed}");
}

#[tokio::test]
async fn much_usage_is_cut_and_the_rest_is_linked() {
    let site = Site::start().await;
    let image = Sample::new("x").present(&site).await;
    assert_eq!(day_of(NOON.parse().unwrap()).to_string(), "2026-03-02");
    for number in 0..21 {
        site.used(&image, client(&format!("192.0.2.{number}")), 1, 0).await;
    }
    let shown = page(&site, &format!("/artifacts/{}", id(&image))).await.body;
    assert_eq!(shown.matches("<td class=\"when\">2026-03-02</td>").count(), 20);
    assert!(shown.contains(&format!("/api/v1/artifacts/{}/usage?limit=1000", id(&image))), "{shown}");
    assert!(shown.contains("21 requests for parts of it"), "{shown}");
    let repository = page(&site, "/images?registry=quay.io&repository=team/tool").await.body;
    assert!(repository.contains("21 requests in all"), "{repository}");
}
