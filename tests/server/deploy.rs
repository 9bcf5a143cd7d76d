//! The files in `deploy/`: whether Prometheus understands them, and whether they speak of metrics that there are.

use std::{collections::BTreeSet, fmt::Write, path::Path};

use serde_json::Value;
use testkit::promtool;

use crate::metrics::documented;

/// A file of the project.
fn file(path: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path).display().to_string()
}

/// The metrics that an expression speaks of.
fn metrics_in(expression: &str) -> BTreeSet<String> {
    let known = documented();
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let names = words.filter(|word| word.starts_with("distmirror_") || word.starts_with("process_"));
    let base = |name: &str| {
        let parts = ["_bucket", "_count", "_sum"].into_iter().filter_map(|part| name.strip_suffix(part));
        parts.map(str::to_owned).find(|base| known.contains(base)).unwrap_or_else(|| name.to_owned())
    };
    names.map(base).collect()
}

fn panels() -> Vec<Value> {
    let text = std::fs::read_to_string(file("deploy/grafana-dashboard.json")).expect("the dashboard is there");
    let dashboard: Value = serde_json::from_str(&text).expect("it is JSON");
    assert!(dashboard["schemaVersion"].as_u64().is_some_and(|version| version >= 39));
    assert_eq!(dashboard["templating"]["list"][0]["name"], "datasource");
    dashboard["panels"].as_array().expect("panels").clone()
}

/// Every expression of the dashboard, with what Grafana puts in.
fn expressions() -> Vec<String> {
    let panels = panels();
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let written = targets.map(|target| {
        assert_eq!(target["datasource"]["uid"], "${datasource}", "{target}");
        target["expr"].as_str().expect("an expression").replace("$__rate_interval", "5m").replace("$instance", ".*")
    });
    written.collect()
}

#[tokio::test]
async fn the_dashboard_shows_every_metric_and_no_other() {
    let expressions = expressions();
    let shown: BTreeSet<String> = expressions.iter().flat_map(|expression| metrics_in(expression)).collect();
    assert_eq!(shown, documented());
    let mut rules = "groups:\n- name: dashboard\n  rules:\n".to_owned();
    for (number, expression) in expressions.iter().enumerate() {
        writeln!(rules, "  - {{record: \"panel:{number}\", expr: {expression:?}}}").expect("writing to a String");
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("rules.yml").display().to_string();
    std::fs::write(&path, rules).expect("writes the rules");
    promtool(&["check", "rules", &path], "").await.expect("every expression can be evaluated");
}

#[test]
fn no_panel_covers_another_one() {
    let mut taken = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in panels() {
        let at = |key: &str| panel["gridPos"][key].as_u64().expect("a place");
        assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{panel}");
        assert!(at("x") + at("w") <= 24, "{panel}");
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(taken.insert((x, y)), "{panel}");
            }
        }
    }
}

#[tokio::test]
async fn the_alerts_fire_when_they_should() {
    let rules = file("deploy/prometheus-alerts.yml");
    let text = std::fs::read_to_string(&rules).expect("the alerts are there");
    let named: BTreeSet<String> = text.lines().filter(|line| line.contains("expr:")).flat_map(metrics_in).collect();
    assert!(named.len() > 9 && named.is_subset(&documented()), "{named:?}");
    promtool(&["check", "rules", &rules], "").await.expect("Prometheus takes them");
    promtool(&["test", "rules", &file("tests/server/alerts.yml")], "").await.expect("they fire when they should");
}
