//! The image fetcher against registries of every kind, subject by subject.

mod hostile;
mod parallel;
mod platforms;
mod possession;
mod reach;
mod referrers;
mod resume;
mod secrets;
mod sign_in;
mod tags;
mod whole;
