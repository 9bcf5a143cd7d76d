//! Rendering. Every value is escaped: all templates end in `.html`, and none uses `safe`.

use poem::Response;
use serde::Serialize;
use tera::{Context, Kwargs, State, Tera};

use crate::{Result, assets::Assets, pages::naming, problem::Problem};

/// The page templates, compiled in.
pub(crate) struct Templates(Tera);

impl Templates {
    /// Reads the templates and tells them where the assets are.
    pub(crate) fn new(assets: &Assets) -> Result<Self> {
        let mut tera = Tera::new();
        tera.register_filter("size", |bytes: u64, _: Kwargs, _: &State| size(bytes));
        tera.register_filter("grouped", |number: u64, _: Kwargs, _: &State| grouped(number));
        tera.register_filter("urlencode", |text: &str, _: Kwargs, _: &State| urlencode(text));
        tera.register_filter("kind", |name: &str, _: Kwargs, _: &State| naming::kind(name).to_owned());
        tera.register_filter("host", |name: &str, _: Kwargs, _: &State| naming::host(name));
        tera.register_filter("stem", |name: &str, _: Kwargs, _: &State| naming::parts(name)[0].to_owned());
        tera.register_filter("leaf", |name: &str, _: Kwargs, _: &State| naming::parts(name)[1].to_owned());
        tera.register_filter("rest", |name: &str, _: Kwargs, _: &State| naming::parts(name)[2].to_owned());
        tera.register_filter("short", |digest: &str, _: Kwargs, _: &State| naming::short(digest).to_owned());
        tera.register_filter("day", |at: &str, _: Kwargs, _: &State| day(at));
        tera.register_filter("moment", |at: &str, _: Kwargs, _: &State| moment(at));
        let global = tera.global_context();
        global.insert("nav", NAVIGATION);
        global.insert("style", &assets.style.path());
        global.insert("script", &assets.script.path());
        global.insert("icon", &assets.icon.path());
        global.insert("version", env!("CARGO_PKG_VERSION"));
        tera.add_raw_templates(TEMPLATES)?;
        Ok(Self(tera))
    }

    /// Renders a page; `section` is the address of the entry in the navigation that it belongs to.
    pub(crate) fn page(&self, template: &str, section: &str, content: &impl Serialize) -> Response {
        let rendered = Context::from_serialize(content).and_then(|mut context| {
            context.insert("section", section);
            self.0.render(template, &context)
        });
        match rendered {
            Ok(html) => Response::builder().content_type("text/html; charset=utf-8").body(html),
            Err(error) => {
                tracing::error!(template, error = distmirror_core::error::chain(&error), "cannot render a page");
                poem::IntoResponse::into_response(Problem::internal())
            }
        }
    }
}

/// A number of bytes as people read it.
fn size(bytes: u64) -> String {
    let mut amount = bytes as f64;
    let mut units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    for larger in units {
        if amount < 1024.0 {
            break;
        }
        (amount, unit) = (amount / 1024.0, larger);
    }
    if unit == "B" || amount >= 100.0 { format!("{amount:.0} {unit}") } else { format!("{amount:.1} {unit}") }
}

/// A number with thin gaps between groups of three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join("\u{202f}")
}

fn urlencode(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// A moment to the second, without the letters that machines need.
fn moment(at: &str) -> String {
    at.replacen('T', " ", 1).chars().take("2026-01-31 12:00:00".len()).collect()
}

/// The day of a moment.
fn day(at: &str) -> String {
    at.chars().take("2026-01-31".len()).collect()
}

const NAVIGATION: &[(&str, &str)] = &[
    ("/", "Overview"),
    ("/artifacts", "Artifacts"),
    ("/images", "Images"),
    ("/declare", "Declare"),
    ("/misses", "Misses"),
    ("/audit", "Audit"),
    ("/setup", "Setup"),
    ("/api/docs", "API"),
];

const TEMPLATES: [(&str, &str); 20] = [
    ("parts.html", include_str!("../../templates/parts.html")),
    ("layout.html", include_str!("../../templates/layout.html")),
    ("problem.html", include_str!("../../templates/problem.html")),
    ("overview.html", include_str!("../../templates/overview.html")),
    ("artifacts.html", include_str!("../../templates/artifacts.html")),
    ("artifact.html", include_str!("../../templates/artifact.html")),
    ("file.html", include_str!("../../templates/file.html")),
    ("image.html", include_str!("../../templates/image.html")),
    ("image_parts.html", include_str!("../../templates/image_parts.html")),
    ("images.html", include_str!("../../templates/images.html")),
    ("repository.html", include_str!("../../templates/repository.html")),
    ("declare.html", include_str!("../../templates/declare.html")),
    ("declare_file.html", include_str!("../../templates/declare_file.html")),
    ("declare_image.html", include_str!("../../templates/declare_image.html")),
    ("misses.html", include_str!("../../templates/misses.html")),
    ("scrubs.html", include_str!("../../templates/scrubs.html")),
    ("scrub.html", include_str!("../../templates/scrub.html")),
    ("audit.html", include_str!("../../templates/audit.html")),
    ("setup.html", include_str!("../../templates/setup.html")),
    ("docs.html", include_str!("../../templates/docs.html")),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (150_000, "146 KiB"),
            (5 << 30, "5.0 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn numbers() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1\u{202f}000", "1\u{202f}234\u{202f}567"]);
    }

    #[test]
    fn moments() {
        assert_eq!(moment("2026-11-23T19:15:04.123456Z"), "2026-11-23 19:15:04");
    }
}
