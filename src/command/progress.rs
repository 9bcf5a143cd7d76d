//! How far fetches are: bars on a terminal, otherwise a line for each change. On standard error.

use std::io::{self, IsTerminal};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::{artifact::Artifact, complain, print::printable};

/// What is shown while fetches run. Artifacts are known by their place in the list.
#[derive(Debug)]
pub(super) enum Progress {
    /// A bar for each.
    Bars(Vec<ProgressBar>),
    /// The state of each that was told last.
    Lines(Vec<String>),
}

impl Progress {
    /// Shows these artifacts.
    pub(super) fn new<'a>(artifacts: impl Iterator<Item = &'a Artifact>) -> Self {
        if !io::stderr().is_terminal() {
            return Self::Lines(artifacts.map(|artifact| artifact.state.clone()).collect());
        }
        let bars = MultiProgress::new();
        let bar = |artifact: &Artifact| {
            if artifact.is_settled() {
                return ProgressBar::hidden();
            }
            let bar = bars.add(ProgressBar::no_length().with_style(style("{spinner} {msg} {bytes}")));
            move_bar(&bar, artifact);
            bar
        };
        Self::Bars(artifacts.map(bar).collect())
    }

    /// Shows what has changed with one of them.
    pub(super) fn update(&mut self, number: usize, artifact: &Artifact) {
        match self {
            Self::Bars(bars) if artifact.is_settled() => bars[number].finish_and_clear(),
            Self::Bars(bars) => move_bar(&bars[number], artifact),
            Self::Lines(states) if states[number] != artifact.state => {
                states[number].clone_from(&artifact.state);
                // How it ends is told with the result.
                if !artifact.is_settled() {
                    complain(printable(&format!("{}  {}", artifact.state, artifact.name())));
                }
            }
            Self::Lines(_) => {}
        }
    }

    /// Takes the bars away, for the results to follow.
    pub(super) fn finish(self) {
        if let Self::Bars(bars) = self {
            bars.iter().for_each(ProgressBar::finish_and_clear);
        }
    }
}

fn move_bar(bar: &ProgressBar, artifact: &Artifact) {
    bar.set_message(format!("{} {}", printable(&artifact.state), file_name(artifact.name())));
    if let Some(progress) = artifact.progress {
        if let Some(total) = progress.total.filter(|_| bar.length().is_none()) {
            bar.set_length(total);
            bar.set_style(style("{spinner} {msg} {wide_bar} {bytes}/{total_bytes} {eta}"));
        }
        bar.set_position(progress.bytes);
    }
    bar.tick();
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn file_name(uri: &str) -> String {
    printable(uri.rsplit('/').find(|part| !part.is_empty()).unwrap_or(uri))
}
